#include "quantize/hessian_rounding.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstdint>

namespace bitfold::quantization {
namespace {

// Moments of given rows: inputs of a layer in the quantized and in the float network.
InputMoments moments_of(const std::vector<std::vector<double>>& x, const std::vector<std::vector<double>>& y) {
  InputMoments m(static_cast<std::int64_t>(x[0].size()));
  const std::size_t n = x[0].size();
  for (std::size_t r = 0; r < x.size(); ++r)
    for (std::size_t i = 0; i < n; ++i)
      for (std::size_t j = 0; j < n; ++j) {
        m.second[i * n + j] += x[r][i] * x[r][j];
        m.cross[i * n + j] += (y[r][i] - x[r][i]) * x[r][j];
      }
  m.rows = static_cast<std::int64_t>(x.size());
  return m;
}

const ChannelGrid kUnit{.scale = 1, .zero_point = 0, .qmin = -8, .qmax = 7};

TEST(HessianRounding, uncorrelated_inputs_round_to_nearest) {
  const std::vector<std::vector<double>> x{{3, 0, 0}, {0, 2, 0}, {0, 0, 1}};
  const InputMoments moments = moments_of(x, x);
  const HessianRounding rounding(moments);
  std::vector<int> codes(3);
  rounding.round(std::vector<double>{0.4, -1.6, 9.9}, kUnit, codes);
  EXPECT_EQ(codes, (std::vector<int>{0, -2, 7}));
}

TEST(HessianRounding, the_second_weight_compensates_the_error_of_the_first) {
  // The inputs are nearly equal and the second is slightly stronger, so it is rounded first, 0.4 -> 0. The other
  // becomes 0.4 + 0.4 * 1.1 / 1 = 0.84 -> 1, because the outputs are 1 * w0 + 1.1 * w1.
  const std::vector<std::vector<double>> x{{1, 1.1}};
  const InputMoments moments = moments_of(x, x);
  const HessianRounding rounding(moments, 1e-9);
  std::vector<int> codes(2);
  const double left = rounding.round(std::vector<double>{0.4, 0.4}, kUnit, codes);
  EXPECT_EQ(codes, (std::vector<int>{1, 0}));
  EXPECT_NEAR(left, 0.16 * 0.16, 1e-6);  // 0.84 - 1; rounding to nearest would leave 0.84
}

TEST(HessianRounding, computes_the_output_error_of_given_weight_errors) {
  // Outputs 1 * 0.5 + 2 * -1 = -1.5, 3 * 0.5 + 1 * -1 = 0.5 and 0.5 * 0.5 - 4 * 1 = -3.75.
  const std::vector<std::vector<double>> x{{1, 2}, {3, 1}, {0.5, 4}};
  const InputMoments moments = moments_of(x, x);
  EXPECT_NEAR(HessianRounding(moments, 1e-12).error(std::vector<double>{0.5, -1}), 2.25 + 0.25 + 14.0625, 1e-6);
}

TEST(HessianRounding, returns_the_squared_error_of_the_outputs) {
  std::uint32_t state = 1;
  const auto random = [&] {
    state = state * 1664525 + 1013904223;
    return static_cast<double>(state >> 8) / (1 << 24) * 2 - 1;
  };
  std::vector<std::vector<double>> x(40, std::vector<double>(6));
  for (auto& row : x) {
    const double common = random();
    for (double& v : row) v = common + 0.3 * random();
  }
  const InputMoments moments = moments_of(x, x);
  const HessianRounding rounding(moments, 1e-12);
  const ChannelGrid grid{.scale = 0.13, .zero_point = 2, .qmin = -8, .qmax = 7};
  double ours = 0, nearest = 0;
  for (int trial = 0; trial < 20; ++trial) {
    std::vector<double> w(6);
    for (double& v : w) v = 0.6 * random();
    std::vector<int> codes(6);
    const double left = rounding.round(w, grid, codes);
    double error = 0;
    for (const auto& row : x) {
      double here = 0, there = 0;
      for (std::size_t k = 0; k < 6; ++k) {
        here += row[k] * (w[k] - grid.scale * (codes[k] - grid.zero_point));
        there += row[k] * (w[k] - grid.scale * std::nearbyint(w[k] / grid.scale));
      }
      error += here * here;
      nearest += there * there;
    }
    EXPECT_NEAR(left, error, 1e-6 * error + 1e-9);
    ours += error;
  }
  EXPECT_LT(ours, 0.5 * nearest);
}

TEST(HessianRounding, adapts_weights_to_inputs_that_the_quantized_network_changed) {
  // The layer's input is half of the float network's, so the weights double.
  const std::vector<std::vector<double>> x{{1, 0.5}, {-0.5, 1}, {0.25, 2}};
  std::vector<std::vector<double>> y = x;
  for (auto& row : y)
    for (double& v : row) v *= 2;
  const InputMoments moments = moments_of(x, y);
  const HessianRounding rounding(moments, 1e-9);
  const std::vector<double> w = rounding.adapted(std::vector<double>{0.3, -0.7});
  EXPECT_NEAR(w[0], 0.6, 1e-6);
  EXPECT_NEAR(w[1], -1.4, 1e-6);
}

TEST(HessianRounding, inputs_that_are_always_zero_are_accepted) {
  const std::vector<std::vector<double>> x{{0, 0}};
  const InputMoments moments = moments_of(x, x);
  const HessianRounding rounding(moments);
  std::vector<int> codes(2);
  EXPECT_EQ(rounding.round(std::vector<double>{0.4, 1.6}, kUnit, codes) >= 0, true);
  EXPECT_EQ(codes, (std::vector<int>{0, 2}));
}

}  // namespace
}  // namespace bitfold::quantization
