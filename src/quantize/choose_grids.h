// Chooses among several grids for a value by the error of the network's outputs on samples.
#pragma once

#include <array>
#include <cstdint>
#include <vector>

#include "bitfold/batch.h"
#include "bitfold/calibrate.h"
#include "bitfold/graph.h"
#include "quantize/planner.h"

namespace bitfold::quantization {

/// The observers that Observer::automatic chooses from. The first is the one that is most accurate when used for all
/// values.
inline constexpr std::array kAutomaticObservers{Observer::mse, Observer::entropy, Observer::percentile,
                                                Observer::moving_average, Observer::min_max};

/// A group of values that share a grid, and the candidates for it.
struct GridChoice {
  std::vector<ValueId> members;
  std::vector<QuantParams> candidates;  ///< The first one is chosen if several are equally good.
};

struct ChooseOptions {
  /// Limits for the number of samples. Within them, it is chosen so that all candidates together compute `work`
  /// elements.
  std::int64_t min_samples = 16, max_samples = 128;
  std::int64_t work = std::int64_t{4} << 30;
  int threads = 0;  ///< 0 means all cores.
};

/// Returns the index of the best candidate of each choice: the one with the least error of the network's outputs when
/// only the choice's members are quantized and everything else stays in float. Another candidate than the first must be
/// 5 % better. The error is the sum over outputs of the squared error relative to the squared output, over all samples:
///
///   sum_o  sum_n |y'_o,n - y_o,n|^2 / sum_n |y_o,n|^2
///
/// The float network runs once per sample; for each candidate only the nodes after the members run again. The result
/// does not depend on the number of threads. Memory: the values of one sample per core. `progress` counts samples.
std::vector<std::size_t> choose_grids(const Graph& graph, const std::vector<GridChoice>& choices, BatchSource& samples,
                                      const ChooseOptions& options = {}, const Progress& progress = {});

}  // namespace bitfold::quantization
