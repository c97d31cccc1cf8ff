// What the grids and weights of a layer look like next to the values they are for.
#pragma once

#include <optional>

#include "bitfold/analysis.h"

namespace bitfold::report {

ValueHistogram histogram(const ValueStatistics& statistics);
/// Of the values seen, the part beyond the ends of a per-tensor grid by more than half a step. Bins are taken as spread
/// evenly.
double clipped_share(const ValueStatistics& statistics, const QuantParams& grid);
/// Of the grid's codes, the part between those of the least and the greatest value seen.
double used_codes(const ValueStatistics& statistics, const QuantParams& grid);
/// `weights` with `axis` as the output channels. A channel that reaches at most kDeadRatio times as
/// far as the widest is dead; one that reaches more than kWideRatio times as far as the median of the others is wide.
WeightRanges weight_ranges(const Tensor& weights, int axis);

/// Training with weight decay leaves the weights of channels that nothing needs at 1e-20 and the like rather than at 0.
inline constexpr double kDeadRatio = 1e-6;
/// From here on, the median channel has at most 5 of the 8 bits of a grid that all channels share.
inline constexpr double kWideRatio = 8;

}  // namespace bitfold::report
