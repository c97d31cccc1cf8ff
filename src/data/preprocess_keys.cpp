// Parses preprocessing settings: one key and its text, from a flag or from a line of TOML.
#include <toml++/toml.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <cmath>

#include "base/check.h"
#include "base/file.h"
#include "bitfold/nearest.h"
#include "bitfold/data.h"

namespace bitfold {
namespace {

constexpr std::array<std::string_view, 11> kKeys{"resize",    "fit",   "align", "crop", "pad",     "fill",
                                                 "normalize", "scale", "mean",  "std",  "channels"};
constexpr std::int64_t kLongestSide = 1 << 16;

struct Preset {
  std::string_view word, formula;
  std::optional<float> scale;
  std::vector<float> mean, std;
  std::optional<Channels> channels;
};

// The constants of torchvision, of Keras' preprocess_input (modes tf and caffe) and of CLIP.
const std::vector<Preset>& presets() {
  static const std::vector<Preset> list{
      {"unit", "x/255", {}, {}, {}, {}},
      {"tf", "x/127.5 - 1", 1.0F, {127.5F}, {127.5F}, {}},
      {"imagenet",
       "(x/255 - mean)/std of ImageNet",
       {},
       {0.485F, 0.456F, 0.406F},
       {0.229F, 0.224F, 0.225F},
       Channels::rgb},
      {"caffe", "x - 103.939,116.779,123.68, bgr", 1.0F, {103.939F, 116.779F, 123.68F}, {}, Channels::bgr},
      {"clip",
       "(x/255 - mean)/std of CLIP",
       {},
       {0.48145466F, 0.4578275F, 0.40821073F},
       {0.26862954F, 0.26130258F, 0.27577711F},
       Channels::rgb},
      {"none", "x, from 0 to 255", 1.0F, {}, {}, {}}};
  return list;
}

void set_normalization(Preprocess& preprocess, std::string_view word) {
  std::vector<std::string_view> words;
  for (const Preset& preset : presets()) {
    words.push_back(preset.word);
    if (preset.word != word) continue;
    preprocess.scale = preset.scale;
    preprocess.mean = preset.mean;
    preprocess.std = preset.std;
    if (preset.channels) preprocess.channels = preset.channels;
    return;
  }
  fail("normalize: '{}' is unknown; it must be one of {}{}", word, fmt::join(words, ", "), did_you_mean(word, words));
}

std::optional<std::int64_t> side(std::string_view text) {
  std::int64_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size() || value < 1 || value > kLongestSide)
    return std::nullopt;
  return value;
}

// "320x240" is width x height.
std::optional<ImageSize> size(std::string_view text) {
  const std::size_t x = text.find('x');
  if (x == std::string_view::npos) return std::nullopt;
  const auto width = side(text.substr(0, x)), height = side(text.substr(x + 1));
  if (!width || !height) return std::nullopt;
  return ImageSize{*width, *height};
}

// "320x240", or one number for both sides.
std::optional<ImageSize> size_or_side(std::string_view text) {
  const auto square = side(text);
  return square ? ImageSize{*square, *square} : size(text);
}

std::optional<double> number(std::string_view text) {
  double value = 0;
  if (text.starts_with('+')) text.remove_prefix(1);
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size() || !std::isfinite(value)) return std::nullopt;
  return value;
}

std::string_view trimmed(std::string_view text) {
  while (text.starts_with(' ')) text.remove_prefix(1);
  while (text.ends_with(' ')) text.remove_suffix(1);
  return text;
}

// A number or a fraction: "0.5", "1/255".
float number_or_fraction(std::string_view key, std::string_view text) {
  text = trimmed(text);
  const std::size_t slash = text.find('/');
  const auto above = number(trimmed(text.substr(0, slash)));
  const auto below = slash == std::string_view::npos ? 1.0 : number(trimmed(text.substr(slash + 1)));
  check(above && below && *below != 0, "{}: '{}' is neither a number nor a fraction like 1/255", key, text);
  return static_cast<float>(*above / *below);
}

std::vector<float> numbers(std::string_view key, std::string_view text) {
  std::vector<float> values;
  for (;;) {
    const std::size_t comma = text.find(',');
    values.push_back(number_or_fraction(key, text.substr(0, comma)));
    if (comma == std::string_view::npos) return values;
    text.remove_prefix(comma + 1);
  }
}

// A TOML value as the text of a flag: [0.5, 0.5] is "0.5,0.5".
std::optional<std::string> as_text(const toml::node& node) {
  if (const auto* text = node.as_string()) return text->get();
  if (const auto* integer = node.as_integer()) return std::to_string(integer->get());
  if (const auto* real = node.as_floating_point()) return fmt::format("{}", real->get());
  const auto* array = node.as_array();
  if (array == nullptr || array->empty()) return std::nullopt;
  std::string text;
  for (const toml::node& element : *array) {
    const auto part = element.is_array() ? std::nullopt : as_text(element);
    if (!part) return std::nullopt;
    text += (text.empty() ? "" : ",") + *part;
  }
  return text;
}

}  // namespace

std::vector<NormalizationPreset> normalization_presets() {
  std::vector<NormalizationPreset> list;
  for (const Preset& preset : presets()) list.push_back({preset.word, preset.formula});
  return list;
}

void set_preprocess(Preprocess& preprocess, std::string_view key, std::string_view text) {
  text = trimmed(text);
  if (key == "resize") {
    const bool has_x = text.find('x') == text.rfind('x');
    preprocess.resize_short = side(text);
    preprocess.resize_exact = size(text);
    preprocess.resize_height = has_x && text.starts_with('x') ? side(text.substr(1)) : std::nullopt;
    preprocess.resize_width = has_x && text.ends_with('x') ? side(text.substr(0, text.size() - 1)) : std::nullopt;
    check(preprocess.resize_short || preprocess.resize_exact || preprocess.resize_height || preprocess.resize_width,
          "resize: '{}' is neither the short side in pixels, like 256, nor width x height, like 320x240, nor one of "
          "them, like x48 or 320x",
          text);
  } else if (key == "fit") {
    preprocess.fit = size_or_side(text);
    check(preprocess.fit.has_value(), "fit: '{}' is neither pixels, like 640, nor width x height, like 640x480", text);
  } else if (key == "align") {
    check(text == "center" || text == "top_left", "align: '{}' must be center or top_left", text);
    preprocess.align = text == "center" ? Align::center : Align::top_left;
  } else if (key == "pad") {
    preprocess.pad = side(text);
    check(preprocess.pad.has_value(), "pad: '{}' is not a width in pixels, like 320", text);
  } else if (key == "fill") {
    preprocess.fill = numbers(key, text);
  } else if (key == "normalize") {
    set_normalization(preprocess, text);
  } else if (key == "crop") {
    preprocess.crop = size_or_side(text);
    check(preprocess.crop.has_value(), "crop: '{}' is neither pixels, like 224, nor width x height, like 320x240",
          text);
  } else if (key == "scale") {
    preprocess.scale = number_or_fraction(key, text);
    check(*preprocess.scale != 0, "scale: 0 would make all samples equal");
  } else if (key == "mean") {
    preprocess.mean = numbers(key, text);
  } else if (key == "std") {
    preprocess.std = numbers(key, text);
    for (const float std : preprocess.std) check(std > 0, "std: {} is not above 0", std);
  } else if (key == "channels") {
    check(text == "rgb" || text == "bgr" || text == "gray", "channels: '{}' must be rgb, bgr or gray", text);
    preprocess.channels = text == "rgb" ? Channels::rgb : text == "bgr" ? Channels::bgr : Channels::gray;
  } else {
    fail("unknown key '{}'; the known keys are {}{}", key, fmt::join(kKeys, ", "), did_you_mean(key, kKeys));
  }
}

Preprocess load_preprocess(const std::string& path) {
  const std::vector<std::byte> bytes = read_file(path);
  const std::string_view text(reinterpret_cast<const char*>(bytes.data()), bytes.size());
  toml::table table;
  try {
    table = toml::parse(text, path);
  } catch (const toml::parse_error& error) {
    fail("'{}' line {}: {}", path, error.source().begin.line, error.description());
  }
  Preprocess preprocess;
  const auto set = [&](const toml::key& key, const toml::node& node) {
    const auto line = node.source().begin.line;
    const auto value = as_text(node);
    check(value.has_value() || std::find(kKeys.begin(), kKeys.end(), key.str()) == kKeys.end(),
          "'{}' line {}: {}: expected a number, a text or a list of numbers", path, line, key.str());
    try {
      set_preprocess(preprocess, key.str(), value.value_or(""));
    } catch (const Error& error) {
      fail("'{}' line {}: {}", path, line, error.what());
    }
  };
  // A preset first, because other keys change parts of it.
  for (const bool is_preset : {true, false})
    for (const auto& [key, node] : table)
      if ((key.str() == "normalize") == is_preset) set(key, node);
  return preprocess;
}

}  // namespace bitfold
