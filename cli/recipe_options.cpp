#include "recipe_options.h"

#include <fmt/format.h>

#include "bitfold/error.h"

namespace bitfold::cli {
namespace {

constexpr const char* kRecipeGroup = "Recipe";

std::string help(const RecipeField& field) {
  const bool has_own_type = field.type == RecipeField::Type::names || field.type == RecipeField::Type::boolean;
  std::string text(field.help);
  if (!has_own_type) text += fmt::format(": {}", field.values);
  if (field.type == RecipeField::Type::names)
    text += " (may be repeated)";
  else
    text += fmt::format(" (default {})", field.default_value);
  return text;
}

const char* type_name(RecipeField::Type type) {
  switch (type) {
    case RecipeField::Type::integer:
      return "N";
    case RecipeField::Type::number:
      return "X";
    case RecipeField::Type::names:
      return "NODE";
    default:
      return "WORD";
  }
}

}  // namespace

RecipeOptions::RecipeOptions(CLI::App& verb) {
  for (const RecipeField& field : recipe_fields()) {
    if (field.flag.empty()) continue;
    std::vector<std::string>& texts = texts_[field.name];
    const std::string flag(field.flag);
    if (field.type == RecipeField::Type::boolean) {
      // "--absorb" and "--no-absorb"
      verb.add_flag_function(
              fmt::format("{},!--no-{}", flag, flag.substr(2)),
              [&texts](std::int64_t count) { texts = {count > 0 ? "true" : "false"}; }, help(field))
          ->group(kRecipeGroup);
      continue;
    }
    CLI::Option* option =
        verb.add_option(flag, texts, help(field))->type_name(type_name(field.type))->group(kRecipeGroup);
    if (field.type == RecipeField::Type::names)
      option->expected(1)->multi_option_policy(CLI::MultiOptionPolicy::TakeAll);
    else
      option->expected(1)->multi_option_policy(CLI::MultiOptionPolicy::Throw);
  }
  verb.add_option("--scheme", scheme_, "--weight-scheme and --activation-scheme at once")
      ->type_name("WORD")
      ->group(kRecipeGroup);
  verb.add_option("--layer", layers_,
                  "A setting of a single layer, such as conv1:weight_bits=8 or fc:in_float=true (may be repeated)")
      ->expected(1)
      ->multi_option_policy(CLI::MultiOptionPolicy::TakeAll)
      ->type_name("NODE:KEY=VALUE")
      ->group(kRecipeGroup);
  verb.add_option("--recipe", path_, "Read a TOML or JSON file with these keys: weight_bits = 4 ...; flags override it")
      ->type_name("FILE")
      ->group(kRecipeGroup);
}

Recipe RecipeOptions::resolve() const {
  Recipe recipe = path_.empty() ? Recipe{} : load_recipe(path_);
  const auto set = [&](const RecipeField& field, const std::vector<std::string>& texts) {
    RecipeValue value = texts;
    if (field.type != RecipeField::Type::names) value = parse_value(field, texts.front());
    field.set(recipe, value);
  };
  for (const RecipeField& field : recipe_fields()) {
    const bool is_scheme = field.name == "weight_scheme" || field.name == "activation_scheme";
    if (is_scheme && !scheme_.empty()) set(field, {scheme_});
    const auto given = texts_.find(field.name);
    if (given != texts_.end() && !given->second.empty()) set(field, given->second);
  }
  // A percentile implies the percentile observer.
  if (!texts_.at("percentile").empty() && texts_.at("observer").empty()) recipe.observer = Observer::percentile;
  for (const std::string& layer : layers_) set_layer(recipe, layer);
  check_recipe(recipe);
  return recipe;
}

}  // namespace bitfold::cli
