#include "data_options.h"

#include <fmt/format.h>

#include <array>
#include <cstdint>
#include <optional>
#include <string>

#include "bitfold/error.h"
#include "output.h"

namespace bitfold::cli {
namespace {

struct Flag {
  const char* key;  // key of set_preprocess
  const char* type;
  const char* help;
};

// In the order in which they are applied, after --normalize, of which they may change parts.
constexpr std::array<Flag, 11> kFlags{
    {{"normalize", "PRESET", ""},
     {"resize", "N|WxH|xH|Wx",
      "Resize images, bilinear: short side to N pixels, to exactly W x H, or to one side by aspect ratio"},
     {"fit", "N|WxH", "Letterbox: scale images to fit into W x H by aspect ratio, and fill the border"},
     {"align", "center|top_left", "The image's place within --fit (default: center)"},
     {"crop", "N|WxH", "Cut out the centre"},
     {"pad", "W", "Pad images at the right to this width; with --resize xH, wider ones are shrunk to it"},
     {"fill", "X[,Y,Z]",
      "Pixel value of borders (default: 114 around --fit; beside --pad what becomes 0 in the input)"},
     {"channels", "rgb|bgr|gray", "Order of the channels (default: rgb, or gray for a 1-channel input)"},
     {"scale", "X|1/X",
      "Multiply every element (default: 1 for floats and with a --mean or --std above 1, else 1/255)"},
     {"mean", "X[,Y,Z]", "Subtract this after scaling: one number, or one per channel"},
     {"std", "X[,Y,Z]", "Divide by this after subtracting the mean: one number, or one per channel"}}};

std::string help_of(const Flag& flag) {
  if (std::string_view(flag.key) != "normalize") return flag.help;
  std::string text = "Set --scale, --mean and --std together:";
  const char* separator = " ";
  for (const NormalizationPreset& preset : normalization_presets()) {
    text += fmt::format("{}{}: {}", separator, preset.word, preset.formula);
    separator = "; ";
  }
  return text;
}

constexpr const char* kDataGroup = "Data";

}  // namespace

struct DataOptions::Values {
  std::array<std::optional<std::string>, kFlags.size()> texts;
  std::string preprocess_file;
  AudioOptions audio;
  std::optional<std::int64_t> limit;
  bool strict = false;
};

DataOptions::DataOptions(CLI::App& verb) : values_(std::make_unique<Values>()) {
  for (std::size_t i = 0; i < kFlags.size(); ++i) {
    const Flag& flag = kFlags[i];
    verb.add_option(fmt::format("--{}", flag.key), values_->texts[i], help_of(flag))
        ->type_name(flag.type)
        ->group(kDataGroup);
  }
  verb.add_option("--preprocess", values_->preprocess_file, "Read the keys above from a file; flags override it")
      ->type_name("FILE.toml")
      ->group(kDataGroup);
  const auto add_audio = [&](const char* name, std::optional<std::int64_t>& value, const char* type, const char* help) {
    verb.add_option(name, value, help)->type_name(type)->check(CLI::PositiveNumber.description(""))->group(kDataGroup);
  };
  add_audio("--sample-rate", values_->audio.sample_rate, "HZ",
            "Resample audio files to this rate (default: their own)");
  add_audio("--window", values_->audio.window, "SAMPLES",
            "Length of the windows of audio files (default: the input's length, or the whole file if that is open)");
  add_audio("--hop", values_->audio.hop, "SAMPLES", "From the start of a window to the next (default: --window)");
  verb.add_option("--limit", values_->limit, "Use at most N samples")->type_name("N")->group(kDataGroup);
  verb.add_flag("--strict", values_->strict,
                "Treat an unreadable image or audio file as an error (default: skip it and print its name)")
      ->group(kDataGroup);
}

DataOptions::~DataOptions() = default;

DatasetOptions DataOptions::resolve() const {
  DatasetOptions options;
  options.limit = values_->limit;
  options.strict = values_->strict;
  options.audio = values_->audio;
  options.warn = print_warning;
  if (!values_->preprocess_file.empty()) options.preprocess = load_preprocess(values_->preprocess_file);
  for (std::size_t i = 0; i < kFlags.size(); ++i) {
    if (!values_->texts[i]) continue;
    try {
      set_preprocess(options.preprocess, kFlags[i].key, *values_->texts[i]);
    } catch (const Error& error) {
      // The message starts with the key.
      throw Error(fmt::format("--{}", error.what()));
    }
  }
  return options;
}

std::string DataOptions::first_given() const {
  for (std::size_t i = 0; i < kFlags.size(); ++i)
    if (values_->texts[i]) return fmt::format("--{}", kFlags[i].key);
  if (!values_->preprocess_file.empty()) return "--preprocess";
  if (values_->audio.sample_rate) return "--sample-rate";
  if (values_->audio.window) return "--window";
  return values_->audio.hop ? "--hop" : "";
}

}  // namespace bitfold::cli
