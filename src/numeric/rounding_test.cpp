#include "numeric/rounding.h"

#include <gtest/gtest.h>

#include <cfenv>
#include <cmath>
#include <random>

namespace bitfold {
namespace {

TEST(RoundHalfEven, rounds_ties_to_the_even_integer) {
  for (std::int32_t n = -1000; n <= 1000; ++n) {
    const float tie = static_cast<float>(n) + 0.5F;
    EXPECT_EQ(round_half_even(tie), n % 2 == 0 ? n : n + 1) << tie;
    EXPECT_EQ(round_half_even(double{tie}), n % 2 == 0 ? n : n + 1) << tie;
  }
}

TEST(RoundHalfEven, rounds_numbers_next_to_a_tie_correctly) {
  for (float tie : {0.5F, 1.5F, 2.5F, 126.5F, 127.5F, 1048576.5F}) {
    const auto below = static_cast<std::int32_t>(tie);
    EXPECT_EQ(round_half_even(std::nextafter(tie, 0.0F)), below);
    EXPECT_EQ(round_half_even(std::nextafter(tie, 1e9F)), below + 1);
    EXPECT_EQ(round_half_even(std::nextafter(-tie, 0.0F)), -below);
    EXPECT_EQ(round_half_even(std::nextafter(-tie, -1e9F)), -below - 1);
  }
}

TEST(RoundHalfEven, equals_nearbyint_everywhere) {
  std::mt19937 random(1);
  std::uniform_real_distribution<float> exponent(-140, 30.9F);
  for (int i = 0; i < 100000; ++i) {
    const float t = std::exp2(exponent(random)) * (i % 2 == 0 ? 1.0F : -1.0F);
    ASSERT_EQ(round_half_even(t), static_cast<std::int32_t>(std::nearbyint(double{t}))) << t;
    ASSERT_EQ(round_half_even(double{t} * 1e9), static_cast<std::int64_t>(std::nearbyint(double{t} * 1e9))) << t;
  }
}

TEST(RoundHalfEven, does_not_depend_on_the_rounding_mode) {
  for (int mode : {FE_UPWARD, FE_DOWNWARD, FE_TOWARDZERO}) {
    ASSERT_EQ(std::fesetround(mode), 0);
    volatile float tie = 2.5F, below = 2.25F, above = -2.75F;
    const auto a = round_half_even(tie), b = round_half_even(below), c = round_half_even(above);
    std::fesetround(FE_TONEAREST);
    EXPECT_EQ(a, 2);
    EXPECT_EQ(b, 2);
    EXPECT_EQ(c, -3);
  }
}

}  // namespace
}  // namespace bitfold
