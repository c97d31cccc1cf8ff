// Measures the error that each layer causes. Alone: every other layer with weights stays in float, so that the error at
// the outputs is this layer's. All but one: the gain from leaving this layer in float. Each candidate is quantized and
// run in the engine, exactly as the final network.
#include "bitfold/sensitivity.h"

#include "base/check.h"
#include "report/damage.h"

namespace bitfold {

Sensitivity measure_sensitivity(const Graph& graph, const Calibration& calibration, BatchSource& source,
                                const Recipe& recipe, const SensitivityOptions& options) {
  for (int bits : options.weight_bits) check_recipe({.weight_bits = bits});
  const report::Stop stop(options.time_budget_s, options.progress);
  const report::SampleSet samples(graph, source, options.sample_count);
  const std::vector<report::WeightedLayer> layers = report::weighted_layers(graph, recipe);

  // The whole network first, then each layer with the recipe's settings, then the rest: if time runs out, the least
  // important measurements are missing.
  std::vector<Recipe> recipes{recipe};
  const std::size_t own = recipes.size();
  for (std::size_t l = 0; l < layers.size(); ++l) recipes.push_back(report::alone(recipe, layers, l));
  // index of the candidate with layer l at bit width number b; `own` if this is the recipe's width
  std::vector<std::size_t> at_bits;
  const auto bits_of = [&](const std::string& node) {
    const auto it = recipe.layers.find(node);
    return it == recipe.layers.end() ? recipe.weight_bits : it->second.weight_bits.value_or(recipe.weight_bits);
  };
  for (std::size_t l = 0; l < layers.size(); ++l) {
    for (int bits : options.weight_bits) {
      if (bits == bits_of(layers[l].node)) {
        at_bits.push_back(own + l);
        continue;
      }
      at_bits.push_back(recipes.size());
      recipes.push_back(recipes[own + l]);
      recipes.back().layers[layers[l].node].weight_bits = bits;
    }
  }
  const std::size_t all_but = recipes.size();
  for (std::size_t l = 0; options.all_but_one && l < layers.size(); ++l) {
    recipes.push_back(recipe);
    recipes.back().layers[layers[l].node].in_float = true;
  }

  std::int64_t done = 0;
  const auto damages =
      report::measure(graph, calibration, samples, recipes, options.threads, stop, [&](std::size_t, const Damage&) {
        options.progress.notify("measuring layers", ++done, static_cast<std::int64_t>(recipes.size()));
      });

  Sensitivity result{.weight_bits = options.weight_bits, .sample_count = samples.size()};
  result.all = damages[0].value_or(Damage{});
  double sum = 0;
  for (std::size_t l = 0; l < layers.size(); ++l) sum += damages[own + l].value_or(Damage{}).noise;
  for (std::size_t l = 0; l < layers.size(); ++l) {
    LayerSensitivity layer{.node = layers[l].node, .op = layers[l].op, .weight_count = layers[l].weight_count};
    for (std::size_t b = 0; b < options.weight_bits.size(); ++b)
      layer.alone.push_back(damages[at_bits[l * options.weight_bits.size() + b]]);
    if (options.all_but_one) layer.all_but = damages[all_but + l];
    if (damages[own + l] && sum > 0) layer.error_share = damages[own + l]->noise / sum;
    result.layers.push_back(std::move(layer));
  }
  for (const auto& damage : damages) result.is_complete = result.is_complete && damage.has_value();
  return result;
}

}  // namespace bitfold
