// For tests: a value other than the default for every recipe field, and its text in a TOML file.
#pragma once

#include <fmt/ranges.h>

#include <string>
#include <vector>

#include "bitfold/recipe.h"

namespace bitfold::testing {

/// A valid value of the field that differs from `present`.
inline RecipeValue another_value(const RecipeField& field, const RecipeValue& present) {
  switch (field.type) {
    case RecipeField::Type::boolean:
      return !std::get<bool>(present);
    case RecipeField::Type::integer:
      return std::int64_t{7};
    case RecipeField::Type::number:
      return field.name == "smooth" ? 0.25 : 99.5;
    case RecipeField::Type::names:
      return std::vector<std::string>{"first", "second"};
    case RecipeField::Type::word:
      break;
  }
  // The first or the second of "symmetric, asymmetric".
  const std::string first = field.values.substr(0, field.values.find(','));
  const std::string rest = field.values.substr(first.size() + 2);
  return RecipeValue(first) == present ? rest.substr(0, rest.find(',')) : first;
}

/// The default recipe with this field changed; for a field of layers only, changed for layer "conv1".
inline Recipe changed_recipe(const RecipeField& field) {
  Recipe recipe;
  if (field.set)
    field.set(recipe, another_value(field, field.get(recipe)));
  else
    field.set_layer(recipe.layers["conv1"], another_value(field, field.get_layer({})));
  return recipe;
}

/// A value as a TOML file holds it.
inline std::string toml(const RecipeValue& value) {
  if (const auto* flag = std::get_if<bool>(&value)) return *flag ? "true" : "false";
  if (const auto* word = std::get_if<std::string>(&value)) return fmt::format("\"{}\"", *word);
  if (const auto* names = std::get_if<std::vector<std::string>>(&value))
    return fmt::format("[\"{}\"]", fmt::join(*names, "\", \""));
  if (const auto* integer = std::get_if<std::int64_t>(&value)) return std::to_string(*integer);
  return fmt::format("{}", std::get<double>(value));
}

/// A TOML file with the fields that differ from the default recipe.
inline std::string recipe_toml(const Recipe& recipe) {
  std::string text;
  for (const RecipeField& field : recipe_fields())
    if (field.get && field.get(recipe) != field.get({}))
      text += fmt::format("{} = {}\n", field.name, toml(field.get(recipe)));
  for (const auto& [name, layer] : recipe.layers) {
    text += fmt::format("[layers.\"{}\"]\n", name);
    for (const RecipeField& field : recipe_fields())
      if (field.get_layer && field.get_layer(layer) != field.get_layer({}))
        text += fmt::format("{} = {}\n", field.name, toml(field.get_layer(layer)));
  }
  return text;
}

}  // namespace bitfold::testing
