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

void warn(const QuantizeOptions& options, const std::string& text) {
  if (options.warn) options.warn(text);
}

/// The optimized network, or the optimized part of it that is to be quantized.
CalibratedNetwork optimized(const Graph& graph, const Recipe& recipe, const QuantizeOptions& options) {
  for (ValueId id : graph.values())
    check(!graph.value(id).quant, "value '{}' has a grid: the network is quantized already", graph.value(id).name);
  CalibratedNetwork network{.graph = graph, .recipe = recipe};
  if (options.cut.empty()) {
    // Optimizing may remove nodes that cannot be run, such as unused ones.
    optimize(network.graph);
    if (network.graph.node_count() == 0 || extract_part(network.graph).left.empty()) return network;
  }
  // The part is cut out of the network as it is in the file: the other nodes then stay as they are, and names are those
  // of the file.
  Part part = extract_part(graph, options.cut);
  if (const std::string text = describe_left(part.left); !text.empty()) warn(options, text);
  network.graph = part.graph;
  optimize(network.graph);
  // The recipe may name nodes outside the part, which are in float anyway.
  for (const LeftNode& left : part.left) {
    std::erase(network.recipe.skip, left.node);
    network.recipe.layers.erase(left.node);
  }
  network.part = std::move(part);
  return network;
}

/// The same, with its constants and recipe checked: preparation would spread NaN in a weight to other layers.
CalibratedNetwork begin(const Graph& graph, const Recipe& recipe, const QuantizeOptions& options) {
  CalibratedNetwork network = optimized(graph, recipe, options);
  static_cast<void>(values_to_calibrate(network.graph, network.recipe));
  return network;
}

CalibratedNetwork without_data(const Graph& graph, const Recipe& recipe, const QuantizeOptions& options) {
  CalibratedNetwork begun = begin(graph, recipe, options);
  // The table is read first, because folding removes the BatchNorms.
  const BatchNormTable table = batch_norm_table(begun.part ? begun.part->graph : graph);
  if (table.empty())
    warn(options,
         "the network has no BatchNorm from which to predict the distributions of values: they are predicted from the "
         "inputs and the weights alone");
  CalibratedNetwork network = calibrate_without_data(begun.graph, table, options.input_range, begun.recipe);
  network.part = std::move(begun.part);
  return network;
}

}  // namespace

CalibratedNetwork calibrate_network(const Graph& graph, BatchSource* samples, const Recipe& recipe,
                                    const QuantizeOptions& options) {
  const ThreadLimit limit(thread_count(options.threads));
  check_recipe(recipe);
  if (samples == nullptr) return without_data(graph, recipe, options);
  CalibratedNetwork network = begin(graph, recipe, options);
  if (!recipe.observer) network.recipe.observer = quantization::default_observer(network.graph, false);
  network.preparation = prepare(network.graph, network.recipe, samples, options.progress);
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
  CalibratedNetwork network = begin(graph, recipe, options);
  network.calibration = std::move(saved);
  if (!recipe.observer) network.recipe.observer = quantization::default_observer(network.graph, false);
  network.recipe.equalization = Equalization::none;
  return network;
}

QuantizeResult quantize(const Graph& graph, BatchSource* samples, const Recipe& recipe,
                        const QuantizeOptions& options) {
  return quantize(calibrate_network(graph, samples, recipe, options), samples, options);
}

}  // namespace bitfold
