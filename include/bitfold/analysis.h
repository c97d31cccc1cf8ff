// The report: every layer's error, its causes and advice, as JSON and as an HTML page.
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

/// How serious a finding is.
enum class Severity {
  note,     ///< Information; no action is needed.
  warning,  ///< Likely to reduce accuracy; the text gives advice.
};
std::string_view to_string(Severity severity);

/// The kind of cause, for filters and tests; the finding's text is for people.
enum class Cause {
  wide_channels,  ///< some channels have much larger weights than the others
  dead_channels,  ///< channels with negligible weights
  clipped,        ///< values outside the grid
  long_tail,      ///< a few extreme values widen the grid of all
  unused_grid,    ///< codes that no value uses
  largest_share,  ///< a large share of the total error comes from this layer
  low_bits,       ///< few weight bits add much more error here than in other layers
  left_in_float,  ///< the layer is not quantized; the text says why
  raised_scale,   ///< a weight scale was raised to keep accumulators in int32
};
std::string_view to_string(Cause cause);

struct Finding {
  Severity severity = Severity::note;
  Cause cause = Cause::clipped;
  std::string text;  ///< A sentence: what is wrong, how much, and what to do.
};

/// Counts of a value in equal bins over [low, high], for a chart.
struct ValueHistogram {
  double low = 0, high = 0;
  std::vector<std::int64_t> counts;
};

/// The smallest and largest weight of each output channel. Above 512 channels, each entry covers a run of neighbouring
/// channels; the runs have equal lengths.
struct WeightRanges {
  std::vector<float> min, max;
  std::int64_t channel_count = 0, dead_count = 0, wide_count = 0;
  double median_extent = 0;  ///< Median over channels of max |w|, leaving out channels whose weights are all 0.
  double widest_extent = 0;  ///< Maximum over channels of max |w|.
};

struct LayerAnalysis {
  std::string node, op, value;  ///< `value` is the output that the figures below describe.
  Shape output_shape;
  std::int64_t parameter_count = 0, mac_count = 0;
  bool is_quantized = false, has_weights = false;
  int weight_bits = 0, activation_bits = 0;  ///< 0 for float.
  std::optional<QuantParams> grid;           ///< The grid of the output.
  std::optional<double> sqnr_db;             ///< SQNR of the output in the whole quantized network.
  std::optional<LayerSensitivity> sensitivity;
  /// The kernel of the engine step that computes the output; empty if the layer was fused into another step.
  std::string kernel;
  std::optional<double> time_us;         ///< Time of that step: median, one sample, one thread.
  std::optional<ValueHistogram> values;  ///< Histogram from the calibration.
  std::optional<double>
      clipped_share;  ///< Fraction of the calibration's values more than half a step outside the grid.
  /// Fraction of the codes that lie between the smallest and the largest value seen.
  std::optional<double> used_codes;
  std::optional<WeightRanges> weights;
  std::vector<Finding> findings;
};

struct ModelFigures {
  std::int64_t bytes = 0;            ///< Size of the ONNX file.
  double latency_us = 0;             ///< Median, one sample, one thread.
  std::optional<double> top1, top5;  ///< Present if the evaluation data has labels.
};

struct Analysis {
  std::string model;  ///< The model's name in the report.
  Recipe recipe;
  std::int64_t calibration_samples = 0, comparison_samples = 0;
  std::string comparison_data;
  ModelFigures before, after;
  std::optional<double> agreement;
  double sqnr_db = 0;                 ///< SQNR of the first output.
  std::vector<LayerAnalysis> layers;  ///< Every computed float value of the quantized network, in execution order.
  Sensitivity sensitivity;
  std::optional<MixedPrecision> mixed;
  /// The nodes outside the part that was quantized. All figures describe this part.
  std::vector<LeftNode> left;
};

struct AnalysisOptions {
  SensitivityOptions sensitivity;
  int threads = 0;
  /// Whether `comparison` is evaluation data. If so, top-1 and top-5 are measured on its labels.
  bool has_accuracy = false;
  double bench_time_s = 0.5;  ///< Minimum time for latencies; 0 means the minimum number of runs.
  /// The result to analyze; null means quantize(graph, calibration, recipe). Sensitivity is measured without
  /// sample-based rounding and bias correction.
  const QuantizeResult* quantized = nullptr;
};

/// Quantizes, compares and measures. `samples` are used for sensitivity, `comparison` for the figures of the whole
/// network (both may be the same object). `calibration` is that of quantize(). Deterministic except for latencies.
Analysis analyze(const Graph& graph, const Calibration& calibration, const Recipe& recipe, BatchSource& samples,
                 BatchSource& comparison, const AnalysisOptions& options = {});

/// Problems of a layer with advice; called by analyze() once its figures are known.
std::vector<Finding> diagnose(const LayerAnalysis& layer, const Analysis& whole);

/// The analysis as one JSON object; numbers that are not finite become null.
std::string analysis_json(const Analysis& analysis);
/// The result of the search, as analysis_json() writes it under "mixed".
std::string mixed_precision_json(const MixedPrecision& mixed);
/// A self-contained HTML file with styles, scripts, the chart library and the data.
std::string analysis_page(const Analysis& analysis);

}  // namespace bitfold
