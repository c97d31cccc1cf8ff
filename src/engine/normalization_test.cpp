// Softmax and the normalizations of groups: steps that equal the plain loops.
#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "bitfold/reference.h"
#include "bitfold/session.h"
#include "engine/session_testing.h"
#include "engine/test_graphs.h"

namespace bitfold::engine {
namespace {

TEST(Normalizations, softmax_spreads_nan_and_log_softmax_keeps_infinities) {
  constexpr float kInfinity = std::numeric_limits<float>::infinity(), kNan = std::numeric_limits<float>::quiet_NaN();
  GraphBuilder b;
  Tensor x = b.uniform_tensor({5, 37}, -20, 20);
  const auto at = [&](std::size_t row, std::size_t i) -> float& { return x.mutable_data<float>()[row * 37 + i]; };
  at(0, 3) = -kInfinity;
  at(1, 36) = kNan;
  at(2, 0) = kInfinity;
  for (std::size_t i = 0; i < 37; ++i) at(3, i) = -1e30F;
  Graph graph;
  const ValueId input = graph.add_input("x", DataType::float32, x.shape()), y = graph.add_value({.name = "y"});
  graph.add_node({.name = "s", .op = Softmax{.axis = -1, .log = true}, .inputs = {input}, .outputs = {y}});
  graph.mark_output(y);
  infer_shapes(graph);
  const auto expected = Reference(graph, {.plain_loops = true}).run({{x}}), got = Session(graph).run({{x}});
  for (std::size_t i = 0; i < 5 * 37; ++i) {
    const float e = expected[0].data<float>()[i], g = got[0].data<float>()[i];
    if (std::isnan(e) || std::isinf(e))
      EXPECT_TRUE(e == g || (std::isnan(e) && std::isnan(g))) << i << ": " << g;
    else
      EXPECT_NEAR(e, g, 1e-5 * std::max(1.0F, std::abs(e))) << i;
  }
}

TEST(Normalizations, softmax_spreads_nan) {
  GraphBuilder b;
  Tensor x = b.uniform_tensor({3, 37}, -20, 20);
  x.mutable_data<float>()[40] = std::numeric_limits<float>::quiet_NaN();
  b.output(b.node(Softmax{.axis = -1}, {b.input(x.shape(), std::nullopt)}));
  infer_shapes(b.graph);
  const Tensor y = Session(b.graph).run({{x}})[0];
  for (std::size_t i = 0; i < 3 * 37; ++i) EXPECT_EQ(std::isnan(y.data<float>()[i]), i / 37 == 1) << i;
}

TEST(Normalizations, softmax_over_any_axis_equals_the_plain_loops) {
  for (const Shape& shape :
       {Shape{2, 5, 7, 9}, Shape{2, 3, 300, 2}, Shape{3, 70, 4}, Shape{1, 3, 600}, Shape{2, 1, 1, 3}})
    for (std::int64_t axis = 0; axis < static_cast<std::int64_t>(shape.size()); ++axis)
      for (const bool log : {false, true})
        for (const bool is_channels_last : {false, true}) {
          SCOPED_TRACE(to_string(shape) + " axis " + std::to_string(axis) + (log ? " log" : ""));
          GraphBuilder b;
          ValueId x = b.input(shape, std::nullopt);
          if (is_channels_last) {
            Shape weights(shape.size(), 1);
            weights[0] = weights[1] = shape[1];
            const std::vector<std::int64_t> ones(shape.size() - 2, 1), zeros(2 * ones.size(), 0);
            x = b.node(Conv{{.kernel = ones, .strides = ones, .dilations = ones, .pads = zeros}},
                       {x, b.graph.add_constant("w", b.uniform_tensor(weights, -0.2F, 0.2F))});
          }
          b.output(b.node(Softmax{.axis = axis, .log = log}, {x}));
          infer_shapes(b.graph);
          const std::vector<Tensor> inputs{b.uniform_tensor(shape, -9, 9)};
          Session session(b.graph, {.threads = 2});
          const Tensor got = session.run(inputs)[0];
          const Tensor expected = Reference(b.graph, {.plain_loops = true}).run(inputs)[0];
          for (std::size_t i = 0; i < got.data<float>().size(); ++i)
            ASSERT_NEAR(got.data<float>()[i], expected.data<float>()[i], log ? 1e-4 : 1e-5) << i;
          for (const StepInfo& step : session.steps()) EXPECT_FALSE(step.kernel.starts_with("reference")) << step.op;
        }
}

TEST(Normalizations, softmax_over_the_first_axis_spreads_nan_and_keeps_infinities_apart) {
  constexpr float kInfinity = std::numeric_limits<float>::infinity();
  GraphBuilder b;
  Tensor x = b.uniform_tensor({70, 5}, -20, 20);
  x.mutable_data<float>()[67 * 5 + 1] = std::numeric_limits<float>::quiet_NaN();
  x.mutable_data<float>()[3 * 5 + 2] = kInfinity;
  x.mutable_data<float>()[4 * 5 + 3] = -kInfinity;
  b.output(b.node(Softmax{.axis = 0}, {b.input(x.shape(), std::nullopt)}));
  infer_shapes(b.graph);
  const Tensor y = Session(b.graph).run({{x}})[0];
  for (std::size_t i = 0; i < 70 * 5; ++i) EXPECT_EQ(std::isnan(y.data<float>()[i]), i % 5 == 1 || i % 5 == 2) << i;
  EXPECT_EQ(y.data<float>()[4 * 5 + 3], 0);
}

TEST(Normalizations, of_groups_equal_the_plain_loops) {
  for (const Shape& shape : {Shape{2, 6, 5, 7}, Shape{1, 6, 11}, Shape{3, 6, 2, 3, 4}, Shape{1, 6, 1, 1}})
    for (const std::int64_t groups : {0, 1, 2, 6}) {  // 0: InstanceNormalization
      GraphBuilder b;
      const ValueId scale = b.graph.add_constant("scale", b.uniform_tensor({6}, 0.5F, 2));
      const ValueId shift = b.graph.add_constant("shift", b.uniform_tensor({6}, 1, 2));
      const Op op = groups == 0 ? Op{InstanceNorm{}} : Op{GroupNorm{.num_groups = groups}};
      b.output(b.node(op, {b.input(shape, std::nullopt), scale, shift}));
      infer_shapes(b.graph);
      const std::vector<Tensor> inputs{b.uniform_tensor(shape, -3, 5)};
      Session session(b.graph, {.threads = 2});
      expect_close(session.run(inputs), Reference(b.graph, {.plain_loops = true}).run(inputs), 1e-5);
      for (const StepInfo& step : session.steps()) EXPECT_FALSE(step.kernel.starts_with("reference")) << step.op;
    }
}

}  // namespace
}  // namespace bitfold::engine
