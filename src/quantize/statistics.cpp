// The histogram of one value. Merging histograms gives the same counts as one histogram of all reals.
//
// Bin i counts the reals of [(i - K/2) w, (i - K/2 + 1) w) with K = kBinCount. w is the smallest power of two with
// which every real added so far has a bin. Doubling w merges the bins in pairs, because floor(x / 2w) = floor(floor(x /
// w) / 2). So the histogram of a set of reals does not depend on their order and grouping. The sums of samples'
// extremes are exact, so they do not depend on it either.
#include <algorithm>
#include <cmath>

#include "base/check.h"
#include "bitfold/calibrate.h"
#include "bitfold/cpu.h"
#include "kernels/convert/convert.h"
#include "quantize/non_finite.h"

namespace bitfold {
namespace {

constexpr int kHalf = ValueStatistics::kBinCount / 2;
// The narrowest bin whose inverse is finite. All smaller reals share the two bins around 0.
constexpr int kMinExponent = -126;
static_assert(ValueStatistics::kBinCount == kHistogramBins);

const ConvertKernels& kernels() {
  static const ConvertKernels& fastest = convert_kernels(isa_cap());
  return fastest;
}

struct Extremes {
  float min, max;
};

// In double, where the largest float divided by the narrowest bin is finite.
bool fits(float min, float max, float width) {
  return std::floor(static_cast<double>(min) / width) >= -kHalf && std::floor(static_cast<double>(max) / width) < kHalf;
}

float min_width(float min, float max) {
  const float largest = std::max(std::fabs(min), std::fabs(max));
  int exponent = kMinExponent;
  if (largest > 0) exponent = std::max(kMinExponent, std::ilogb(largest) - std::ilogb(static_cast<float>(kHalf)));
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
  // From the middle outwards, so that each target is empty before it is filled.
  for (int j = 0; j < kHalf; ++j) move(j);
  for (int j = -1; j >= -kHalf; --j) move(j);
}

void include_range(ValueStatistics& statistics, float min, float max) {
  const bool is_first = statistics.bins.empty();
  statistics.min = is_first ? min : std::min(statistics.min, min);
  statistics.max = is_first ? max : std::max(statistics.max, max);
  const float width = min_width(statistics.min, statistics.max);
  if (is_first) {
    statistics.bins.assign(ValueStatistics::kBinCount, 0);
    statistics.bin_width = width;
  } else if (width > statistics.bin_width) {
    widen(statistics, width);
  }
}

void refuse(float bad, std::size_t index) { fail("{} at index {}", quantization::non_finite_word(bad), index); }

// Widens the bins for the next block, whose first real has no bin.
void include_next(ValueStatistics& statistics, std::span<const float> values, std::size_t index) {
  constexpr std::size_t kBlock = 1024;  // reals in one block are likely to be of similar size
  const auto block = values.subspan(index, std::min(kBlock, values.size() - index));
  const std::int64_t bad = kernels().find_non_finite(block.data(), std::ssize(block));
  if (bad == 0) refuse(block[0], index);
  Extremes extremes{};
  kernels().min_max(block.data(), bad, &extremes.min, &extremes.max);
  include_range(statistics, extremes.min, extremes.max);
}

// Counts and extremes in one pass, because nearly all reals have a bin already.
Extremes include(ValueStatistics& statistics, std::span<const float> values) {
  Extremes extremes{values[0], values[0]};
  for (std::size_t done = 0; done < values.size();) {
    if (!statistics.bins.empty()) {
      const auto rest = values.subspan(done);
      const std::int64_t counted = kernels().count_bins(rest.data(), std::ssize(rest), statistics.bin_width,
                                                        statistics.bins.data(), &extremes.min, &extremes.max);
      statistics.count += counted;
      done += static_cast<std::size_t>(counted);
    }
    if (done < values.size()) include_next(statistics, values, done);
  }
  statistics.min = std::min(statistics.min, extremes.min);
  statistics.max = std::max(statistics.max, extremes.max);
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
  const bool has_samples = count == 0 || sample_count > 0;
  const Extremes extremes = include(*this, values);
  if (!has_samples) return;
  ++sample_count;
  sample_minima.add(extremes.min);
  sample_maxima.add(extremes.max);
}

void ValueStatistics::merge(const ValueStatistics& other) {
  if (other.bins.empty()) return;
  const bool has_samples = (count == 0 || sample_count > 0) && other.sample_count > 0;
  include_range(*this, other.min, other.max);
  count += other.count;
  const int shift = std::min(31, std::ilogb(bin_width) - std::ilogb(other.bin_width));
  for (int j = -kHalf; j < kHalf; ++j)
    bins[static_cast<std::size_t>((j >> shift) + kHalf)] += other.bins[static_cast<std::size_t>(j + kHalf)];
  if (!has_samples) return forget_samples(*this);
  sample_count += other.sample_count;
  sample_minima.add(other.sample_minima);
  sample_maxima.add(other.sample_maxima);
}

void Calibration::merge(const Calibration& other) {
  check(prepared == other.prepared, "the two calibrated networks were equalized or smoothed differently");
  for (const auto& [name, statistics] : other.values) values[name].merge(statistics);
  sample_count += other.sample_count;
}

}  // namespace bitfold
