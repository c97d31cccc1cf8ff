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

// In the order in which they are applied.
constexpr std::array<Flag, 6> kFlags{
    {{"resize", "N|WxH", "Resize images, bilinear: short side to N pixels, or to exactly W x H"},
     {"crop", "N|WxH", "Cut out the centre"},
     {"channels", "rgb|bgr|gray", "Order of the channels (default: rgb, or gray for a 1-channel input)"},
     {"scale", "X|1/X", "Multiply every element (default: 1/255 for uint8 data, 1 for floats)"},
     {"mean", "X[,Y,Z]", "Subtract this after scaling: one number, or one per channel"},
     {"std", "X[,Y,Z]", "Divide by this after subtracting the mean: one number, or one per channel"}}};

constexpr const char* kGroup = "Data";

}  // namespace

struct DataOptions::Values {
  std::array<std::optional<std::string>, kFlags.size()> texts;
  std::string preprocess_file;
  std::optional<std::int64_t> limit;
  bool strict = false;
};

DataOptions::DataOptions(CLI::App& verb) : values_(std::make_unique<Values>()) {
  for (std::size_t i = 0; i < kFlags.size(); ++i) {
    const Flag& flag = kFlags[i];
    verb.add_option(fmt::format("--{}", flag.key), values_->texts[i], flag.help)->type_name(flag.type)->group(kGroup);
  }
  verb.add_option("--preprocess", values_->preprocess_file, "Read the keys above from a file; flags override it")
      ->type_name("FILE.toml")
      ->group(kGroup);
  verb.add_option("--limit", values_->limit, "Use at most N samples")->type_name("N")->group(kGroup);
  verb.add_flag("--strict", values_->strict,
                "Treat an unreadable image as an error (default: skip it and print its name)")
      ->group(kGroup);
}

DataOptions::~DataOptions() = default;

DatasetOptions DataOptions::resolve() const {
  DatasetOptions options;
  options.limit = values_->limit;
  options.strict = values_->strict;
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

}  // namespace bitfold::cli
