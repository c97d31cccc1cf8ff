// The histogram of one value, exact under merging.
//
// Bin i counts the reals of [(i - K/2) w, (i - K/2 + 1) w) with K = kBinCount and w a power of two: the least one with
// which every real so far has a bin. Doubling w merges the bins in pairs, because floor(x / 2w) = floor(floor(x / w) /
// 2). So the histogram of a set of reals is the same in whatever order and grouping they came. So are the sums of
// samples' extremes, which are exact.
#include <algorithm>
#include <array>
#include <bit>
#include <cmath>

#include "base/check.h"
#include "bitfold/calibrate.h"

namespace bitfold {
namespace {

constexpr int kHalf = ValueStatistics::kBinCount / 2;
// The narrowest bin: its inverse is still finite. All reals below it in magnitude share the two bins around 0.
constexpr int kLeastExponent = -126;
// Values placed at a time: their bin numbers stay in the first-level cache.
constexpr std::size_t kBlock = 1024;

struct Extremes {
  float min, max;
  bool all_finite;
};

// Independent lanes, because the compiler may not reorder a running float minimum.
Extremes find_extremes(std::span<const float> values) {
  constexpr std::size_t kLanes = 16;
  constexpr std::uint32_t kExponent = 0x7f800000;  // all ones: infinity or NaN
  std::array<float, kLanes> low, high;
  std::array<std::uint32_t, kLanes> bad{};
  low.fill(values[0]);
  high.fill(values[0]);
  const std::size_t whole = values.size() / kLanes * kLanes;
  for (std::size_t i = 0; i < whole; i += kLanes) {
    for (std::size_t k = 0; k < kLanes; ++k) {
      const float x = values[i + k];
      low[k] = x < low[k] ? x : low[k];
      high[k] = x > high[k] ? x : high[k];
      bad[k] |= (std::bit_cast<std::uint32_t>(x) & kExponent) == kExponent ? 1U : 0U;
    }
  }
  for (std::size_t i = whole; i < values.size(); ++i) {
    low[0] = std::min(low[0], values[i]);
    high[0] = std::max(high[0], values[i]);
    bad[0] |= std::isfinite(values[i]) ? 0U : 1U;
  }
  // + 0 turns -0 into 0: an extreme must not depend on which zero came first.
  return {*std::min_element(low.begin(), low.end()) + 0.0F, *std::max_element(high.begin(), high.end()) + 0.0F,
          std::all_of(bad.begin(), bad.end(), [](std::uint32_t b) { return b == 0; })};
}

// floor(x / width). Comparing with x itself keeps a negative x whose quotient underflows below 0.
int floor_quotient(float x, float width, float inverse) {
  const int truncated = static_cast<int>(x * inverse);
  return truncated - (x < static_cast<float>(truncated) * width ? 1 : 0);
}

// In double, where the largest floats over the narrowest bin are still finite.
bool fits(float min, float max, float width) {
  return std::floor(static_cast<double>(min) / width) >= -kHalf && std::floor(static_cast<double>(max) / width) < kHalf;
}

float least_width(float min, float max) {
  const float largest = std::max(std::fabs(min), std::fabs(max));
  int exponent = kLeastExponent;
  if (largest > 0) exponent = std::max(kLeastExponent, std::ilogb(largest) - std::ilogb(static_cast<float>(kHalf)));
  float width = std::ldexp(1.0F, exponent);
  while (!fits(min, max, width)) width *= 2;
  return width;
}

// Merges bins until they are `width` wide: bin j = i - K/2 goes to j >> shift.
void widen(ValueStatistics& statistics, float width) {
  const int shift = std::min(31, std::ilogb(width) - std::ilogb(statistics.bin_width));
  statistics.bin_width = width;
  auto& bins = statistics.bins;
  const auto move = [&](int j) {
    const auto from = static_cast<std::size_t>(j + kHalf), to = static_cast<std::size_t>((j >> shift) + kHalf);
    if (from == to) return;
    bins[to] += bins[from];
    bins[from] = 0;
  };
  // From the middle outwards, so that a target has been emptied before it is filled.
  for (int j = 0; j < kHalf; ++j) move(j);
  for (int j = -1; j >= -kHalf; --j) move(j);
}

void include_range(ValueStatistics& statistics, float min, float max) {
  const bool is_first = statistics.bins.empty();
  statistics.min = is_first ? min : std::min(statistics.min, min);
  statistics.max = is_first ? max : std::max(statistics.max, max);
  const float width = least_width(statistics.min, statistics.max);
  if (is_first) {
    statistics.bins.assign(ValueStatistics::kBinCount, 0);
    statistics.bin_width = width;
  } else if (width > statistics.bin_width) {
    widen(statistics, width);
  }
}

// Two tables in turn: runs of equal values (the zeros behind a Relu) would else wait for their own last store.
void count_values(std::span<const float> values, float width, std::vector<std::int64_t>& bins) {
  using Table = std::array<std::uint32_t, ValueStatistics::kBinCount>;
  Table even{}, odd{};
  std::array<std::uint16_t, kBlock> places;
  const float inverse = 1 / width;
  for (std::size_t start = 0; start < values.size(); start += kBlock) {
    const std::size_t count = std::min(kBlock, values.size() - start);
    const float* x = values.data() + start;
    for (std::size_t i = 0; i < count; ++i)
      places[i] = static_cast<std::uint16_t>(floor_quotient(x[i], width, inverse) + kHalf);
    for (std::size_t i = 0; i + 2 <= count; i += 2) {
      ++even[places[i]];
      ++odd[places[i + 1]];
    }
    if (count % 2 == 1) ++even[places[count - 1]];
  }
  for (std::size_t b = 0; b < bins.size(); ++b) bins[b] += std::int64_t{even[b]} + odd[b];
}

Extremes include(ValueStatistics& statistics, std::span<const float> values) {
  const Extremes extremes = find_extremes(values);
  if (!extremes.all_finite) {
    const auto bad = std::find_if(values.begin(), values.end(), [](float x) { return !std::isfinite(x); });
    fail("{} at index {}", std::isnan(*bad) ? "NaN" : "an infinite value", bad - values.begin());
  }
  include_range(statistics, extremes.min, extremes.max);
  statistics.count += static_cast<std::int64_t>(values.size());
  constexpr std::size_t kPiece = std::size_t{1} << 30;  // cannot overflow the 32-bit tables
  for (std::size_t start = 0; start < values.size(); start += kPiece)
    count_values(values.subspan(start, std::min(kPiece, values.size() - start)), statistics.bin_width, statistics.bins);
  return extremes;
}

void forget_samples(ValueStatistics& statistics) {
  statistics.sample_count = 0;
  statistics.sample_minima = statistics.sample_maxima = {};
}

}  // namespace

void ValueStatistics::add(std::span<const float> values) {
  if (values.empty()) return;
  include(*this, values);
  forget_samples(*this);
}

void ValueStatistics::add_sample(std::span<const float> values) {
  if (values.empty()) return;
  const bool knows_samples = count == 0 || sample_count > 0;
  const Extremes extremes = include(*this, values);
  if (!knows_samples) return;
  ++sample_count;
  sample_minima.add(extremes.min);
  sample_maxima.add(extremes.max);
}

void ValueStatistics::merge(const ValueStatistics& other) {
  if (other.bins.empty()) return;
  const bool knows_samples = (count == 0 || sample_count > 0) && other.sample_count > 0;
  include_range(*this, other.min, other.max);
  count += other.count;
  const int shift = std::min(31, std::ilogb(bin_width) - std::ilogb(other.bin_width));
  for (int j = -kHalf; j < kHalf; ++j)
    bins[static_cast<std::size_t>((j >> shift) + kHalf)] += other.bins[static_cast<std::size_t>(j + kHalf)];
  if (!knows_samples) return forget_samples(*this);
  sample_count += other.sample_count;
  sample_minima.add(other.sample_minima);
  sample_maxima.add(other.sample_maxima);
}

void Calibration::merge(const Calibration& other) {
  for (const auto& [name, statistics] : other.values) values[name].merge(statistics);
  sample_count += other.sample_count;
}

}  // namespace bitfold
