// Measures the output error that each layer causes, with only this layer quantized and with every layer but this one.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "bitfold/batch.h"
#include "bitfold/calibrate.h"
#include "bitfold/graph.h"
#include "bitfold/progress.h"
#include "bitfold/quantize.h"

namespace bitfold {

/// The output error of a quantized network against the float one on the same samples.
struct Damage {
  /// Noise to signal, sum (x - y)^2 / sum x^2 over all samples; the mean over the graph's float outputs.
  double noise = 0;
  /// Fraction of samples whose first output has the same argmax; absent if it is not a vector of scores.
  std::optional<double> agreement;

  /// -10 log10(noise); +infinity without noise.
  double sqnr_db() const;
};

struct SensitivityOptions {
  std::vector<int> weight_bits{8, 4};  ///< Weight bits at which each layer alone is measured, 2..8.
  bool all_but_one = true;             ///< Also measure the whole network with each layer in float.
  /// Number of samples, taken evenly from the source and kept in memory with the float network's outputs; fewer if that
  /// would take more than 256 MB.
  std::int64_t sample_count = 64;
  int threads = 0;  ///< 0 means all cores. Each thread measures a different candidate.
  /// Seconds after which measuring stops; 0 means no limit. Missing measurements are absent from the result.
  double time_budget_s = 0;
  Progress progress;  ///< Cancelling also stops measuring.
};

struct LayerSensitivity {
  std::string node, op;
  std::int64_t weight_count = 0;
  /// The damage with only this layer quantized and everything else in float, for each of
  /// SensitivityOptions::weight_bits. Activation bits are the recipe's.
  std::vector<std::optional<Damage>> alone;
  std::optional<Damage> all_but;  ///< The damage of the recipe with this layer left in float.
  /// This layer's share of the sum of all layers' noises, each measured alone with the recipe's bits. (Noise powers of
  /// independent errors add up.)
  std::optional<double> error_share;
};

struct Sensitivity {
  std::vector<int> weight_bits;
  std::vector<LayerSensitivity> layers;  ///< Every Conv, Gemm and MatMul that the recipe quantizes, in execution order.
  Damage all;                            ///< The damage of the whole network quantized by the recipe.
  std::int64_t sample_count = 0;
  bool is_complete = true;
};

/// `graph` and `calibration` are those of quantize(). Throws Error as quantize() does and if there are no samples.
Sensitivity measure_sensitivity(const Graph& graph, const Calibration& calibration, BatchSource& source,
                                const Recipe& recipe = {}, const SensitivityOptions& options = {});

}  // namespace bitfold
