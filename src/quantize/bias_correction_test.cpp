#include "quantize/bias_correction.h"

#include <gtest/gtest.h>

#include "quantize/memory_source.h"

namespace bitfold::quantization {
namespace {

/// The bias change of y = w x, with w rounded from 1 to 0.5, for these inputs.
double change(const std::vector<float>& inputs, const Activation& activation) {
  Graph graph;
  const ValueId x = graph.add_input("x", DataType::float32, Shape{kDynamic, 1});
  const ValueId w = graph.add_constant("w", Tensor::from<float>({1, 1}, std::vector<float>{1}));
  const ValueId y = graph.add(MatMul{}, "product", {x, w}, "y");
  graph.mark_output(y);
  infer_shapes(graph);
  testing::MemorySource samples(Tensor::from<float>({static_cast<std::int64_t>(inputs.size()), 1}, inputs));
  PairedRuns runs(graph, graph, samples);
  const NodeId id = graph.producer(y);
  return bias_changes(runs, id, *row_product(graph, id), activation, {.weights = {1}, .bias = {0}},
                      {.weights = {0.5F}, .bias = {0}})[0];
}

// With w = 1 rounded to 0.5, the error of each output is half its input.
TEST(BiasCorrection, equals_the_mean_error_of_the_outputs) {
  EXPECT_DOUBLE_EQ(change({2}, {}), 1);
  EXPECT_DOUBLE_EQ(change({2, 2, 2}, {}), 1);
  EXPECT_DOUBLE_EQ(change({-3}, {}), -1.5);
}

TEST(BiasCorrection, weights_errors_by_the_slope_of_the_activation) {
  EXPECT_DOUBLE_EQ(change({2, -4}, {.low = 0}), 1);  // a value that the Relu sets to 0 has no error
  EXPECT_DOUBLE_EQ(change({-4, -2}, {.low = 0}), 0);
  EXPECT_DOUBLE_EQ(change({2, 20}, {.high = 4}), 1);  // nor has a value that the Clip cuts off
}

TEST(BiasCorrection, shrinks_with_the_variance_over_samples) {
  // Errors 1 and 2: mean 1.5, and the variance of the mean is (0.25 + 0.25) / 2^2 * 2 / 1 = 0.25.
  EXPECT_DOUBLE_EQ(change({2, 4}, {}), 1.5 * (1 - 0.25 / 2.25));
  // Errors 1 and -2: mean -0.5, variance 2.25, more than the mean's square.
  EXPECT_DOUBLE_EQ(change({2, -4}, {}), 0);
  // The same after a slope of 0.5 for negative numbers: (1 - 0.25 * 2) / 1.25 = 0.4, residuals 0.6 and -0.6.
  EXPECT_DOUBLE_EQ(change({2, -4}, {.negative_slope = 0.5F}), 0);
  // Errors 1 and -0.2: (1 - 0.25 * 0.2) / 1.25 = 0.76, residuals 0.24 and -0.24.
  EXPECT_NEAR(change({2, -0.4F}, {.negative_slope = 0.5F}), 0.76 * (1 - 2 * 0.24 * 0.24 / 1.5625 * 2 / 0.5776), 1e-6);
}

}  // namespace
}  // namespace bitfold::quantization
