#include "quantize/prepare.h"

#include "base/check.h"
#include "bitfold/channel_statistics.h"

namespace bitfold {
namespace {

Equalization resolved(const Recipe& recipe, bool has_samples) {
  if (recipe.equalization != Equalization::automatic) return recipe.equalization;
  return has_samples && recipe.granularity == Granularity::per_tensor ? Equalization::noise : Equalization::none;
}

}  // namespace

Preparation quantization::equalize(Graph& graph, Equalization equalization, const Recipe& recipe,
                                   const std::function<ChannelTable()>& table) {
  Preparation preparation{.done = {.equalization = equalization}};
  if (equalization == Equalization::weights) preparation.equalized = equalize_weights(graph);
  if (equalization == Equalization::noise)
    preparation.equalized = equalize_noise(graph, table(),
                                           {.weight_bits = recipe.weight_bits,
                                            .activation_bits = recipe.activation_bits,
                                            .per_channel = recipe.granularity == Granularity::per_channel});
  return preparation;
}

Preparation prepare(Graph& graph, const Recipe& recipe, BatchSource* samples, const Progress& progress) {
  check_recipe(recipe);
  std::vector<EqualizedRegion> smoothed;
  if (recipe.smooth) {
    check(samples != nullptr, "smooth needs sample inputs, which show the range of each normalization's outputs");
    const std::vector<std::string> values = smoothable_values(graph);
    if (!values.empty())
      smoothed = smooth_normalizations(graph, measure_features(graph, values, *samples, 128, progress), *recipe.smooth);
  }
  Preparation preparation = quantization::equalize(graph, resolved(recipe, samples != nullptr), recipe, [&] {
    check(samples != nullptr, "equalization 'noise' needs sample inputs, which show the range of each channel");
    return measure_channels(graph, *samples, 128, progress);
  });
  preparation.done.smooth = recipe.smooth;
  preparation.smoothed = std::move(smoothed);
  return preparation;
}

}  // namespace bitfold
