#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <random>

#include "bitfold/calibrate.h"
#include "bitfold/error.h"

namespace bitfold {
namespace {

std::vector<float> normal_values(std::size_t count, float deviation, unsigned seed) {
  std::mt19937 random(seed);
  std::normal_distribution<float> normal(0.1F * deviation, deviation);
  std::vector<float> values(count);
  std::generate(values.begin(), values.end(), [&] { return normal(random); });
  return values;
}

ValueStatistics statistics_of(std::span<const float> values) {
  ValueStatistics statistics;
  statistics.add(values);
  return statistics;
}

TEST(Statistics, bins_count_exactly_the_values_of_their_intervals) {
  for (const std::size_t count : {1U, 15U, 16U, 17U, 1023U, 1025U, 40000U}) {
    const auto values = normal_values(count, 3, static_cast<unsigned>(count));
    const auto statistics = statistics_of(values);
    EXPECT_EQ(statistics.min, *std::min_element(values.begin(), values.end()));
    EXPECT_EQ(statistics.max, *std::max_element(values.begin(), values.end()));
    EXPECT_EQ(statistics.count, static_cast<std::int64_t>(count));
    std::vector<std::int64_t> expected(ValueStatistics::kBinCount, 0);
    for (float x : values)
      ++expected.at(static_cast<std::size_t>(std::floor(static_cast<double>(x) / statistics.bin_width) +
                                             ValueStatistics::kBinCount / 2));
    EXPECT_EQ(statistics.bins, expected);
  }
}

TEST(Statistics, bin_width_is_the_least_power_of_two_that_covers_every_value) {
  EXPECT_EQ(statistics_of(std::vector<float>{2047.5F}).bin_width, 1);
  EXPECT_EQ(statistics_of(std::vector<float>{2048}).bin_width, 2);
  EXPECT_EQ(statistics_of(std::vector<float>{-2048}).bin_width, 1);
  EXPECT_EQ(statistics_of(std::vector<float>{-2049}).bin_width, 2);
}

TEST(Statistics, do_not_depend_on_order_or_grouping) {
  auto values = normal_values(5000, 1, 1);
  values[100] = 1e-42F;
  values[101] = -1e-42F;
  values[4000] = 300;
  values[4500] = -0.0F;
  const auto whole = statistics_of(values);
  for (const std::size_t group : {1U, 7U, 999U}) {
    ValueStatistics added, merged, reversed;
    for (std::size_t i = 0; i < values.size(); i += group) {
      const std::span<const float> part(values.data() + i, std::min(group, values.size() - i));
      added.add(part);
      merged.merge(statistics_of(part));
    }
    EXPECT_EQ(added, whole);
    EXPECT_EQ(merged, whole);
  }
  std::reverse(values.begin(), values.end());
  EXPECT_EQ(statistics_of(values), whole);
}

TEST(Statistics, widening_over_the_whole_float_range_loses_no_count) {
  const float least = std::numeric_limits<float>::denorm_min(), most = std::numeric_limits<float>::max();
  ValueStatistics grown;
  for (const float x : {-least, least, 1e-20F, -1.0F, most, -most}) grown.add(std::vector<float>{x});
  EXPECT_EQ(grown, statistics_of(std::vector<float>{most, -most, -1.0F, 1e-20F, -least, least}));
  const auto at = [&](int j) { return grown.bins[static_cast<std::size_t>(j + ValueStatistics::kBinCount / 2)]; };
  EXPECT_EQ(at(0), 2);
  EXPECT_EQ(at(-1), 2);
}

TEST(Statistics, all_zeros_have_a_histogram) {
  const auto zeros = statistics_of(std::vector<float>{0, -0.0F, 0});
  EXPECT_EQ(zeros.bins[ValueStatistics::kBinCount / 2], 3);
  EXPECT_FALSE(std::signbit(statistics_of(std::vector<float>{-0.0F}).min));
}

TEST(Statistics, extremes_of_samples_add_up_exactly_in_any_order_and_grouping) {
  const auto values = normal_values(3000, 1e3F, 2);
  ValueStatistics forwards, backwards, halves[2];
  double minima = 0;
  for (std::size_t s = 0; s < 30; ++s) {
    const std::span<const float> sample(values.data() + 100 * s, 100), last(values.data() + 100 * (29 - s), 100);
    forwards.add_sample(sample);
    backwards.add_sample(last);
    halves[s % 2].add_sample(sample);
    minima += *std::min_element(sample.begin(), sample.end());
  }
  halves[1].merge(halves[0]);
  EXPECT_EQ(forwards, backwards);
  EXPECT_EQ(halves[1], forwards);
  EXPECT_EQ(forwards.sample_count, 30);
  EXPECT_NEAR(forwards.sample_minima.value(), minima, 1e-6);
}

TEST(Statistics, have_no_sample_extremes_if_some_values_lack_their_sample) {
  ValueStatistics known, unknown;
  known.add_sample(std::vector<float>{1, 2});
  unknown.add(std::vector<float>{3});
  for (auto [into, from] : {std::pair(known, unknown), std::pair(unknown, known)}) {
    into.merge(from);
    EXPECT_EQ(into.count, 3);
    EXPECT_EQ(into.sample_count, 0);
    EXPECT_EQ(into.sample_minima, ExactSum{});
    EXPECT_EQ(into.sample_maxima, ExactSum{});
  }
}

TEST(Statistics, adding_no_values_changes_nothing) {
  ValueStatistics statistics;
  statistics.add({});
  statistics.merge({});
  EXPECT_EQ(statistics, ValueStatistics{});
  statistics.add(std::vector<float>{1, 2});
  const auto before = statistics;
  statistics.merge({});
  EXPECT_EQ(statistics, before);
}

TEST(Statistics, refuses_non_finite_values_and_names_the_index) {
  for (const std::size_t index : {0U, 3U, 16U, 20U}) {
    std::vector<float> values(21, 1);
    values[index] = index % 2 == 0 ? std::numeric_limits<float>::quiet_NaN() : -std::numeric_limits<float>::infinity();
    ValueStatistics statistics;
    try {
      statistics.add(values);
      FAIL() << "index " << index;
    } catch (const Error& error) {
      EXPECT_NE(std::string(error.what()).find("at index " + std::to_string(index)), std::string::npos) << error.what();
    }
  }
}

}  // namespace
}  // namespace bitfold
