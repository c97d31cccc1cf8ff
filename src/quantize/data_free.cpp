#include "bitfold/data_free.h"

#include "base/check.h"
#include "quantize/foresee.h"
#include "quantize/means.h"
#include "quantize/prepare.h"

namespace bitfold {
namespace {

using quantization::Foreseen;

// Equalized values have other names and other sizes.
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

}  // namespace

DataFreeResult quantize_data_free(const Graph& graph, const BatchNormTable& batch_norms, const InputRange& range,
                                  const Recipe& recipe) {
  check_recipe(recipe);
  check(!needs_samples(recipe),
        "without data there are no samples for rounding '{}', bias correction '{}' or observer '{}'",
        to_string(recipe.rounding), to_string(recipe.bias_correction), to_string(recipe.observer));
  check(!recipe.smooth, "without data nothing is known of what normalizations give: leave smooth out");
  DataFreeResult result{.quantized = {}, .float_graph = graph, .calibration = {}, .regions = {}};
  Graph& prepared = result.float_graph;
  infer_shapes(prepared);
  BatchNormTable table = batch_norms;
  Recipe chosen = recipe;
  if (chosen.equalization == Equalization::automatic) chosen.equalization = Equalization::noise;
  result.regions = quantization::equalize(prepared, chosen.equalization, chosen, [&] {
                     return quantization::channel_table_of(prepared, quantization::foresee(prepared, table, range));
                   }).regions;
  follow(table, result.regions);
  if (chosen.absorb) result.absorbed_channels = absorb_high_bias(prepared, table);
  const Foreseen values = quantization::foresee(prepared, table, range);
  result.calibration = quantization::calibration_of(prepared, values);
  quantization::ChannelMeans means;
  for (const auto& [id, tensor] : values) means[prepared.value(id).name] = quantization::channel_means(tensor);
  result.quantized = quantization::quantize_with_means(prepared, result.calibration, chosen, means);
  return result;
}

}  // namespace bitfold
