// Calls of a model's own functions are replaced with the functions' nodes.
#include "onnx/functions.h"

#include <google/protobuf/unknown_field_set.h>
#include <gtest/gtest.h>

#include "bitfold/error.h"
#include "onnx/attributes.h"
#include "onnx/model_builder.h"

namespace bitfold {
namespace {

using testing::ModelBuilder;

onnx::FunctionProto& add_function(ModelBuilder& b, const std::string& name, const std::vector<std::string>& inputs,
                                  const std::vector<std::string>& outputs, int opset = 21) {
  if (b.model.opset_import_size() == 1) {
    auto& import = *b.model.add_opset_import();
    import.set_domain("local");
    import.set_version(1);
  }
  onnx::FunctionProto& function = *b.model.add_functions();
  function.set_name(name);
  function.set_domain("local");
  for (const auto& input : inputs) function.add_input(input);
  for (const auto& output : outputs) function.add_output(output);
  function.add_opset_import()->set_version(opset);
  return function;
}

onnx::NodeProto& add_node(onnx::FunctionProto& function, const std::string& type,
                          const std::vector<std::string>& inputs, const std::vector<std::string>& outputs) {
  onnx::NodeProto& node = *function.add_node();
  node.set_op_type(type);
  for (const auto& input : inputs) node.add_input(input);
  for (const auto& output : outputs) node.add_output(output);
  return node;
}

onnx::NodeProto& call(ModelBuilder& b, const std::string& function, const std::string& name,
                      const std::vector<std::string>& inputs, const std::vector<std::string>& outputs) {
  onnx::NodeProto& node = b.node(function, name, inputs, outputs);
  node.set_domain("local");
  return node;
}

void expect_refused(const ModelBuilder& b, const std::vector<std::string>& words) {
  try {
    b.load();
    FAIL() << "no Error";
  } catch (const Error& error) {
    for (const std::string& word : words)
      EXPECT_NE(std::string(error.what()).find(word), std::string::npos) << error.what();
  }
}

TEST(Functions, are_inlined_under_the_names_of_their_calls) {
  ModelBuilder b;
  b.input("x", {2}).output("y");
  onnx::FunctionProto& f = add_function(b, "Twice", {"a"}, {"c"});
  add_node(f, "Exp", {"a"}, {"b"});
  add_node(f, "Neg", {"b"}, {"c"});
  call(b, "Twice", "first", {"x"}, {"h"});
  call(b, "Twice", "second", {"h"}, {"y"});
  const Graph graph = b.load();
  EXPECT_EQ(graph.node_count(), 4u);
  EXPECT_NE(graph.find("first/b"), ValueId::none);
  EXPECT_NE(graph.find("second/b"), ValueId::none);
  EXPECT_EQ(graph.value(graph.outputs()[0]).name, "y");
}

TEST(Functions, attributes_come_from_the_call_or_the_default) {
  ModelBuilder b;
  b.input("x", {2}).output("y").output("z");
  onnx::FunctionProto& f = add_function(b, "Leak", {"a"}, {"b"});
  onnx::AttributeProto fallback;
  fallback.set_name("slope");
  fallback.set_type(onnx::AttributeProto::FLOAT);
  fallback.set_f(0.25F);
  f.GetReflection()->MutableUnknownFields(&f)->AddLengthDelimited(11)->assign(fallback.SerializeAsString());
  onnx::NodeProto& leaky = add_node(f, "LeakyRelu", {"a"}, {"b"});
  onnx::AttributeProto& reference = *leaky.add_attribute();
  reference.set_name("alpha");
  reference.set_type(onnx::AttributeProto::FLOAT);
  reference.set_ref_attr_name("slope");
  call(b, "Leak", "default", {"x"}, {"y"});
  set_real(call(b, "Leak", "given", {"x"}, {"z"}), "slope", 0.5F);
  const Graph graph = b.load();
  const auto alpha = [&](const char* name) {
    return std::get<Parametric>(graph.node(graph.producer(graph.find(name))).op).alpha;
  };
  EXPECT_EQ(alpha("y"), 0.25F);
  EXPECT_EQ(alpha("z"), 0.5F);
}

TEST(Functions, may_call_others_and_be_of_another_opset) {
  ModelBuilder b(21);
  b.input("x", {2, 3}).output("y");
  onnx::FunctionProto& inner = add_function(b, "Inner", {"a"}, {"b"}, 12);
  set_integers(add_node(inner, "ReduceSum", {"a"}, {"b"}), "axes", {1});
  onnx::FunctionProto& outer = add_function(b, "Outer", {"a"}, {"c"});
  add_node(outer, "Inner", {"a"}, {"b"}).set_domain("local");
  add_node(outer, "Exp", {"b"}, {"c"});
  call(b, "Outer", "call", {"x"}, {"y"});
  const Graph graph = b.load();
  EXPECT_EQ(graph.node_count(), 2u);
  EXPECT_EQ(graph.value(graph.outputs()[0]).shape, (Shape{2, 1}));
}

TEST(Functions, absent_inputs_stay_absent_and_an_input_may_be_an_output) {
  ModelBuilder b;
  b.input("x", {2}).output("y").output("same");
  onnx::FunctionProto& f = add_function(b, "Bound", {"a", "low"}, {"b", "a"});
  add_node(f, "Clip", {"a", "low"}, {"b"});
  call(b, "Bound", "call", {"x"}, {"y", "same"});
  const Graph graph = b.load();
  EXPECT_EQ(graph.node(graph.producer(graph.find("y"))).inputs.at(1), ValueId::none);
  EXPECT_EQ(graph.node(graph.producer(graph.find("same"))).op, Op(Unary{UnaryKind::identity}));
}

TEST(Functions, recursive_functions_are_refused) {
  ModelBuilder b;
  b.input("x", {2}).output("y");
  onnx::FunctionProto& f = add_function(b, "Loop", {"a"}, {"b"});
  add_node(f, "Loop", {"a"}, {"b"}).set_domain("local");
  call(b, "Loop", "call", {"x"}, {"y"});
  expect_refused(b, {"test.onnx", "[Loop", "calls the function that it is part of"});
}

TEST(Functions, expansions_to_too_many_nodes_are_refused) {
  ModelBuilder b;
  b.input("x", {2}).output("y");
  for (int level = 0; level < 40; ++level) {
    onnx::FunctionProto& f = add_function(b, "F" + std::to_string(level), {"a"}, {"c"});
    const std::string next = level == 39 ? "Neg" : "F" + std::to_string(level + 1);
    for (const auto& [from, to] : {std::pair{"a", "b"}, {"b", "c"}})
      add_node(f, next, {from}, {to}).set_domain(level == 39 ? "" : "local");
  }
  call(b, "F0", "call", {"x"}, {"y"});
  expect_refused(b, {"more than 1000000 nodes"});
}

}  // namespace
}  // namespace bitfold
