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
#include "bitfold/part.h"
#include "bitfold/progress.h"
#include "bitfold/recipe.h"

namespace bitfold {

/// The decision about one node: whether it is quantized, and why.
struct LayerDecision {
  std::string node, op;
  bool quantized = false;
  std::string reason;  ///< Why it was left in float, or what was adjusted.
};

struct QuantizeResult {
  /// Satisfies Stage::quantized. If only a part was quantized, only `part` satisfies it.
  Graph graph;
  /// If only a part of the network was quantized: that part, which can be run.
  std::optional<Graph> part;
  std::vector<LeftNode> left;            ///< The nodes outside the part.
  std::vector<LayerDecision> decisions;  ///< One for each node.
  Recipe recipe;  ///< As given, with every absent or automatic field replaced by what was chosen.
  /// With Observer::automatic: the observer chosen for each value that got a grid, by its name.
  std::map<std::string, Observer> observers;
  /// Number of layers that are rounded only after their LeakyRelu (Target::bitfold). Runtimes other than Session run
  /// them in float.
  int fused_leaky_relu_layers = 0;

  /// The quantized network as far as it can be run.
  const Graph& runnable() const { return part ? *part : graph; }
};

/// The lowest and highest number in each channel of the graph's inputs. A single entry applies to all channels.
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
  InputRange input_range;  ///< Range of the network's inputs; read only if there are no samples.
  /// The part of the network to quantize. Samples are inputs of extract_part(graph, cut).graph.
  Cut cut;
};

/// Quantizes a float network; the whole pipeline of `bitfold quantize`, with the same result. `graph` may be imported
/// or optimized. `samples` are some 100 typical inputs, which are read several times; null quantizes without data
/// (data_free.h). If some nodes cannot be run, only nodes that do not depend on them are quantized; a warning names the
/// others, which are left as they are. Throws Error naming what is wrong with the network, the samples or the recipe,
/// and Cancelled.
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
  /// Set if `graph` is only a part of the network: where it belongs. quantize() puts the part back.
  std::optional<Part> part;
  Calibration calibration;
  Recipe recipe;  ///< As given, with observer and equalization chosen.
  Preparation preparation;
  std::size_t absorbed_channels = 0;  ///< Without data: the number of channels that absorb_high_bias() changed.
  std::size_t batch_norm_count = 0;   ///< Without data: the number of BatchNorms from which values were predicted.
  ChannelMeans means;                 ///< Without data: predicted means, for bias correction.
};

/// The first half of quantize(): optimizes, prepares and calibrates.
CalibratedNetwork calibrate_network(const Graph& graph, BatchSource* samples, const Recipe& recipe = {},
                                    const QuantizeOptions& options = {});
/// The same with statistics saved earlier. Throws Error if the recipe needs samples, if the statistics come from a
/// prepared network, or if the recipe requires preparation.
CalibratedNetwork calibrate_network(const Graph& graph, Calibration saved, const Recipe& recipe = {},
                                    const QuantizeOptions& options = {});
/// The second half of quantize(): chooses grids, rounds weights and corrects biases. If `samples` is null, only the
/// statistics are used.
QuantizeResult quantize(const CalibratedNetwork& network, BatchSource* samples, const QuantizeOptions& options = {});

// The parts, for experts. They are called in this order: optimize(), prepare(), values_to_calibrate(), calibrate(),
// quantize().

/// Equalizes and smooths a float network according to the recipe. If `samples` is null, Equalization::noise and
/// smoothing are Errors. `graph` satisfies Stage::optimized. Pass `done` on to calibrate().
Preparation prepare(Graph& graph, const Recipe& recipe, BatchSource* samples, const Progress& progress = {});

/// Names of the values whose statistics quantize() reads.
std::vector<std::string> values_to_calibrate(const Graph& graph, const Recipe& recipe);

/// Chooses grids and quantizes the constants. `graph` satisfies Stage::optimized. Throws Error if the network was not
/// prepared as the recipe requires, the calibration lacks a value, `skip` or `layers` names an unknown node (the
/// nearest name is suggested), `layers` gives weight_bits to a node without weights, or needs_samples(recipe) is true.
QuantizeResult quantize(const Graph& graph, const Calibration& calibration, const Recipe& recipe = {});
/// The same with samples, which refine weights and biases (docs/internals/rounding.md,
/// docs/internals/bias_correction.md).
QuantizeResult quantize(const Graph& graph, const Calibration& calibration, const Recipe& recipe, BatchSource& samples,
                        const Progress& progress = {});

/// Whether a node's operator can be quantized, and the reason if not; for `bitfold inspect`.
LayerDecision can_quantize(const Graph& graph, NodeId id);

}  // namespace bitfold
