// If, Loop and Scan: subgraphs become closed bodies when read, and subgraphs again when written.
#include <gtest/gtest.h>

#include "base/file.h"
#include "bitfold/error.h"
#include "numeric/reals.h"
#include "onnx/attributes.h"
#include "onnx/model_builder.h"
#include "testing.h"

namespace bitfold {
namespace {

using testing::floats;
using testing::ModelBuilder;

onnx::GraphProto& add_body(onnx::NodeProto& node, const std::string& name) {
  onnx::AttributeProto& attribute = *node.add_attribute();
  attribute.set_name(name);
  attribute.set_type(onnx::AttributeProto::GRAPH);
  attribute.mutable_g()->set_name(name);
  return *attribute.mutable_g();
}

onnx::NodeProto& add_node(onnx::GraphProto& graph, const std::string& type, const std::vector<std::string>& inputs,
                          const std::vector<std::string>& outputs) {
  onnx::NodeProto& node = *graph.add_node();
  node.set_op_type(type);
  node.set_name(type + "_" + outputs[0]);
  for (const auto& input : inputs) node.add_input(input);
  for (const auto& output : outputs) node.add_output(output);
  return node;
}

void expect_round_trip(const Graph& graph, const SaveOptions& options = {}) {
  testing::TemporaryFolder folder;
  const std::string path = (folder / "model.onnx").string();
  save_onnx(graph, path, options);
  const Graph loaded = load_onnx(path);
  Graph expected = graph;
  if (options.opset) expected.opset = *options.opset;
  EXPECT_EQ(print_graph(loaded), print_graph(expected));
  EXPECT_EQ(loaded, expected);
}

const Node& node_named(const Graph& graph, const std::string& name) {
  for (NodeId id : graph.nodes())
    if (graph.node(id).name == name) return graph.node(id);
  throw Error("no node " + name);
}

ModelBuilder branches() {
  ModelBuilder b(17);
  b.input("c", {}, onnx::TensorProto::BOOL).input("x", {2}).constant("w", floats({2}, {3, 4})).output("y");
  b.node("Exp", "exp", {"x"}, {"e"});
  onnx::NodeProto& node = b.node("If", "branch", {"c"}, {"y"});
  onnx::GraphProto& then_branch = add_body(node, "then_branch");
  add_node(then_branch, "Add", {"x", "w"}, {"sum"});
  then_branch.add_output()->set_name("sum");
  onnx::GraphProto& else_branch = add_body(node, "else_branch");
  add_node(else_branch, "Neg", {"e"}, {"minus"});
  else_branch.add_output()->set_name("minus");
  return b;
}

TEST(If, captured_values_become_inputs_and_constants_are_copied) {
  const Graph graph = branches().load();
  const Node& node = node_named(graph, "branch");
  ASSERT_EQ(node.inputs.size(), 3u);
  EXPECT_EQ(graph.value(node.inputs[1]).name, "e");
  EXPECT_EQ(graph.value(node.inputs[2]).name, "x");
  ASSERT_EQ(node.bodies.size(), 2u);
  for (const auto& body : node.bodies) {
    ASSERT_EQ(body->inputs().size(), 2u);
    EXPECT_EQ(body->value(body->inputs()[0]).name, "e");
    EXPECT_EQ(body->value(body->inputs()[1]).name, "x");
  }
  EXPECT_TRUE(node.bodies[0]->is_constant(node.bodies[0]->find("w")));
  EXPECT_EQ(graph.value(graph.outputs()[0]).shape, (Shape{2}));
}

TEST(If, survives_saving_and_loading) {
  expect_round_trip(branches().load());
  expect_round_trip(branches().load(), {.opset = 13});
}

TEST(If, branches_may_give_captured_values_and_constants) {
  ModelBuilder b(17);
  b.input("c", {}, onnx::TensorProto::BOOL).input("x", {2}).constant("w", floats({2}, {3, 4}));
  b.output("y").output("z");
  onnx::NodeProto& node = b.node("If", "branch", {"c"}, {"y", "z"});
  onnx::GraphProto& then_branch = add_body(node, "then_branch");
  then_branch.add_output()->set_name("x");
  then_branch.add_output()->set_name("w");
  onnx::GraphProto& else_branch = add_body(node, "else_branch");
  add_node(else_branch, "Neg", {"x"}, {"minus"});
  else_branch.add_output()->set_name("minus");
  else_branch.add_output()->set_name("minus");
  expect_round_trip(b.load());
}

TEST(If, a_branch_may_define_a_name_that_the_other_branch_captures) {
  ModelBuilder b = branches();
  onnx::GraphProto& else_branch = *b.graph().mutable_node(1)->mutable_attribute(1)->mutable_g();
  else_branch.mutable_node(0)->set_output(0, "x");
  else_branch.mutable_output(0)->set_name("x");
  const Graph graph = b.load();
  const Graph& body = *node_named(graph, "branch").bodies[1];
  EXPECT_NE(body.producer(body.outputs()[0]), NodeId::none);
}

ModelBuilder loop() {
  ModelBuilder b(17);
  b.input("n", {}, onnx::TensorProto::INT64).input("x", {2}).input("step", {2}).output("last").output("all");
  onnx::NodeProto& node = b.node("Loop", "loop", {"n", "", "x"}, {"last", "all"});
  onnx::GraphProto& body = add_body(node, "body");
  ModelBuilder::set_type(*body.add_input(), "i", {}, onnx::TensorProto::INT64);
  ModelBuilder::set_type(*body.add_input(), "go", {}, onnx::TensorProto::BOOL);
  ModelBuilder::set_type(*body.add_input(), "before", {2});
  add_node(body, "Add", {"before", "step"}, {"after"});
  add_node(body, "Identity", {"go"}, {"goes_on"});
  add_node(body, "Exp", {"after"}, {"seen"});
  for (const char* name : {"goes_on", "after", "seen"}) body.add_output()->set_name(name);
  return b;
}

TEST(Loop, carries_values_and_captures_outer_ones) {
  const Graph graph = loop().load();
  const Node& node = node_named(graph, "loop");
  EXPECT_EQ(std::get<Loop>(node.op).captured, 1);
  ASSERT_EQ(node.inputs.size(), 4u);
  EXPECT_EQ(node.inputs[1], ValueId::none);
  EXPECT_EQ(graph.value(node.inputs[3]).name, "step");
  ASSERT_EQ(node.bodies.size(), 1u);
  EXPECT_EQ(node.bodies[0]->inputs().size(), 4u);
  EXPECT_EQ(graph.value(graph.find("all")).shape, (Shape{kDynamic, 2}));
  expect_round_trip(graph);
}

TEST(Loop, a_body_with_a_wrong_number_of_inputs_is_refused) {
  ModelBuilder b = loop();
  b.graph().mutable_node(0)->add_input("x");
  try {
    b.load();
    FAIL() << "no Error";
  } catch (const Error& error) {
    EXPECT_STREQ(error.what(), "test.onnx: [Loop 'loop'] 'body' has 3 inputs, expected 4");
  }
}

TEST(Scan, survives_saving_and_loading) {
  ModelBuilder b(17);
  b.input("start", {2}).input("xs", {5, 2}).output("sum").output("sums");
  onnx::NodeProto& node = b.node("Scan", "scan", {"start", "xs"}, {"sum", "sums"});
  set_integer(node, "num_scan_inputs", 1);
  onnx::GraphProto& body = add_body(node, "body");
  ModelBuilder::set_type(*body.add_input(), "before", {2});
  ModelBuilder::set_type(*body.add_input(), "x", {2});
  add_node(body, "Add", {"before", "x"}, {"after"});
  add_node(body, "Identity", {"after"}, {"copy"});
  for (const char* name : {"after", "copy"}) body.add_output()->set_name(name);
  const Graph graph = b.load();
  EXPECT_EQ(graph.value(graph.find("sums")).shape, (Shape{5, 2}));
  expect_round_trip(graph);
}

TEST(Bodies, nested_bodies_capture_values_of_all_outer_graphs) {
  ModelBuilder b = loop();
  b.input("c", {}, onnx::TensorProto::BOOL);
  onnx::GraphProto& body = *b.graph().mutable_node(0)->mutable_attribute(0)->mutable_g();
  onnx::NodeProto& inner = add_node(body, "If", {"c"}, {"chosen"});
  onnx::GraphProto& then_branch = add_body(inner, "then_branch");
  add_node(then_branch, "Mul", {"after", "x"}, {"product"});
  then_branch.add_output()->set_name("product");
  onnx::GraphProto& else_branch = add_body(inner, "else_branch");
  add_node(else_branch, "Neg", {"seen"}, {"minus"});
  else_branch.add_output()->set_name("minus");
  body.mutable_output(2)->set_name("chosen");
  const Graph graph = b.load();
  EXPECT_EQ(std::get<Loop>(node_named(graph, "loop").op).captured, 3);  // c, step, x
  expect_round_trip(graph);
}

TEST(Bodies, bodies_of_halves_are_float32_inside) {
  ModelBuilder b(17);
  b.input("c", {}, onnx::TensorProto::BOOL).input("x", {2}, onnx::TensorProto::FLOAT16).output("y");
  b.graph().mutable_output(0)->mutable_type()->mutable_tensor_type()->set_elem_type(onnx::TensorProto::FLOAT16);
  onnx::NodeProto& node = b.node("If", "branch", {"c"}, {"y"});
  for (const auto& [name, type] : {std::pair{"then_branch", "Exp"}, {"else_branch", "Neg"}}) {
    onnx::GraphProto& body = add_body(node, name);
    add_node(body, type, {"x"}, {"z"});
    ModelBuilder::set_type(*body.add_output(), "z", {2}, onnx::TensorProto::FLOAT16);
  }
  const Graph graph = b.load();
  const Graph& body = *node_named(graph, "branch").bodies[0];
  EXPECT_EQ(body.value(body.inputs()[0]).dtype, DataType::float32);
  EXPECT_EQ(body.value(body.outputs()[0]).dtype, DataType::float32);
  EXPECT_EQ(graph.value(graph.outputs()[0]).dtype, DataType::float16);
  expect_round_trip(graph);
}

// One pair around a captured value, and one inside a body.
TEST(Bodies, keep_grids) {
  ModelBuilder b(17);
  b.input("c", {}, onnx::TensorProto::BOOL).input("x", {2}).output("y");
  b.constant("s", floats({}, {0.5F})).constant("z", Tensor(DataType::uint8, {}));
  b.node("Relu", "relu", {"x"}, {"r"});
  b.node("QuantizeLinear", "q", {"r", "s", "z"}, {"r/q"});
  b.node("DequantizeLinear", "dq", {"r/q", "s", "z"}, {"r/dq"});
  onnx::NodeProto& node = b.node("If", "branch", {"c"}, {"y"});
  onnx::GraphProto& then_branch = add_body(node, "then_branch");
  add_node(then_branch, "Exp", {"r/dq"}, {"e"});
  add_node(then_branch, "QuantizeLinear", {"e", "s", "z"}, {"e/q"});
  add_node(then_branch, "DequantizeLinear", {"e/q", "s", "z"}, {"e/dq"});
  add_node(then_branch, "Neg", {"e/dq"}, {"n"});
  then_branch.add_output()->set_name("n");
  onnx::GraphProto& else_branch = add_body(node, "else_branch");
  add_node(else_branch, "Neg", {"r/dq"}, {"m"});
  else_branch.add_output()->set_name("m");
  const Graph graph = b.load();
  const Node& branch = node_named(graph, "branch");
  ASSERT_TRUE(graph.value(branch.inputs[1]).quant.has_value());
  const Graph& body = *branch.bodies[0];
  EXPECT_EQ(body.value(body.inputs()[0]).name, "r");
  EXPECT_EQ(body.value(body.inputs()[0]).quant, graph.value(branch.inputs[1]).quant);
  EXPECT_TRUE(body.value(body.find("e")).quant.has_value());
  expect_round_trip(graph);
  Graph narrower = graph;
  auto changed = std::make_shared<Graph>(body);
  changed->value(changed->find("e")).quant->bits = 6;
  for (NodeId id : narrower.nodes())
    if (narrower.node(id).name == "branch") narrower.set_bodies(id, {changed, branch.bodies[1]});
  expect_round_trip(narrower);
}

TEST(Bodies, unknown_operators_that_capture_values_are_refused_by_name) {
  ModelBuilder b = loop();
  b.graph().mutable_node(0)->set_op_type("Frobnicate");
  try {
    b.load();
    FAIL() << "no Error";
  } catch (const Error& error) {
    EXPECT_NE(std::string(error.what()).find("[Frobnicate 'loop'] reads 'step' of the outer graph"), std::string::npos)
        << error.what();
  }
}

}  // namespace
}  // namespace bitfold
