// Sequences, optionals and strings in files: their types, SequenceMap, the type of an Optional, and what is refused.
#include <gtest/gtest.h>

#include "bitfold/error.h"
#include "bitfold/reference.h"
#include "error_testing.h"
#include "onnx/model_builder.h"
#include "round_trip.h"
#include "testing.h"

namespace bitfold::testing {
namespace {

void set_type(onnx::ValueInfoProto& info, const std::string& name, DataType dtype, DataType item) {
  info.set_name(name);
  *info.mutable_type() = write_type(dtype, {}, ItemType{item, {}});
}

TEST(Types, of_sequences_and_optionals_survive) {
  for (const DataType dtype : {DataType::sequence, DataType::optional, DataType::optional_sequence})
    for (const std::optional<Shape>& shape : {std::optional<Shape>(), std::optional(Shape{2, kDynamic})}) {
      const ValueInfo read = read_type(write_type(dtype, {}, ItemType{DataType::string, shape}));
      EXPECT_EQ(read.dtype, dtype);
      EXPECT_EQ(read.items, (ItemType{DataType::string, shape}));
    }
}

TEST(Types, others_are_refused_by_name) {
  ModelBuilder b(17);
  set_type(*b.graph().add_input(), "x", DataType::sequence, DataType::float16);
  b.output("x");
  expect_error([&] { b.load(); }, "value 'x' is a sequence of float16; only float32 reals are supported");
  auto& type = *b.graph().mutable_input(0)->mutable_type();
  onnx::TypeProto inner = type;
  *type.mutable_sequence_type()->mutable_elem_type() = inner;
  expect_error([&] { b.load(); }, "value 'x' is not a tensor, nor a sequence or an optional of tensors");
}

TEST(Strings, of_constants_survive) {
  ModelBuilder b(20);
  ModelBuilder::set_type(*b.graph().add_input(), "x", {2}, onnx::TensorProto::STRING);
  const std::vector<std::string> texts(300, "a text of more than sixteen bytes");
  b.constant("c", Tensor::from<std::string>({150, 2}, texts)).output("y").output("z");
  b.node("StringConcat", "n", {"x", "c"}, {"y"});
  onnx::NodeProto& constant = b.node("Constant", "k", {}, {"z"});
  onnx::AttributeProto& value = *constant.add_attribute();
  value.set_name("value_strings");
  value.set_type(onnx::AttributeProto::STRINGS);
  value.add_strings("s");
  const Graph graph = b.load();
  EXPECT_EQ(graph.value(graph.find("c")).constant, Tensor::from<std::string>({150, 2}, texts));
  EXPECT_EQ(graph.value(graph.find("z")).constant, Tensor::from<std::string>({1}, std::vector<std::string>{"s"}));
  EXPECT_EQ(save_and_load(graph), graph);
}

TEST(Strings, must_not_be_raw_data) {
  ModelBuilder b(20);
  b.constant("c", Tensor::from<std::string>({1}, std::vector<std::string>{"s"})).output("c");
  b.graph().mutable_initializer(0)->set_raw_data("12345678");
  expect_error([&] { b.load(); }, "tensor 'c': strings must be in the field string_data");
}

TEST(Optional, keeps_its_type) {
  ModelBuilder b(18);
  set_type(*b.graph().add_output(), "y", DataType::optional_sequence, DataType::int64);
  onnx::NodeProto& node = b.node("Optional", "n", {}, {"y"});
  onnx::AttributeProto& type = *node.add_attribute();
  type.set_name("type");
  type.set_type(onnx::AttributeProto::TYPE_PROTO);
  *type.mutable_tp() = write_type(DataType::sequence, {}, ItemType{DataType::int64, {}});
  const Graph graph = b.load();
  EXPECT_EQ(std::get<MakeOptional>(graph.node(graph.nodes()[0]).op),
            (MakeOptional{DataType::optional_sequence, DataType::int64}));
  EXPECT_EQ(save_and_load(graph), graph);
  EXPECT_EQ(Reference(graph).run({})[0], Tensor::container(DataType::optional_sequence, {}));
}

/// Adds a captured value to each tensor of a sequence; the body has a value with the name of an outer one.
ModelBuilder mapped() {
  ModelBuilder b(17);
  set_type(*b.graph().add_input(), "s", DataType::sequence, DataType::float32);
  b.input("x", {1}).input("offset", {1});
  set_type(*b.graph().add_output(), "y", DataType::sequence, DataType::float32);
  onnx::AttributeProto& attribute = *b.node("SequenceMap", "map", {"s", "x"}, {"y"}).add_attribute();
  attribute.set_name("body");
  attribute.set_type(onnx::AttributeProto::GRAPH);
  onnx::GraphProto& body = *attribute.mutable_g();
  body.set_name("body");
  for (const char* name : {"s", "factor"}) body.add_input()->set_name(name);
  const auto add = [&](const char* type, const char* a, const char* b_name, const char* output) {
    onnx::NodeProto& node = *body.add_node();
    node.set_op_type(type);
    node.add_input(a);
    node.add_input(b_name);
    node.add_output(output);
  };
  add("Mul", "s", "factor", "product");
  add("Add", "product", "offset", "sum");
  ModelBuilder::set_type(*body.add_output(), "sum", {1});
  return b;
}

TEST(SequenceMap, becomes_a_loop) {
  const Graph graph = mapped().load();
  const auto sequence = [](const std::vector<float>& values) {
    std::vector<Tensor> items;
    for (float x : values) items.push_back(floats({1}, {x}));
    return Tensor::container(DataType::sequence, items);
  };
  const std::vector<Tensor> inputs{sequence({1, 2, 3}), floats({1}, {10}), floats({1}, {5})};
  EXPECT_EQ(Reference(graph).run(inputs)[0], sequence({15, 25, 35}));
  EXPECT_EQ(Reference(save_and_load(graph)).run(inputs)[0], sequence({15, 25, 35}));
}

TEST(SequenceMap, refuses_a_body_that_does_not_fit) {
  ModelBuilder b = mapped();
  b.graph().mutable_node(0)->mutable_attribute(0)->mutable_g()->add_input()->set_name("more");
  expect_error([&] { b.load(); }, "[SequenceMap 'map'] 'body' has 3 inputs, expected 2");
}

}  // namespace
}  // namespace bitfold::testing
