#include "quantize/weights.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>

#include "quantize/test_net.h"

namespace bitfold {
namespace {

using namespace testing;

// One product with given weights and bias, its input in [0, 2.55]: s_x = 0.01.
struct ProductCase {
  Net net;
  ProductCase(Tensor weights, Tensor bias, Gemm op = {.trans_b = true}) {
    const ValueId x = net.graph.add_input("x", DataType::float32, {1, weights.dim(op.trans_b ? 1 : 0)});
    const ValueId w = net.constant("w", std::move(weights)), b = net.constant("b", std::move(bias));
    net.graph.mark_output(net.graph.add(op, "g", {x, w, b}, "y"));
    net.seen("x", 0, 2.55F);
  }
};

std::vector<double> bias_reals(const Graph& graph) {
  const Tensor reals = dequantize(*graph.value(graph.find("b")).constant, *grid(graph, "b"));
  return {reals.data<float>().begin(), reals.data<float>().end()};
}

TEST(Weights, a_bias_beyond_int32_raises_only_its_channels_scale) {
  ProductCase product(Tensor::from<float>({2, 2}, std::vector{1e-6F, -1e-6F, 0.5F, 0.25F}),
                      Tensor::from<float>({2}, std::vector{500.0F, 500.0F}));
  const auto result = product.net.quantize();
  const auto& weights = grid(result.graph, "w");
  EXPECT_GT(weights->scale[0], 1e-6F / 127);
  EXPECT_EQ(weights->scale[1], 0.5F / 127);
  const auto reals = bias_reals(result.graph);
  for (double b : reals) EXPECT_NEAR(b, 500, 1e-4);
  const auto codes = result.graph.value(result.graph.find("b")).constant->data<std::int32_t>();
  for (std::int32_t q : codes) EXPECT_LT(std::fabs(static_cast<double>(q)) + 255.0 * 2 * 127, 2147483648.0);
  EXPECT_NE(decision(result, "g").reason.find("1 channels"), std::string::npos);
}

TEST(Weights, accumulators_of_very_long_sums_stay_within_int32) {
  const std::int64_t depth = 80000;
  ProductCase product(Tensor::from<float>({1, depth}, std::vector<float>(depth, 1.0F)),
                      Tensor::from<float>({1}, std::vector{0.0F}));
  const auto result = product.net.quantize();
  std::int64_t sum = 0;
  for (std::int8_t q : result.graph.value(result.graph.find("w")).constant->data<std::int8_t>())
    sum += std::abs(int{q});
  EXPECT_LT(255 * sum, std::int64_t{1} << 31);
  EXPECT_GT(sum, depth * 90);
}

TEST(Weights, a_channel_of_zeros_keeps_its_bias) {
  ProductCase product(Tensor::from<float>({2, 2}, std::vector{0.0F, 0.0F, 0.5F, 0.25F}),
                      Tensor::from<float>({2}, std::vector{0.123456F, 0.0F}));
  EXPECT_NEAR(bias_reals(product.net.quantize().graph)[0], 0.123456, 1e-7);
}

TEST(Weights, tiny_scales_do_not_underflow) {
  ProductCase product(Tensor::from<float>({1, 2}, std::vector{1e-35F, 2e-36F}),
                      Tensor::from<float>({1}, std::vector{0.0F}));
  product.net.seen("x", 0, 1e-20F);
  EXPECT_GT(grid(product.net.quantize().graph, "b")->scale[0], 0);
}

TEST(Weights, alpha_and_beta_of_a_gemm_are_folded_into_its_constants) {
  ProductCase product(Tensor::from<float>({2, 2}, std::vector{0.1F, 0.2F, 0.3F, 0.4F}),
                      Tensor::from<float>({1, 2}, std::vector{1.0F, 2.0F}),
                      {.alpha = 2, .beta = 0.5F, .trans_b = false});
  const auto result = product.net.quantize();
  EXPECT_NEAR(grid(result.graph, "w")->scale[1], 0.8F / 127, 1e-8);
  EXPECT_EQ(grid(result.graph, "w")->axis, 1);
  const auto reals = bias_reals(result.graph);
  EXPECT_NEAR(reals[0], 0.5, 1e-4);
  EXPECT_NEAR(reals[1], 1.0, 1e-4);
  EXPECT_EQ(result.graph.value(result.graph.find("b")).constant->shape(), (Shape{2}));
  const auto* gemm = std::get_if<Gemm>(&result.graph.node(result.graph.topological_order()[0]).op);
  EXPECT_EQ(gemm->alpha, 1);
  EXPECT_EQ(gemm->beta, 1);
}

/// Two layers with one filter and one bias, and inputs of different scales.
QuantizeResult quantized_sharers(const Recipe& recipe, float bias = 0.1F) {
  Net net;
  const ValueId x = net.input("x");
  const ValueId w = net.constant("w", random_tensor({4, 4, 1, 1}, 5, 0.1F)),
                b = net.constant("b", random_tensor({4}, 6, bias));
  const ValueId y = net.graph.add(Conv{.window = window(1)}, "first", {x, w, b}, "y");
  net.graph.mark_output(net.graph.add(Conv{.window = window(1)}, "second", {y, w, b}, "z"));
  net.seen("x", 0, 100);
  return net.quantize(recipe);
}

TEST(Weights, weights_shared_by_two_layers_are_quantized_once) {
  const auto result = quantized_sharers({});
  const std::vector<NodeId> nodes = result.graph.topological_order();
  ASSERT_EQ(nodes.size(), 2U);
  const auto &first = result.graph.node(nodes[0]).inputs, &second = result.graph.node(nodes[1]).inputs;
  EXPECT_EQ(first[1], second[1]);
  EXPECT_EQ(result.graph.value(first[1]).constant->dtype(), DataType::int8);
  EXPECT_NE(result.graph.value(first[2]).quant->scale[0], result.graph.value(second[2]).quant->scale[0]);
}

TEST(Weights, shared_weights_have_a_scale_at_which_the_bias_of_every_sharer_fits) {
  const auto result = quantized_sharers({}, 1e9F);
  const std::vector<NodeId> nodes = result.graph.topological_order();
  EXPECT_EQ(result.graph.node(nodes[0]).inputs[1], result.graph.node(nodes[1]).inputs[1]);
  for (const LayerDecision& decision : result.decisions)
    EXPECT_EQ(decision.reason, "weight scale of 4 channels raised to keep accumulators in int32");
}

TEST(Weights, sharers_with_different_bits_get_separate_weights) {
  const auto result = quantized_sharers({.layers = {{"second", {.weight_bits = 4}}}});
  const std::vector<NodeId> nodes = result.graph.topological_order();
  const auto bits = [&](NodeId id) { return result.graph.value(result.graph.node(id).inputs[1]).quant->bits; };
  EXPECT_EQ(bits(nodes[0]), 8);
  EXPECT_EQ(bits(nodes[1]), 4);
}

TEST(Weights, per_tensor_weights_have_one_scale) {
  Net net;
  net.graph.mark_output(net.conv("c", net.input("x")));
  const auto result = net.quantize({.granularity = Granularity::per_tensor});
  EXPECT_EQ(grid(result.graph, "c.w")->scale.size(), 1U);
  EXPECT_EQ(grid(result.graph, "c.w")->axis, -1);
  EXPECT_EQ(grid(result.graph, "c.b")->axis, -1);
}

TEST(Weights, non_finite_weights_are_refused_and_their_node_is_named) {
  ProductCase product(Tensor::from<float>({1, 2}, std::vector{0.1F, NAN}), Tensor::from<float>({1}, std::vector{0.0F}));
  const std::string text = complaint([&] { product.net.quantize(); });
  EXPECT_EQ(text.find("[Gemm 'g'] weights"), 0U) << text;
}

}  // namespace
}  // namespace bitfold
