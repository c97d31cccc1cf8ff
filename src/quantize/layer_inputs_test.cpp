#include "quantize/layer_inputs.h"

#include <gtest/gtest.h>

#include "quantize/memory_source.h"

namespace bitfold::quantization {
namespace {

Graph conv_graph(std::int64_t group) {
  Graph graph;
  const ValueId x = graph.add_input("x", DataType::float32, Shape{kDynamic, 2, 2, 2});
  const ValueId w = graph.add_constant("w", Tensor(DataType::float32, {2, 2 / group, 2, 2}));
  Conv conv{.window = {.kernel = {2, 2}, .strides = {1, 1}, .dilations = {1, 1}, .pads = {0, 0, 1, 1}}, .group = group};
  graph.mark_output(graph.add(conv, "conv", {x, w}, "y"));
  infer_shapes(graph);
  return graph;
}

TEST(LayerInputs, equal_the_windows_of_a_convolution) {
  const Graph graph = conv_graph(2);
  testing::MemorySource samples(
      Tensor::from<float>({2, 2, 2, 2}, std::vector<float>{1, 2, 3, 4, 5, 6, 7, 8, 0, 0, 1, 0, 0, 2, 0, 0}));
  const NodeId conv = graph.topological_order()[0];
  PairedRuns runs(graph, graph, samples);
  const auto moments = input_moments(runs, conv);
  ASSERT_EQ(moments.size(), 2U);
  EXPECT_EQ(moments[0].rows, 8);
  // Channel 0 of sample 0, windows at its four positions: [1 2 3 4] [2 0 4 0] [3 4 0 0] [4 0 0 0]; of sample 1:
  // [0 0 1 0] [0 0 0 0] [1 0 0 0] [0 0 0 0].
  EXPECT_DOUBLE_EQ(moments[0].second[0], 1 + 4 + 9 + 16 + 1);
  EXPECT_DOUBLE_EQ(moments[0].second[1], 1 * 2 + 3 * 4);
  EXPECT_DOUBLE_EQ(moments[0].second[2 * 4 + 2], 9 + 16 + 1);
  // Channel 1: [5 6 7 8] [6 0 8 0] [7 8 0 0] [8 0 0 0], and [0 2 0 0] [2 0 0 0] and zeros.
  EXPECT_DOUBLE_EQ(moments[1].second[0], 25 + 36 + 49 + 64 + 4);
  EXPECT_DOUBLE_EQ(moments[1].second[4 + 1], 36 + 64 + 4);
  for (double c : moments[0].cross) EXPECT_EQ(c, 0);
}

TEST(LayerInputs, are_rounded_in_the_quantized_network_only) {
  const Graph graph = conv_graph(1);
  Graph quantized = graph;
  quantized.value(quantized.inputs()[0]).quant = QuantParams{.scale = {2.0F}, .zero_point = {0}};
  testing::MemorySource samples(Tensor::from<float>({1, 2, 2, 2}, std::vector<float>{1, 2, 3, 4, 5, 6, 7, 8}));
  const NodeId conv = graph.topological_order()[0];
  PairedRuns runs(graph, quantized, samples, {.max_samples = 1});
  const auto moments = input_moments(runs, conv);
  ASSERT_EQ(moments.size(), 1U);
  EXPECT_EQ(moments[0].depth, 8);
  // The first inputs of the four windows are 1 2 3 4, on the grid of twos 0 2 4 4 (ties to even: 0.5 -> 0, 1.5 -> 2).
  EXPECT_DOUBLE_EQ(moments[0].second[0], 0 + 4 + 16 + 16);
  EXPECT_DOUBLE_EQ(moments[0].cross[0], (1 - 0) * 0 + 0 * 2 + (3 - 4) * 4 + 0 * 4);
}

TEST(LayerRows, are_limited_in_number) {
  const Graph graph = conv_graph(1);
  std::vector<float> rows;
  EXPECT_EQ(LayerRows(graph, graph.topological_order()[0], 3).read(Tensor(DataType::float32, {1, 2, 2, 2}), 0, rows),
            3);
  EXPECT_EQ(rows.size(), 3U * 8);
}

}  // namespace
}  // namespace bitfold::quantization
