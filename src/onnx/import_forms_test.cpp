// Forms that files come in: older opsets, and Q/DQ pairs in the places other tools put them.
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

TEST(OlderOpset, clip_bounds_become_constant_inputs) {
  ModelBuilder b(9);
  b.input("x", {2}).output("y");
  set_real(b.node("Clip", "clip", {"x"}, {"y"}), "max", 6);
  const Graph graph = b.load();
  const Node& node = only_node(graph);
  EXPECT_TRUE(std::holds_alternative<Clip>(node.op));
  ASSERT_EQ(node.inputs.size(), 3u);
  EXPECT_EQ(node.inputs[1], ValueId::none);
  EXPECT_EQ(*graph.value(node.inputs[2]).constant, floats({}, {6}));
}

TEST(OlderOpset, softmax_over_the_last_axis_is_the_newer_form_and_others_are_flattened) {
  for (const auto& [axis, flattened] : {std::pair{2, false}, std::pair{1, true}}) {
    ModelBuilder b(9);
    b.input("x", {1, 3, 4}).output("y");
    set_integer(b.node("Softmax", "softmax", {"x"}, {"y"}), "axis", axis);
    EXPECT_EQ(only_node(b.load()).op, Op(Softmax{axis, false, flattened}));
  }
}

TEST(OlderOpset, same_padding_becomes_explicit_with_the_odd_element_at_the_end) {
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
  set_word(node, "mode", "linear");
  set_integer(node, "antialias", 1);
  const Graph graph = b.load();
  const auto* opaque = std::get_if<Opaque>(&only_node(graph).op);
  ASSERT_NE(opaque, nullptr);
  EXPECT_EQ(opaque->attributes.size(), 2u);
  EXPECT_EQ(only_node(graph).inputs.size(), 3u);
}

ModelBuilder with_pair(const std::string& from, const std::string& to) {
  ModelBuilder b;
  b.input("x", {2}).constant("s", floats({}, {0.5F})).constant("z", Tensor(DataType::uint8, {}));
  b.node("QuantizeLinear", "quantize", {from, "s", "z"}, {"codes"});
  b.node("DequantizeLinear", "dequantize", {"codes", "s", "z"}, {to});
  return b;
}

TEST(Pair, becomes_the_grid_of_a_value_without_other_readers) {
  ModelBuilder b = with_pair("r", "rq");
  b.node("Relu", "relu", {"x"}, {"r"});
  b.node("Exp", "exp", {"rq"}, {"y"});
  b.output("y");
  const Graph graph = b.load();
  EXPECT_EQ(graph.node_count(), 2u);
  ASSERT_TRUE(graph.value(graph.find("r")).quant.has_value());
  EXPECT_EQ(graph.value(graph.find("r")).quant->bits, 8);
  EXPECT_EQ(graph.find("rq"), ValueId::none);
}

TEST(Pair, becomes_a_requantize_if_another_node_reads_the_unsnapped_value) {
  ModelBuilder b = with_pair("r", "rq");
  b.node("Relu", "relu", {"x"}, {"r"});
  b.node("Add", "add", {"r", "rq"}, {"y"});
  b.output("y");
  const Graph graph = b.load();
  EXPECT_FALSE(graph.value(graph.find("r")).quant.has_value());
  ASSERT_TRUE(graph.value(graph.find("rq")).quant.has_value());
  EXPECT_TRUE(std::holds_alternative<Requantize>(graph.node(graph.producer(graph.find("rq"))).op));
}

TEST(Pair, at_a_graph_output_keeps_the_output_name) {
  ModelBuilder b = with_pair("r", "y");
  b.node("Relu", "relu", {"x"}, {"r"});
  b.output("y");
  const Graph graph = b.load();
  EXPECT_EQ(graph.node_count(), 1u);
  EXPECT_EQ(graph.value(graph.outputs().at(0)).name, "y");
  EXPECT_TRUE(graph.value(graph.outputs().at(0)).quant.has_value());
}

TEST(Pair, with_a_computed_scale_stays_as_it_is) {
  ModelBuilder b;
  b.input("x", {2}).input("s", {}).output("y");
  b.node("QuantizeLinear", "quantize", {"x", "s"}, {"codes"});
  b.node("DequantizeLinear", "dequantize", {"codes", "s"}, {"y"});
  const Graph graph = b.load();
  EXPECT_EQ(graph.node_count(), 2u);
  for (NodeId id : graph.nodes()) EXPECT_TRUE(std::holds_alternative<Opaque>(graph.node(id).op));
}

// As torch.onnx.export writes initializers that are equal.
TEST(Qdq, scales_behind_an_identity_are_constants) {
  const auto build = [](bool through) {
    ModelBuilder b(13);
    b.input("x", {2, 8}).constant("s", floats({}, {0.5F})).output("y");
    b.constant("z", Tensor::from<std::uint8_t>({}, std::vector<std::uint8_t>{128}));
    if (through) b.node("Identity", "first", {"s"}, {"s1"});
    if (through) b.node("Identity", "second", {"s1"}, {"s2"});
    const std::string scale = through ? "s2" : "s";
    b.node("QuantizeLinear", "q", {"x", scale, "z"}, {"codes"});
    b.node("DequantizeLinear", "dq", {"codes", scale, "z"}, {"d"});
    b.node("Relu", "relu", {"d"}, {"y"});
    return b.load();
  };
  EXPECT_EQ(print_graph(build(true)), print_graph(build(false)));
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

TEST(BadGraph, an_identity_that_names_a_constant_twice) {
  ModelBuilder b;
  b.input("x", {2}).constant("c", floats({2}, {1, 2})).output("y");
  b.node("Identity", "same", {"c"}, {"d"});
  b.node("Constant", "other", {}, {"d"});
  b.node("Add", "add", {"x", "d"}, {"y"});
  EXPECT_THROW(b.load(), Error);
}

// Quadratic work would take minutes here.
TEST(Import, a_hundred_thousand_nodes_of_one_name) {
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

}  // namespace
}  // namespace bitfold
