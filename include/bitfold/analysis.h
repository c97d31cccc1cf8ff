// The report that says why: every layer's error, what causes it, and what to do about it, as JSON and as a page.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "bitfold/calibrate.h"
#include "bitfold/graph.h"
#include "bitfold/mixed_precision.h"
#include "bitfold/quantize.h"
#include "bitfold/report.h"
#include "bitfold/sensitivity.h"

namespace bitfold {

enum class Severity { note, warning };
std::string_view to_string(Severity severity);

/// What kind of cause, for filters and tests; the sentence is for people.
enum class Cause {
  wide_channels,  ///< some channels' weights reach much further than the others'
  dead_channels,  ///< channels without weights
  clipped,        ///< values beyond the ends of the grid
  long_tail,      ///< a few values stretch the grid of all
  unused_grid,    ///< codes that no value reaches
  largest_share,  ///< much of the whole error comes from here
  low_bits,       ///< few weight bits cost far more here than elsewhere
  left_in_float,  ///< and why
  raised_scale,   ///< a weight scale was raised to keep accumulators in int32
};
std::string_view to_string(Cause cause);

struct Finding {
  Severity severity = Severity::note;
  Cause cause = Cause::clipped;
  std::string text;  ///< A plain sentence: what, how much, and what to do.
};

/// Counts of a value in equal bins over [low, high], for drawing.
struct ValueHistogram {
  double low = 0, high = 0;
  std::vector<std::int64_t> counts;
};

/// Least and greatest weight of every output channel; where there are more than 512, of as many equal runs of channels.
struct WeightRanges {
  std::vector<float> min, max;
  std::int64_t channel_count = 0, dead_count = 0, wide_count = 0;
  double median_reach = 0;  ///< Median over channels of max |w|, channels without weights left out.
  double widest_reach = 0;
};

struct LayerAnalysis {
  std::string node, op, value;  ///< `value`: the output that figures below are about.
  Shape output_shape;
  std::int64_t parameter_count = 0, mac_count = 0;
  bool is_quantized = false, has_weights = false;
  int weight_bits = 0, activation_bits = 0;  ///< 0 in float.
  std::optional<QuantParams> grid;           ///< Of the output.
  std::optional<double> sqnr_db;             ///< Of the output in the whole quantized network, against float.
  std::optional<LayerSensitivity> sensitivity;
  std::string kernel;  ///< The engine's, of the step that computes the output; empty where it was fused into another.
  std::optional<double> time_us;         ///< Of that step: median, one sample, one thread.
  std::optional<ValueHistogram> values;  ///< From the calibration.
  std::optional<double>
      clipped_share;                 ///< Of the calibration's values, beyond the grid's ends by more than half a step.
  std::optional<double> used_codes;  ///< Of the grid's codes: the part between the least and the greatest value seen.
  std::optional<WeightRanges> weights;
  std::vector<Finding> findings;
};

struct ModelFigures {
  std::int64_t bytes = 0;            ///< Of the ONNX file.
  double latency_us = 0;             ///< Median, one sample, one thread.
  std::optional<double> top1, top5;  ///< Where the evaluation data has labels.
};

struct Analysis {
  std::string model;  ///< As the report calls it.
  Recipe recipe;
  std::int64_t calibration_samples = 0, comparison_samples = 0;
  std::string comparison_data;
  ModelFigures before, after;
  std::optional<double> agreement;
  double sqnr_db = 0;                 ///< Of the first output.
  std::vector<LayerAnalysis> layers;  ///< Every computed float value of the quantized network, in execution order.
  Sensitivity sensitivity;
  std::optional<MixedPrecision> mixed;
};

struct AnalysisOptions {
  SensitivityOptions sensitivity;
  int threads = 0;
  bool has_accuracy = false;  ///< `comparison` is evaluation data: accuracy against its labels is measured too.
  double bench_time_s = 0.5;  ///< For the latencies; 0: only the least number of runs.
  /// The result to analyze; null: quantize(graph, calibration, recipe). Sensitivity is measured without the refinements
  /// that need samples.
  const QuantizeResult* quantized = nullptr;
};

/// Quantizes, compares and measures. `samples` serve sensitivity, `comparison` the figures of the whole (they may be
/// the same object). `calibration` as in quantize(). Deterministic but for the latencies.
Analysis analyze(const Graph& graph, const Calibration& calibration, const Recipe& recipe, BatchSource& samples,
                 BatchSource& comparison, const AnalysisOptions& options = {});

/// What is wrong with a layer and what to do; called by analyze() once its figures are known.
std::vector<Finding> diagnose(const LayerAnalysis& layer, const Analysis& whole);

/// The analysis as JSON, one object; numbers that are not finite become null.
std::string analysis_json(const Analysis& analysis);
/// The search alone, as it stands in analysis_json under "mixed".
std::string mixed_precision_json(const MixedPrecision& mixed);
/// One HTML file that needs nothing else: styles, scripts, the chart library and the data are in it.
std::string analysis_page(const Analysis& analysis);

}  // namespace bitfold
