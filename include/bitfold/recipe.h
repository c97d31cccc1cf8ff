// The recipe: everything a caller can choose about quantizing a network.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "bitfold/affine.h"

namespace bitfold {

/// How the range of a value is chosen from its statistics (docs/internals/observers.md).
enum class Observer {
  min_max,         ///< From the smallest to the largest value seen.
  percentile,      ///< All but a fraction of the values at either end.
  mse,             ///< Least expected squared error of rounding and clipping.
  moving_average,  ///< From the mean of the samples' minima to the mean of their maxima.
  entropy,         ///< Least KL divergence between the histogram and its quantized form.
  automatic,       ///< "auto": for each value the observer with the least output error on samples; slow.
};

/// How weights are rounded to codes (docs/internals/rounding.md).
enum class Rounding {
  automatic,  ///< "auto": gptq below 8 bits if there are samples, else squant.
  nearest,    ///< Each weight to its nearest code.
  squant,     ///< Errors cancel in each kernel and output channel (SQuant, Guo et al. 2022). Needs no data.
  gptq,       ///< Least squared output error on samples (GPTQ, Frantar et al. 2023), layer by layer.
  adaround,   ///< gptq, then gradient descent through the activation (AdaRound, Nagel et al. 2020); slow.
  seq_mse,    ///< Each weight to its nearest code, on the scale of least output error, layer by layer.
};

/// Whether each layer's mean output error is subtracted from its bias (docs/internals/bias_correction.md).
enum class BiasCorrection {
  automatic,  ///< "auto": empirical with samples, analytic without data, none with statistics only.
  none,
  empirical,  ///< The mean error measured on samples.
  analytic,   ///< The mean error predicted from BatchNorms; without data only.
};

/// Which scales move between layers before calibration (docs/internals/equalization.md).
enum class Equalization {
  automatic,  ///< "auto": noise for per-tensor weights with samples and without data, else none.
  none,
  weights,  ///< Equal weight ranges on both sides of a value (Nagel et al. 2019).
  noise,    ///< Least expected quantization noise. Needs samples, or runs without data.
};

/// The runtime that the quantized network is for. It decides where values are rounded, and only for networks with
/// LeakyRelu; the file runs anywhere.
enum class Target {
  any,      ///< A grid on every value between layers, as ONNX Runtime needs to run a LeakyRelu in integers.
  bitfold,  ///< No grid between a layer and its LeakyRelu: more accurate (4 dB on Tiny Darknet).
};

std::string_view to_string(Observer observer);
std::string_view to_string(Rounding rounding);
std::string_view to_string(BiasCorrection correction);
std::string_view to_string(Equalization equalization);
std::string_view to_string(Target target);

/// Settings of one layer that differ from the recipe. An absent field is as in the recipe.
struct LayerRecipe {
  std::optional<int> weight_bits;
  /// Bits of its output's grid. Values that share a grid take the most bits that any of their producers asks for.
  std::optional<int> activation_bits;
  bool in_float = false;  ///< Leaves the layer in float, as `skip` does.

  bool operator==(const LayerRecipe&) const = default;
};

/// Settings of a quantization. The defaults suit convolutional networks on CPUs. Absent and automatic fields are chosen
/// according to the network and the data. recipe_fields() describes every field.
struct Recipe {
  int weight_bits = 8;
  int activation_bits = 8;
  std::optional<Scheme> weight_scheme;  ///< Absent: see weight_scheme().
  Scheme activation_scheme = Scheme::asymmetric;
  Granularity granularity = Granularity::per_channel;  ///< Grids of weights; activations have one per tensor.
  Rounding rounding = Rounding::automatic;
  BiasCorrection bias_correction = BiasCorrection::automatic;
  Equalization equalization = Equalization::automatic;
  std::optional<double> smooth;  ///< Absent: no smoothing. It needs samples.
  bool absorb = true;
  Target target = Target::bitfold;
  std::optional<Observer> observer;  ///< Absent: mse, or min_max without data and for networks with LayerNormalization.
  double percentile = 99.99;
  std::vector<std::string> skip;              ///< Node names.
  std::map<std::string, LayerRecipe> layers;  ///< The key is the node name.

  bool operator==(const Recipe&) const = default;
};

/// The value of a field in files and flags; monostate if absent.
using RecipeValue = std::variant<std::monostate, bool, std::int64_t, double, std::string, std::vector<std::string>>;

/// The description of one field. TOML, JSON, command-line flags, --help, docs/recipe.md and the fingerprint of a mixed
/// precision search all read it.
struct RecipeField {
  enum class Type { boolean, integer, number, word, names };

  std::string_view name;  ///< The key in TOML and JSON, and the C++ member.
  std::string_view flag;  ///< "--weight-bits".
  Type type = Type::word;
  std::string values;         ///< The valid values: "2 to 8", "symmetric, asymmetric".
  std::string default_value;  ///< The default, such as "8", or the rule by which it is chosen.
  std::string_view help;      ///< One sentence without a full stop.

  /// Null for a field that exists for layers only.
  std::function<RecipeValue(const Recipe&)> get;
  /// Throws Error naming field and value when the type is wrong or the value is not valid.
  std::function<void(Recipe&, const RecipeValue&)> set;
  /// Null for a field that does not apply to single layers.
  std::function<RecipeValue(const LayerRecipe&)> get_layer;
  std::function<void(LayerRecipe&, const RecipeValue&)> set_layer;
};

/// All fields: the members of Recipe in their order, then fields that exist for layers only.
std::span<const RecipeField> recipe_fields();

/// Converts the text of a flag to the field's type. Throws Error naming the field if that fails.
RecipeValue parse_value(const RecipeField& field, const std::string& text);
/// Applies "NODE:KEY=VALUE", a setting of a single layer. Throws Error naming the text.
void set_layer(Recipe& recipe, const std::string& text);

/// Throws Error naming the field when a value is not valid.
void check_recipe(const Recipe& recipe);

/// Reads a TOML file, or a JSON file as recipe_json() writes it, whose keys are the fields' names, with a table
/// `[layers."NODE"]` for each layer. Fields that the file does not set keep their values in `base`. Throws Error naming
/// file, line (in TOML) and key; suggests the nearest valid key.
Recipe load_recipe(const std::string& path, const Recipe& base = {});
/// The same from JSON text.
Recipe parse_recipe_json(std::string_view json, const Recipe& base = {});
/// All fields as one JSON object; absent ones are null.
std::string recipe_json(const Recipe& recipe);

/// The scheme of weights: the recipe's, else symmetric at 8 bits and asymmetric below. With few bits, the codes that a
/// symmetric grid leaves unused matter (Tiny Darknet at 4 bits: 15.8 dB asymmetric, 14.0 symmetric).
Scheme weight_scheme(const Recipe& recipe);
/// Whether the rounding needs sample inputs.
bool reads_samples(Rounding rounding);
/// Whether the recipe needs sample inputs, beyond their statistics, to choose grids, roundings and biases.
bool needs_samples(const Recipe& recipe);
/// The recipe with every setting that needs samples replaced by one that does not.
Recipe without_samples(Recipe recipe);

}  // namespace bitfold
