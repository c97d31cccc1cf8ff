// The cheapest mix of bit widths that keeps a promised accuracy, searched for layer by layer.
#pragma once

#include <atomic>
#include <cstdint>
#include <string>
#include <vector>

#include "bitfold/batch.h"
#include "bitfold/calibrate.h"
#include "bitfold/graph.h"
#include "bitfold/quantize.h"

namespace bitfold {

struct MixedPrecisionOptions {
  /// The promise: at most so many points (hundredths of the evaluation samples) of top-1 accuracy less than the float
  /// network has. Where the data has no labels: at most so many points of disagreement with it.
  double max_drop = 0.5;
  std::vector<int> weight_bits{
      4, 8};  ///< What weights may have, 2..8. More bits, wider activations and float only where needed.
  std::int64_t sensitivity_samples = 64;  ///< As SensitivityOptions::sample_count.
  /// What candidates are quantized with: their weights are rounded and their biases corrected on these, as quantize()
  /// does it. Null: without samples.
  BatchSource* samples = nullptr;
  int threads = 0;  ///< 0: all cores.
  /// Ends the search after so many seconds with the best mix so far; 0: never.
  double time_budget_s = 0;
  const std::atomic<bool>* interrupted = nullptr;  ///< Ends it likewise when it becomes true.
  /// What was measured is kept in this file after every step, and taken from it if it is there: an interrupted search
  /// goes on where it was, and one with another promise begins with what is known. Empty: none.
  std::string state_path;
  Progress progress;
};

/// What one layer is given.
struct LayerChoice {
  int weight_bits = 8;      ///< 0 in float.
  int activation_bits = 8;  ///< Of its output; 0 in float.

  bool operator==(const LayerChoice&) const = default;
};

/// One mix that was evaluated.
struct MixPoint {
  std::vector<LayerChoice> choices;  ///< By layer, as MixedPrecision::layers.
  std::int64_t bytes = 0;            ///< Of the ONNX file.
  double score = 0;                  ///< Top-1 or agreement, fraction of 1.
  double drop = 0;                   ///< In points; negative where the mix is better than float.
  bool is_on_front = false;          ///< No other evaluated mix is both smaller and better (Pareto).
};

struct MixedPrecision {
  std::vector<std::string> layers;  ///< Every layer with weights, in execution order.
  std::vector<MixPoint> points;     ///< In the order of evaluation.
  int best = -1;                    ///< Index of the cheapest that keeps the promise; -1: none was found.
  bool has_labels = false;          ///< `score` is top-1; otherwise agreement with float.
  double float_score = 0;
  double max_drop = 0;  ///< The promise, in points.
  std::int64_t evaluation_samples = 0;
  bool is_complete = true;  ///< False when time or the user ended it.
  Recipe recipe;            ///< The given one with the best mix in its `layers`.
};

/// `graph`, `calibration`, `recipe` as in quantize(); the recipe's `layers` stay as they are where they say something.
/// `sensitivity_source` orders the search; every accuracy is measured on `evaluation`. Throws Error when the first
/// output is no vector of scores, and when the state file is of another network, calibration, recipe or data.
MixedPrecision search_mixed_precision(const Graph& graph, const Calibration& calibration,
                                      BatchSource& sensitivity_source, BatchSource& evaluation,
                                      const Recipe& recipe = {}, const MixedPrecisionOptions& options = {});

}  // namespace bitfold
