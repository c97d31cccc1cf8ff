// Changes before calibration, and their effect.
#include <gtest/gtest.h>

#include <cmath>

#include "bitfold/channel_statistics.h"
#include "bitfold/error.h"
#include "bitfold/quantize.h"
#include "bitfold/reference.h"
#include "numeric/random_tensor.h"
#include "quantize/memory_source.h"

namespace bitfold {
namespace {

using testing::random_tensor;

constexpr std::int64_t kWidth = 32;

/// A normalization with two outputs 60 times larger than the others, as in large language models, read by two products.
Graph uneven_block() {
  Graph g;
  const ValueId x = g.add_input("x", DataType::float32, Shape{kDynamic, 4, kWidth});
  Tensor scale(DataType::float32, {kWidth});
  for (float& s : scale.mutable_data<float>()) s = 1;
  scale.mutable_data<float>()[3] = scale.mutable_data<float>()[20] = 60;
  const ValueId n =
      g.add(LayerNorm{}, "norm",
            {x, g.add_constant("scale", scale), g.add_constant("shift", Tensor(DataType::float32, {kWidth}))}, "n");
  for (const std::string name : {"q", "k"}) {
    // As in trained networks, the weights of large inputs are small.
    Tensor w = random_tensor({kWidth, kWidth}, static_cast<unsigned>(name[0]), 0.2F);
    for (std::int64_t row : {3, 20})
      for (std::int64_t c = 0; c < kWidth; ++c)
        w.mutable_data<float>()[static_cast<std::size_t>(row * kWidth + c)] /= 60;
    g.mark_output(g.add(MatMul{}, name + "_node", {n, g.add_constant(name + ".w", w)}, name));
  }
  infer_shapes(g);
  return g;
}

double sqnr_db(const Graph& float_graph, const Graph& quantized, const Tensor& x) {
  const auto expected = Reference(float_graph).run({{x}}), got = Reference(quantized).run({{x}});
  double signal = 0, noise = 0;
  for (std::size_t i = 0; i < got.size(); ++i)
    for (std::size_t j = 0; j < got[i].data<float>().size(); ++j) {
      const double e = expected[i].data<float>()[j], d = e - got[i].data<float>()[j];
      signal += e * e;
      noise += d * d;
    }
  return 10 * std::log10(signal / noise);
}

TEST(Prepare, smoothing_helps_a_normalization_with_a_few_large_outputs) {
  const Graph original = uneven_block();
  testing::MemorySource samples(random_tensor({64, 4, kWidth}, 1));
  const auto quality = [&](const std::optional<double>& smooth) {
    Graph g = original;
    const Recipe recipe{.smooth = smooth};
    const Preparation preparation = prepare(g, recipe, &samples);
    EXPECT_EQ(preparation.smoothed.size(), smooth ? 1U : 0U);
    const Calibration calibration = calibrate(g, samples, {.prepared = preparation.done});
    return sqnr_db(original, quantize(g, calibration, recipe).graph, random_tensor({32, 4, kWidth}, 2));
  };
  const double plain = quality(std::nullopt), smoothed = quality(0.5);
  EXPECT_GE(smoothed, plain + 10) << plain;
  EXPECT_GE(smoothed, 30);
}

TEST(Prepare, smoothing_needs_samples) {
  Graph g = uneven_block();
  EXPECT_THROW(prepare(g, {.smooth = 0.5}, nullptr), Error);
  EXPECT_THROW(prepare(g, {.smooth = 2}, nullptr), Error);
}

// The text of the Error that quantize() throws for a recipe that was not prepared.
std::string refusal(const Recipe& recipe, const Prepared& prepared) {
  const Graph g = uneven_block();
  testing::MemorySource samples(random_tensor({8, 4, kWidth}, 1));
  const Calibration calibration = calibrate(g, samples, {.prepared = prepared});
  try {
    quantize(g, calibration, recipe);
  } catch (const Error& error) {
    return error.what();
  }
  return "none";
}

TEST(Prepare, a_recipe_that_was_not_prepared_is_refused) {
  EXPECT_NE(refusal({.smooth = 0.5}, {}).find("smooth 0.5"), std::string::npos);
  EXPECT_NE(refusal({.smooth = 0.5}, {.smooth = 0.7}).find("smoothed with 0.7"), std::string::npos);
  EXPECT_NE(refusal({.equalization = Equalization::weights}, {}).find("equalization 'weights'"), std::string::npos);
  EXPECT_NE(refusal({.equalization = Equalization::none}, {.equalization = Equalization::noise}).find("'noise'"),
            std::string::npos);
  EXPECT_EQ(refusal({}, {.equalization = Equalization::noise, .smooth = 0.5}), "none");
  EXPECT_EQ(refusal({.equalization = Equalization::noise}, {.equalization = Equalization::noise}), "none");
}

TEST(MeasureFeatures, finds_the_largest_magnitude_per_entry_of_the_last_axis) {
  Graph g;
  const ValueId x = g.add_input("x", DataType::float32, Shape{kDynamic, 2});
  g.mark_output(g.add(Unary{UnaryKind::neg}, "negate", {x}, "y"));
  infer_shapes(g);
  testing::MemorySource samples(Tensor::from<float>({3, 2}, std::vector<float>{1, 2, -5, 0.5F, 3, -1}));
  const FeatureMaxima maxima = measure_features(g, {"y"}, samples);
  EXPECT_EQ(maxima, (FeatureMaxima{{"y", {5, 2}}}));
}

}  // namespace
}  // namespace bitfold
