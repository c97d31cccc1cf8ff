// Operators of com.microsoft and on codes become operators of ai.onnx. tests/interop/test_microsoft.py compares them
// with ONNX Runtime.
#include "onnx/expansion.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>

#include "bitfold/affine.h"
#include "bitfold/error.h"
#include "bitfold/reference.h"
#include "onnx/attributes.h"
#include "onnx/model_builder.h"

namespace bitfold {
namespace {

using testing::floats;
using testing::ModelBuilder;

ModelBuilder microsoft() {
  ModelBuilder b;
  auto& domain = *b.model.add_opset_import();
  domain.set_domain(std::string(kMicrosoft));
  domain.set_version(1);
  return b;
}
onnx::NodeProto& add_node(ModelBuilder& b, const std::string& type, const std::vector<std::string>& inputs,
                          const std::vector<std::string>& outputs = {"y"}) {
  onnx::NodeProto& node = b.node(type, "node", inputs, outputs);
  node.set_domain(std::string(kMicrosoft));
  return node;
}

std::vector<std::string> operators(const Graph& graph) {
  std::vector<std::string> names;
  for (NodeId id : graph.topological_order()) names.push_back(op_name(graph.node(id).op));
  return names;
}
using Names = std::vector<std::string>;

template <class T>
Tensor numbers(Shape shape, const std::vector<T>& values) {
  return Tensor::from<T>(std::move(shape), values);
}

TEST(Expansion, a_node_becomes_several_and_the_last_keeps_its_name) {
  ModelBuilder b = microsoft();
  b.input("x", {2}).output("y").constant("bias", floats({2}, {1, 2}));
  add_node(b, "FastGelu", {"x", "bias"});
  const Graph graph = b.load();
  EXPECT_EQ(operators(graph), (Names{"Add", "Gelu"}));
  EXPECT_EQ(graph.node(graph.topological_order()[1]).name, "node");
  EXPECT_EQ(graph.node(graph.topological_order()[1]).op, Op(GeluTanh{}));
}

TEST(Expansion, a_form_that_cannot_be_replaced_stays_a_node_with_the_reason) {
  ModelBuilder b = microsoft();
  b.input("x", {1, 1, 2, 2}).input("w", {1, 1, 1, 1}).output("y");
  set_word(add_node(b, "FusedConv", {"x", "w"}), "activation", "Cubic");
  const Graph graph = b.load();
  EXPECT_EQ(operators(graph), (Names{"com.microsoft.FusedConv"}));
  EXPECT_EQ(std::get<Opaque>(graph.node(graph.nodes().at(0)).op).reason, "its activation is 'Cubic'");
}

// x -> QuantizeLinear -> QLinearConv -> DequantizeLinear -> y
TEST(Expansion, a_convolution_of_codes_becomes_a_float_one_with_grids) {
  ModelBuilder b;
  b.input("x", {1, 1, 2, 2}).output("y");
  b.constant("xs", floats({}, {0.5F})).constant("xz", numbers<std::uint8_t>({}, {3}));
  b.constant("w", numbers<std::int8_t>({2, 1, 1, 1}, {2, -3})).constant("wz", numbers<std::int8_t>({2}, {0, 0}));
  b.constant("ws", floats({2}, {0.25F, 1})).constant("bias", numbers<std::int32_t>({2}, {8, -1}));
  b.constant("ys", floats({}, {1})).constant("yz", numbers<std::uint8_t>({}, {100}));
  b.node("QuantizeLinear", "q", {"x", "xs", "xz"}, {"codes"});
  b.node("QLinearConv", "conv", {"codes", "xs", "xz", "w", "ws", "wz", "ys", "yz", "bias"}, {"sums"});
  b.node("DequantizeLinear", "dq", {"sums", "ys", "yz"}, {"y"});
  const Graph graph = b.load();
  EXPECT_EQ(operators(graph), (Names{"Conv"}));
  const Node& conv = graph.node(graph.nodes().at(0));
  ASSERT_TRUE(graph.value(conv.inputs[0]).quant && graph.value(conv.inputs[1]).quant);
  EXPECT_EQ(graph.value(conv.inputs[0]).quant->zero_point, std::vector<std::int32_t>{3});
  EXPECT_EQ(graph.value(conv.inputs[1]).quant->scale, (std::vector<float>{0.25F, 1}));
  ASSERT_TRUE(graph.value(conv.inputs[2]).quant);
  EXPECT_EQ(graph.value(conv.inputs[2]).quant->bits, 32);
  EXPECT_EQ(graph.value(conv.inputs[2]).quant->scale, (std::vector<float>{0.125F, 0.5F}));
  ASSERT_TRUE(graph.value(conv.outputs[0]).quant);
  EXPECT_EQ(Reference(graph).run(std::vector{floats({1, 1, 2, 2}, {1, 2, 3, 4})})[0],
            floats({1, 2, 2, 2}, {2, 2, 2, 3, -4, -6, -10, -12}));
}

TEST(Expansion, a_convolution_with_computed_scales_stays_an_operator_on_codes) {
  ModelBuilder b;
  const int kByte = onnx::TensorProto::UINT8;
  b.input("x", {1, 1, 2, 2}, kByte).input("s", {}).input("z", {}, kByte).input("w", {1, 1, 1, 1}, kByte).output("y");
  b.node("QLinearConv", "conv", {"x", "s", "z", "w", "s", "z", "s", "z"}, {"y"});
  EXPECT_EQ(operators(b.load()), (Names{"QLinearConv"}));
}

TEST(Expansion, weights_of_n_bits_get_a_grid_in_blocks) {
  ModelBuilder b = microsoft();
  b.input("a", {1, 3}).output("y");
  // 2 columns of 3 rows in blocks of 2: the codes of column 0 are 1, 2 and 3, of column 1 9, 10 and 11.
  b.constant("w", numbers<std::uint8_t>({2, 2, 1}, {0x21, 0x03, 0xa9, 0x0b}));
  b.constant("s", floats({4}, {1, 10, 0.5F, 0.25F}));
  onnx::NodeProto& node = add_node(b, "MatMulNBits", {"a", "w", "s"});
  for (const auto& [name, value] : {std::pair{"N", 2}, {"K", 3}, {"bits", 4}, {"block_size", 2}})
    set_integer(node, name, value);
  const Graph graph = b.load();
  EXPECT_EQ(operators(graph), (Names{"MatMul"}));
  const Value& weights = graph.value(graph.node(graph.nodes().at(0)).inputs[1]);
  ASSERT_TRUE(weights.quant);
  EXPECT_EQ(weights.quant->block_size, 2);
  EXPECT_EQ(weights.quant->axis, 0);
  EXPECT_EQ(weights.quant->zero_point, std::vector<std::int32_t>(4, 8));
  EXPECT_EQ(dequantize(*weights.constant, *weights.quant), floats({3, 2}, {-7, 0.5F, -6, 1, -50, 0.75F}));
}

TEST(Expansion, weights_of_n_bits_of_the_wrong_size_are_an_error) {
  ModelBuilder b = microsoft();
  b.input("a", {1, 3})
      .output("y")
      .constant("w", numbers<std::uint8_t>({2}, {0, 0}))
      .constant("s", floats({4}, {1, 1, 1, 1}));
  onnx::NodeProto& node = add_node(b, "MatMulNBits", {"a", "w", "s"});
  for (const auto& [name, value] : {std::pair{"N", 2}, {"K", 3}, {"bits", 4}, {"block_size", 2}})
    set_integer(node, name, value);
  try {
    b.load();
    FAIL();
  } catch (const Error& error) {
    EXPECT_STREQ(error.what(), "test.onnx: [MatMulNBits 'node'] weights have 2 bytes, expected 4");
  }
}

TEST(Expansion, attention_with_pasts_of_different_lengths_stays_opaque) {
  ModelBuilder b = microsoft();
  const int kInt32 = onnx::TensorProto::INT32;
  b.input("q", {2, 1, 8})
      .input("k", {2, 1, 8})
      .input("v", {2, 1, 8})
      .input("pk", {2, 2, 3, 4})
      .input("pv", {2, 2, 3, 4});
  b.input("lengths", {2}, kInt32).input("total", {}, kInt32).output("y");
  onnx::NodeProto& node = add_node(b, "GroupQueryAttention", {"q", "k", "v", "pk", "pv", "lengths", "total"});
  set_integer(node, "num_heads", 2);
  set_integer(node, "kv_num_heads", 2);
  const Graph graph = b.load();
  EXPECT_EQ(std::get<Opaque>(graph.node(graph.nodes().at(0)).op).reason,
            "its sequences may have pasts of different lengths");
}

// One unit whose weights are all 0: only the biases act.
TEST(Expansion, a_dynamically_quantized_lstm_becomes_a_scan) {
  ModelBuilder b = microsoft();
  b.input("x", {3, 1, 2}).output("y").output("yh").output("yc");
  b.constant("w", Tensor(DataType::int8, {1, 2, 4})).constant("r", Tensor(DataType::int8, {1, 1, 4}));
  b.constant("s", floats({1}, {0.5F})).constant("z", Tensor(DataType::int8, {1}));
  b.constant("b", floats({1, 8}, {100, 100, -100, 1, 0, 0, 0, 1}));  // input and output gates open, forget gate closed
  set_integer(
      add_node(b, "DynamicQuantizeLSTM", {"x", "w", "r", "b", "", "", "", "", "s", "z", "s", "z"}, {"y", "yh", "yc"}),
      "hidden_size", 1);
  const Graph graph = b.load();
  const Names names = operators(graph);
  EXPECT_EQ(std::ranges::count(names, "Scan"), 1);
  const std::vector<Tensor> results = Reference(graph).run(std::vector{floats({3, 1, 2}, {1, 2, 3, 4, 5, 6})});
  const float c = std::tanh(2.0F), h = std::tanh(c);
  EXPECT_EQ(results[0].shape(), (Shape{3, 1, 1, 1}));
  for (const float y : results[0].data<float>()) EXPECT_NEAR(y, h, 1e-6);
  EXPECT_NEAR(results[1].data<float>()[0], h, 1e-6);
  EXPECT_NEAR(results[2].data<float>()[0], c, 1e-6);
}

TEST(Expansion, a_dynamically_quantized_lstm_with_wrong_scales_is_an_error) {
  ModelBuilder b = microsoft();
  b.input("x", {3, 1, 2}).output("y");
  b.constant("w", Tensor(DataType::int8, {1, 2, 4})).constant("r", Tensor(DataType::int8, {1, 1, 4}));
  b.constant("s", floats({3}, {1, 1, 1})).constant("z", Tensor(DataType::int8, {1}));
  add_node(b, "DynamicQuantizeLSTM", {"x", "w", "r", "", "", "", "", "", "s", "z", "s", "z"});
  try {
    b.load();
    FAIL();
  } catch (const Error& error) {
    EXPECT_STREQ(error.what(),
                 "test.onnx: [DynamicQuantizeLSTM 'node'] the scales or zero points of W have shape 3, expected 1 or "
                 "1x4");
  }
}

}  // namespace
}  // namespace bitfold
