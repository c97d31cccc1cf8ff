// What to do, checked, and read from TOML.
#include <toml++/toml.h>

#include <algorithm>
#include <array>
#include <span>

#include "base/check.h"
#include "base/file.h"
#include "base/nearest.h"
#include "base/words.h"
#include "bitfold/graph.h"
#include "bitfold/quantize.h"

namespace bitfold {
namespace {

// In the order of their enumerators.
constexpr std::array<std::string_view, 6> kRoundings{"auto", "nearest", "squant", "gptq", "adaround", "seq_mse"};
constexpr std::array<std::string_view, 4> kBiasCorrections{"auto", "none", "empirical", "analytic"};
constexpr std::array<std::string_view, 4> kEqualizations{"auto", "none", "weights", "noise"};
constexpr std::array<std::string_view, 2> kTargets{"any", "bitfold"};

// One TOML file; every complaint names the file, the line and the key.
class RecipeReader {
 public:
  RecipeReader(const std::string& path, const toml::table& table) : path_(path), table_(table) {}

  Recipe read(Recipe recipe) {
    check_keys(table_, kKeys);
    read_bits("weight_bits", recipe.weight_bits);
    read_bits("activation_bits", recipe.activation_bits);
    Scheme weight_scheme{};
    if (read_word("weight_scheme", weight_scheme, kSchemes)) recipe.weight_scheme = weight_scheme;
    read_word("activation_scheme", recipe.activation_scheme, kSchemes);
    read_word("granularity", recipe.granularity, kGranularities);
    read_word("rounding", recipe.rounding, kRoundings);
    read_word("bias_correction", recipe.bias_correction, kBiasCorrections);
    read_word("equalization", recipe.equalization, kEqualizations);
    read_smooth(recipe.smooth);
    read_flag(table_, "absorb", recipe.absorb);
    read_word("target", recipe.target, kTargets);
    read_word("observer", recipe.observer, kObservers);
    read_percentile(recipe.percentile);
    read_skip(recipe.skip);
    read_layers(recipe.layers);
    return recipe;
  }

 private:
  using Words = std::array<std::string_view, 2>;
  static constexpr Words kSchemes{"symmetric", "asymmetric"}, kGranularities{"per_tensor", "per_channel"};
  static constexpr std::array<std::string_view, 6> kObservers{"min_max",        "percentile", "mse",
                                                              "moving_average", "entropy",    "auto"};
  static constexpr std::array<std::string_view, 15> kKeys{"weight_bits",     "activation_bits",
                                                          "weight_scheme",   "activation_scheme",
                                                          "granularity",     "rounding",
                                                          "bias_correction", "equalization",
                                                          "smooth",          "absorb",
                                                          "target",          "observer",
                                                          "percentile",      "skip",
                                                          "layers"};
  static constexpr std::array<std::string_view, 3> kLayerKeys{"weight_bits", "activation_bits", "in_float"};

  std::string at(const toml::source_region& source) const { return fmt::format("{}:{}", path_, source.begin.line); }

  void check_keys(const toml::table& table, std::span<const std::string_view> keys) const {
    for (const auto& [key, node] : table) {
      const bool is_known = std::find(keys.begin(), keys.end(), key.str()) != keys.end();
      check(is_known, "{}: unknown key '{}'{}", at(key.source()), key.str(), did_you_mean(key.str(), keys));
    }
  }

  void read_bits(std::string_view key, int& bits) const {
    if (const toml::node* node = table_.get(key)) bits = bits_of(key, node);
  }

  int bits_of(std::string_view key, const toml::node* node) const {
    check(node->is_integer(), "{}: {} must be a whole number", at(node->source()), key);
    const std::int64_t value = **node->as_integer();
    check(value >= 0 && value <= 64, "{}: {} is {}", at(node->source()), key, value);
    const int bits = static_cast<int>(value);
    try {
      Recipe alone;
      (key == "weight_bits" ? alone.weight_bits : alone.activation_bits) = bits;
      check_recipe(alone);
    } catch (const Error& error) {
      fail("{}: {}", at(node->source()), error.what());
    }
    return bits;
  }

  /// Whether the key is there.
  template <class Enum, std::size_t N>
  bool read_word(std::string_view key, Enum& choice, const std::array<std::string_view, N>& words) const {
    const toml::node* node = table_.get(key);
    if (node == nullptr) return false;
    check(node->is_string(), "{}: {} must be one of {}", at(node->source()), key, fmt::join(words, ", "));
    const std::string& word = **node->as_string();
    const auto found = std::find(words.begin(), words.end(), word);
    check(found != words.end(), "{}: {} is '{}'; it is one of {}{}", at(node->source()), key, word,
          fmt::join(words, ", "), did_you_mean(word, words));
    choice = static_cast<Enum>(found - words.begin());
    return true;
  }

  void read_flag(const toml::table& table, std::string_view key, bool& flag) const {
    const toml::node* node = table.get(key);
    if (node == nullptr) return;
    check(node->is_boolean(), "{}: {} must be true or false", at(node->source()), key);
    flag = **node->as_boolean();
  }

  void read_percentile(double& percentile) const {
    const toml::node* node = table_.get("percentile");
    if (node == nullptr) return;
    check(node->is_number(), "{}: percentile must be a number", at(node->source()));
    percentile = *node->value<double>();
    try {
      check_recipe({.percentile = percentile});
    } catch (const Error& error) {
      fail("{}: {}", at(node->source()), error.what());
    }
  }

  void read_smooth(std::optional<double>& smooth) const {
    const toml::node* node = table_.get("smooth");
    if (node == nullptr) return;
    check(node->is_number(), "{}: smooth must be a number", at(node->source()));
    smooth = *node->value<double>();
    try {
      check_recipe({.smooth = smooth});
    } catch (const Error& error) {
      fail("{}: {}", at(node->source()), error.what());
    }
  }

  void read_skip(std::vector<std::string>& skip) const {
    const toml::node* node = table_.get("skip");
    if (node == nullptr) return;
    check(node->is_array(), "{}: skip must be a list of node names", at(node->source()));
    for (const toml::node& entry : *node->as_array()) {
      check(entry.is_string(), "{}: skip must be a list of node names", at(entry.source()));
      skip.push_back(**entry.as_string());
    }
  }

  void read_layers(std::map<std::string, LayerRecipe>& layers) const {
    const toml::node* node = table_.get("layers");
    if (node == nullptr) return;
    check(node->is_table(), "{}: layers must be tables, [layers.\"NODE\"]", at(node->source()));
    for (const auto& [name, entry] : *node->as_table()) {
      check(entry.is_table(), "{}: layers.\"{}\" must be a table", at(entry.source()), name.str());
      const toml::table& table = *entry.as_table();
      check_keys(table, kLayerKeys);
      LayerRecipe& layer = layers[std::string(name.str())];
      if (const toml::node* bits = table.get("weight_bits")) layer.weight_bits = bits_of("weight_bits", bits);
      if (const toml::node* bits = table.get("activation_bits"))
        layer.activation_bits = bits_of("activation_bits", bits);
      read_flag(table, "in_float", layer.in_float);
    }
  }

  const std::string& path_;
  const toml::table& table_;
};

}  // namespace

std::string_view to_string(Rounding rounding) { return kRoundings.at(static_cast<std::size_t>(rounding)); }

Rounding parse_rounding(std::string_view word) { return parse_word<Rounding>("rounding", word, kRoundings); }

std::string_view to_string(BiasCorrection correction) {
  return kBiasCorrections.at(static_cast<std::size_t>(correction));
}

BiasCorrection parse_bias_correction(std::string_view word) {
  return parse_word<BiasCorrection>("bias correction", word, kBiasCorrections);
}

std::string_view to_string(Equalization equalization) {
  return kEqualizations.at(static_cast<std::size_t>(equalization));
}

Equalization parse_equalization(std::string_view word) {
  return parse_word<Equalization>("equalization", word, kEqualizations);
}

std::string_view to_string(Target target) { return kTargets.at(static_cast<std::size_t>(target)); }

Target parse_target(std::string_view word) { return parse_word<Target>("target", word, kTargets); }

Scheme weight_scheme(const Recipe& recipe) {
  return recipe.weight_scheme.value_or(recipe.weight_bits < 8 ? Scheme::asymmetric : Scheme::symmetric);
}

bool reads_samples(Rounding rounding) {
  return rounding == Rounding::gptq || rounding == Rounding::adaround || rounding == Rounding::seq_mse;
}

bool needs_samples(const Recipe& recipe) {
  return reads_samples(recipe.rounding) || recipe.bias_correction == BiasCorrection::empirical ||
         recipe.observer == Observer::automatic;
}

Recipe without_samples(Recipe recipe) {
  if (reads_samples(recipe.rounding)) recipe.rounding = Rounding::automatic;
  if (recipe.bias_correction == BiasCorrection::empirical) recipe.bias_correction = BiasCorrection::automatic;
  if (recipe.observer == Observer::automatic) recipe.observer = Observer::mse;
  return recipe;
}

namespace {

void check_bits(int weights, int activations) {
  check(weights >= 2 && weights <= 8, "weight_bits is {}; it must be 2 to 8", weights);
  check((activations >= 2 && activations <= 8) || activations == 16, "activation_bits is {}; it must be 2 to 8, or 16",
        activations);
}

}  // namespace

void check_recipe(const Recipe& recipe) {
  check_bits(recipe.weight_bits, recipe.activation_bits);
  for (const auto& [name, layer] : recipe.layers) {
    try {
      check_bits(layer.weight_bits.value_or(8), layer.activation_bits.value_or(8));
    } catch (const Error& error) {
      fail("layers.\"{}\": {}", name, error.what());
    }
  }
  check(!recipe.smooth || (*recipe.smooth >= 0 && *recipe.smooth <= 1),  // also refuses NaN
        "smooth is {}; it must be 0 to 1", recipe.smooth.value_or(0));
  check(recipe.percentile > 50 && recipe.percentile <= 100,  // also refuses NaN
        "percentile is {}; it must be greater than 50 and at most 100", recipe.percentile);
}

Recipe default_recipe(const Graph& graph) {
  const std::vector<NodeId> nodes = graph.nodes();
  const bool normalizes = std::any_of(nodes.begin(), nodes.end(),
                                      [&](NodeId id) { return std::holds_alternative<LayerNorm>(graph.node(id).op); });
  return {.observer = normalizes ? Observer::min_max : Recipe{}.observer};
}

Recipe load_recipe(const std::string& path, const Recipe& base) {
  const std::vector<std::byte> bytes = read_file(path);
  const std::string_view text(reinterpret_cast<const char*>(bytes.data()), bytes.size());
  toml::table table;
  try {
    table = toml::parse(text, path);
  } catch (const toml::parse_error& error) {
    fail("{}:{}: not TOML: {}", path, error.source().begin.line, error.description());
  }
  return RecipeReader(path, table).read(base);
}

}  // namespace bitfold
