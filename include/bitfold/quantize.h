// From a float graph and its calibration to a quantized graph.
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

namespace bitfold {

/// How weights become codes: each to its nearest; so that the errors of a kernel and of an output channel cancel
/// (SQuant, Guo et al. 2022), which costs nothing and keeps the outputs' means; or, with sample inputs, so that the
/// output's squared error is least (GPTQ, Frantar et al. 2023), with each layer's weights and bias adapted to what the
/// layers before it became; or by gradient descent from there (AdaRound, Nagel et al. 2020); or each to its nearest, on
/// the scale for which that error is least, layer after layer (sequential MSE). `automatic` is gptq below 8 bits where
/// there are samples, else squant: at 8 bits little is left to gain. Its word is "auto".
enum class Rounding { automatic, nearest, squant, gptq, adaround, seq_mse };
std::string_view to_string(Rounding rounding);
Rounding parse_rounding(std::string_view word);  ///< Throws Error naming the valid words.

/// Whether the mean error of each layer's outputs is taken off its bias (Nagel et al. 2019): as measured on samples, or
/// as foreseen without any data. `automatic` is analytic without data (quantize_data_free()), empirical where there are
/// samples, and none where there are only their statistics. Its word is "auto".
enum class BiasCorrection { automatic, none, empirical, analytic };
std::string_view to_string(BiasCorrection correction);
BiasCorrection parse_bias_correction(std::string_view word);  ///< Throws Error naming the valid words.

/// Which factors move between layers before calibration (equalize.h). `automatic` is noise where one grid holds a whole
/// tensor's weights and there are samples to see the values, and without any data; else none: grids per channel gain
/// little. Its word is "auto".
enum class Equalization { automatic, none, weights, noise };
std::string_view to_string(Equalization equalization);
Equalization parse_equalization(std::string_view word);  ///< Throws Error naming the valid words.

/// What the quantized network is to run on. `bitfold`: Session, whose layers pass a following LeakyRelu before their
/// accumulators are rounded, so that the value between needs no grid; elsewhere such a layer runs in float. `any`:
/// whatever fuses QuantizeLinear nodes into integer operators, ONNX Runtime above all, and so each value between two of
/// them has a grid. They differ where there are LeakyRelus only. The results are the same reals everywhere.
enum class Target { any, bitfold };
std::string_view to_string(Target target);
Target parse_target(std::string_view word);  ///< Throws Error naming the valid words.

/// What one layer does otherwise than the recipe says; what is absent, it does as the recipe says.
struct LayerRecipe {
  std::optional<int> weight_bits;
  /// Of its output's grid. Values that share one grid take the most bits any of their producers asks for.
  std::optional<int> activation_bits;
  bool in_float = false;  ///< As `skip`.

  bool operator==(const LayerRecipe&) const = default;
};

/// What to do. The defaults are the best choice for a convolutional network on a CPU.
struct Recipe {
  int weight_bits = 8;      ///< 2..8
  int activation_bits = 8;  ///< 2..8 or 16
  /// Absent: symmetric for layers of 8 bits, asymmetric below, where half a grid's codes are too many to leave unused
  /// (Tiny Darknet, 4 bits: output SQNR 15.8 dB instead of 14.0).
  std::optional<Scheme> weight_scheme;
  Scheme activation_scheme = Scheme::asymmetric;
  Granularity granularity = Granularity::per_channel;  ///< Of weights; activations are always per tensor.
  Rounding rounding = Rounding::automatic;             ///< Of weights.
  BiasCorrection bias_correction = BiasCorrection::automatic;
  Equalization equalization = Equalization::automatic;  ///< What prepare() does.
  /// SmoothQuant's alpha, 0 to 1 (equalize.h): how much of what makes a normalization's outputs uneven moves to the
  /// weights behind it. Absent: none does. prepare() does it, and needs samples.
  std::optional<double> smooth;
  bool absorb = true;  ///< absorb_high_bias(), in quantize_data_free().
  /// On Tiny Darknet, `any` costs 4 dB of the outputs' SQNR.
  Target target = Target::bitfold;
  /// Of activations. mse measured best on real networks: darknet-tiny agrees with float on 97.5 % of 400 images
  /// (min_max 96.5 %, percentile 95.25 %); docs/internals/observers.md has the table.
  Observer observer = Observer::mse;          ///< See default_recipe().
  double percentile = 99.99;                  ///< For Observer::percentile.
  std::vector<std::string> skip;              ///< Names of nodes to leave in float.
  std::map<std::string, LayerRecipe> layers;  ///< By node name.

  bool operator==(const Recipe&) const = default;
};

/// The scheme of weights of the recipe's bits.
Scheme weight_scheme(const Recipe& recipe);
/// Whether the rounding needs sample inputs.
bool reads_samples(Rounding rounding);
/// Whether sample inputs must be there, beyond their statistics.
bool needs_samples(const Recipe& recipe);
/// The recipe with everything that needs samples left to be chosen without any.
Recipe without_samples(Recipe recipe);
/// Throws Error naming the field when a value is out of range.
void check_recipe(const Recipe& recipe);
/// TOML with the field names above as keys, and a table `[layers."NODE"]` for each layer. Throws Error naming file,
/// line and key; suggests the nearest valid key.
/// What it does not say is as in `base`.
Recipe load_recipe(const std::string& path, const Recipe& base = {});

/// What suits a network: Recipe{}, but with Observer::min_max where the network has LayerNormalizations. The few large
/// values that they let through count (docs/internals/observers.md). `graph` satisfies Stage::optimized.
Recipe default_recipe(const Graph& graph);

struct Preparation {
  Equalization equalization = Equalization::none;  ///< Never automatic.
  std::vector<EqualizedRegion> regions, smoothed;
};

/// What the recipe does to a float network before it is calibrated, and before quantize(). `samples` may be null: then
/// Equalization::noise and smoothing are Errors. `graph` satisfies Stage::optimized.
Preparation prepare(Graph& graph, const Recipe& recipe, BatchSource* samples, const Progress& progress = {});

/// What became of one node.
struct LayerDecision {
  std::string node, op;
  bool quantized = false;
  std::string reason;  ///< Why not, when not; what was adjusted, when something was.
};

struct QuantizeResult {
  Graph graph;  ///< Satisfies Stage::quantized.
  std::vector<LayerDecision> decisions;
  Recipe recipe;  ///< With what was left to choose chosen.
  /// With Observer::automatic: what was chosen for each value that got a grid, by its name.
  std::map<std::string, Observer> observers;
  /// Layers whose LeakyRelu comes before rounding (Target::bitfold): elsewhere than in Session they run in float.
  int rounded_behind_leaky_relu = 0;
};

/// Names of the values whose statistics quantize() reads: what calibrate() is to look at.
std::vector<std::string> values_to_calibrate(const Graph& graph, const Recipe& recipe);

/// `graph` satisfies Stage::optimized. Throws Error when the calibration lacks a value of the graph (another
/// model's), `skip` or `layers` names no node (suggesting the nearest), `layers` gives weight_bits to a node that has
/// no weights, or needs_samples(recipe). Equalization is not its business: prepare() comes first, then calibrate().
QuantizeResult quantize(const Graph& graph, const Calibration& calibration, const Recipe& recipe = {});
/// The same with sample inputs, which are read again and again. `progress` counts layers.
QuantizeResult quantize(const Graph& graph, const Calibration& calibration, const Recipe& recipe, BatchSource& samples,
                        const Progress& progress = {});

/// Whether a node's kind can be quantized at all, and why not: for `bitfold inspect`.
LayerDecision can_quantize(const Graph& graph, NodeId id);

}  // namespace bitfold
