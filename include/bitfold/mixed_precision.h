// Searches for the smallest mix of bit widths, layer by layer, that keeps a given accuracy.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "bitfold/batch.h"
#include "bitfold/calibrate.h"
#include "bitfold/graph.h"
#include "bitfold/progress.h"
#include "bitfold/quantize.h"

namespace bitfold {

struct MixedPrecisionOptions {
  /// Maximum drop of top-1 accuracy below the float network, in percentage points; without labels, maximum
  /// disagreement with the float network.
  double max_drop = 0.5;
  std::vector<int> weight_bits{4, 8};     ///< Candidate weight bits, 2 to 8.
  std::int64_t sensitivity_samples = 64;  ///< See SensitivityOptions::sample_count.
  /// Samples on which candidates' weights are rounded and biases corrected, as in quantize(). Null: none.
  BatchSource* samples = nullptr;
  int threads = 0;  ///< 0 means all cores.
  /// Seconds after which the search ends with the best mix so far; 0 means no limit.
  double time_budget_s = 0;
  /// File that keeps the measurements; empty for none. It is read at the start and written after every step, so that an
  /// interrupted search resumes and a search with another max_drop reuses them.
  std::string state_path;
  Progress progress;  ///< Cancelling also ends the search with the best mix so far.
};

/// The bits of one layer.
struct LayerChoice {
  int weight_bits = 8;      ///< 0 means float.
  int activation_bits = 8;  ///< Bits of its output grid; 0 for float.

  bool operator==(const LayerChoice&) const = default;
};

/// A mix that was evaluated.
struct MixPoint {
  std::vector<LayerChoice> choices;  ///< One for each layer, in the order of MixedPrecision::layers.
  std::int64_t bytes = 0;            ///< Size of the ONNX file.
  double score = 0;                  ///< Top-1 or agreement, as a fraction.
  /// Drop below float, in percentage points; negative if the mix is better than float.
  double drop = 0;
  bool is_on_front = false;  ///< Whether no other evaluated mix is both smaller and better (Pareto).
};

struct MixedPrecision {
  std::vector<std::string> layers;  ///< Every layer with weights, in execution order.
  std::vector<MixPoint> points;     ///< In order of evaluation.
  int best = -1;                    ///< Index of the smallest point within max_drop; -1 if there is none.
  bool has_labels = false;          ///< Whether `score` is top-1; otherwise agreement with float.
  double float_score = 0;
  double max_drop = 0;  ///< As in the options.
  std::int64_t evaluation_samples = 0;
  bool is_complete = true;  ///< False when the time budget or cancelling ended the search.
  Recipe recipe;            ///< The given recipe with the best mix in its `layers`.
};

/// `graph`, `calibration` and `recipe` are those of quantize(); settings in the recipe's `layers` are kept.
/// `sensitivity_source` determines the order of the search; every accuracy is measured on `evaluation`. Throws Error if
/// the first output is not a vector of scores, or the state file belongs to another network, calibration, recipe or
/// data.
MixedPrecision search_mixed_precision(const Graph& graph, const Calibration& calibration,
                                      BatchSource& sensitivity_source, BatchSource& evaluation,
                                      const Recipe& recipe = {}, const MixedPrecisionOptions& options = {});

}  // namespace bitfold
