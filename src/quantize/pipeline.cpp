// The whole pipeline from a float network to a quantized one: optimize, prepare, calibrate, quantize.
#include "base/check.h"
#include "base/thread_limit.h"
#include "bitfold/cpu.h"
#include "bitfold/data_free.h"
#include "bitfold/passes.h"
#include "bitfold/quantize.h"
#include "quantize/defaults.h"

namespace bitfold {
namespace {

Graph optimized(const Graph& graph) {
  for (ValueId id : graph.values())
    check(!graph.value(id).quant, "value '{}' has a grid: the network is quantized already", graph.value(id).name);
  Graph result = graph;
  optimize(result);
  return result;
}

void warn(const QuantizeOptions& options, const std::string& text) {
  if (options.warn) options.warn(text);
}

CalibratedNetwork without_data(const Graph& graph, const Recipe& recipe, const QuantizeOptions& options) {
  const BatchNormTable table = batch_norm_table(graph);  // read before folding removes the BatchNorms
  if (table.empty())
    warn(options,
         "the network has no BatchNorm from which to predict the distributions of values: they are predicted from the "
         "inputs and the weights alone");
  return calibrate_without_data(optimized(graph), table, options.input_range, recipe);
}

}  // namespace

CalibratedNetwork calibrate_network(const Graph& graph, BatchSource* samples, const Recipe& recipe,
                                    const QuantizeOptions& options) {
  const ThreadLimit limit(thread_count(options.threads));
  check_recipe(recipe);
  if (samples == nullptr) return without_data(graph, recipe, options);
  CalibratedNetwork network{.graph = optimized(graph), .recipe = recipe};
  if (!recipe.observer) network.recipe.observer = quantization::default_observer(network.graph, false);
  network.preparation = prepare(network.graph, recipe, samples, options.progress);
  network.recipe.equalization = network.preparation.done.equalization;
  network.calibration = calibrate(network.graph, *samples,
                                  {.threads = options.threads,
                                   .values = values_to_calibrate(network.graph, network.recipe),
                                   .keeps_others = options.keeps_all_statistics,
                                   .prepared = network.preparation.done,
                                   .progress = options.progress});
  return network;
}

CalibratedNetwork calibrate_network(const Graph& graph, Calibration saved, const Recipe& recipe,
                                    const QuantizeOptions& options) {
  check_recipe(recipe);
  check(!needs_samples(recipe) && !recipe.smooth, "{}, not only their statistics",
        quantization::samples_missing(recipe));
  check(saved.prepared == Prepared{},
        "the saved statistics belong to an equalized or smoothed network; only those of the network as it is in "
        "its file can be reused");
  const Equalization equalization = recipe.equalization;
  check(equalization == Equalization::automatic || equalization == Equalization::none,
        "equalization '{}' changes the values, so saved statistics are not valid", to_string(equalization));
  if (equalization == Equalization::automatic && recipe.granularity == Granularity::per_tensor)
    warn(options, "saved statistics belong to the network as it is in its file, so nothing is equalized");
  CalibratedNetwork network{.graph = optimized(graph), .calibration = std::move(saved), .recipe = recipe};
  if (!recipe.observer) network.recipe.observer = quantization::default_observer(network.graph, false);
  network.recipe.equalization = Equalization::none;
  return network;
}

QuantizeResult quantize(const Graph& graph, BatchSource* samples, const Recipe& recipe,
                        const QuantizeOptions& options) {
  return quantize(calibrate_network(graph, samples, recipe, options), samples, options);
}

}  // namespace bitfold
