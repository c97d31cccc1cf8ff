// Every recipe field gives the same recipe as a flag of the command line, in a TOML file and in a JSON file.
#include <gtest/gtest.h>

#include "quantize/recipe_changes.h"
#include "recipe_options.h"
#include "tool.h"

namespace bitfold::testing {
namespace {

Recipe from_flags(const std::vector<std::string>& flags) {
  CLI::App verb;
  const cli::RecipeOptions options(verb);
  std::vector<std::string> reversed(flags.rbegin(), flags.rend());  // the order that CLI11 wants
  verb.parse(reversed);
  return options.resolve();
}

/// The flags that give the field its value of `recipe`.
std::vector<std::string> flags_of(const RecipeField& field, const Recipe& recipe) {
  if (!field.get)
    return {"--layer", fmt::format("conv1:{}={}", field.name, toml(field.get_layer(recipe.layers.at("conv1"))))};
  const std::string flag(field.flag);
  const RecipeValue value = field.get(recipe);
  if (const auto* is_on = std::get_if<bool>(&value)) return {*is_on ? flag : "--no-" + flag.substr(2)};
  if (const auto* word = std::get_if<std::string>(&value)) return {flag, *word};
  const auto* names = std::get_if<std::vector<std::string>>(&value);
  if (names == nullptr) return {flag, toml(value)};
  std::vector<std::string> flags;
  for (const std::string& name : *names) flags.insert(flags.end(), {flag, name});
  return flags;
}

// A test of src/report checks, for the same changes, that a search refuses the state of another recipe.
TEST(RecipeFlags, give_the_same_recipe_as_files) {
  const TemporaryFolder folder;
  for (const RecipeField& field : recipe_fields()) {
    SCOPED_TRACE(field.name);
    Recipe expected = changed_recipe(field);
    if (field.name == "percentile") expected.observer = Observer::percentile;  // the flag chooses the observer
    EXPECT_EQ(from_flags(flags_of(field, expected)), expected);
    const auto from_file = [&](const std::string& name, const std::string& text) {
      write_text(folder / name, text);
      return from_flags({"--recipe", (folder / name).string()});
    };
    EXPECT_EQ(from_file("recipe.toml", recipe_toml(expected)), expected) << recipe_toml(expected);
    EXPECT_EQ(from_file("recipe.json", recipe_json(expected)), expected) << recipe_json(expected);
    EXPECT_NE(recipe_json(expected), recipe_json({})) << "a part of the fingerprint of a search";
  }
}

TEST(RecipeFlags, override_the_file) {
  const TemporaryFolder folder;
  for (const RecipeField& field : recipe_fields()) {
    const bool has_default = field.get && !std::holds_alternative<std::monostate>(field.get({}));
    if (!has_default || field.type == RecipeField::Type::names) continue;
    SCOPED_TRACE(field.name);
    write_text(folder / "recipe.toml", recipe_toml(changed_recipe(field)));
    std::vector<std::string> flags = flags_of(field, {});
    flags.insert(flags.end(), {"--recipe", (folder / "recipe.toml").string()});
    Recipe expected;
    if (field.name == "percentile") expected.observer = Observer::percentile;
    EXPECT_EQ(from_flags(flags), expected);
  }
}

}  // namespace
}  // namespace bitfold::testing
