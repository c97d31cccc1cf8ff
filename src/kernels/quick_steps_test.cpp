// Steps in one operation give the defined codes for every accumulator.
#include "kernels/quick_steps.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <limits>
#include <random>
#include <vector>

#include "kernels/accumulator.h"

namespace bitfold {
namespace {

struct Case {
  float multiplier;
  std::int64_t magnitude;
  int zero_point;
};

QuickSteps steps_of(const Case& c) {
  return {std::vector<float>{c.multiplier}, std::vector<std::int64_t>{c.magnitude}, {.zero_point = c.zero_point}};
}

/// Computes a code as the kernels do: rounds to the nearest int32, adds the zero point and saturates.
int quick_code(std::int64_t accumulator, float multiplier, const StepTerms& terms, int zero_point) {
  const auto sum = static_cast<std::int32_t>(terms.origins[0] + accumulator);
  const float steps = std::fma(std::bit_cast<float>(sum), multiplier, terms.addends[0]);
  EXPECT_LT(std::abs(steps), 0x1p31F);
  return static_cast<int>(std::clamp(std::nearbyint(steps) + static_cast<float>(zero_point), 0.0F, 255.0F));
}

void expect_codes(const Case& c, std::int64_t begin, std::int64_t end) {
  const QuickSteps quick = steps_of(c);
  ASSERT_NE(quick.terms().origins, nullptr) << c.multiplier << " zero point " << c.zero_point;
  const ConvOutput output{.zero_point = c.zero_point};
  for (std::int64_t a = std::max(begin, -c.magnitude); a <= std::min(end, c.magnitude); ++a)
    ASSERT_EQ(quick_code(a, c.multiplier, quick.terms(), c.zero_point),
              code_of(static_cast<std::int32_t>(a), c.multiplier, output))
        << "accumulator " << a << " multiplier " << c.multiplier << " zero point " << c.zero_point;
}

TEST(QuickSteps, give_the_defined_code_for_every_accumulator) {
  std::mt19937 random(5);
  std::uniform_real_distribution<float> log_multiplier(-13.0F, -2.0F);
  for (int i = 0; i < 200; ++i) {
    const Case c{std::exp2(log_multiplier(random)), 57'000'000, static_cast<int>(random() % 256)};
    const auto codes = static_cast<std::int64_t>(256 / c.multiplier);
    ASSERT_NO_FATAL_FAILURE(expect_codes(c, -codes - 1000, codes + 1000));
    for (std::int64_t end :
         {-c.magnitude, -std::int64_t{1} << 23, std::int64_t{1} << 23, std::int64_t{1} << 24, c.magnitude})
      ASSERT_NO_FATAL_FAILURE(expect_codes(c, end - 1000, end + 1000));
  }
}

TEST(QuickSteps, round_ties_to_even) {
  for (float multiplier : {0.5F, 0.25F, 0x1.8p-9F, 0x1p-10F})
    for (int zero_point : {0, 1, 2, 128, 255})
      ASSERT_NO_FATAL_FAILURE(expect_codes({multiplier, 600'000, zero_point}, -300'000, 300'000));
}

TEST(QuickSteps, accept_small_multipliers_if_accumulators_are_small) {
  expect_codes({0x1.8p-20F, 4'000'000, 77}, -4'000'000, 4'000'000);
  expect_codes({0x1p-140F, 8'000'000, 0}, -1000, 1000);
  expect_codes({0.0F, 1000, 77}, -1000, 1000);
}

TEST(QuickSteps, are_rejected_if_not_exact) {
  EXPECT_EQ(steps_of({0.01F, 59'000'000, 0}).terms().origins, nullptr) << "floats beyond int32";
  EXPECT_EQ(steps_of({0x1.8p-20F, 9'000'000, 0}).terms().origins, nullptr) << "more integers than floats have";
  EXPECT_EQ(steps_of({1.0F, 1000, 0}).terms().origins, nullptr);
  EXPECT_EQ(steps_of({-0.5F, 1000, 0}).terms().origins, nullptr);
  EXPECT_EQ(steps_of({std::numeric_limits<float>::quiet_NaN(), 1000, 0}).terms().origins, nullptr);
  const std::vector<float> multipliers{0.01F, 0.02F};
  const std::vector<std::int64_t> magnitude{1000, 60'000'000};
  EXPECT_EQ(QuickSteps(multipliers, magnitude, {}).terms().origins, nullptr) << "of the second channel";
  const std::vector<std::int64_t> small{1000, 1000};
  EXPECT_EQ(QuickSteps(multipliers, small, {.qmin = 1}).terms().origins, nullptr);
  EXPECT_EQ(QuickSteps(multipliers, small, {.negative_gain = 0.5F}).terms().origins, nullptr);
  EXPECT_EQ(QuickSteps(multipliers, small, {.kind = AccumulatorOutput::float32}).terms().origins, nullptr);
  EXPECT_NE(QuickSteps(multipliers, small, {}).terms().origins, nullptr);
}

}  // namespace
}  // namespace bitfold
