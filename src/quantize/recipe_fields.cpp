// Describes every recipe field: name, valid values, default and help stand here only.
#include <fmt/ranges.h>

#include <algorithm>
#include <charconv>
#include <cmath>
#include <cstdlib>

#include "base/check.h"
#include "bitfold/nearest.h"
#include "base/words.h"
#include "bitfold/recipe.h"

namespace bitfold {
namespace {

constexpr EnumWords<Observer, 6> kObservers{{{{Observer::min_max, "min_max"},
                                              {Observer::percentile, "percentile"},
                                              {Observer::mse, "mse"},
                                              {Observer::moving_average, "moving_average"},
                                              {Observer::entropy, "entropy"},
                                              {Observer::automatic, "auto"}}}};
constexpr EnumWords<Rounding, 6> kRoundings{{{{Rounding::automatic, "auto"},
                                              {Rounding::nearest, "nearest"},
                                              {Rounding::squant, "squant"},
                                              {Rounding::gptq, "gptq"},
                                              {Rounding::adaround, "adaround"},
                                              {Rounding::seq_mse, "seq_mse"}}}};
constexpr EnumWords<BiasCorrection, 4> kBiasCorrections{{{{BiasCorrection::automatic, "auto"},
                                                          {BiasCorrection::none, "none"},
                                                          {BiasCorrection::empirical, "empirical"},
                                                          {BiasCorrection::analytic, "analytic"}}}};
constexpr EnumWords<Equalization, 4> kEqualizations{{{{Equalization::automatic, "auto"},
                                                      {Equalization::none, "none"},
                                                      {Equalization::weights, "weights"},
                                                      {Equalization::noise, "noise"}}}};
constexpr EnumWords<Target, 2> kTargets{{{{Target::any, "any"}, {Target::bitfold, "bitfold"}}}};
const EnumWords<Scheme, 2> kSchemes{{{{Scheme::symmetric, to_string(Scheme::symmetric)},  //
                                      {Scheme::asymmetric, to_string(Scheme::asymmetric)}}}};
const EnumWords<Granularity, 2> kGranularities{{{{Granularity::per_tensor, to_string(Granularity::per_tensor)},
                                                 {Granularity::per_channel, to_string(Granularity::per_channel)}}}};

template <class T>
struct IsOptional : std::false_type {};
template <class T>
struct IsOptional<std::optional<T>> : std::true_type {};

/// How one type of field converts to and from a RecipeValue. read() throws Error naming the field.
struct Integers {
  std::string values;
  std::function<bool(std::int64_t)> is_valid;
  static constexpr auto kType = RecipeField::Type::integer;

  RecipeValue write(int value) const { return std::int64_t{value}; }
  int read(std::string_view name, const RecipeValue& value) const {
    const auto* number = std::get_if<std::int64_t>(&value);
    check(number != nullptr, "{} must be an integer, {}", name, values);
    check(is_valid(*number), "{} is {}; it must be {}", name, *number, values);
    return static_cast<int>(*number);
  }
};

struct Numbers {
  std::string values;
  std::function<bool(double)> is_valid;
  static constexpr auto kType = RecipeField::Type::number;

  RecipeValue write(double value) const { return value; }
  double read(std::string_view name, const RecipeValue& value) const {
    const auto* integer = std::get_if<std::int64_t>(&value);
    const auto* real = std::get_if<double>(&value);
    check(integer != nullptr || real != nullptr, "{} must be a number, {}", name, values);
    const double number = real != nullptr ? *real : static_cast<double>(*integer);
    check(is_valid(number), "{} is {}; it must be {}", name, number, values);
    return number;
  }
};

struct Booleans {
  std::string values = "true, false";
  static constexpr auto kType = RecipeField::Type::boolean;

  RecipeValue write(bool value) const { return value; }
  bool read(std::string_view name, const RecipeValue& value) const {
    const auto* flag = std::get_if<bool>(&value);
    check(flag != nullptr, "{} must be true or false", name);
    return *flag;
  }
};

struct Names {
  std::string values = "names of nodes";
  static constexpr auto kType = RecipeField::Type::names;

  RecipeValue write(const std::vector<std::string>& value) const { return value; }
  std::vector<std::string> read(std::string_view name, const RecipeValue& value) const {
    const auto* names = std::get_if<std::vector<std::string>>(&value);
    check(names != nullptr, "{} must be a list of node names", name);
    return *names;
  }
};

template <class Enum, std::size_t kCount>
struct Words {
  EnumWords<Enum, kCount> rows;
  std::string values;
  static constexpr auto kType = RecipeField::Type::word;

  explicit Words(const EnumWords<Enum, kCount>& table)
      : rows(table), values(fmt::format("{}", fmt::join(table.words(), ", "))) {}
  RecipeValue write(Enum value) const { return std::string(rows.word(value)); }
  Enum read(std::string_view name, const RecipeValue& value) const {
    const auto* word = std::get_if<std::string>(&value);
    check(word != nullptr, "{} must be one of {}", name, values);
    const auto found = rows.find(*word);
    const auto words = rows.words();
    if (!found) fail("{} is '{}'; it must be one of {}{}", name, *word, values, did_you_mean(*word, words));
    return *found;
  }
};

struct Texts {
  std::string_view name, flag, default_value, help;
};

template <class Member, class Converter, class Owner>
std::function<RecipeValue(const Owner&)> getter(Member Owner::*member, const Converter& converter) {
  return [=](const Owner& owner) -> RecipeValue {
    if constexpr (IsOptional<Member>::value) {
      if (!(owner.*member)) return {};
      return converter.write(*(owner.*member));
    } else {
      return converter.write(owner.*member);
    }
  };
}

template <class Member, class Converter, class Owner>
std::function<void(Owner&, const RecipeValue&)> setter(std::string_view name, Member Owner::*member,
                                                       const Converter& converter) {
  return [=](Owner& owner, const RecipeValue& value) {
    if constexpr (IsOptional<Member>::value) {
      if (std::holds_alternative<std::monostate>(value)) {
        (owner.*member).reset();
        return;
      }
    }
    owner.*member = converter.read(name, value);
  };
}

template <class Converter>
RecipeField described(const Texts& texts, const Converter& converter) {
  RecipeField field;
  field.name = texts.name;
  field.flag = texts.flag;
  field.type = Converter::kType;
  field.values = converter.values;
  field.default_value = texts.default_value;
  field.help = texts.help;
  return field;
}

template <class Member, class Converter>
RecipeField field(const Texts& texts, Member Recipe::*member, const Converter& converter) {
  RecipeField row = described(texts, converter);
  row.get = getter(member, converter);
  row.set = setter(texts.name, member, converter);
  return row;
}

template <class Member, class LayerMember, class Converter>
RecipeField layer_field(const Texts& texts, Member Recipe::*member, LayerMember LayerRecipe::*layer_member,
                        const Converter& converter) {
  RecipeField row = field(texts, member, converter);
  row.get_layer = getter(layer_member, converter);
  row.set_layer = setter(texts.name, layer_member, converter);
  return row;
}

RecipeField only_layer_field(const Texts& texts, bool LayerRecipe::*member) {
  const Booleans converter;
  RecipeField row = described(texts, converter);
  row.get_layer = getter(member, converter);
  row.set_layer = setter(texts.name, member, converter);
  return row;
}

std::vector<RecipeField> make_fields() {
  const Integers weight_bits{"2 to 8", [](std::int64_t bits) { return bits >= 2 && bits <= 8; }};
  const Integers activation_bits{"2 to 8, or 16",
                                 [](std::int64_t bits) { return (bits >= 2 && bits <= 8) || bits == 16; }};
  // The comparisons are written so that NaN fails them.
  const Numbers smooth{"0 to 1", [](double alpha) { return alpha >= 0 && alpha <= 1; }};
  const Numbers percentile{"greater than 50 and at most 100", [](double p) { return p > 50 && p <= 100; }};
  return {
      layer_field({"weight_bits", "--weight-bits", "8", "Bits of weights"}, &Recipe::weight_bits,
                  &LayerRecipe::weight_bits, weight_bits),
      layer_field({"activation_bits", "--activation-bits", "8",
                   "Bits of activations; for a single layer, of its output. Values that share a grid take the most "
                   "bits that one of their layers asks for. 16 bits lose next to nothing, but such layers run in "
                   "float, several times as slow as with 8, and the file needs opset 21"},
                  &Recipe::activation_bits, &LayerRecipe::activation_bits, activation_bits),
      field({"weight_scheme", "--weight-scheme", "symmetric at 8 bits, asymmetric below", "Grids of weights"},
            &Recipe::weight_scheme, Words(kSchemes)),
      field({"activation_scheme", "--activation-scheme", "asymmetric", "Grids of activations"},
            &Recipe::activation_scheme, Words(kSchemes)),
      field({"granularity", "--granularity", "per_channel",
             "One grid per output channel of a weight tensor, or one for the whole tensor"},
            &Recipe::granularity, Words(kGranularities)),
      field({"rounding", "--rounding", "auto: gptq below 8 bits with samples, else squant",
             "How weights are rounded. nearest: each to its nearest code. squant: errors cancel in each kernel. gptq: "
             "least output error on the samples. adaround: gptq, then gradient descent through the activation. "
             "seq_mse: each to its nearest code, on the scale of least output error"},
            &Recipe::rounding, Words(kRoundings)),
      field({"bias_correction", "--bias-correction",
             "auto: empirical with samples, analytic without data, none with saved statistics",
             "Whether each layer's mean output error is subtracted from its bias. empirical: as measured on samples. "
             "analytic: as predicted without data"},
            &Recipe::bias_correction, Words(kBiasCorrections)),
      field({"equalization", "--equalize", "auto: noise for per-tensor weights and without data, else none",
             "Which scales move between layers before quantizing. noise: those with the least expected noise. weights: "
             "those that give equal weight ranges (Nagel et al. 2019)"},
            &Recipe::equalization, Words(kEqualizations)),
      field({"smooth", "--smooth", "none",
             "SmoothQuant's alpha: how much of the range of a LayerNormalization's outputs moves into the weights of "
             "the MatMuls that read them; often 0.5. Needs samples"},
            &Recipe::smooth, smooth),
      field({"absorb", "--absorb", "true",
             "Without data: move the means of channels into the biases of the layers that read the channels"},
            &Recipe::absorb, Booleans{}),
      field({"target", "--target", "bitfold",
             "The runtime that will run the result. bitfold: no grid between a layer and its LeakyRelu, which is more "
             "accurate and needs Bitfold's engine to be fast. any: a grid on every value between layers, as ONNX "
             "Runtime needs"},
            &Recipe::target, Words(kTargets)),
      field(
          {"observer", "--observer", "mse; min_max without data and for networks with LayerNormalization",
           "How ranges of activations are chosen. auto: for each value the observer with the least output error on the "
           "samples"},
          &Recipe::observer, Words(kObservers)),
      field({"percentile", "--percentile", "99.99",
             "Observer percentile leaves out 100 minus this percentage of the values at either end"},
            &Recipe::percentile, percentile),
      field({"skip", "--skip", "none", "Nodes to leave in float, by name"}, &Recipe::skip, Names{}),
      only_layer_field({"in_float", "", "false", "Leave the layer in float"}, &LayerRecipe::in_float),
  };
}

}  // namespace

std::string_view to_string(Observer observer) { return kObservers.word(observer); }
std::string_view to_string(Rounding rounding) { return kRoundings.word(rounding); }
std::string_view to_string(BiasCorrection correction) { return kBiasCorrections.word(correction); }
std::string_view to_string(Equalization equalization) { return kEqualizations.word(equalization); }
std::string_view to_string(Target target) { return kTargets.word(target); }

std::span<const RecipeField> recipe_fields() {
  static const std::vector<RecipeField> fields = make_fields();
  return fields;
}

RecipeValue parse_value(const RecipeField& field, const std::string& text) {
  const char* const end = text.data() + text.size();
  switch (field.type) {
    case RecipeField::Type::boolean:
      if (text == "true" || text == "false") return text == "true";
      break;
    case RecipeField::Type::integer: {
      std::int64_t number = 0;
      if (const auto [last, code] = std::from_chars(text.data(), end, number); code == std::errc{} && last == end)
        return number;
      break;
    }
    case RecipeField::Type::number: {
      double number = 0;
      if (const auto [last, code] = std::from_chars(text.data(), end, number); code == std::errc{} && last == end)
        return number;
      break;
    }
    case RecipeField::Type::word:
      return text;
    case RecipeField::Type::names:
      return std::vector<std::string>{text};
  }
  fail("{} is '{}'; it must be {}", field.name, text, field.values);
}

void set_layer(Recipe& recipe, const std::string& text) {
  const std::size_t equals = text.rfind('=');
  const std::size_t colon = equals == std::string::npos ? equals : text.rfind(':', equals);
  check(colon != std::string::npos && colon > 0, "layer setting '{}': expected NODE:KEY=VALUE", text);
  const std::string node = text.substr(0, colon), key = text.substr(colon + 1, equals - colon - 1);
  std::vector<std::string_view> keys;
  for (const RecipeField& field : recipe_fields()) {
    if (!field.set_layer) continue;
    keys.push_back(field.name);
    if (field.name != key) continue;
    try {
      field.set_layer(recipe.layers[node], parse_value(field, text.substr(equals + 1)));
    } catch (const Error& error) {
      fail("layer setting '{}': {}", text, error.what());
    }
    return;
  }
  fail("layer setting '{}': unknown key '{}', expected {}{}", text, key, fmt::join(keys, ", "),
       did_you_mean(key, keys));
}

void check_recipe(const Recipe& recipe) {
  Recipe copy;
  for (const RecipeField& field : recipe_fields())
    if (field.set) field.set(copy, field.get(recipe));
  for (const auto& [name, layer] : recipe.layers) {
    LayerRecipe layer_copy;
    try {
      for (const RecipeField& field : recipe_fields())
        if (field.set_layer) field.set_layer(layer_copy, field.get_layer(layer));
    } catch (const Error& error) {
      fail("layers.\"{}\": {}", name, error.what());
    }
  }
}

}  // namespace bitfold
