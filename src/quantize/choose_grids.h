// Which of several grids for a value harms the network's outputs least, measured on samples.
#pragma once

#include <array>
#include <cstdint>
#include <vector>

#include "bitfold/batch.h"
#include "bitfold/calibrate.h"
#include "bitfold/graph.h"
#include "quantize/planner.h"

namespace bitfold::quantization {

/// What Observer::automatic chooses from, the one that measured best alone first.
inline constexpr std::array kAutomaticObservers{Observer::mse, Observer::entropy, Observer::percentile,
                                                Observer::moving_average, Observer::min_max};

/// The grids among which one group of values has a choice.
struct GridChoice {
  std::vector<ValueId> members;
  std::vector<QuantParams> candidates;  ///< The first one is taken where several do equally well.
};

struct ChooseOptions {
  /// Of the source's first ones as many as take `work` elements computed for all candidates, within these limits.
  std::int64_t least_samples = 16, most_samples = 128;
  std::int64_t work = std::int64_t{4} << 30;
  int threads = 0;  ///< 0: all cores.
};

/// For each choice the number of its best candidate: the one with which the error of the network's outputs is least
/// when its members alone lie on that grid and everything else stays in float (another than the first, if it is 5 %
/// less). The error is the sum over outputs of the squared error relative to the squared output, over all samples:
///
///   sum_o  sum_n |y'_o,n - y_o,n|^2 / sum_n |y_o,n|^2
///
/// The float network runs once for each sample, and for each candidate only what comes after the members. The same
/// whatever the number of threads. Memory: the values of one sample for each core. `progress` counts samples.
std::vector<std::size_t> choose_grids(const Graph& graph, const std::vector<GridChoice>& choices, BatchSource& samples,
                                      const ChooseOptions& options = {}, const Progress& progress = {});

}  // namespace bitfold::quantization
