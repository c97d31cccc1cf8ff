// Recipes as TOML and JSON files.
#include <toml++/toml.h>

#include <algorithm>
#include <nlohmann/json.hpp>

#include "base/check.h"
#include "base/file.h"
#include "bitfold/nearest.h"
#include "bitfold/recipe.h"

namespace bitfold {
namespace {

using Json = nlohmann::ordered_json;

/// One key and value of a file. Its messages start with `place`.
struct Entry {
  std::string place;
  std::string key;
  RecipeValue value;
};

/// A table of a file: its own entries, and the tables of single layers under "layers".
struct Table {
  std::string name = {};  ///< The layer, if this is the table of a single layer.
  std::vector<Entry> entries = {};
  std::vector<Table> layers = {};
};

template <class Owner, class Set>
void apply(const std::vector<Entry>& entries, Owner& owner, Set RecipeField::*set, bool has_layers) {
  std::vector<std::string_view> keys;
  for (const RecipeField& field : recipe_fields())
    if (field.*set) keys.push_back(field.name);
  if (has_layers) keys.emplace_back("layers");
  for (const Entry& entry : entries) {
    const auto fields = recipe_fields();
    const auto found =
        std::find_if(fields.begin(), fields.end(), [&](const RecipeField& f) { return f.*set && f.name == entry.key; });
    if (found == fields.end()) fail("{}: unknown key '{}'{}", entry.place, entry.key, did_you_mean(entry.key, keys));
    try {
      ((*found).*set)(owner, entry.value);
    } catch (const Error& error) {
      fail("{}: {}", entry.place, error.what());
    }
  }
}

Recipe applied(const Table& table, Recipe recipe) {
  apply(table.entries, recipe, &RecipeField::set, true);
  for (const Table& layer : table.layers)
    apply(layer.entries, recipe.layers[layer.name], &RecipeField::set_layer, false);
  return recipe;
}

// Replaces a value whose type no field has, such as a date, by an empty string, which every field rejects.
RecipeValue unsupported() { return std::string(); }

template <class List, class IsString, class String>
RecipeValue names_in(const List& list, const IsString& is_string, const String& string) {
  std::vector<std::string> names;
  for (const auto& element : list) {
    if (!is_string(element)) return unsupported();
    names.push_back(string(element));
  }
  return names;
}

class TomlReader {
 public:
  explicit TomlReader(const std::string& path) : path_(path) {}

  Table read(const toml::table& toml, bool is_top, std::string name = {}) const {
    Table table{.name = std::move(name)};
    for (const auto& [key, node] : toml) {
      if (is_top && key.str() == "layers") {
        check(node.is_table(), "{}: layers must be tables, [layers.\"NODE\"]", at(node.source()));
        for (const auto& [layer_name, layer] : *node.as_table()) {
          check(layer.is_table(), "{}: layers.\"{}\" must be a table", at(layer.source()), layer_name.str());
          table.layers.push_back(read(*layer.as_table(), false, std::string(layer_name.str())));
        }
        continue;
      }
      table.entries.push_back({at(key.source()), std::string(key.str()), value(node)});
    }
    return table;
  }

 private:
  std::string at(const toml::source_region& source) const { return fmt::format("{}:{}", path_, source.begin.line); }

  static RecipeValue value(const toml::node& node) {
    if (node.is_boolean()) return **node.as_boolean();
    if (node.is_integer()) return std::int64_t{**node.as_integer()};
    if (node.is_floating_point()) return **node.as_floating_point();
    if (node.is_string()) return std::string(**node.as_string());
    if (node.is_array())
      return names_in(
          *node.as_array(), [](const toml::node& n) { return n.is_string(); },
          [](const toml::node& n) { return std::string(**n.as_string()); });
    return unsupported();
  }

  const std::string& path_;
};

RecipeValue json_value(const Json& json) {
  if (json.is_boolean()) return json.get<bool>();
  if (json.is_number_integer()) return json.get<std::int64_t>();
  if (json.is_number()) return json.get<double>();
  if (json.is_string()) return json.get<std::string>();
  if (json.is_array())
    return names_in(
        json, [](const Json& j) { return j.is_string(); }, [](const Json& j) { return j.get<std::string>(); });
  if (json.is_null()) return {};
  return unsupported();
}

Table json_table(const Json& json, const std::string& place, bool is_top, std::string name = {}) {
  check(json.is_object(), "{}: expected a JSON object", place);
  Table table{.name = std::move(name)};
  for (const auto& [key, value] : json.items()) {
    if (is_top && key == "layers") {
      check(value.is_object(), "{}: layers must be an object", place);
      for (const auto& [node, layer] : value.items())
        table.layers.push_back(json_table(layer, fmt::format("{}: layers.\"{}\"", place, node), false, node));
      continue;
    }
    table.entries.push_back({place, key, json_value(value)});
  }
  return table;
}

Recipe read_json(std::string_view text, const std::string& place, const Recipe& base) {
  Json json;
  try {
    json = Json::parse(text);
  } catch (const Json::exception& error) {
    fail("{}: not JSON: {}", place, error.what());
  }
  return applied(json_table(json, place, true), base);
}

Json to_json(const RecipeValue& value) {
  return std::visit(
      [](const auto& v) {
        if constexpr (std::is_same_v<std::decay_t<decltype(v)>, std::monostate>)
          return Json();
        else
          return Json(v);
      },
      value);
}

}  // namespace

Recipe load_recipe(const std::string& path, const Recipe& base) {
  const std::vector<std::byte> bytes = read_file(path);
  const std::string_view text(reinterpret_cast<const char*>(bytes.data()), bytes.size());
  // No TOML document begins with a brace.
  const std::size_t first = text.find_first_not_of(" \t\r\n");
  if (first != std::string_view::npos && text[first] == '{') return read_json(text, path, base);
  toml::table table;
  try {
    table = toml::parse(text, path);
  } catch (const toml::parse_error& error) {
    fail("{}:{}: not TOML: {}", path, error.source().begin.line, error.description());
  }
  return applied(TomlReader(path).read(table, true), base);
}

Recipe parse_recipe_json(std::string_view json, const Recipe& base) { return read_json(json, "recipe", base); }

std::string recipe_json(const Recipe& recipe) {
  Json json = Json::object();
  for (const RecipeField& field : recipe_fields())
    if (field.get) json[std::string(field.name)] = to_json(field.get(recipe));
  Json& layers = json["layers"] = Json::object();
  const LayerRecipe absent;
  for (const auto& [name, layer] : recipe.layers) {
    Json& own = layers[name] = Json::object();
    for (const RecipeField& field : recipe_fields())
      if (field.get_layer && field.get_layer(layer) != field.get_layer(absent))
        own[std::string(field.name)] = to_json(field.get_layer(layer));
  }
  return json.dump(-1, ' ', false, Json::error_handler_t::replace);
}

}  // namespace bitfold
