// Chooses the range of a value's grid from its statistics.
//
// min_max covers everything seen. percentile leaves (100 - p) % of the values out at either end. mse minimizes the
// expected squared error of rounding and clipping, summed over the histogram:
//
//   E(lo, hi) = sum_i n_i g_i^2 (c_i - snap(c_i))^2,  c_i the middle of bin i, g_i the gain of the value's reader
//
// (Nagel et al., "A White Paper on Neural Network Quantization", 2021, section 3.1; there over the values themselves).
// moving_average takes the mean of samples' extremes, entropy the range whose grid keeps the histogram's shape best
// (entropy.h). docs/internals/observers.md compares them.
#include <algorithm>
#include <array>
#include <cmath>

#include "base/check.h"
#include "bitfold/calibrate.h"
#include "quantize/bins.h"
#include "quantize/entropy.h"

namespace bitfold {
namespace {

using quantization::Bin;
using quantization::used_bins;

// The quantile of the values, assuming that each bin's values are spread evenly over it.
double quantile(const std::vector<Bin>& bins, double total, double fraction) {
  double left = fraction * total;
  for (const Bin& bin : bins) {
    if (left <= bin.count) return bin.low + (bin.high - bin.low) * (left / bin.count);
    left -= bin.count;
  }
  return bins.back().high;
}

ObservedRange observe_percentile(const ValueStatistics& statistics, double percentile) {
  if (percentile == 100) return {statistics.min, statistics.max};
  const std::vector<Bin> bins = used_bins(statistics);
  const auto total = static_cast<double>(statistics.count);
  return {static_cast<float>(quantile(bins, total, 1 - percentile / 100)),
          static_cast<float>(quantile(bins, total, percentile / 100))};
}

// E(lo, hi) for grids of one spec.
class ExpectedError {
 public:
  ExpectedError(const ValueStatistics& statistics, const GridSpec& spec, float negative_gain) : spec_(spec) {
    for (const Bin& bin : used_bins(statistics)) {
      middles_.push_back(static_cast<float>((bin.low + bin.high) / 2));
      const float gain = middles_.back() < 0 ? negative_gain : 1.0F;
      weights_.push_back(static_cast<float>(bin.count) * gain * gain);
    }
  }

  double operator()(float lo, float hi) const {
    const QuantParams params = choose_params(lo, hi, spec_);
    const float scale = params.scale[0], inverse = 1 / scale;
    if (!std::isfinite(inverse)) return 0;  // a subnormal scale: clipping gains nothing
    const auto lowest = static_cast<float>(params.qmin() - params.zero_point[0]);
    const auto highest = static_cast<float>(params.qmax() - params.zero_point[0]);
    // Adding and subtracting 1.5 * 2^23 rounds |t| < 2^22 half to even, without a call.
    constexpr float kRound = 12582912.0F;
    std::array<double, 8> sums{};  // independent, so that additions overlap
    for (std::size_t i = 0; i < middles_.size(); ++i) {
      float t = middles_[i] * inverse;
      t = t < lowest ? lowest : t;
      t = t > highest ? highest : t;
      const double error = middles_[i] - ((t + kRound) - kRound) * scale;
      sums[i % sums.size()] += error * error * weights_[i];
    }
    double sum = 0;
    for (double s : sums) sum += s;
    return sum;
  }

 private:
  GridSpec spec_;
  std::vector<float> middles_, weights_;
};

// The ends tried are kShrink^k times the extreme, down to 6 % of it.
constexpr float kShrink = 0.97F;
constexpr int kSteps = 90;
// Minimum relative gain of a shorter range. It exceeds rounding errors of logarithms, which differ between processors.
constexpr double kMinGain = 1e-9;

template <class Cost>
float best_end(float extreme, const Cost& cost) {
  float best = extreme, end = extreme;
  double least = cost(extreme);
  for (int k = 1; k < kSteps; ++k) {
    end *= kShrink;
    const double error = cost(end);
    if (!(error < least * (1 - kMinGain))) continue;
    least = error;
    best = end;
  }
  return best;
}

// The range [lo, hi] with the least cost(lo, hi).
template <class Cost>
ObservedRange best_range(const ValueStatistics& statistics, const GridSpec& spec, const Cost& error) {
  const float min = std::min(statistics.min, 0.0F), max = std::max(statistics.max, 0.0F);
  if (spec.scheme == Scheme::symmetric) {
    const float end = best_end(std::max(-min, max), [&](float e) { return error(-e, e); });
    return {std::max(min, -end), std::min(max, end)};
  }
  // Optimizes one end after the other, twice. The ends affect each other only through the rounding error.
  ObservedRange range{min, max};
  for (int round = 0; round < 2; ++round) {
    if (max > 0) range.max = best_end(max, [&](float hi) { return error(range.min, hi); });
    if (min < 0) range.min = best_end(min, [&](float lo) { return error(lo, range.max); });
  }
  return range;
}

// The mean of the samples' extremes: an outlier counts as one sample of many.
ObservedRange observe_moving_average(const ValueStatistics& statistics) {
  const auto count = static_cast<double>(statistics.sample_count);
  check(count > 0,
        "observer moving_average needs the extremes of each sample, which these statistics lack: calibrate again");
  return {static_cast<float>(statistics.sample_minima.value() / count),
          static_cast<float>(statistics.sample_maxima.value() / count)};
}

// Raises the lower end as long as this reduces the error after a reader that shrinks negative numbers.
ObservedRange raise_lower_end(ObservedRange range, const ValueStatistics& statistics, const GridSpec& spec,
                              float negative_gain) {
  if (range.min >= 0 || spec.scheme == Scheme::symmetric) return range;
  const ExpectedError error(statistics, spec, negative_gain);
  range.min = best_end(range.min, [&](float lo) { return error(lo, std::max(range.max, 0.0F)); });
  return range;
}

}  // namespace

ObservedRange observe(const ValueStatistics& statistics, Observer observer, const GridSpec& spec, double percentile,
                      float negative_gain) {
  check(percentile > 50 && percentile <= 100, "percentile is {}; it must be greater than 50 and at most 100",
        percentile);
  check(observer != Observer::automatic, "observer auto needs samples; statistics alone are not enough");
  ObservedRange range{statistics.min, statistics.max};
  if (statistics.bins.empty() || statistics.min == statistics.max) return range;
  if (observer == Observer::mse) return best_range(statistics, spec, ExpectedError(statistics, spec, negative_gain));
  if (observer == Observer::entropy) range = best_range(statistics, spec, quantization::Divergence(statistics, spec));
  if (observer == Observer::moving_average) range = observe_moving_average(statistics);
  if (observer == Observer::percentile) range = observe_percentile(statistics, percentile);
  return negative_gain < 1 ? raise_lower_end(range, statistics, spec, negative_gain) : range;
}

}  // namespace bitfold
