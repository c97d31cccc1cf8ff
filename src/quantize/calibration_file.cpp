// Calibrations as JSON:
//
//   {"format": "bitfold calibration", "version": 1, "sample_count": 512,
//    "values": {"conv1": {"min": -2.5, "max": 3.25, "count": 1048576, "bin_width": 0.001953125,
//                         "first_bin": 768, "bins": [1, 0, 3, ...],
//                         "samples": 512, "sample_minima": [-640.5], "sample_maxima": [811.25]}}}
//
// `bins` omits the empty bins at both ends. Sums of samples' extremes are written as numbers that add up to them
// exactly; they and `samples` are absent if unknown. Redundant fields are checked against each other.
#include <algorithm>
#include <cmath>
#include <limits>
#include <nlohmann/json.hpp>

#include "base/check.h"
#include "base/file.h"
#include "bitfold/calibrate.h"

namespace bitfold {
namespace {

using Json = nlohmann::ordered_json;

constexpr const char* kFormat = "bitfold calibration";
constexpr int kVersion = 1;

bool is_used(std::int64_t count) { return count != 0; }

// Index of the first bin that is not empty, and one past the last; both 0 when all are.
std::pair<std::size_t, std::size_t> used_range(const std::vector<std::int64_t>& bins) {
  const auto first = std::find_if(bins.begin(), bins.end(), is_used);
  if (first == bins.end()) return {0, 0};
  const auto last = std::find_if(bins.rbegin(), bins.rend(), is_used).base();
  return {static_cast<std::size_t>(first - bins.begin()), static_cast<std::size_t>(last - bins.begin())};
}

Json to_json(const ValueStatistics& statistics) {
  const auto [first, last] = used_range(statistics.bins);
  Json json;
  json["min"] = statistics.min;
  json["max"] = statistics.max;
  json["count"] = statistics.count;
  json["bin_width"] = statistics.bin_width;
  json["first_bin"] = first;
  json["bins"] = std::vector<std::int64_t>(statistics.bins.data() + first, statistics.bins.data() + last);
  if (statistics.sample_count == 0) return json;
  json["samples"] = statistics.sample_count;
  json["sample_minima"] = statistics.sample_minima.parts();
  json["sample_maxima"] = statistics.sample_maxima.parts();
  return json;
}

Json to_json(const Prepared& prepared) {
  Json json{{"equalization", to_string(prepared.equalization)}};
  if (prepared.smooth) json["smooth"] = *prepared.smooth;
  return json;
}

// Reads one file; every error names the file and the key.
class Reader {
 public:
  explicit Reader(const std::string& path) : path_(path) {
    const std::vector<std::byte> bytes = read_file(path);
    const char* text = reinterpret_cast<const char*>(bytes.data());
    try {
      json_ = Json::parse(text, text + bytes.size());
    } catch (const Json::exception& error) {
      fail("{}: not JSON: {}", path, error.what());
    }
  }

  Calibration read() const {
    check(json_.is_object() && json_.contains("format") && json_["format"] == kFormat,
          "{}: not a calibration: \"format\" is not \"{}\"", path_, kFormat);
    const auto version = integer(json_, "version", "version");
    check(version == kVersion, "{}: version is {}; this program reads {}", path_, version, kVersion);
    Calibration calibration;
    calibration.sample_count = integer(json_, "sample_count", "sample_count");
    if (json_.contains("prepared")) calibration.prepared = prepared(json_["prepared"]);
    const Json& values = member(json_, "values", "values");
    check(values.is_object(), "{}: values is not an object", path_);
    for (const auto& [name, json] : values.items())
      calibration.values[name] = statistics(json, fmt::format("values.{}", name));
    return calibration;
  }

 private:
  const Json& member(const Json& object, const char* key, const std::string& where) const {
    check(object.is_object() && object.contains(key), "{}: {} is missing", path_, where);
    return object[key];
  }

  std::int64_t as_count(const Json& json, const std::string& where) const {
    constexpr std::uint64_t kLargest = std::numeric_limits<std::int64_t>::max();
    check(json.is_number_integer() && (!json.is_number_unsigned() || json.get<std::uint64_t>() <= kLargest) &&
              json.get<std::int64_t>() >= 0,
          "{}: {} is not a count: {}", path_, where, json.dump());
    return json.get<std::int64_t>();
  }

  std::int64_t integer(const Json& object, const char* key, const std::string& where) const {
    return as_count(member(object, key, where), where);
  }

  float real(const Json& object, const char* key, const std::string& where) const {
    const Json& json = member(object, key, where);
    check(json.is_number() && std::fabs(json.get<double>()) <= std::numeric_limits<float>::max(),
          "{}: {} is not a finite float: {}", path_, where, json.dump());
    return static_cast<float>(json.get<double>());
  }

  Prepared prepared(const Json& json) const {
    const Json& equalization = member(json, "equalization", "prepared.equalization");
    Prepared read;
    // The words and the range are those of the recipe's fields of these names.
    const Json recipe{{"equalization", equalization},
                      {"smooth", json.contains("smooth") ? json["smooth"] : Json(nullptr)}};
    try {
      const Recipe parsed = parse_recipe_json(recipe.dump());
      read = {.equalization = parsed.equalization, .smooth = parsed.smooth};
    } catch (const Error& error) {
      fail("{}: prepared: {}", path_, error.what());
    }
    check(read.equalization != Equalization::automatic,
          "{}: prepared.equalization is auto; it must be the method that was applied", path_);
    return read;
  }

  ValueStatistics statistics(const Json& json, const std::string& where) const {
    ValueStatistics read;
    read.min = real(json, "min", where + ".min");
    read.max = real(json, "max", where + ".max");
    read.count = integer(json, "count", where + ".count");
    read.bin_width = real(json, "bin_width", where + ".bin_width");
    read_bins(json, where, read);
    if (read.count == 0) return {};
    check(read.min <= read.max, "{}: {}.min is greater than max", path_, where);
    check_bins(read, where);
    if (json.contains("samples")) read_samples(json, where, read);
    return read;
  }

  void read_samples(const Json& json, const std::string& where, ValueStatistics& read) const {
    read.sample_count = integer(json, "samples", where + ".samples");
    check(read.sample_count >= 1 && read.sample_count <= read.count, "{}: {}.samples is {}; it must be 1 to count, {}",
          path_, where, read.sample_count, read.count);
    const double n = static_cast<double>(read.sample_count);
    for (const auto& [key, sum] :
         {std::pair("sample_minima", &read.sample_minima), std::pair("sample_maxima", &read.sample_maxima)}) {
      *sum = exact_sum(member(json, key, fmt::format("{}.{}", where, key)), fmt::format("{}.{}", where, key));
      check(sum->value() / n >= read.min && sum->value() / n <= read.max,
            "{}: {}.{}: their mean, {}, is not between min and max", path_, where, key, sum->value() / n);
    }
    check(read.sample_minima.value() <= read.sample_maxima.value(), "{}: {}.sample_minima are above sample_maxima",
          path_, where);
  }

  ExactSum exact_sum(const Json& json, const std::string& where) const {
    check(json.is_array() && std::all_of(json.begin(), json.end(), [](const Json& part) { return part.is_number(); }),
          "{}: {} is not an array of numbers", path_, where);
    ExactSum sum;
    try {
      for (const Json& part : json) sum.add(part.get<double>());
    } catch (const Error& error) {
      fail("{}: {}: {}", path_, where, error.what());
    }
    return sum;
  }

  void read_bins(const Json& json, const std::string& where, ValueStatistics& read) const {
    const std::int64_t first = integer(json, "first_bin", where + ".first_bin");
    const Json& bins = member(json, "bins", where + ".bins");
    check(bins.is_array(), "{}: {}.bins is not an array", path_, where);
    const auto bin_count = static_cast<std::int64_t>(bins.size());
    check(first <= ValueStatistics::kBinCount && bin_count <= ValueStatistics::kBinCount - first,
          "{}: {}.bins has {} entries from {} on; there are {} bins", path_, where, bin_count, first,
          ValueStatistics::kBinCount);
    read.bins.assign(ValueStatistics::kBinCount, 0);
    std::int64_t left = read.count;
    for (std::int64_t i = 0; i < bin_count; ++i) {
      const std::int64_t n = as_count(bins[static_cast<std::size_t>(i)], fmt::format("{}.bins[{}]", where, i));
      check(n <= left, "{}: {}.bins add up to more than count, {}", path_, where, read.count);
      left -= n;
      read.bins[static_cast<std::size_t>(first + i)] = n;
    }
    check(left == 0, "{}: {}.bins add up to {}, but count is {}", path_, where, read.count - left, read.count);
  }

  // The bins must be those implied by min and max.
  void check_bins(const ValueStatistics& read, const std::string& where) const {
    ValueStatistics expected;
    expected.add(std::vector<float>{read.min, read.max});
    check(read.bin_width == expected.bin_width, "{}: {}.bin_width is {}, but min and max require {}", path_, where,
          read.bin_width, expected.bin_width);
    check(used_range(read.bins) == used_range(expected.bins), "{}: {}.bins do not begin at min and end at max", path_,
          where);
  }

  const std::string& path_;
  Json json_;
};

}  // namespace

void save_calibration(const Calibration& calibration, const std::string& path) {
  Json json;
  json["format"] = kFormat;
  json["version"] = kVersion;
  json["sample_count"] = calibration.sample_count;
  if (calibration.prepared != Prepared{}) json["prepared"] = to_json(calibration.prepared);
  json["values"] = Json::object();
  for (const auto& [name, statistics] : calibration.values) json["values"][name] = to_json(statistics);
  std::string text;
  try {
    text = json.dump() + "\n";
  } catch (const Json::exception& error) {  // a value's name that is not UTF-8
    fail("cannot write '{}': {}", path, error.what());
  }
  write_file(path, text);
}

Calibration load_calibration(const std::string& path) { return Reader(path).read(); }

}  // namespace bitfold
