#include "report/value_figures.h"

#include <gtest/gtest.h>

#include <numeric>

#include "bitfold/analysis.h"

namespace bitfold::report {
namespace {

ValueStatistics seen(const std::vector<float>& values) {
  ValueStatistics statistics;
  statistics.add(values);
  return statistics;
}

TEST(Histogram, counts_every_value_once_between_the_extremes) {
  std::vector<float> values;
  for (int i = 0; i < 1000; ++i) values.push_back(static_cast<float>(i) / 100 - 3);
  const ValueHistogram drawn = histogram(seen(values));
  EXPECT_FLOAT_EQ(static_cast<float>(drawn.low), -3);
  EXPECT_FLOAT_EQ(static_cast<float>(drawn.high), 6.99F);
  // Each of the 96 counts is rounded separately.
  EXPECT_NEAR(static_cast<double>(std::accumulate(drawn.counts.begin(), drawn.counts.end(), std::int64_t{0})), 1000,
              48);
  // Evenly spread values give even bars, 1000 / 96 = 10.4 each, except at the ends of bins.
  for (const std::int64_t count : drawn.counts) EXPECT_NEAR(static_cast<double>(count), 10.4, 3);
}

TEST(Histogram, a_single_value_gives_a_bin_of_nonzero_width) {
  const ValueHistogram drawn = histogram(seen({2, 2, 2}));
  EXPECT_LT(drawn.low, 2);
  EXPECT_GT(drawn.high, 2);
  EXPECT_EQ(std::accumulate(drawn.counts.begin(), drawn.counts.end(), std::int64_t{0}), 3);
}

// The grid 0, 1, ..., 255 / 100: its ends reach half a step further, to -0.005 and 2.555.
const QuantParams kGrid{.scale = {0.01F}, .zero_point = {0}, .bits = 8};

TEST(ClippedShare, counts_values_more_than_half_a_step_outside_the_grid) {
  // Three of ten values (-1, 5, 9) lie outside; 2.55 is the last code.
  EXPECT_NEAR(clipped_share(seen({-1, 0, 0.5F, 1, 1.5F, 2, 2.25F, 2.55F, 5, 9}), kGrid), 0.3, 1e-3);
  EXPECT_EQ(clipped_share(seen({0, 1, 2.5F}), kGrid), 0);
}

TEST(UsedCodes, is_the_fraction_of_codes_between_the_extremes) {
  EXPECT_DOUBLE_EQ(used_codes(seen({0, 0.63F}), kGrid), 64.0 / 256);
  EXPECT_DOUBLE_EQ(used_codes(seen({-4, 9}), kGrid), 1);
}

TEST(WeightRanges, find_dead_and_wide_channels) {
  // Channels in rows with ranges 1, 2, 0, 20, 1e-12. The median of the three live ones (1, 2, 20) is 2; 20 is 10 times
  // that.
  const Tensor w = Tensor::from<float>({5, 2}, std::vector<float>{-1, 0.5F, 2, 1, 0, 0, -20, 3, 1e-12F, -1e-12F});
  const WeightRanges ranges = weight_ranges(w, 0);
  EXPECT_EQ(ranges.channel_count, 5);
  EXPECT_EQ(ranges.dead_count, 2);
  EXPECT_EQ(ranges.wide_count, 1);
  EXPECT_DOUBLE_EQ(ranges.median_extent, 2);
  EXPECT_DOUBLE_EQ(ranges.widest_extent, 20);
  EXPECT_EQ(ranges.min, (std::vector<float>{-1, 1, 0, -20, -1e-12F}));
  EXPECT_EQ(ranges.max, (std::vector<float>{0.5F, 2, 0, 3, 1e-12F}));
}

TEST(WeightRanges, support_channels_in_columns) {
  const WeightRanges ranges = weight_ranges(Tensor::from<float>({2, 3}, std::vector<float>{1, 2, 3, -4, -5, -6}), 1);
  EXPECT_EQ(ranges.min, (std::vector<float>{-4, -5, -6}));
  EXPECT_EQ(ranges.max, (std::vector<float>{1, 2, 3}));
}

TEST(WeightRanges, merge_channels_above_512) {
  Tensor w(DataType::float32, {1000, 1});
  w.mutable_data<float>()[999] = 7;
  const WeightRanges ranges = weight_ranges(w, 0);
  EXPECT_EQ(ranges.channel_count, 1000);
  ASSERT_EQ(ranges.max.size(), 512U);
  EXPECT_EQ(ranges.max.back(), 7);
  EXPECT_EQ(ranges.dead_count, 999);
}

class Diagnose : public ::testing::Test {
 protected:
  bool has(Cause cause) {
    for (const Finding& finding : diagnose(layer, whole))
      if (finding.cause == cause) return true;
    return false;
  }
  std::string text(Cause cause) {
    for (const Finding& finding : diagnose(layer, whole))
      if (finding.cause == cause) return finding.text;
    return "";
  }
  void SetUp() override {
    layer = {.node = "conv", .op = "Conv", .is_quantized = true, .has_weights = true};
    layer.weight_bits = layer.activation_bits = 8;
    layer.grid = kGrid;
    layer.values = ValueHistogram{0, 2.55, std::vector<std::int64_t>(96, 100)};
    layer.clipped_share = 0;
    layer.used_codes = 1;
    layer.weights = WeightRanges{.channel_count = 96, .median_extent = 0.5, .widest_extent = 1};
  }
  LayerAnalysis layer;
  Analysis whole;
};

TEST_F(Diagnose, reports_nothing_for_a_healthy_layer) { EXPECT_TRUE(diagnose(layer, whole).empty()); }

TEST_F(Diagnose, reports_the_number_and_ratio_of_wide_channels) {
  layer.weights->wide_count = 3;
  layer.weights->widest_extent = 20;
  whole.recipe.granularity = Granularity::per_tensor;
  EXPECT_EQ(
      text(Cause::wide_channels),
      "3 of 96 channels are up to 40 times wider than the median. All channels share one grid, so few codes are left "
      "for the other channels: use granularity per_channel, or equalize the layers.");
  EXPECT_EQ(diagnose(layer, whole).front().severity, Severity::warning);
  whole.recipe.granularity = Granularity::per_channel;
  EXPECT_EQ(diagnose(layer, whole).front().severity, Severity::note);
}

TEST_F(Diagnose, reports_clipping_dead_channels_and_unused_codes) {
  layer.clipped_share = 0.012;
  EXPECT_NE(text(Cause::clipped).find("1.2 % of the values"), std::string::npos);
  layer.weights->dead_count = 5;
  EXPECT_EQ(text(Cause::dead_channels).find("5 of 96 channels"), 0U);
  layer.used_codes = 0.12;
  EXPECT_NE(text(Cause::unused_grid).find("only 12 % of the grid's codes"), std::string::npos);
}

TEST_F(Diagnose, reports_a_long_tail_covered_by_the_grid) {
  std::vector<std::int64_t> counts(96, 0);
  for (int i = 0; i < 12; ++i) counts[static_cast<std::size_t>(i)] = 10000;  // 99.9 % in an eighth of the range
  counts.back() = 1;
  layer.values->counts = counts;
  EXPECT_TRUE(has(Cause::long_tail));
  layer.clipped_share = 0.001;  // the grid ends before the tail
  EXPECT_FALSE(has(Cause::long_tail));
}

TEST_F(Diagnose, reports_the_layer_with_the_largest_error_share) {
  whole.sensitivity.layers.resize(10);
  layer.sensitivity = LayerSensitivity{.node = "conv", .error_share = 0.4};
  EXPECT_EQ(text(Cause::largest_share).find("40 % of the whole error"), 0U);
  whole.sensitivity.all = {.noise = 1e-3};
  layer.sensitivity->all_but = Damage{.noise = 5e-4};  // 33 dB instead of 30
  EXPECT_NE(text(Cause::largest_share).find("with this layer in float, the output has 33.0 dB instead of 30.0"),
            std::string::npos);
  EXPECT_EQ(diagnose(layer, whole).front().severity, Severity::warning);
  layer.sensitivity->all_but = Damage{.noise = 2e-3};  // leaving it in float makes it worse
  EXPECT_NE(text(Cause::largest_share).find("does not help: 27.0 dB instead of 30.0"), std::string::npos);
  EXPECT_EQ(diagnose(layer, whole).front().severity, Severity::note);
  layer.sensitivity->error_share = 0.2;
  EXPECT_FALSE(has(Cause::largest_share));
}

TEST_F(Diagnose, reports_the_layer_most_sensitive_to_low_bits) {
  whole.sensitivity.weight_bits = {8, 4};
  for (const double noise : {0.001, 0.001, 0.001, 0.1})
    whole.sensitivity.layers.push_back({.alone = {Damage{1e-5}, Damage{noise}}});
  layer.sensitivity = whole.sensitivity.layers[0];
  EXPECT_FALSE(has(Cause::low_bits));
  layer.sensitivity = whole.sensitivity.layers[3];  // 10 dB where the others have 30
  EXPECT_NE(text(Cause::low_bits).find("10.0 dB, 20 dB less than for the median"), std::string::npos);
}

}  // namespace
}  // namespace bitfold::report
