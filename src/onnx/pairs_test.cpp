// QuantizeLinear and DequantizeLinear nodes in the positions that other tools use.
#include <gtest/gtest.h>

#include <limits>

#include "bitfold/reals.h"
#include "bitfold/reference.h"
#include "onnx/attributes.h"
#include "onnx/model_builder.h"

namespace bitfold {
namespace {

using testing::floats;
using testing::ModelBuilder;

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
  EXPECT_FALSE(graph.value(graph.outputs().at(0)).quant.has_value());
}

TEST(Pair, of_an_infinite_constant_saturates) {
  ModelBuilder b = with_pair("mask", "snapped");
  b.constant("mask", floats({2}, {-std::numeric_limits<float>::infinity(), 1})).output("y");
  b.node("Add", "add", {"x", "snapped"}, {"y"});
  EXPECT_EQ(Reference(b.load()).run(std::vector{floats({2}, {5, 6})})[0], floats({2}, {5, 7}));
}

// torch.onnx.export writes equal initializers like this.
TEST(Qdq, scales_read_through_an_identity_are_constants) {
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

// Scales may be halves, and a Cast may bring the weights to float32.
TEST(Qdq, blocks_with_scales_of_halves_are_weights_with_a_grid) {
  const Tensor scales = convert_reals(floats({2, 3}, {0.5F, 1, 2, 0.25F, 4, 8}), DataType::float16);
  const Tensor codes =
      Tensor::from<std::int8_t>({4, 3}, std::vector<std::int8_t>{1, 2, 3, 4, 5, 6, 7, 8, 9, 0, -1, -2});
  for (const bool has_cast : {false, true}) {
    ModelBuilder b(21);
    const int type = has_cast ? onnx::TensorProto::FLOAT : onnx::TensorProto::FLOAT16;
    b.input("x", {2, 4}, type).constant("w", codes).constant("s", scales).output("y");
    onnx::NodeProto& dequantize = b.node("DequantizeLinear", "dq", {"w", "s"}, {"d"});
    set_integer(dequantize, "axis", 0);
    set_integer(dequantize, "block_size", 2);
    if (has_cast) set_integer(b.node("Cast", "cast", {"d"}, {"f"}), "to", onnx::TensorProto::FLOAT);
    b.node("MatMul", "product", {"x", has_cast ? "f" : "d"}, {"y"});
    const Graph graph = b.load();
    const Value& weights = graph.value(graph.find("d"));
    ASSERT_TRUE(weights.quant.has_value());
    EXPECT_EQ(weights.quant->block_size, 2);
    EXPECT_EQ(weights.quant->scale, (std::vector<float>{0.5F, 1, 2, 0.25F, 4, 8}));
    ASSERT_EQ(graph.consumers(graph.find("d")).size(), 1U);
    EXPECT_EQ(graph.node(graph.consumers(graph.find("d"))[0]).op, Op(MatMul{}));
  }
}

}  // namespace
}  // namespace bitfold
