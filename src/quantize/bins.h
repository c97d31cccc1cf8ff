// The non-empty bins of a histogram.
#pragma once

#include <algorithm>
#include <vector>

#include "bitfold/calibrate.h"

namespace bitfold::quantization {

struct Bin {
  double low, high;  ///< Limited to the range of the values.
  double count;
};

/// The non-empty bins in ascending order.
inline std::vector<Bin> used_bins(const ValueStatistics& statistics) {
  constexpr int kHalf = ValueStatistics::kBinCount / 2;
  std::vector<Bin> used;
  for (int i = 0; i < static_cast<int>(statistics.bins.size()); ++i) {
    const auto count = statistics.bins[static_cast<std::size_t>(i)];
    if (count == 0) continue;
    const double low = static_cast<double>(i - kHalf) * statistics.bin_width;
    used.push_back({std::max<double>(low, statistics.min), std::min<double>(low + statistics.bin_width, statistics.max),
                    static_cast<double>(count)});
  }
  return used;
}

}  // namespace bitfold::quantization
