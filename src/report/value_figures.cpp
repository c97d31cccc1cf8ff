#include "report/value_figures.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "quantize/bins.h"

namespace bitfold::report {
namespace {

constexpr std::size_t kDrawnBins = 96;     // about three pixels each on a phone
constexpr std::size_t kMaxChannels = 512;  // the number of bars a screen can show

// The fraction of a bin below x.
double part_below(double low, double high, double x) {
  if (high <= low) return low < x ? 1 : 0;
  return std::clamp((x - low) / (high - low), 0.0, 1.0);
}

}  // namespace

ValueHistogram histogram(const ValueStatistics& statistics) {
  ValueHistogram result{.low = statistics.min, .high = statistics.max, .counts = {}};
  if (result.high <= result.low) {  // all values are equal
    result.low -= 0.5;
    result.high += 0.5;
  }
  std::vector<double> counts(kDrawnBins, 0.0);
  const double width = (result.high - result.low) / static_cast<double>(kDrawnBins);
  for (const auto& [low, high, count] : quantization::used_bins(statistics)) {
    double below = 0;
    const auto slot = [&](double x) {
      return std::min(kDrawnBins - 1, static_cast<std::size_t>(std::max(0.0, (x - result.low) / width)));
    };
    for (std::size_t i = slot(low); i <= slot(high); ++i) {
      const double end =
          i + 1 == kDrawnBins ? 1 : part_below(low, high, result.low + static_cast<double>(i + 1) * width);
      counts[i] += count * (end - below);
      below = end;
    }
  }
  for (const double count : counts) result.counts.push_back(static_cast<std::int64_t>(std::llround(count)));
  return result;
}

double clipped_share(const ValueStatistics& statistics, const QuantParams& grid) {
  if (statistics.count == 0) return 0;
  const double scale = grid.scale[0];
  const double low_end = scale * (grid.qmin() - grid.zero_point[0] - 0.5);
  const double high_end = scale * (grid.qmax() - grid.zero_point[0] + 0.5);
  double beyond = 0;
  for (const auto& [low, high, count] : quantization::used_bins(statistics))
    beyond += count * (part_below(low, high, low_end) + 1 - part_below(low, high, high_end));
  // A bin of width 0 lies entirely below or above x.
  return std::clamp(beyond / static_cast<double>(statistics.count), 0.0, 1.0);
}

double used_codes(const ValueStatistics& statistics, const QuantParams& grid) {
  const auto code = [&](double x) {
    return std::clamp<double>(std::nearbyint(x / grid.scale[0]) + grid.zero_point[0], grid.qmin(), grid.qmax());
  };
  return (code(statistics.max) - code(statistics.min) + 1) / (static_cast<double>(grid.qmax()) - grid.qmin() + 1);
}

WeightRanges weight_ranges(const Tensor& weights, int axis) {
  std::size_t channels = static_cast<std::size_t>(weights.dim(axis)), inner = 1;
  for (int d = axis + 1; d < weights.rank(); ++d) inner *= static_cast<std::size_t>(weights.dim(d));
  constexpr float kLargestFloat = std::numeric_limits<float>::max();
  std::vector<float> min(channels, kLargestFloat), max(channels, -kLargestFloat);
  const auto w = weights.data<float>();
  for (std::size_t i = 0; i < w.size(); ++i) {
    const std::size_t c = i / inner % channels;
    min[c] = std::min(min[c], w[i]);
    max[c] = std::max(max[c], w[i]);
  }
  WeightRanges ranges{.channel_count = static_cast<std::int64_t>(channels)};
  std::vector<double> extents;
  for (std::size_t c = 0; c < channels; ++c) extents.push_back(std::max(std::abs(min[c]), std::abs(max[c])));
  const double alive = kDeadRatio * *std::max_element(extents.begin(), extents.end());
  std::erase_if(extents, [&](double extent) { return extent <= alive; });
  ranges.dead_count = static_cast<std::int64_t>(channels - extents.size());
  if (!extents.empty()) {
    std::sort(extents.begin(), extents.end());
    ranges.median_extent = extents[extents.size() / 2];
    ranges.widest_extent = extents.back();
    ranges.wide_count = std::count_if(extents.begin(), extents.end(),
                                      [&](double extent) { return extent > kWideRatio * ranges.median_extent; });
  }
  const std::size_t drawn = std::min(channels, kMaxChannels);
  ranges.min.assign(drawn, kLargestFloat);
  ranges.max.assign(drawn, -kLargestFloat);
  for (std::size_t c = 0; c < channels; ++c) {
    const std::size_t slot = c * drawn / channels;
    ranges.min[slot] = std::min(ranges.min[slot], min[c]);
    ranges.max[slot] = std::max(ranges.max[slot], max[c]);
  }
  return ranges;
}

}  // namespace bitfold::report
