// Bounds of the outputs of operators, and views of weights as matrices.
#include "ops/bounds.h"

#include <gtest/gtest.h>

#include <cmath>
#include <random>

#include "ops/operator.h"

namespace bitfold::ops {
namespace {

constexpr double kInfinity = RealBounds::kInfinity;

RealBounds bounds(const Op& op, std::vector<RealBounds> inputs) { return bounds_of(op, inputs); }

/// The output of an operator whose inputs have one element each.
float evaluated(const Op& op, std::vector<float> inputs) {
  const Node node{.op = op, .inputs = std::vector<ValueId>(inputs.size(), ValueId{0}), .outputs = {ValueId{1}}};
  const Shape one{1};
  std::vector<TensorView> views;
  for (float& x : inputs) views.push_back({DataType::float32, one, reinterpret_cast<std::byte*>(&x)});
  float y = 0;
  const TensorView output{DataType::float32, one, reinterpret_cast<std::byte*>(&y)};
  info(op).evaluate(node, views, {&output, 1});
  return y;
}

TEST(Bounds, contain_the_outputs_of_every_elementwise_operator_with_a_rule) {
  std::mt19937 random(1);
  const auto number = [&] { return static_cast<float>(static_cast<int>(random() % 2001) - 1000) / 250.0F; };
  int tested = 0;
  for (const OperatorInfo& row : all_operators()) {
    if (row.bounds == nullptr || !row.traits.elementwise || row.evaluate == nullptr) continue;
    for (int i = 0; i < 1000; ++i) {
      std::vector<RealBounds> in;
      std::vector<float> x;
      const bool is_variadic = row.inputs.back().presence == Presence::variadic;
      for (std::size_t slot = 0; slot < row.inputs.size() + (is_variadic ? 2 : 0); ++slot) {
        const auto [low, high] = std::minmax({number(), number()});
        in.push_back({low, high});
        x.push_back(low + (high - low) * static_cast<float>(random() % 101) / 100.0F);
      }
      const RealBounds found = bounds_of(row.prototype, in);
      const double y = evaluated(row.prototype, x), slack = 1e-6 * (1 + std::abs(y));
      ASSERT_TRUE(y >= found.low - slack && y <= found.high + slack)
          << row.name << ": " << y << " is outside " << found.low << " to " << found.high;
    }
    ++tested;
  }
  EXPECT_GE(tested, 15);
}

TEST(Bounds, of_a_leaky_relu_with_a_negative_slope_are_at_least_0) {
  const Parametric leaky{.kind = ParametricKind::leaky_relu, .alpha = -2};
  EXPECT_EQ(bounds(leaky, {{-1, 3}}), (RealBounds{0, 3}));
  EXPECT_EQ(bounds(leaky, {{-4, 3}}), (RealBounds{0, 8}));
  EXPECT_EQ(bounds(leaky, {{-4, -1}}), (RealBounds{2, 8}));
  EXPECT_EQ(bounds(Parametric{.kind = ParametricKind::leaky_relu, .alpha = std::nanf("")}, {{-1, 3}}), RealBounds{});
}

TEST(Bounds, of_a_clip_without_a_bound_are_those_of_its_input) {
  EXPECT_EQ(bounds(Clip{}, {{-4, 9}, RealBounds::empty(), {6, 6}}), (RealBounds{-4, 6}));
  EXPECT_EQ(bounds(Clip{}, {{-4, 9}, {0, 0}}), (RealBounds{0, 9}));
  EXPECT_EQ(bounds(Clip{}, {RealBounds{}, {0, 0}, RealBounds{}}).low, -kInfinity) << "the upper bound may be negative";
}

TEST(Bounds, of_a_pad_contain_the_fill) {
  EXPECT_EQ(bounds(Pad{}, {{2, 3}, {}}), (RealBounds{0, 3}));
  EXPECT_EQ(bounds(Pad{}, {{2, 3}, {}, {-7, -7}}), (RealBounds{-7, 3}));
  EXPECT_EQ(bounds(Pad{.mode = PadMode::edge}, {{2, 3}, {}}), (RealBounds{2, 3}));
}

TEST(Bounds, of_a_product_with_an_unbounded_factor_are_unknown) {
  EXPECT_EQ(bounds(Binary{BinaryKind::mul}, {{0, 0}, {}}), RealBounds{});
  EXPECT_EQ(bounds(Binary{BinaryKind::mul}, {{-2, 3}, {-5, 1}}), (RealBounds{-15, 10}));
}

/// A product whose one output position reads each weight of its channel once.
struct ProductCase {
  Op op;
  Shape x, w, y;
};

std::vector<ProductCase> product_cases() {
  const Window window{.kernel = {2, 3}, .strides = {1, 1}, .dilations = {1, 1}, .pads = {0, 0, 0, 0}};
  const Window one{.kernel = {1, 1}, .strides = {1, 1}, .dilations = {1, 1}, .pads = {0, 0, 0, 0}};
  return {{Conv{.window = window, .group = 2}, {1, 6, 2, 3}, {4, 3, 2, 3}, {1, 4, 1, 1}},
          {ConvTranspose{.window = one, .group = 2}, {1, 6, 1, 1}, {6, 2, 1, 1}, {1, 4, 1, 1}},
          {Gemm{.alpha = 0.5F}, {1, 5}, {5, 3}, {1, 3}},
          {Gemm{.trans_b = true}, {1, 5}, {3, 5}, {1, 3}},
          {MatMul{}, {1, 5}, {5, 3}, {1, 3}}};
}

TEST(WeightMatrix, multiplied_by_the_inputs_is_the_product) {
  for (const ProductCase& c : product_cases()) {
    const auto view = weight_matrix(c.op, c.w);
    ASSERT_TRUE(view) << op_name(c.op);
    std::vector<float> x(static_cast<std::size_t>(element_count(c.x))), w(static_cast<std::size_t>(element_count(c.w))),
        y(static_cast<std::size_t>(element_count(c.y)));
    for (std::size_t i = 0; i < x.size(); ++i) x[i] = static_cast<float>(i) + 1;
    for (std::size_t i = 0; i < w.size(); ++i) w[i] = static_cast<float>(i * i % 17);
    const auto view_of = [](const Shape& shape, std::vector<float>& data) {
      return TensorView{DataType::float32, shape, reinterpret_cast<std::byte*>(data.data())};
    };
    const Node node{.op = c.op, .inputs = {ValueId{0}, ValueId{1}}, .outputs = {ValueId{2}}};
    const std::vector<TensorView> inputs{view_of(c.x, x), view_of(c.w, w)};
    const TensorView output = view_of(c.y, y);
    info(c.op).evaluate(node, inputs, {&output, 1});
    for (std::int64_t g = 0; g < view->groups; ++g)
      for (std::int64_t o = 0; o < view->outputs; ++o) {
        float sum = 0;
        for (std::int64_t k = 0; k < view->depth(); ++k)
          sum += x[static_cast<std::size_t>(g * view->depth() + k)] * w[view->index(g, o, k)];
        EXPECT_EQ(y[static_cast<std::size_t>(g * view->outputs + o)], view->alpha * sum) << op_name(c.op);
      }
  }
}

TEST(WeightMatrix, visits_every_weight_in_the_order_of_the_tensor) {
  for (const ProductCase& c : product_cases()) {
    const auto view = weight_matrix(c.op, c.w);
    std::size_t next = 0;
    std::int64_t tap = 0;
    view->for_each([&](std::size_t i, std::int64_t output, std::int64_t input) {
      EXPECT_EQ(i, next++);
      const std::int64_t group = output / view->outputs;
      EXPECT_EQ(group, input / view->inputs);
      EXPECT_EQ(i, view->index(group, output % view->outputs, input % view->inputs * view->taps + tap));
      tap = (tap + 1) % view->taps;
    });
    EXPECT_EQ(next, static_cast<std::size_t>(element_count(c.w))) << op_name(c.op);
  }
}

TEST(WeightMatrix, marks_partial_sums) {
  Conv conv{.window = {.kernel = {3, 3}, .strides = {1, 1}, .dilations = {1, 1}, .pads = {0, 0, 0, 0}}};
  const Shape w{4, 2, 3, 3};
  EXPECT_FALSE(weight_matrix(conv, w)->has_partial_sums);
  conv.window.pads[3] = 1;
  EXPECT_TRUE(weight_matrix(conv, w)->has_partial_sums);
  conv.window.pads[3] = 0;
  conv.window.auto_pad = AutoPad::same_upper;
  EXPECT_TRUE(weight_matrix(conv, w)->has_partial_sums);
  EXPECT_TRUE(weight_matrix(ConvTranspose{.window = conv.window}, w)->has_partial_sums);
}

TEST(WeightMatrix, is_absent_for_other_operators_and_ranks) {
  EXPECT_FALSE(weight_matrix(Binary{}, {3, 3}));
  EXPECT_FALSE(weight_matrix(MatMul{}, {2, 3, 3}));
  EXPECT_FALSE(weight_matrix(Gemm{}, {3}));
}

}  // namespace
}  // namespace bitfold::ops
