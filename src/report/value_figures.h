// How the grids and weights of a layer fit the values they represent.
#pragma once

#include <optional>

#include "bitfold/analysis.h"

namespace bitfold::report {

ValueHistogram histogram(const ValueStatistics& statistics);
/// The fraction of the values seen that lie more than half a step outside a per-tensor grid. Values are assumed to be
/// spread evenly within a bin.
double clipped_share(const ValueStatistics& statistics, const QuantParams& grid);
/// The fraction of the grid's codes between those of the least and the greatest value seen.
double used_codes(const ValueStatistics& statistics, const QuantParams& grid);
/// `weights` has its output channels along `axis`. A channel is dead if its range is at most kDeadRatio times the
/// widest one, and wide if its range is more than kWideRatio times the median of the others.
WeightRanges weight_ranges(const Tensor& weights, int axis);

/// Training with weight decay leaves the weights of unused channels at 1e-20 or so rather than at 0.
inline constexpr double kDeadRatio = 1e-6;
/// From this ratio on, the median channel uses at most 5 of the 8 bits of a grid that all channels share.
inline constexpr double kWideRatio = 8;

}  // namespace bitfold::report
