// Nodes of files: attributes become fields of operators, and nodes without an operator are kept.
#include <gtest/gtest.h>

#include "bitfold/error.h"
#include "onnx/attributes.h"
#include "onnx/model_builder.h"

namespace bitfold {
namespace {

using testing::floats;
using testing::ModelBuilder;

const Node& only_node(const Graph& graph) {
  EXPECT_EQ(graph.node_count(), 1u);
  return graph.node(graph.nodes().at(0));
}
const Opaque& only_unknown(const Graph& graph) { return std::get<Opaque>(only_node(graph).op); }

TEST(Window, same_padding_becomes_explicit_with_the_odd_element_at_the_end) {
  ModelBuilder b;
  b.input("x", {1, 1, 5, 4}).output("y");
  onnx::NodeProto& pool = b.node("MaxPool", "pool", {"x"}, {"y"});
  set_integers(pool, "kernel_shape", {3, 3});
  set_integers(pool, "strides", {2, 2});
  set_word(pool, "auto_pad", "SAME_UPPER");
  const Graph graph = b.load();
  const auto& window = std::get<Pool>(only_node(graph).op).window;
  EXPECT_EQ(window.auto_pad, AutoPad::none);
  EXPECT_EQ(window.pads, (std::vector<std::int64_t>{1, 0, 1, 1}));
}

TEST(Split, has_one_part_per_output_even_if_unused) {
  for (const bool has_sizes : {false, true}) {
    ModelBuilder b(13);
    b.input("x", {1, 6}).output("first");
    if (has_sizes) b.constant("sizes", Tensor::from<std::int64_t>({3}, std::vector<std::int64_t>{2, 1, 3}));
    std::vector<std::string> inputs{"x"};
    if (has_sizes) inputs.emplace_back("sizes");
    set_integer(b.node("Split", "split", inputs, {"first", "second", "third"}), "axis", 1);
    const Graph graph = b.load();
    EXPECT_EQ(only_node(graph).outputs.size(), 3U);
    EXPECT_EQ(graph.value(graph.outputs()[0]).shape, (Shape{1, 2}));
  }
}

TEST(Dimension, minus_one_means_unknown) {
  ModelBuilder b;
  b.input("x", {-1, 3, -1}).output("y");
  b.node("Relu", "relu", {"x"}, {"y"});
  const Graph graph = b.load();
  EXPECT_EQ(graph.value(graph.inputs()[0]).shape, (Shape{kDynamic, 3, kDynamic}));
}

TEST(Unknown, attribute_value_makes_an_operator_opaque) {
  ModelBuilder b;
  b.input("x", {1, 1, 4, 4}).constant("scales", floats({4}, {1, 1, 2, 2})).output("y");
  onnx::NodeProto& node = b.node("Resize", "resize", {"x", "", "scales"}, {"y"});
  set_word(node, "mode", "lanczos");
  set_integer(node, "antialias", 1);
  const Graph graph = b.load();
  const auto* opaque = std::get_if<Opaque>(&only_node(graph).op);
  ASSERT_NE(opaque, nullptr);
  EXPECT_EQ(opaque->attributes.size(), 2u);
  EXPECT_EQ(only_node(graph).inputs.size(), 3u);
}

TEST(Unknown, form_of_an_operator_keeps_the_reason) {
  ModelBuilder b;
  b.input("x", {1, 1, 4, 4}).output("y").output("indices");
  set_integers(b.node("AveragePool", "pool", {"x"}, {"y", "indices"}), "kernel_shape", {2, 2});
  const Graph graph = b.load();
  EXPECT_EQ(only_unknown(graph).reason, "its output 1 ('indices') is used");
  EXPECT_EQ(only_unknown(graph).opset, 21);
}

TEST(Unknown, attribute_is_named_in_the_reason) {
  ModelBuilder b;
  b.input("x", {2}).output("y");
  set_integer(b.node("Relu", "relu", {"x"}, {"y"}), "speed", 3);
  EXPECT_EQ(only_unknown(b.load()).reason, "attribute 'speed' is not known");
}

TEST(Unknown, operator_has_no_reason) {
  ModelBuilder b;
  b.input("x", {2}).output("y");
  b.node("Frobnicate", "frob", {"x"}, {"y"});
  EXPECT_EQ(only_unknown(b.load()).reason, "");
}

TEST(Unknown, outputs_have_the_type_that_the_file_declares_or_none) {
  ModelBuilder b;
  b.input("x", {2}).output("y").output("z");
  b.node("Frobnicate", "frob", {"x"}, {"y", "hidden"});
  b.node("Frobnicate", "again", {"hidden"}, {"z"});
  ModelBuilder::set_type(*b.graph().mutable_output(0), "y", {3}, onnx::TensorProto::INT32);
  const Graph graph = b.load();
  EXPECT_EQ(graph.value(graph.find("y")).dtype, DataType::int32);
  EXPECT_EQ(graph.value(graph.find("y")).shape, (Shape{3}));
  EXPECT_EQ(graph.value(graph.find("hidden")).dtype, DataType::unknown);
}

TEST(Attributes, have_onnxs_defaults_if_absent) {
  ModelBuilder b;
  b.input("x", {2}).output("y");
  b.node("LeakyRelu", "leaky", {"x"}, {"y"});
  EXPECT_EQ(only_node(b.load()).op, Op(Parametric{ParametricKind::leaky_relu, 0.01F}));
}

TEST(Attributes, are_an_error_if_required_and_absent) {
  ModelBuilder b;
  b.input("x", {2}).output("y");
  b.node("Concat", "join", {"x", "x"}, {"y"});
  try {
    b.load();
    FAIL() << "no Error";
  } catch (const Error& error) {
    EXPECT_STREQ(error.what(), "test.onnx: [Concat 'join'] attribute 'axis' is missing");
  }
}

TEST(Attributes, internal_fields_are_not_attributes_of_a_file) {
  ModelBuilder b;
  b.input("x", {2, 3}).output("y");
  set_integer(b.node("Softmax", "softmax", {"x"}, {"y"}), "flattened", 1);
  EXPECT_EQ(only_unknown(b.load()).reason, "attribute 'flattened' is not known");
}

TEST(Import, an_identity_of_a_constant_is_another_name_for_it) {
  ModelBuilder b;
  b.input("x", {4, 6}).constant("shape", Tensor::from<std::int64_t>({2}, std::vector<std::int64_t>{8, 3}));
  b.node("Identity", "same", {"shape"}, {"target"});
  b.node("Reshape", "reshape", {"x", "target"}, {"y"});
  b.node("Identity", "kept", {"shape"}, {"z"});
  b.output("y").output("z");
  const Graph g = b.load();
  ASSERT_EQ(g.node_count(), 2U);
  EXPECT_EQ(g.node(g.producer(g.find("y"))).inputs[1], g.find("shape"));
  EXPECT_EQ(g.node(g.producer(g.find("z"))).name, "kept");
}

TEST(BadGraph, identity_whose_output_another_node_produces_is_refused) {
  ModelBuilder b;
  b.input("x", {2}).constant("c", floats({2}, {1, 2})).output("y");
  b.node("Identity", "same", {"c"}, {"d"});
  b.node("Constant", "other", {}, {"d"});
  b.node("Add", "add", {"x", "d"}, {"y"});
  EXPECT_THROW(b.load(), Error);
}

// Quadratic time would take minutes here.
TEST(Import, reading_a_hundred_thousand_nodes_of_one_name_is_not_quadratic) {
  ModelBuilder b;
  b.input("x", {2});
  for (int i = 0; i < 100'000; ++i) {
    b.node("Relu", "relu", {"x"}, {"y" + std::to_string(i)});
    b.output("y" + std::to_string(i));
  }
  const Graph g = b.load();
  EXPECT_EQ(g.node_count(), 100'000U);
  EXPECT_EQ(g.node(NodeId{99'999}).name, "relu_99999");
}

TEST(ReadNode, range_accepts_the_attribute_stash_type) {
  ModelBuilder b(27);
  for (const char* name : {"start", "limit", "delta"}) b.input(name, {});
  set_integer(b.node("Range", "range", {"start", "limit", "delta"}, {"y"}), "stash_type", onnx::TensorProto::FLOAT);
  b.output("y");
  const Graph graph = b.load();
  EXPECT_EQ(graph.node(graph.nodes()[0]).op, Op(Range{}));
}

}  // namespace
}  // namespace bitfold
