// What a filter says of its accumulators, which kernels rely on.
#include "kernels/packed_filter.h"

#include <gtest/gtest.h>

#include <limits>
#include <vector>

namespace bitfold {
namespace {

/// Of one channel with such weights.
StepRange range_of(const std::vector<std::int8_t>& weights, std::int32_t bias, float multiplier) {
  const auto depth = static_cast<std::int64_t>(weights.size());
  return PackedFilter({.out_channels = 1, .in_channels = depth}, weights.data(), &bias, &multiplier).step_range();
}

TEST(PackedFilter, steps_fit_int32_where_multipliers_are_below_1) {
  EXPECT_EQ(range_of({1}, 0, 1.0F), StepRange::any);
  EXPECT_EQ(range_of({1}, 0, std::numeric_limits<float>::quiet_NaN()), StepRange::any);
  EXPECT_EQ(range_of({1}, 1 << 26, 0x1.fffffep-1F), StepRange::int32);
}

TEST(PackedFilter, accumulators_pass_for_floats_where_codes_saturate_before_floats_lose_units) {
  constexpr std::int32_t kMost = (1 << 26) - 255 * 129 - 1;
  EXPECT_EQ(range_of({-128, 1}, kMost, 0x1p-15F), StepRange::float_bits);
  EXPECT_EQ(range_of({-128, 1}, -kMost, 0x1p-15F), StepRange::float_bits);
  EXPECT_EQ(range_of({-128, 1}, kMost + 1, 0x1p-15F), StepRange::int32);
  EXPECT_EQ(range_of({-128, 1}, -kMost - 1, 0x1p-15F), StepRange::int32);
}

TEST(PackedFilter, small_multipliers_need_accumulators_of_23_bits) {
  constexpr std::int32_t kMost = (1 << 23) - 255 * 129 - 1;
  EXPECT_EQ(range_of({-128, 1}, kMost, 0x1.fffffep-16F), StepRange::float_bits);
  EXPECT_EQ(range_of({-128, 1}, kMost + 1, 0x1.fffffep-16F), StepRange::int32);
  EXPECT_EQ(range_of({0}, 0, 0.0F), StepRange::float_bits);
  EXPECT_EQ(range_of({0}, 0, -0.5F), StepRange::int32);
}

TEST(PackedFilter, the_worst_channel_counts) {
  const std::int8_t weights[] = {1, 1};
  const float multipliers[] = {0.25F, 2.0F};
  EXPECT_EQ(PackedFilter({.out_channels = 2}, weights, nullptr, multipliers).step_range(), StepRange::any);
}

}  // namespace
}  // namespace bitfold
