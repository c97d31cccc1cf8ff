#include "base/check.h"
#include "bitfold/channel_statistics.h"
#include "bitfold/quantize.h"

namespace bitfold {
namespace {

Equalization resolved(const Recipe& recipe, bool has_samples) {
  if (recipe.equalization != Equalization::automatic) return recipe.equalization;
  return has_samples && recipe.granularity == Granularity::per_tensor ? Equalization::noise : Equalization::none;
}

}  // namespace

Preparation prepare(Graph& graph, const Recipe& recipe, BatchSource* samples, const Progress& progress) {
  check_recipe(recipe);
  Preparation done{.equalization = resolved(recipe, samples != nullptr), .regions = {}};
  if (done.equalization == Equalization::weights) done.regions = equalize_weights(graph);
  if (done.equalization != Equalization::noise) return done;
  check(samples != nullptr, "equalization 'noise' needs sample inputs, which show what channels hold");
  done.regions = equalize_noise(graph, measure_channels(graph, *samples, 128, progress),
                                {.weight_bits = recipe.weight_bits,
                                 .activation_bits = recipe.activation_bits,
                                 .per_channel = recipe.granularity == Granularity::per_channel});
  return done;
}

}  // namespace bitfold
