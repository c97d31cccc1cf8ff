// For tests: a value other than the default for every recipe field.
#pragma once

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

}  // namespace bitfold::testing
