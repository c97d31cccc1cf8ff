#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <random>

#include "bitfold/calibrate.h"
#include "bitfold/error.h"
#include "quantize/entropy.h"

namespace bitfold {
namespace {

constexpr GridSpec kUnsigned8{.bits = 8, .is_signed = false, .scheme = Scheme::asymmetric};

std::vector<float> laplace_values(std::size_t count, unsigned seed) {
  std::mt19937 random(seed);
  std::exponential_distribution<float> side(1);
  std::bernoulli_distribution sign(0.3);
  std::vector<float> values(count);
  std::generate(values.begin(), values.end(), [&] { return sign(random) ? -side(random) : side(random); });
  return values;
}

ValueStatistics statistics_of(const std::vector<float>& values) {
  ValueStatistics statistics;
  statistics.add(values);
  return statistics;
}

// The squared error of the values, computed with the public functions.
double squared_error(const std::vector<float>& values, float lo, float hi, const GridSpec& spec) {
  const auto size = static_cast<std::int64_t>(values.size());
  const Tensor snapped = snap(Tensor::from<float>({size}, values), choose_params(lo, hi, spec));
  double sum = 0;
  for (std::size_t i = 0; i < values.size(); ++i) {
    const double error = static_cast<double>(values[i]) - snapped.data<float>()[i];
    sum += error * error;
  }
  return sum;
}

TEST(Observer, min_max_is_exact) {
  const auto statistics = statistics_of({-0.3F, 2.7F, 1});
  const auto range = observe(statistics, Observer::min_max, kUnsigned8);
  EXPECT_EQ(range.min, -0.3F);
  EXPECT_EQ(range.max, 2.7F);
}

TEST(Observer, percentile_excludes_values_at_both_ends) {
  auto values = laplace_values(100000, 1);
  const auto statistics = statistics_of(values);
  std::sort(values.begin(), values.end());
  for (const double p : {99.99, 99.0, 90.0, 60.0}) {
    const auto range = observe(statistics, Observer::percentile, kUnsigned8, p);
    const auto rank = static_cast<std::size_t>(std::lround(p / 100 * 1e5));
    EXPECT_NEAR(range.max, values[rank - 1], 2 * statistics.bin_width + 0.05 * (p > 99.9)) << p;
    EXPECT_NEAR(range.min, values[values.size() - rank], 2 * statistics.bin_width + 0.05 * (p > 99.9)) << p;
  }
  const auto all = observe(statistics, Observer::percentile, kUnsigned8, 100);
  EXPECT_EQ(all.min, values.front());
  EXPECT_EQ(all.max, values.back());
}

TEST(Observer, percentile_interpolates_within_a_bin) {
  // All values are in one bin and count as evenly spread over [min, max].
  const auto statistics = statistics_of({1024.25F, 1024.5F, 1024.75F});
  const auto range = observe(statistics, Observer::percentile, kUnsigned8, 75);
  EXPECT_NEAR(range.min, 1024.375F, 1e-3);
  EXPECT_NEAR(range.max, 1024.625F, 1e-3);
}

TEST(Observer, percentile_outside_50_to_100_is_an_error) {
  const auto statistics = statistics_of({1, 2});
  for (const double p : {0.0, 50.0, 100.5, 101.0, std::nan("")})
    EXPECT_THROW(observe(statistics, Observer::percentile, kUnsigned8, p), Error) << p;
}

TEST(Observer, mse_comes_within_two_percent_of_the_best_range_by_brute_force) {
  const auto values = laplace_values(20000, 2);
  const auto statistics = statistics_of(values);
  for (const int bits : {2, 4, 8}) {
    for (const bool is_symmetric : {false, true}) {
      const GridSpec spec{bits, is_symmetric, is_symmetric ? Scheme::symmetric : Scheme::asymmetric};
      const auto range = observe(statistics, Observer::mse, spec);
      const double error = squared_error(values, range.min, range.max, spec);
      double best = squared_error(values, statistics.min, statistics.max, spec);
      for (int i = 1; i <= 40; ++i) {
        for (int j = 1; j <= (is_symmetric ? 1 : 40); ++j) {
          const float hi = statistics.max * static_cast<float>(i) / 40;
          const float lo = is_symmetric ? -hi : statistics.min * static_cast<float>(j) / 40;
          best = std::min(best, squared_error(values, lo, hi, spec));
        }
      }
      EXPECT_LE(error, 1.02 * best) << bits << " bits, symmetric " << is_symmetric;
    }
  }
}

TEST(Observer, mse_clips_a_single_outlier_at_low_bits_and_keeps_zero_on_the_grid) {
  auto values = laplace_values(20000, 3);
  for (float& x : values) x = std::fabs(x);
  values[7] = 40;
  const auto range = observe(statistics_of(values), Observer::mse, {.bits = 4});
  EXPECT_LT(range.max, 15);
  EXPECT_EQ(range.min, 0);
}

TEST(Observer, moving_average_is_the_mean_of_samples_extremes) {
  ValueStatistics statistics;
  for (const auto& sample : {std::vector<float>{-1, 2}, {-2, 0, 4}, {-6, 9}}) statistics.add_sample(sample);
  const auto range = observe(statistics, Observer::moving_average, kUnsigned8);
  EXPECT_EQ(range.min, -3);  // (-1 - 2 - 6) / 3
  EXPECT_EQ(range.max, 5);   // (2 + 4 + 9) / 3
}

TEST(Observer, moving_average_without_sample_extremes_is_an_error) {
  ValueStatistics statistics = statistics_of({-1, 2});
  EXPECT_THROW(observe(statistics, Observer::moving_average, kUnsigned8), Error);
  statistics.add_sample(std::vector<float>{5, 6});  // the values added before still lack their sample
  EXPECT_THROW(observe(statistics, Observer::moving_average, kUnsigned8), Error);
}

TEST(Observer, automatic_needs_more_than_statistics) {
  EXPECT_THROW(observe(statistics_of({-1, 2}), Observer::automatic, kUnsigned8), Error);
}

// Grids of 2-bit codes with steps of 512, over bins of width 1: 0 is left out, as the bin of 0, and 2000 is clipped.
//
//   bin     100  500 600  1000 1100  1500 (2000)
//   n         8    6   2     4    4     1    (1)
//   P * 26    8    6   2     4    4     2
//   Q * 25    8    4   4     4    4     1
TEST(Divergence, equals_a_value_computed_by_hand) {
  std::vector<float> values(40, 0);
  const auto add = [&](int count, float x) { values.insert(values.end(), static_cast<std::size_t>(count), x); };
  add(8, 100);
  add(6, 500);
  add(2, 600);
  add(4, 1000);
  add(4, 1100);
  add(1, 1500);
  add(1, 2000);
  const auto statistics = statistics_of(values);
  ASSERT_EQ(statistics.bin_width, 1);
  const double p[] = {8, 6, 2, 4, 4, 2}, q[] = {8, 4, 4, 4, 4, 1};
  double expected = 0;
  for (int i = 0; i < 6; ++i) expected += p[i] / 26 * std::log((p[i] / 26) / (q[i] / 25));
  const quantization::Divergence divergence(statistics, {.bits = 2});
  EXPECT_NEAR(divergence(0, 1536), expected, 1e-12);
}

TEST(Divergence, is_zero_with_one_bin_per_code_and_no_clipping) {
  const auto statistics = statistics_of({0, 700, 700, 1400, 2047});
  EXPECT_EQ(quantization::Divergence(statistics, {.bits = 2})(0, 2047), 0);
  EXPECT_GT(quantization::Divergence(statistics, {.bits = 2})(0, 1400), 0);
}

TEST(Divergence, is_infinite_for_grids_finer_than_bins_or_outside_all_values) {
  const auto statistics = statistics_of({1900, 2000, 2047});
  EXPECT_EQ(quantization::Divergence(statistics, {.bits = 8})(0, 200), HUGE_VAL);
  EXPECT_EQ(quantization::Divergence(statistics, {.bits = 2})(0, 300), HUGE_VAL);
}

TEST(Observer, entropy_clips_a_single_outlier_but_not_a_uniform_distribution) {
  for (const bool is_symmetric : {false, true}) {
    const GridSpec spec{4, is_symmetric, is_symmetric ? Scheme::symmetric : Scheme::asymmetric};
    auto values = laplace_values(20000, 4);
    values[7] = 40;
    values[9] = -40;
    const auto range = observe(statistics_of(values), Observer::entropy, spec);
    EXPECT_LT(range.max, 20);
    EXPECT_GT(range.min, -20);
    std::vector<float> even(20000);
    for (std::size_t i = 0; i < even.size(); ++i) even[i] = static_cast<float>(i) / 10000 - 1;
    const auto whole = observe(statistics_of(even), Observer::entropy, spec);
    EXPECT_GT(whole.max, 0.9F);
    EXPECT_LT(whole.min, -0.9F);
  }
}

TEST(Observer, entropy_at_16_bits_covers_everything) {
  const auto statistics = statistics_of(laplace_values(20000, 5));
  const auto range = observe(statistics, Observer::entropy, {.bits = 16});
  EXPECT_EQ(range.min, statistics.min);
  EXPECT_EQ(range.max, statistics.max);
}

TEST(Observer, constant_and_empty_values_have_a_range) {
  for (const Observer o : {Observer::min_max, Observer::percentile, Observer::mse, Observer::entropy}) {
    EXPECT_EQ(observe(statistics_of({0, 0}), o, kUnsigned8).max, 0);
    EXPECT_EQ(observe(statistics_of({-3, -3}), o, kUnsigned8).min, -3);
    EXPECT_EQ(observe({}, o, kUnsigned8).max, 0);
    const auto tiny = observe(statistics_of({1e-44F, -3e-44F}), o, kUnsigned8);
    EXPECT_LE(tiny.min, tiny.max);
  }
}

}  // namespace
}  // namespace bitfold
