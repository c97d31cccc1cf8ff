// Quantizing a float network: the whole pipeline as one call, and its parts.
#pragma once

#include <map>
#include <optional>
#include <string>
#include <vector>

#include "bitfold/affine.h"
#include "bitfold/batch.h"
#include "bitfold/calibrate.h"
#include "bitfold/equalize.h"
#include "bitfold/graph.h"
#include "bitfold/progress.h"
#include "bitfold/recipe.h"

namespace bitfold {

/// The result for one node.
struct LayerDecision {
  std::string node, op;
  bool quantized = false;
  std::string reason;  ///< Why it was left in float, or what was adjusted.
};

struct QuantizeResult {
  Graph graph;  ///< Satisfies Stage::quantized.
  std::vector<LayerDecision> decisions;
  Recipe recipe;  ///< With everything chosen that was absent or automatic.
  /// With Observer::automatic: the observer chosen for each value that got a grid, by its name.
  std::map<std::string, Observer> observers;
  /// Layers that are rounded after their LeakyRelu (Target::bitfold). Other runtimes than Session run them in float.
  int fused_leaky_relu_layers = 0;
};

/// The lowest and highest number of each channel of the graph's inputs; a single entry applies to all channels.
struct InputRange {
  std::vector<float> min{0}, max{1};
};

/// Options of a call that are not part of the recipe.
struct QuantizeOptions {
  int threads = 0;  ///< 0: all cores. Does not change the result.
  Progress progress;
  WarningFunction warn;
  /// Also keep statistics of values that get no grid, which reports, searches and saved calibrations need.
  bool keeps_all_statistics = false;
  InputRange input_range;  ///< Without data.
};

/// Quantizes a float network as the tool does; the same result as `bitfold quantize`. `graph` is as it was imported, or
/// optimized. `samples` are some 100 typical inputs, read several times; null: without any data (data_free.h). Throws
/// Error naming what is wrong with the network, the samples or the recipe, and Cancelled.
QuantizeResult quantize(const Graph& graph, BatchSource* samples, const Recipe& recipe = {},
                        const QuantizeOptions& options = {});
inline QuantizeResult quantize(const Graph& graph, BatchSource& samples, const Recipe& recipe = {},
                               const QuantizeOptions& options = {}) {
  return quantize(graph, &samples, recipe, options);
}

// The two halves of quantize(), for callers that measure or change something in between.

/// The changes that prepare() made.
struct Preparation {
  Prepared done;
  std::vector<EqualizedRegion> equalized, smoothed;
};

/// The mean of each channel (axis 1), by value name.
using ChannelMeans = std::map<std::string, std::vector<double>>;

/// A float network with the statistics of its values.
struct CalibratedNetwork {
  Graph graph;  ///< Optimized and prepared.
  Calibration calibration;
  Recipe recipe;  ///< As given, with observer and equalization chosen.
  Preparation preparation;
  std::size_t absorbed_channels = 0;  ///< Without data: see absorb_high_bias().
  std::size_t batch_norm_count = 0;   ///< Without data: those that predicted the values.
  ChannelMeans means;                 ///< Without data: predicted, for the correction of biases.
};

/// The first half of quantize(): optimizes, prepares and calibrates.
CalibratedNetwork calibrate_network(const Graph& graph, BatchSource* samples, const Recipe& recipe = {},
                                    const QuantizeOptions& options = {});
/// The same with statistics saved earlier. Throws Error when the recipe needs samples or the network that these
/// statistics are of was, or would have to be, prepared.
CalibratedNetwork calibrate_network(const Graph& graph, Calibration saved, const Recipe& recipe = {},
                                    const QuantizeOptions& options = {});
/// The second half. `samples` may be null if there are only statistics.
QuantizeResult quantize(const CalibratedNetwork& network, BatchSource* samples, const QuantizeOptions& options = {});

// The parts, for experts. They are called in this order: optimize(), prepare(), values_to_calibrate(), calibrate(),
// quantize().

/// Equalizes and smooths a float network according to the recipe. If `samples` is null, Equalization::noise and
/// smoothing are Errors. `graph` satisfies Stage::optimized. Pass `done` on to calibrate().
Preparation prepare(Graph& graph, const Recipe& recipe, BatchSource* samples, const Progress& progress = {});

/// Names of the values whose statistics quantize() reads.
std::vector<std::string> values_to_calibrate(const Graph& graph, const Recipe& recipe);

/// Chooses grids and quantizes the constants. `graph` satisfies Stage::optimized. Throws Error when the recipe asks for
/// another preparation than the calibrated network had, the calibration lacks a value, `skip` or `layers` names no node
/// (suggesting the nearest), `layers` gives weight_bits to a node without weights, or needs_samples(recipe).
QuantizeResult quantize(const Graph& graph, const Calibration& calibration, const Recipe& recipe = {});
/// The same with samples, which refine weights and biases (docs/internals/rounding.md,
/// docs/internals/bias_correction.md).
QuantizeResult quantize(const Graph& graph, const Calibration& calibration, const Recipe& recipe, BatchSource& samples,
                        const Progress& progress = {});

/// Whether a node's kind can be quantized at all, and why not: for `bitfold inspect`.
LayerDecision can_quantize(const Graph& graph, NodeId id);

}  // namespace bitfold
