// Which layers quantization hurts: each measured alone, and the whole without each.
#pragma once

#include <atomic>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "bitfold/batch.h"
#include "bitfold/calibrate.h"
#include "bitfold/graph.h"
#include "bitfold/quantize.h"

namespace bitfold {

/// What a quantized network does to the outputs, against the float one on the same samples.
struct Damage {
  /// sum (x - y)^2 / sum x^2 over all samples: noise to signal. The mean of it over the graph's float outputs.
  double noise = 0;
  /// Fraction of samples whose first output has the same argmax; absent where it is no vector of scores.
  std::optional<double> agreement;

  /// -10 log10(noise); +infinity without noise.
  double sqnr_db() const;
};

struct SensitivityOptions {
  std::vector<int> weight_bits{8, 4};  ///< Each layer alone is measured at each of these, 2..8.
  bool all_but_one = true;             ///< Also the network quantized but for each layer.
  /// Samples, taken evenly over the source. They are kept in memory with the float network's outputs: fewer where that
  /// would take more than 256 MB. One sample at a time, so that neither they nor `threads` change another's result.
  std::int64_t sample_count = 64;
  int threads = 0;  ///< 0: all cores. Each measures another candidate, on one core.
  /// Stops measuring after so many seconds; 0: never. What is not measured by then is absent from the result.
  double time_budget_s = 0;
  const std::atomic<bool>* interrupted = nullptr;  ///< Stops likewise when it becomes true.
  Progress progress;
};

struct LayerSensitivity {
  std::string node, op;
  std::int64_t weight_count = 0;
  /// This layer alone quantized, everything else float, at each of SensitivityOptions::weight_bits; activations as in
  /// the recipe.
  std::vector<std::optional<Damage>> alone;
  std::optional<Damage> all_but;  ///< The network as in the recipe, this layer in float.
  /// Of the noise of all layers, each alone as in the recipe: this one's part. The parts are of a sum of powers, which
  /// is what independent errors add up to.
  std::optional<double> error_share;
};

struct Sensitivity {
  std::vector<int> weight_bits;
  std::vector<LayerSensitivity> layers;  ///< Every Conv, Gemm and MatMul that the recipe quantizes, in execution order.
  Damage all;                            ///< The network as in the recipe.
  std::int64_t sample_count = 0;
  bool is_complete = true;
};

/// `graph` and `calibration` as in quantize(). Throws Error where quantize() does, and when the source has no samples.
Sensitivity measure_sensitivity(const Graph& graph, const Calibration& calibration, BatchSource& source,
                                const Recipe& recipe = {}, const SensitivityOptions& options = {});

}  // namespace bitfold
