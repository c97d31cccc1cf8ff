#include <gtest/gtest.h>

#include <cmath>
#include <random>

#include "bitfold/equalize.h"
#include "bitfold/error.h"
#include "bitfold/reference.h"

namespace bitfold {
namespace {

ValueId constant(Graph& g, const std::string& name, Shape shape, const std::vector<float>& v) {
  return g.add_constant(name, Tensor::from<float>(std::move(shape), v));
}

std::vector<float> data_of(const Graph& g, const std::string& name) {
  const auto data = g.value(g.find(name)).constant->data<float>();
  return {data.begin(), data.end()};
}

/// LayerNormalization over 2 entries, read by a MatMul and by a Gemm with transposed weights.
Graph block() {
  Graph g;
  const ValueId x = g.add_input("x", DataType::float32, Shape{kDynamic, 2});
  const ValueId n =
      g.add(LayerNorm{}, "norm", {x, constant(g, "scale", {2}, {8, 1}), constant(g, "shift", {2}, {4, -1})}, "n");
  const ValueId w = constant(g, "w", {2, 3}, {1, -2, 0.5F, 3, 4, -1});
  g.mark_output(g.add(MatMul{}, "matmul", {n, w}, "y"));
  const ValueId v = constant(g, "v", {1, 2}, {-1, 2});
  g.mark_output(g.add(Gemm{.trans_b = true}, "gemm", {n, v}, "z"));
  infer_shapes(g);
  return g;
}

TEST(SmoothNormalizations, uses_the_factors_of_the_paper_and_keeps_the_function) {
  const Graph before = block();
  Graph g = before;
  EXPECT_EQ(smoothable_values(g), (std::vector<std::string>{"n"}));
  // Equation 4: s[0] = sqrt(18) / sqrt(2) = 3, s[1] = sqrt(1) / sqrt(4) = 1/2; the denominators are the largest weights
  // over both readers.
  const auto regions = smooth_normalizations(g, {{"n", {18, 1}}}, 0.5);
  ASSERT_EQ(regions.size(), 1U);
  EXPECT_EQ(regions[0].renamed, (std::vector<std::string>{"n_smoothed"}));
  EXPECT_NEAR(regions[0].factors[0], 1.0 / 3, 1e-12);
  EXPECT_NEAR(regions[0].factors[1], 2, 1e-12);
  const auto expect_near = [&](const char* name, const std::vector<float>& expected) {
    const auto got = data_of(g, name);
    ASSERT_EQ(got.size(), expected.size());
    for (std::size_t i = 0; i < got.size(); ++i) EXPECT_NEAR(got[i], expected[i], 1e-6) << name;
  };
  expect_near("scale", {8.0F / 3, 2});
  expect_near("shift", {4.0F / 3, -2});
  expect_near("w", {3, -6, 1.5F, 1.5F, 2, -0.5F});
  expect_near("v", {-3, 1});
  const std::vector<Tensor> x{Tensor::from<float>({3, 2}, std::vector<float>{1, 2, -3, 5, 0.1F, 0.3F})};
  const auto expected = Reference(before).run(x), got = Reference(g).run(x);
  for (std::size_t i = 0; i < got.size(); ++i)
    for (std::size_t j = 0; j < got[i].data<float>().size(); ++j)
      EXPECT_NEAR(got[i].data<float>()[j], expected[i].data<float>()[j], 1e-5);
}

// As in transformers that normalize after the residual sum.
TEST(SmoothNormalizations, keeps_values_read_by_a_sum_or_an_output) {
  for (const bool is_sum : {false, true}) {
    Graph g = block();
    const ValueId n = g.find("n");
    g.mark_output(is_sum ? g.add(Binary{BinaryKind::add}, "sum", {n, g.find("x")}, "residual") : n);
    infer_shapes(g);
    const Graph before = g;
    EXPECT_EQ(smoothable_values(g), (std::vector<std::string>{"n"}));
    ASSERT_EQ(smooth_normalizations(g, {{"n", {18, 1}}}, 0.5).size(), 1U);
    verify(g, Stage::optimized);
    EXPECT_EQ(data_of(g, "scale"), (std::vector<float>{8, 1}));
    EXPECT_EQ(g.consumers(n).size(), is_sum ? 1U : 0U);
    const ValueId own = g.find("n_smoothed");
    EXPECT_EQ(g.consumers(own).size(), 2U);
    EXPECT_EQ(g.value(own).shape, g.value(n).shape);
    EXPECT_NEAR(g.value(g.node(g.producer(own)).inputs[1]).constant->data<float>()[0], 8.0 / 3, 1e-6);
    const std::vector<Tensor> x{Tensor::from<float>({3, 2}, std::vector<float>{1, 2, -3, 5, 0.1F, 0.3F})};
    const auto expected = Reference(before).run(x), got = Reference(g).run(x);
    ASSERT_EQ(got.size(), 3U);
    for (std::size_t i = 0; i < got.size(); ++i)
      for (std::size_t j = 0; j < got[i].data<float>().size(); ++j)
        EXPECT_NEAR(got[i].data<float>()[j], expected[i].data<float>()[j], 1e-5);
  }
}

TEST(SmoothNormalizations, leaves_constant_channels_unchanged) {
  Graph g = block();
  const Graph before = g;
  EXPECT_TRUE(smooth_normalizations(g, {}).empty());
  EXPECT_EQ(g, before);
  const auto regions = smooth_normalizations(g, {{"n", {0, 1}}}, 1);  // channel 0 is always 0
  ASSERT_EQ(regions.size(), 1U);
  EXPECT_EQ(regions[0].factors, (std::vector<double>{1, 1}));
  EXPECT_THROW(smooth_normalizations(g, {}, 1.5), Error);
}

}  // namespace
}  // namespace bitfold
