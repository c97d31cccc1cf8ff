// Turns a float graph and its statistics into a graph with grids: makes the plan (planner.h), chooses grids, quantizes
// constants (weights.h), and removes the Relus and Clips that the grids already express.
#include "bitfold/quantize.h"

#include <algorithm>
#include <cmath>
#include <map>
#include <optional>
#include <span>

#include "base/check.h"
#include "bitfold/nearest.h"
#include "base/thread_limit.h"
#include "bitfold/cpu.h"
#include "graph/activation.h"
#include "graph/merge_constants.h"
#include "graph/release_pages.h"
#include "quantize/bodies.h"
#include "quantize/defaults.h"
#include "quantize/group_grids.h"
#include "quantize/non_finite.h"
#include "quantize/planner.h"
#include "quantize/reconstruct.h"
#include "quantize/tied_tables.h"
#include "quantize/weights.h"

namespace bitfold {
namespace {

using quantization::GridGroup;
using quantization::Plan;
using quantization::Role;

// The recipe with the settings of one layer applied.
Recipe recipe_of(const Graph& graph, NodeId id, const Recipe& recipe) {
  Recipe own = recipe;
  const LayerRecipe* layer = quantization::layer_recipe(graph, id, recipe);
  if (layer != nullptr) own.weight_bits = layer->weight_bits.value_or(recipe.weight_bits);
  return own;
}

// The products in integers that read the same weights as `id`, which is one of them, at the same number of bits.
std::vector<NodeId> sharers_of(const Graph& graph, NodeId id, const Plan& plan, const Recipe& recipe) {
  const int bits = recipe_of(graph, id, recipe).weight_bits;
  std::vector<NodeId> sharers;
  for (NodeId other : graph.consumers(graph.node(id).inputs[1])) {
    if (!plan.at(other).in_integers || plan.at(other).role != Role::product) continue;
    if (quantization::can_share_codes(graph, id, other) && recipe_of(graph, other, recipe).weight_bits == bits)
      sharers.push_back(other);
  }
  return sharers;
}

// Checks that every name in `layers` is a node, and that weight bits are for products. Returns the nodes to leave in
// float.
std::vector<std::string> check_layers(const Graph& graph, const Recipe& recipe) {
  std::map<std::string_view, NodeId> nodes;
  std::vector<std::string_view> names;
  for (NodeId id : graph.nodes()) {
    nodes.emplace(graph.node(id).name, id);
    names.push_back(graph.node(id).name);
  }
  std::vector<std::string> skip = recipe.skip;
  for (const auto& [name, layer] : recipe.layers) {
    const auto found = nodes.find(name);
    if (found == nodes.end()) fail("layers: the network has no node '{}'{}", name, did_you_mean(name, names));
    check(!layer.weight_bits || quantization::classify(graph, found->second).role == Role::product,
          "layers: weight_bits of {}: it has no weights that can run in integers", where(graph, found->second));
    if (layer.in_float) skip.push_back(name);
  }
  return skip;
}

// Whether the whole grid lies within the bounds.
bool ends_within(const QuantParams& grid, const Activation& clamp) {
  const double scale = grid.scale[0], zero_point = grid.zero_point[0];
  return std::nearbyint(clamp.low / scale) + zero_point <= grid.qmin() &&
         std::nearbyint(clamp.high / scale) + zero_point >= grid.qmax();
}

// Removes a Relu or Clip whose input and output share a grid that lies within its bounds.
bool remove_clip(Graph& graph, NodeId id) {
  const ValueId in = graph.node(id).inputs[0], out = graph.node(id).outputs[0];
  const auto& grid = graph.value(out).quant;
  const NodeId producer = graph.producer(in);
  const bool is_tied = grid && graph.value(in).quant == grid && graph.has_single_consumer(in);
  if (!is_tied || producer == NodeId::none) return false;
  if (!ends_within(*grid, *find_clamp(graph, id))) return false;
  graph.remove_node(id);
  const auto& outputs = graph.node(producer).outputs;
  const auto slot = static_cast<std::size_t>(std::find(outputs.begin(), outputs.end(), in) - outputs.begin());
  graph.set_output(producer, slot, out);
  return true;
}

LayerDecision decide(const Graph& graph, NodeId id, const Plan& plan) {
  return {.node = graph.node(id).name,
          .op = op_name(graph.node(id).op),
          .quantized = plan.at(id).in_integers,
          .reason = plan.at(id).reason};
}

/// The data with which weights and biases are refined; each pointer may be null.
struct Knowledge {
  BatchSource* samples = nullptr;
  const ChannelMeans* means = nullptr;
};

bool has_layer_norm(const Graph& graph) {
  const std::vector<NodeId> nodes = graph.nodes();
  return std::any_of(nodes.begin(), nodes.end(),
                     [&](NodeId id) { return std::holds_alternative<LayerNorm>(graph.node(id).op); });
}

Recipe resolved(Recipe recipe, const Graph& graph, const Prepared& prepared, const Knowledge& knowledge) {
  if (recipe.bias_correction == BiasCorrection::automatic)
    recipe.bias_correction = knowledge.means != nullptr     ? BiasCorrection::analytic
                             : knowledge.samples != nullptr ? BiasCorrection::empirical
                                                            : BiasCorrection::none;
  if (recipe.rounding == Rounding::automatic)
    recipe.rounding = knowledge.samples != nullptr && recipe.weight_bits < 8 ? Rounding::gptq : Rounding::squant;
  if (!recipe.observer) recipe.observer = quantization::default_observer(graph, knowledge.means != nullptr);
  recipe.equalization = prepared.equalization;
  recipe.smooth = prepared.smooth;
  return recipe;
}

/// The recipe must agree with the preparation of the calibrated network.
void check_prepared(const Recipe& recipe, const Prepared& prepared) {
  check(recipe.equalization == Equalization::automatic || recipe.equalization == prepared.equalization,
        "the recipe requires equalization '{}', but the calibrated network was prepared with '{}': call prepare() "
        "before calibrate(), or quantize(graph, samples, recipe), which does both",
        to_string(recipe.equalization), to_string(prepared.equalization));
  check(!recipe.smooth || recipe.smooth == prepared.smooth,
        "the recipe requires smooth {}, but the calibrated network was {}: call prepare() before "
        "calibrate(), or quantize(graph, samples, recipe), which does both",
        recipe.smooth.value_or(0),
        prepared.smooth ? fmt::format("smoothed with {}", *prepared.smooth) : "not smoothed");
}

bool refines_weights(const Recipe& recipe) {
  return reads_samples(recipe.rounding) || recipe.bias_correction == BiasCorrection::empirical;
}

/// Refines product after product with samples; each gets its inputs from the already refined ones. Entry i of the
/// decisions belongs to entry i of `nodes`, which are in topological order.
void refine(const Graph& float_graph, QuantizeResult& result, const std::vector<NodeId>& nodes, const Plan& plan,
            BatchSource& samples, const Progress& progress) {
  std::vector<std::size_t> products;
  for (std::size_t i = 0; i < nodes.size(); ++i)
    if (plan.at(nodes[i]).in_integers && plan.at(nodes[i]).role == Role::product) products.push_back(i);
  const bool rounds = reads_samples(result.recipe.rounding);
  const char* const untouched =
      rounds ? "its weights are not rounded with samples" : "its bias is not corrected with samples";
  // A mean needs fewer samples than rounding: Tiny Darknet has 27.2 dB with 64 samples and with 100.
  const std::int64_t max_samples = rounds ? 128 : 64;
  quantization::PairedRuns runs(float_graph, result.graph, samples, {.max_samples = max_samples});
  for (std::size_t done = 0; done < products.size(); ++done) {
    const std::size_t i = products[done];
    const auto kept = quantization::reconstruct(float_graph, result.graph, nodes[i], result.recipe, runs);
    release_mapped_constants(float_graph);
    std::string& reason = result.decisions[i].reason;
    if (kept) reason += fmt::format("{}{}: {}", reason.empty() ? "" : "; ", untouched, kept->text);
    progress("refining layers", static_cast<std::int64_t>(done + 1), static_cast<std::int64_t>(products.size()));
  }
}

/// Subtracts each layer's predicted mean error from its bias.
void correct_biases(const Graph& float_graph, QuantizeResult& result, const std::vector<NodeId>& nodes,
                    const Plan& plan, const ChannelMeans& means) {
  for (NodeId id : nodes) {
    if (!plan.at(id).in_integers || plan.at(id).role != Role::product) continue;
    const auto found = means.find(float_graph.value(float_graph.node(id).inputs[0]).name);
    if (found != means.end()) quantization::correct_bias(float_graph, result.graph, id, found->second);
  }
}

/// Other runtimes might dequantize a whole table in each run, so this is for Target::bitfold.
void share_tables(const Graph& float_graph, QuantizeResult& result, const std::vector<NodeId>& nodes, const Plan& plan,
                  std::span<const std::string> in_float) {
  const auto shared = quantization::share_tables(float_graph, result.graph, plan, in_float);
  for (std::size_t i = 0; i < nodes.size(); ++i)
    if (const auto found = shared.find(nodes[i]); found != shared.end())
      result.decisions[i].reason =
          fmt::format("its table has 8 bits: it is the weights of '{}'", float_graph.node(found->second).name);
}

std::vector<std::string> counted_values(const Graph& float_graph, const Recipe& recipe) {
  Graph graph = float_graph;
  infer_shapes(graph);
  const Plan plan = quantization::make_plan(graph, check_layers(graph, recipe), recipe.target);
  quantization::check_finite_constants(graph, plan);
  std::vector<std::string> names;
  for (const GridGroup& group : plan.groups)
    for (ValueId id : group.counted) names.push_back(graph.value(quantization::observed_value(graph, id)).name);
  return names;
}

void quantize_bodies(const Calibration& calibration, const Recipe& recipe, const Progress& progress,
                     QuantizeResult& result);

QuantizeResult quantize_with(const Graph& float_graph, const Calibration& calibration, const Recipe& whole,
                             const Knowledge& knowledge, const Progress& progress) {
  const Recipe asked = quantization::without_bodies(float_graph, whole);
  BatchSource* const samples = knowledge.samples;
  check_recipe(asked);
  check(knowledge.means != nullptr || asked.bias_correction != BiasCorrection::analytic,
        "bias correction 'analytic' is for quantizing without data; with samples, use 'empirical'");
  check_prepared(asked, calibration.prepared);
  const Recipe recipe = resolved(asked, float_graph, calibration.prepared, knowledge);
  for (ValueId id : float_graph.values())
    check(!float_graph.value(id).quant, "value '{}' has a grid: the network is quantized already",
          float_graph.value(id).name);
  QuantizeResult result{.graph = float_graph, .recipe = recipe};
  result.recipe.skip = whole.skip;
  result.recipe.layers = whole.layers;
  Graph& graph = result.graph;
  infer_shapes(graph);
  const std::vector<NodeId> nodes = graph.topological_order();
  const std::vector<std::string> in_float = check_layers(graph, recipe);
  const Plan plan = quantization::make_plan(graph, in_float, recipe.target);
  result.fused_leaky_relu_layers = plan.fused_leaky_relu_layers;
  quantization::check_finite_constants(graph, plan);
  quantization::check_calibration(graph, calibration, plan);
  const std::vector<QuantParams> grids =
      quantization::group_grids(graph, plan, calibration, recipe, samples, progress, result.observers);
  for (std::size_t g = 0; g < grids.size(); ++g)
    for (ValueId id : plan.groups[g].members) graph.value(id).quant = grids[g];
  std::map<NodeId, int> raised;  // by product: the channels whose weight scale was raised
  for (NodeId id : nodes) {
    LayerDecision decision = decide(graph, id, plan);
    if (decision.quantized && plan.at(id).role == Role::product) {
      if (!raised.contains(id)) {
        const std::vector<NodeId> sharers = sharers_of(graph, id, plan, recipe);
        const int channels = quantization::quantize_constants(graph, sharers, recipe_of(graph, id, recipe));
        for (NodeId sharer : sharers) raised[sharer] = channels;
      }
      if (raised.at(id) > 0)
        decision.reason =
            fmt::format("weight scale of {} channels raised to keep accumulators in int32", raised.at(id));
    } else if (decision.quantized && plan.at(id).role == Role::clip) {
      if (remove_clip(graph, id)) decision.reason = "removed: the grid of its input expresses it";
    }
    result.decisions.push_back(std::move(decision));
  }
  if (samples != nullptr && refines_weights(recipe)) refine(float_graph, result, nodes, plan, *samples, progress);
  if (recipe.bias_correction == BiasCorrection::analytic)
    correct_biases(float_graph, result, nodes, plan, *knowledge.means);
  if (recipe.target == Target::bitfold) share_tables(float_graph, result, nodes, plan, in_float);
  quantize_bodies(calibration, whole, progress, result);
  merge_constants(graph);
  graph.compact();
  verify(graph, Stage::quantized);
  return result;
}

/// Quantizes one body. If no sample ran the body, its layers stay in float.
Graph quantize_body(const std::string& prefix, const Graph& body, const Calibration& calibration, const Recipe& recipe,
                    const Progress& progress, QuantizeResult& result) {
  const Calibration own = quantization::calibration_of_body(prefix, calibration);
  const Recipe own_recipe = quantization::recipe_of_body(prefix, recipe);
  const std::vector<std::string> counted = counted_values(body, quantization::without_bodies(body, own_recipe));
  const bool was_run = std::ranges::all_of(counted, [&](const std::string& name) { return own.values.contains(name); });
  if (!was_run) {
    for (NodeId id : body.topological_order())
      if (quantization::classify(body, id).role == Role::product)
        result.decisions.push_back({.node = prefix + body.node(id).name,
                                    .op = op_name(body.node(id).op),
                                    .reason = "no sample ran this body"});
    return body;
  }
  QuantizeResult made = quantize_with(body, own, own_recipe, {}, progress);
  for (LayerDecision& decision : made.decisions) {
    decision.node = prefix + decision.node;
    result.decisions.push_back(std::move(decision));
  }
  result.fused_leaky_relu_layers += made.fused_leaky_relu_layers;
  return std::move(made.graph);
}

void quantize_bodies(const Calibration& calibration, const Recipe& recipe, const Progress& progress,
                     QuantizeResult& result) {
  for (NodeId id : result.graph.nodes()) {
    std::vector<std::shared_ptr<const Graph>> bodies = result.graph.node(id).bodies;
    for (std::size_t b = 0; b < bodies.size(); ++b)
      bodies[b] = std::make_shared<const Graph>(
          quantize_body(body_prefix(result.graph.node(id), b), *bodies[b], calibration, recipe, progress, result));
    if (!bodies.empty()) result.graph.set_bodies(id, std::move(bodies));
  }
}

void put_back(const Part& part, QuantizeResult& result) {
  result.part = std::move(result.graph);
  result.graph = bitfold::put_back(part, *result.part);
  result.left = part.left;
  for (const LeftNode& node : part.left) {
    const bool is_refused = node.cause == LeftBecause::cannot_run;
    result.decisions.push_back({.node = node.node,
                                .op = node.op,
                                .reason = !is_refused           ? node.reason
                                          : node.reason.empty() ? "it cannot be run"
                                                                : "it cannot be run: " + node.reason});
  }
}

}  // namespace

std::vector<std::string> values_to_calibrate(const Graph& graph, const Recipe& recipe) {
  check_recipe(recipe);
  std::vector<std::string> names = counted_values(graph, quantization::without_bodies(graph, recipe));
  quantization::for_each_body(graph, [&](const std::string& prefix, const Graph& body) {
    const Recipe own = quantization::without_bodies(body, quantization::recipe_of_body(prefix, recipe));
    for (const std::string& name : counted_values(body, own)) names.push_back(prefix + name);
  });
  return names;
}

QuantizeResult quantize(const Graph& graph, const Calibration& calibration, const Recipe& recipe) {
  check(!needs_samples(recipe), "{}, not only their statistics", quantization::samples_missing(recipe));
  return quantize_with(graph, calibration, recipe, {}, {});
}

QuantizeResult quantize(const Graph& graph, const Calibration& calibration, const Recipe& recipe, BatchSource& samples,
                        const Progress& progress) {
  return quantize_with(graph, calibration, recipe, {.samples = &samples}, progress);
}

QuantizeResult quantize(const CalibratedNetwork& network, BatchSource* samples, const QuantizeOptions& options) {
  const ThreadLimit limit(thread_count(options.threads));
  check(samples != nullptr || !needs_samples(network.recipe), "{}", quantization::samples_missing(network.recipe));
  Knowledge knowledge{.samples = samples};
  if (samples == nullptr && !network.means.empty()) knowledge.means = &network.means;
  QuantizeResult result =
      quantize_with(network.graph, network.calibration, network.recipe, knowledge, options.progress);
  if (network.part) put_back(*network.part, result);
  return result;
}

Observer quantization::default_observer(const Graph& graph, bool is_without_data) {
  // The few large values that LayerNormalizations let through matter (docs/internals/observers.md).
  return is_without_data || has_layer_norm(graph) ? Observer::min_max : Observer::mse;
}

std::string quantization::samples_missing(const Recipe& recipe) {
  std::string asking;
  const auto add = [&](bool needs, std::string_view field, std::string_view word) {
    if (needs) asking += fmt::format("{}{} '{}'", asking.empty() ? "" : " and ", field, word);
  };
  add(reads_samples(recipe.rounding), "rounding", to_string(recipe.rounding));
  add(recipe.bias_correction == BiasCorrection::empirical, "bias_correction", to_string(recipe.bias_correction));
  add(recipe.observer == Observer::automatic, "observer", "auto");
  add(recipe.smooth.has_value(), "smooth", fmt::format("{}", recipe.smooth.value_or(0)));
  return fmt::format("{} needs sample inputs", asking);
}

LayerDecision can_quantize(const Graph& graph, NodeId id) {
  const auto [role, reason] = quantization::classify(graph, id);
  return {
      .node = graph.node(id).name, .op = op_name(graph.node(id).op), .quantized = role != Role::none, .reason = reason};
}

}  // namespace bitfold
