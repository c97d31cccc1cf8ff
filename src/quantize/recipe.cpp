// Decisions that follow from a recipe.
#include "bitfold/recipe.h"

namespace bitfold {

Scheme weight_scheme(const Recipe& recipe) {
  return recipe.weight_scheme.value_or(recipe.weight_bits < 8 ? Scheme::asymmetric : Scheme::symmetric);
}

bool reads_samples(Rounding rounding) {
  return rounding == Rounding::gptq || rounding == Rounding::adaround || rounding == Rounding::seq_mse;
}

bool needs_samples(const Recipe& recipe) {
  return reads_samples(recipe.rounding) || recipe.bias_correction == BiasCorrection::empirical ||
         recipe.observer == Observer::automatic;
}

Recipe without_samples(Recipe recipe) {
  if (reads_samples(recipe.rounding)) recipe.rounding = Rounding::automatic;
  if (recipe.bias_correction == BiasCorrection::empirical) recipe.bias_correction = BiasCorrection::automatic;
  if (recipe.observer == Observer::automatic) recipe.observer = Observer::mse;
  return recipe;
}

}  // namespace bitfold
