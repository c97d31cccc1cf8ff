#include "bitfold/exact_sum.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <limits>
#include <random>

#include "bitfold/error.h"

namespace bitfold {
namespace {

constexpr float kLargest = std::numeric_limits<float>::max(), kSmallest = std::numeric_limits<float>::denorm_min();

ExactSum sum_of(const std::vector<float>& terms) {
  ExactSum sum;
  for (float x : terms) sum.add(x);
  return sum;
}

TEST(ExactSum, small_sums_equal_hand_computed_values) {
  EXPECT_EQ(ExactSum{}.value(), 0);
  EXPECT_TRUE(ExactSum{}.parts().empty());
  EXPECT_EQ(sum_of({1.5F, -0.25F}).parts(), std::vector<double>{1.25});
  EXPECT_EQ(sum_of({-1.5F, 0.25F}).parts(), std::vector<double>{-1.25});
  EXPECT_EQ(sum_of({3, -3}), ExactSum{});
  EXPECT_EQ(sum_of({-kSmallest}).parts(), std::vector<double>{-static_cast<double>(kSmallest)});
}

TEST(ExactSum, loses_nothing_between_the_largest_and_the_least_float) {
  // A sum in double would lose the small terms beside the large ones, in any order.
  const auto sum = sum_of({kLargest, kSmallest, 1, kLargest});
  EXPECT_EQ(sum.parts(), (std::vector<double>{2 * static_cast<double>(kLargest), 1, kSmallest}));
  ExactSum rest = sum;
  for (const float x : {-kLargest, -1.0F, -kLargest}) rest.add(x);
  EXPECT_EQ(rest, sum_of({kSmallest}));
}

TEST(ExactSum, does_not_depend_on_order_or_grouping) {
  std::mt19937 random(1);
  std::uniform_int_distribution<std::uint32_t> bits;
  std::vector<float> terms;
  while (terms.size() < 2000) {
    const float x = std::bit_cast<float>(bits(random));
    if (std::isfinite(x)) terms.push_back(x);
  }
  const ExactSum whole = sum_of(terms);
  std::reverse(terms.begin(), terms.end());
  EXPECT_EQ(sum_of(terms), whole);
  ExactSum merged;
  for (std::size_t i = 0; i < terms.size(); i += 7)
    merged.add(sum_of({terms.begin() + static_cast<std::ptrdiff_t>(i),
                       terms.begin() + static_cast<std::ptrdiff_t>(std::min(i + 7, terms.size()))}));
  EXPECT_EQ(merged, whole);
  ExactSum again;
  for (double part : whole.parts()) again.add(part);
  EXPECT_EQ(again, whole);
  for (float x : terms) again.add(-static_cast<double>(x));
  EXPECT_EQ(again, ExactSum{});
}

TEST(ExactSum, carries_and_borrows_run_through_every_word) {
  const auto sum = sum_of({-kSmallest, kLargest, kSmallest});
  EXPECT_EQ(sum, sum_of({kLargest}));
  ExactSum borrowed = sum_of({kLargest, -kSmallest});
  EXPECT_LT(borrowed.value(), kLargest);
  borrowed.add(kSmallest);
  EXPECT_EQ(borrowed, sum);
}

TEST(ExactSum, refuses_values_that_are_not_sums_of_floats) {
  ExactSum sum;
  for (const double x : {std::nan(""), HUGE_VAL, -1e300, 1e-46, 1e-320, kSmallest * 1.5})
    EXPECT_THROW(sum.add(x), Error) << x;
  EXPECT_EQ(sum, ExactSum{});
}

}  // namespace
}  // namespace bitfold
