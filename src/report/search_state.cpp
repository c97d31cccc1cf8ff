// The state of a search as JSON:
//
//   {"format": "bitfold mixed precision", "version": 1, "fingerprint": "4f0c...",
//    "noise": {"conv1 w4a8": 0.0123, ...},
//    "points": [{"choices": ["w4a8", "w8a16", "float"], "bytes": 181234, "score": 0.8016}, ...]}
#include "report/search_state.h"

#include <algorithm>
#include <charconv>
#include <filesystem>
#include <nlohmann/json.hpp>

#include "base/check.h"
#include "base/file.h"

namespace bitfold::report {
namespace {

using Json = nlohmann::ordered_json;

constexpr const char* kFormat = "bitfold mixed precision";
constexpr int kVersion = 1;

LayerChoice parse_choice(const std::string& text) {
  if (text == "float") return {0, 0};
  LayerChoice choice{-1, -1};
  const std::size_t a = text.find('a');
  const auto number = [&](std::size_t first, std::size_t last, int& to) {
    const auto [end, code] = std::from_chars(text.data() + first, text.data() + last, to);
    return code == std::errc{} && end == text.data() + last;
  };
  const bool is_read = text.size() > 2 && text[0] == 'w' && a != std::string::npos &&
                       number(1, a, choice.weight_bits) && number(a + 1, text.size(), choice.activation_bits);
  check(is_read && choice.weight_bits >= 2 && choice.weight_bits <= 8 && choice.activation_bits >= 2 &&
            choice.activation_bits <= 16,
        "'{}': expected bits such as w4a8, or float", text);
  return choice;
}

MixPoint parse_point(const Json& json) {
  MixPoint point;
  for (const Json& choice : json.at("choices")) point.choices.push_back(parse_choice(choice.get<std::string>()));
  point.bytes = json.at("bytes").get<std::int64_t>();
  point.score = json.at("score").get<double>();
  check(point.bytes > 0 && point.score >= 0 && point.score <= 1,
        "a point has {} bytes and score {}; bytes must be positive, the score 0 to 1", point.bytes, point.score);
  return point;
}

/// "conv1 w4a8"
std::string key_of(const LoneLayer& layer) { return fmt::format("{} {}", layer.node, to_string(layer.choice)); }

LoneLayer parse_key(const std::string& text) {
  const std::size_t space = text.rfind(' ');
  check(space != std::string::npos, "'{}': expected a layer and its bits, such as 'conv1 w4a8'", text);
  return {text.substr(0, space), parse_choice(text.substr(space + 1))};
}

}  // namespace

std::string to_string(const LayerChoice& choice) {
  return choice.weight_bits == 0 ? "float" : fmt::format("w{}a{}", choice.weight_bits, choice.activation_bits);
}

const MixPoint* SearchState::find(const std::vector<LayerChoice>& choices) const {
  const auto it = std::find_if(points.begin(), points.end(), [&](const MixPoint& p) { return p.choices == choices; });
  return it == points.end() ? nullptr : &*it;
}

std::string hash_of(const std::string& text) {
  std::uint64_t hash = 14695981039346656037ULL;
  for (const char c : text) hash = (hash ^ static_cast<unsigned char>(c)) * 1099511628211ULL;
  return fmt::format("{:016x}", hash);
}

void save_state(const SearchState& state, const std::string& path) {
  Json points = Json::array();
  for (const MixPoint& point : state.points) {
    Json choices = Json::array();
    for (const LayerChoice& choice : point.choices) choices.push_back(to_string(choice));
    points.push_back({{"choices", choices}, {"bytes", point.bytes}, {"score", point.score}});
  }
  Json noise = Json::object();
  for (const auto& [layer, value] : state.noise) noise[key_of(layer)] = value;
  const Json json{{"format", kFormat},
                  {"version", kVersion},
                  {"fingerprint", state.fingerprint},
                  {"noise", noise},
                  {"points", points}};
  write_file(path, std::string_view(json.dump(1) + "\n"));
}

std::optional<SearchState> load_state(const std::string& path, const std::string& fingerprint) {
  if (!std::filesystem::exists(path)) return std::nullopt;
  const std::vector<std::byte> bytes = read_file(path);
  const char* text = reinterpret_cast<const char*>(bytes.data());
  SearchState state;
  try {
    const Json json = Json::parse(text, text + bytes.size());
    check(json.is_object() && json.contains("format") && json["format"] == kFormat,
          "not the state of a search: \"format\" is not \"{}\"", kFormat);
    check(json.at("version") == kVersion, "version is {}; this program reads {}", json.at("version").dump(), kVersion);
    state.fingerprint = json.at("fingerprint").get<std::string>();
    for (const auto& [key, value] : json.at("noise").items()) state.noise[parse_key(key)] = value.get<double>();
    for (const Json& point : json.at("points")) state.points.push_back(parse_point(point));
  } catch (const std::exception& error) {
    fail("{}: {}", path, error.what());
  }
  check(state.fingerprint == fingerprint,
        "{}: belongs to a search with a different network, calibration, recipe or data; remove it or give another file",
        path);
  return state;
}

}  // namespace bitfold::report
