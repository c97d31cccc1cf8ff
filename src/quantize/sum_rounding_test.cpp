#include "quantize/sum_rounding.h"

#include <gtest/gtest.h>

#include <cmath>
#include <random>

namespace bitfold::quantization {
namespace {

QuantParams unit_grid(int channels) {
  QuantParams grid{.bits = 8, .is_signed = true, .narrow = true, .axis = 0};
  grid.scale.assign(static_cast<std::size_t>(channels), 1.0F);
  grid.zero_point.assign(static_cast<std::size_t>(channels), 0);
  return grid;
}

TEST(SumRounding, moves_the_element_nearest_to_the_midpoint) {
  // Nearest codes are 0 0 0 0 with errors -0.3 -0.2 -0.4 -0.3. Their sum of -1.2 requires one move, of 0.4 to 1.
  const Tensor w = Tensor::from<float>({1, 1, 2, 2}, std::vector<float>{0.3F, 0.2F, 0.4F, 0.3F});
  const Tensor q = quantize_keeping_sums(w, 0, 4, unit_grid(1));
  EXPECT_EQ(std::vector<std::int8_t>(q.data<std::int8_t>().begin(), q.data<std::int8_t>().end()),
            (std::vector<std::int8_t>{0, 0, 1, 0}));
}

TEST(SumRounding, kernels_are_balanced_before_channels) {
  // Two kernels with errors -0.4 * 4 and +0.4 * 4: each needs two moves, although the channel's sum is already 0.
  const Tensor w = Tensor::from<float>({1, 2, 2, 2}, std::vector<float>{.4F, .4F, .4F, .4F, .6F, .6F, .6F, .6F});
  const Tensor q = quantize_keeping_sums(w, 0, 4, unit_grid(1));
  int first = 0, second = 0;
  for (std::size_t i = 0; i < 4; ++i) {
    first += q.data<std::int8_t>()[i];
    second += q.data<std::int8_t>()[i + 4];
  }
  EXPECT_EQ(first, 2);
  EXPECT_EQ(second, 2);
}

TEST(SumRounding, every_code_is_a_neighbour_and_every_sum_within_half_a_step) {
  std::mt19937 random(1);
  std::uniform_real_distribution<float> real(-100, 100);
  Tensor w(DataType::float32, {6, 5, 3, 3});
  for (float& x : w.mutable_data<float>()) x = real(random);
  const Tensor q = quantize_keeping_sums(w, 0, 9, unit_grid(6));
  for (std::size_t c = 0; c < 6; ++c) {
    double channel = 0;
    for (std::size_t i = c * 45; i < (c + 1) * 45; ++i) {
      const double error = q.data<std::int8_t>()[i] - static_cast<double>(w.data<float>()[i]);
      EXPECT_LT(std::abs(error), 1.0);
      channel += error;
    }
    EXPECT_LE(std::abs(channel), 0.5 + 1e-4) << "channel " << c;
  }
}

TEST(SumRounding, the_codes_of_a_matrix_with_channels_last_are_balanced_by_column) {
  const Tensor w = Tensor::from<float>({3, 2}, std::vector<float>{.4F, 5, .4F, 6, .4F, 7});
  QuantParams grid = unit_grid(2);
  grid.axis = 1;
  const Tensor q = quantize_keeping_sums(w, 1, 1, grid);
  EXPECT_EQ(q.data<std::int8_t>()[0] + q.data<std::int8_t>()[2] + q.data<std::int8_t>()[4], 1);
  EXPECT_EQ(q.data<std::int8_t>()[1], 5);
}

TEST(SumRounding, never_leaves_the_grid) {
  // 126.6 four times rounds to 127, errors +0.4 each; two move down to 126. -127 cannot move further down.
  const Tensor w = Tensor::from<float>({1, 1, 1, 5}, std::vector<float>{-127, -126.6F, -126.6F, -126.6F, -126.6F});
  const Tensor q = quantize_keeping_sums(w, 0, 5, unit_grid(1));
  for (std::int8_t code : q.data<std::int8_t>()) EXPECT_GE(code, -127);
}

}  // namespace
}  // namespace bitfold::quantization
