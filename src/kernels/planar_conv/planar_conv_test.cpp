// Compares every instruction set with loops in double precision, on memory that ends where the image ends.
#include "kernels/planar_conv/planar_conv.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <random>
#include <string>
#include <vector>

#include "kernels/guarded_buffer.h"

namespace bitfold {
namespace {

using testing::GuardedBuffer;
constexpr float kInfinity = std::numeric_limits<float>::infinity();

class PlanarConvTest : public ::testing::TestWithParam<Isa> {
 protected:
  void SetUp() override {
    if (GetParam() > detected_isa()) GTEST_SKIP() << "this CPU has no " << to_string(GetParam());
  }
};
INSTANTIATE_TEST_SUITE_P(Isa, PlanarConvTest, ::testing::Values(Isa::portable, Isa::avx2, Isa::avx512vnni),
                         [](const auto& test) { return std::string(to_string(test.param)); });

std::vector<float> some_reals(std::int64_t n, unsigned seed) {
  std::mt19937 random(seed);
  std::uniform_real_distribution<float> real(-1, 1);
  std::vector<float> x(static_cast<std::size_t>(n));
  for (float& v : x) v = real(random);
  return x;
}

double activated(const PlanarConv& c, double sum) {
  if (c.is_leaky) return sum < 0 ? sum * c.negative_slope : sum;
  return std::clamp(sum, static_cast<double>(c.low), static_cast<double>(c.high));
}

double expected(const PlanarConv& c, const float* x, const float* weights, const float* bias, std::int64_t channel,
                std::int64_t row, std::int64_t column) {
  double sum = bias[channel];
  for (std::int64_t k = 0; k < c.in_channels; ++k)
    for (std::int64_t i = 0; i < c.kernel_h; ++i)
      for (std::int64_t j = 0; j < c.kernel_w; ++j)
        sum += static_cast<double>(weights[((channel * c.in_channels + k) * c.kernel_h + i) * c.kernel_w + j]) *
               x[k * c.x_plane + (row * c.stride_h + i * c.dilation_h) * c.x_row + column + j * c.dilation_w];
  return activated(c, sum);
}

void check(PlanarConv c, Isa isa) {
  const PlanarConvKernel& kernel = planar_conv_kernel(isa);
  if (c.out_width < kernel.lanes) return;
  c.x_row = c.out_width + (c.kernel_w - 1) * c.dilation_w;
  c.x_plane = c.x_row * ((c.out_height - 1) * c.stride_h + (c.kernel_h - 1) * c.dilation_h + 1);
  const GuardedBuffer<float> x(some_reals(c.in_channels * c.x_plane, 1));
  const std::vector<float> weights = some_reals(c.out_channels * c.depth(), 2), bias = some_reals(c.out_channels, 3);
  GuardedBuffer<float> packed(c.out_channels * c.depth());
  pack_planar_weights(c, kernel, weights.data(), packed.data());
  const std::int64_t plane = c.out_height * c.out_width;
  GuardedBuffer<float> y(c.out_channels * plane);
  const std::int64_t middle = c.out_height / 2;
  kernel.run(c, x.data(), packed.data(), bias.data(), y.data(), middle, c.out_height);
  kernel.run(c, x.data(), packed.data(), bias.data(), y.data(), 0, middle);
  for (std::int64_t channel = 0; channel < c.out_channels; ++channel)
    for (std::int64_t row = 0; row < c.out_height; ++row)
      for (std::int64_t column = 0; column < c.out_width; ++column)
        ASSERT_NEAR(y.data()[channel * plane + row * c.out_width + column],
                    expected(c, x.data(), weights.data(), bias.data(), channel, row, column), 1e-5)
            << channel << " " << row << " " << column;
}

TEST_P(PlanarConvTest, equals_loops_for_every_width_and_number_of_channels) {
  for (std::int64_t width : {1, 7, 8, 9, 16, 17, 28, 32, 33, 47, 64})
    for (std::int64_t channels = 1; channels <= 26; channels += width % 2 == 0 ? 1 : 5)
      check({.in_channels = 2,
             .out_channels = channels,
             .kernel_h = 2,
             .kernel_w = 3,
             .out_height = 2,
             .out_width = width,
             .low = 0,
             .high = kInfinity},
            GetParam());
}

TEST_P(PlanarConvTest, equals_loops_for_windows_and_activations) {
  const PlanarConv notebook{.in_channels = 3,
                            .out_channels = 20,
                            .kernel_h = 5,
                            .kernel_w = 5,
                            .out_height = 28,
                            .out_width = 28,
                            .low = -kInfinity,
                            .high = kInfinity};
  check(notebook, GetParam());
  PlanarConv c = notebook;
  c.low = 0, c.high = 0.5F;
  check(c, GetParam());
  c.is_leaky = true, c.negative_slope = 0.1F, c.high = kInfinity;
  check(c, GetParam());
  c.stride_h = 2, c.dilation_h = 3, c.dilation_w = 2;
  check(c, GetParam());
}

TEST_P(PlanarConvTest, nan_stays_nan) {
  const PlanarConvKernel& kernel = planar_conv_kernel(GetParam());
  const PlanarConv c{.x_row = 16, .x_plane = 16, .out_width = 16, .low = 0, .high = 6};
  const std::vector<float> x(16, std::numeric_limits<float>::quiet_NaN());
  const float one = 1, zero = 0;
  std::vector<float> y(16);
  kernel.run(c, x.data(), &one, &zero, y.data(), 0, 1);
  EXPECT_TRUE(std::all_of(y.begin(), y.end(), [](float v) { return std::isnan(v); }));
}

}  // namespace
}  // namespace bitfold
