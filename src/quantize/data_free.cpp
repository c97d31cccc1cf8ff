#include "bitfold/data_free.h"

#include <algorithm>
#include <cmath>

#include "base/check.h"
#include "quantize/defaults.h"
#include "quantize/foresee.h"
#include "quantize/non_finite.h"
#include "quantize/prepare.h"

namespace bitfold {
namespace {

using quantization::Foreseen;

// Updates the table after equalization: renames and scales the entries of equalized values.
void follow(BatchNormTable& table, const std::vector<EqualizedRegion>& regions) {
  for (const EqualizedRegion& region : regions)
    for (std::size_t v = 0; v < region.values.size(); ++v) {
      auto entry = table.extract(region.values[v]);
      if (entry.empty()) continue;
      for (std::size_t c = 0; c < region.factors.size(); ++c) {
        entry.mapped().mean[c] *= region.factors[c];
        entry.mapped().deviation[c] *= region.factors[c];
      }
      entry.key() = region.renamed[v];
      table.insert(std::move(entry));
    }
}

/// Throws Error if a value that needs a grid is infinite or NaN.
void check_finite_grids(const CalibratedNetwork& network, const Foreseen& values) {
  for (const std::string& name : values_to_calibrate(network.graph, network.recipe)) {
    const auto found = values.find(network.graph.find(name));
    if (found == values.end() || quantization::is_finite(found->second)) continue;
    const auto numbers = found->second.data<float>();
    const auto bad = std::ranges::find_if(numbers, [](float x) { return !std::isfinite(x); });
    quantization::refuse_grid(network.graph, found->first,
                              fmt::format("predicted to be {}", quantization::non_finite_word(*bad)));
  }
}

}  // namespace

CalibratedNetwork calibrate_without_data(const Graph& graph, const BatchNormTable& batch_norms, const InputRange& range,
                                         const Recipe& recipe) {
  check_recipe(recipe);
  check(!needs_samples(recipe) && !recipe.smooth, "{}, but without data there are no samples",
        quantization::samples_missing(recipe));
  CalibratedNetwork network{.graph = graph, .recipe = recipe};
  infer_shapes(network.graph);
  BatchNormTable table = batch_norms;
  network.recipe.observer = recipe.observer.value_or(quantization::default_observer(graph, true));
  if (recipe.equalization == Equalization::automatic) network.recipe.equalization = Equalization::noise;
  network.preparation = quantization::equalize(network.graph, network.recipe.equalization, network.recipe, [&] {
    return quantization::channel_table_of(network.graph, quantization::foresee(network.graph, table, range));
  });
  follow(table, network.preparation.equalized);
  if (recipe.absorb) network.absorbed_channels = absorb_high_bias(network.graph, table);
  network.batch_norm_count = batch_norms.size();
  const Foreseen values = quantization::foresee(network.graph, table, range);
  network.calibration = quantization::calibration_of(network.graph, values);
  network.calibration.prepared = network.preparation.done;
  check_finite_grids(network, values);
  for (const auto& [id, tensor] : values)
    if (quantization::is_finite(tensor))
      network.means[network.graph.value(id).name] = quantization::channel_means(tensor);
  return network;
}

}  // namespace bitfold
