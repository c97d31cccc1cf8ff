#include "quantize/adaround.h"

#include <gtest/gtest.h>
#include <omp.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <random>

namespace bitfold::quantization {
namespace {

constexpr ChannelGrid kGrid{.scale = 0.5, .zero_point = 1, .qmin = -4, .qmax = 3};

/// Correlated inputs, for which rounding each weight alone is far from optimal.
std::vector<float> some_rows(std::int64_t rows, std::int64_t depth) {
  std::mt19937 random(3);
  std::normal_distribution<float> normal;
  std::vector<float> x;
  for (std::int64_t r = 0; r < rows; ++r) {
    const float common = normal(random);
    for (std::int64_t k = 0; k < depth; ++k) x.push_back(common + 0.5F * normal(random));
  }
  return x;
}

struct Layer {
  std::vector<float> x, targets;
  std::vector<RoundedChannel> channels;  // rounded to the nearest code
};

Layer some_layer(std::int64_t rows, std::int64_t depth, std::int64_t count) {
  Layer layer{some_rows(rows, depth), std::vector<float>(static_cast<std::size_t>(rows * count)), {}};
  std::mt19937 random(4);
  std::uniform_real_distribution<double> weight(-2, 0.9);
  for (std::int64_t c = 0; c < count; ++c) {
    RoundedChannel channel{.grid = kGrid, .real = {}, .codes = {}, .bias = 0.2};
    for (std::int64_t k = 0; k < depth; ++k) {
      channel.real.push_back(weight(random));
      channel.codes.push_back(
          std::clamp(static_cast<int>(std::nearbyint(channel.real.back() / kGrid.scale)) + 1, kGrid.qmin, kGrid.qmax));
    }
    for (std::int64_t r = 0; r < rows; ++r) {
      double sum = 0.2;
      for (std::int64_t k = 0; k < depth; ++k)
        sum += channel.real[static_cast<std::size_t>(k)] * layer.x[static_cast<std::size_t>(r * depth + k)];
      layer.targets[static_cast<std::size_t>(r * count + c)] = static_cast<float>(sum);
    }
    layer.channels.push_back(std::move(channel));
  }
  return layer;
}

/// The squared error of channel `c` with these codes and this bias.
double squared_error(const Layer& layer, std::size_t c, const std::vector<int>& codes, double bias,
                     const Activation& activation) {
  const std::size_t depth = codes.size(), count = layer.channels.size();
  double error = 0;
  for (std::size_t r = 0; r < layer.x.size() / depth; ++r) {
    double sum = bias;
    for (std::size_t k = 0; k < depth; ++k) sum += kGrid.scale * (codes[k] - kGrid.zero_point) * layer.x[r * depth + k];
    const double e = activation(static_cast<float>(sum)) - activation(layer.targets[r * count + c]);
    error += e * e;
  }
  return error;
}

AdaRoundProblem problem_of(const Layer& layer, std::int64_t depth, const Activation& activation, bool moves_bias) {
  const auto count = static_cast<std::int64_t>(layer.channels.size());
  return {.rows = static_cast<std::int64_t>(layer.x.size()) / depth,
          .depth = depth,
          .channels = count,
          .x = layer.x,
          .targets = layer.targets,
          .activation = activation,
          .moves_bias = moves_bias};
}

TEST(AdaRound, comes_near_the_best_of_all_roundings) {
  constexpr std::int64_t kDepth = 8;
  for (const Activation& activation : {Activation{}, Activation{.low = 0}, Activation{.negative_slope = 0.1F}}) {
    Layer layer = some_layer(512, kDepth, 5);
    const Layer before = layer;
    adaround(problem_of(layer, kDepth, activation, false), layer.channels);
    double found = 0, nearest = 0, best = 0;
    for (std::size_t c = 0; c < layer.channels.size(); ++c) {
      found += squared_error(layer, c, layer.channels[c].codes, 0.2, activation);
      nearest += squared_error(layer, c, before.channels[c].codes, 0.2, activation);
      double least = std::numeric_limits<double>::infinity();
      for (int ups = 0; ups < 1 << kDepth; ++ups) {  // every choice between the two codes around each weight
        std::vector<int> codes;
        for (std::size_t k = 0; k < kDepth; ++k)
          codes.push_back(
              std::clamp(static_cast<int>(std::floor(before.channels[c].real[k] / kGrid.scale)) + 1 + (ups >> k & 1),
                         kGrid.qmin, kGrid.qmax));
        least = std::min(least, squared_error(layer, c, codes, 0.2, activation));
      }
      best += least;
    }
    EXPECT_LT(found, 0.6 * nearest);
    EXPECT_LT(found, 1.3 * best);
  }
}

TEST(AdaRound, never_makes_a_channel_worse_and_uses_only_neighbouring_codes) {
  constexpr std::int64_t kDepth = 40;
  Layer layer = some_layer(300, kDepth, 40);
  const Layer before = layer;
  adaround(problem_of(layer, kDepth, {.low = 0, .high = 3}, true), layer.channels, {.iterations = 50});
  for (std::size_t c = 0; c < layer.channels.size(); ++c)
    for (std::size_t k = 0; k < kDepth; ++k) {
      const int code = layer.channels[c].codes[k];
      EXPECT_LE(std::abs(code - before.channels[c].codes[k]), 1);
      EXPECT_GE(code, kGrid.qmin);
      EXPECT_LE(code, kGrid.qmax);
    }
  // AdaRound reads whole batches only, 256 of the 300 rows, so the comparison over all rows has a margin.
  double found = 0, nearest = 0;
  for (std::size_t c = 0; c < layer.channels.size(); ++c) {
    found += squared_error(layer, c, layer.channels[c].codes, layer.channels[c].bias, {.low = 0, .high = 3});
    nearest += squared_error(layer, c, before.channels[c].codes, 0.2, {.low = 0, .high = 3});
  }
  EXPECT_LT(found, nearest);
}

TEST(AdaRound, does_not_depend_on_the_number_of_threads) {
  const Layer layer = some_layer(256, 20, 70);
  const int threads = omp_get_max_threads();
  std::vector<std::vector<RoundedChannel>> results;
  for (int count : {1, 2, 3}) {
    omp_set_num_threads(count);
    results.push_back(layer.channels);
    adaround(problem_of(layer, 20, {.negative_slope = 0.1F}, true), results.back(), {.iterations = 100});
  }
  omp_set_num_threads(threads);
  for (std::size_t c = 0; c < layer.channels.size(); ++c)
    for (std::size_t i : {1U, 2U}) {
      EXPECT_EQ(results[i][c].codes, results[0][c].codes);
      EXPECT_EQ(results[i][c].bias, results[0][c].bias);
    }
}

TEST(Activation, computes_value_and_derivative) {
  const Activation leaky{.negative_slope = 0.1F}, clip{.low = 0, .high = 6};
  EXPECT_FLOAT_EQ(leaky(-2), -0.2F);
  EXPECT_FLOAT_EQ(leaky(3), 3);
  EXPECT_FLOAT_EQ(leaky.derivative(-2), 0.1F);
  EXPECT_FLOAT_EQ(clip(-1), 0);
  EXPECT_FLOAT_EQ(clip(7), 6);
  EXPECT_FLOAT_EQ(clip.derivative(7), 0);
  EXPECT_FLOAT_EQ(clip.derivative(5), 1);
  EXPECT_FLOAT_EQ(Activation{}(-5), -5);
}

}  // namespace
}  // namespace bitfold::quantization
