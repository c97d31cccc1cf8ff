// The flags of a recipe, one for each of recipe_fields(), and --recipe.
#pragma once

#include <CLI/CLI.hpp>
#include <map>
#include <string>
#include <vector>

#include "bitfold/recipe.h"

namespace bitfold::cli {

class RecipeOptions {
 public:
  explicit RecipeOptions(CLI::App& verb);

  /// The recipe: flags override the --recipe file, which overrides the defaults. Throws Error naming file or flag.
  Recipe resolve() const;

 private:
  std::string path_, scheme_;
  std::map<std::string_view, std::vector<std::string>> texts_;  // given values, by field name
  std::vector<std::string> layers_;
};

}  // namespace bitfold::cli
