#include "graph/activation.h"

#include <gtest/gtest.h>

#include <cmath>

namespace bitfold {
namespace {

constexpr float kInfinity = Activation::kInfinity;

/// A graph of one node, which reads x and constants of one number each; absent ones are left out.
std::optional<Activation> recognised(const Op& op, const std::vector<std::optional<float>>& numbers = {},
                                     DataType type = DataType::float32) {
  Graph graph;
  std::vector<ValueId> inputs{graph.add_input("x", type, {4})};
  for (const auto& number : numbers)
    inputs.push_back(
        number ? graph.add_constant(graph.unique_name("c"), Tensor::from<float>({}, std::vector<float>{*number}))
               : ValueId::none);
  graph.mark_output(graph.add(op, "node", inputs, "y"));
  return find_activation(graph, graph.producer(graph.find("y")));
}

TEST(Activation, recognises_relu_clip_and_leaky_relu) {
  EXPECT_EQ(recognised(Unary{UnaryKind::relu}), (Activation{.low = 0}));
  EXPECT_EQ(recognised(Clip{}, {-1, 6}), (Activation{.low = -1, .high = 6}));
  EXPECT_EQ(recognised(Clip{}, {std::nullopt, 6}), (Activation{.high = 6}));
  EXPECT_EQ(recognised(Clip{}), Activation{});
  EXPECT_EQ(recognised(Parametric{ParametricKind::leaky_relu, 0.1F}), (Activation{.negative_slope = 0.1F}));
  EXPECT_EQ(recognised(Unary{UnaryKind::tanh}), std::nullopt);
  EXPECT_EQ(recognised(Parametric{ParametricKind::elu, 1}), std::nullopt);
}

TEST(Activation, a_bound_equal_to_the_largest_float_means_unbounded) {
  constexpr float kLargest = std::numeric_limits<float>::max();
  EXPECT_EQ(recognised(Clip{}, {0, kLargest}), (Activation{.low = 0}));
  EXPECT_EQ(recognised(Clip{}, {-kLargest, kInfinity}), Activation{});
}

TEST(Activation, a_lower_bound_above_the_upper_one_gives_the_upper_one_as_in_onnx) {
  const auto clip = recognised(Clip{}, {5, 2});
  ASSERT_TRUE(clip);
  for (const float x : {-10.0F, 3.0F, 10.0F}) EXPECT_EQ((*clip)(x), 2);
}

TEST(Activation, bounds_that_are_not_constant_numbers_are_not_recognised) {
  EXPECT_EQ(recognised(Clip{}, {std::nanf(""), 6}), std::nullopt);
  Graph graph;
  const ValueId x = graph.add_input("x", DataType::float32, {4}), low = graph.add_input("low", DataType::float32, {});
  graph.mark_output(graph.add(Clip{}, "node", {x, low}, "y"));
  EXPECT_EQ(find_activation(graph, graph.nodes()[0]), std::nullopt);
}

TEST(Activation, bounds_may_lie_on_a_grid) {
  Graph graph;
  const ValueId x = graph.add_input("x", DataType::float32, {4});
  const ValueId high = graph.add_constant("high", Tensor::from<std::uint8_t>({}, std::vector<std::uint8_t>{60}));
  graph.value(high).quant = QuantParams{.scale = {0.1F}, .zero_point = {0}};
  graph.mark_output(graph.add(Clip{}, "node", {x, ValueId::none, high}, "y"));
  const auto clip = find_clamp(graph, graph.nodes()[0]);
  ASSERT_TRUE(clip);
  EXPECT_FLOAT_EQ(clip->high, 6);
}

TEST(Activation, activations_of_integers_are_not_recognised) {
  EXPECT_EQ(recognised(Unary{UnaryKind::relu}, {}, DataType::int32), std::nullopt);
}

TEST(Activation, keeps_nan) {
  const float nan = std::nanf("");
  for (const Activation& activation :
       {Activation{.low = 0}, Activation{.low = -1, .high = 1}, Activation{.negative_slope = 0.1F}, Activation{}})
    EXPECT_TRUE(std::isnan(activation(nan)));
}

TEST(Activation, shrinks_negatives_with_slopes_from_0_to_1_only) {
  EXPECT_TRUE((Activation{.negative_slope = 0.5F}).shrinks_negatives());
  EXPECT_TRUE((Activation{.negative_slope = 0}).shrinks_negatives());
  EXPECT_FALSE((Activation{.negative_slope = -0.5F}).shrinks_negatives());
  EXPECT_FALSE((Activation{.negative_slope = 2}).shrinks_negatives());
  EXPECT_FALSE((Activation{.low = 0}).shrinks_negatives());
}

}  // namespace
}  // namespace bitfold
