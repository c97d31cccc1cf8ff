// From a float graph and its statistics to a graph with grids: the plan (planner.h), then the ranges, then the
// constants (weights.h), then the Relus and Clips that their grid already expresses go.
#include "bitfold/quantize.h"

#include <algorithm>
#include <cmath>

#include "base/check.h"
#include "quantize/planner.h"
#include "quantize/weights.h"

namespace bitfold {
namespace {

using quantization::Bounds;
using quantization::GridGroup;
using quantization::Plan;
using quantization::Role;

// The value whose statistics say what `id` looks like: a Requantize's output looks like its input.
ValueId observed_value(const Graph& graph, ValueId id) {
  const NodeId producer = graph.producer(id);
  const bool is_copy = producer != NodeId::none && std::holds_alternative<Requantize>(graph.node(producer).op);
  return is_copy ? graph.node(producer).inputs[0] : id;
}

void check_calibration(const Graph& graph, const Calibration& calibration, const Plan& plan) {
  for (const GridGroup& group : plan.groups) {
    for (ValueId id : group.members) {
      const std::string& name = graph.value(observed_value(graph, id)).name;
      check(calibration.values.contains(name),
            "the calibration knows nothing of value '{}': it was made with another network; calibrate this one", name);
    }
  }
}

// What the only reader of a value multiplies negative numbers by: alpha of a LeakyRelu, otherwise 1.
float negative_gain(const Graph& graph, ValueId id) {
  if (!graph.has_single_consumer(id)) return 1;
  const auto* op = std::get_if<Parametric>(&graph.node(graph.consumers(id).front()).op);
  return op != nullptr && op->kind == ParametricKind::leaky_relu ? std::abs(op->alpha) : 1;
}

QuantParams group_grid(const Graph& graph, const GridGroup& group, const Calibration& calibration,
                       const Recipe& recipe) {
  const GridSpec spec{.bits = recipe.activation_bits,
                      .is_signed = recipe.activation_scheme == Scheme::symmetric,
                      .scheme = recipe.activation_scheme};
  ObservedRange all;  // contains 0, as every grid does
  for (ValueId id : group.counted) {
    const auto& statistics = calibration.values.at(graph.value(observed_value(graph, id)).name);
    const ObservedRange range = observe(statistics, recipe.observer, spec, recipe.percentile, negative_gain(graph, id));
    all.min = std::min(all.min, range.min);
    all.max = std::max(all.max, range.max);
  }
  return choose_params(all.min, all.max, spec);
}

// Whether no code of the grid lies outside the bounds: a bound's own code is the grid's end, or the bound is beyond it.
bool ends_within(const QuantParams& grid, const Bounds& bounds) {
  const double scale = grid.scale[0], zero_point = grid.zero_point[0];
  return std::nearbyint(bounds.lower / scale) + zero_point <= grid.qmin() &&
         std::nearbyint(bounds.upper / scale) + zero_point >= grid.qmax();
}

// Removes a Relu or Clip whose input has the same grid as its output and clips already.
bool remove_clip(Graph& graph, NodeId id) {
  const ValueId in = graph.node(id).inputs[0], out = graph.node(id).outputs[0];
  const auto& grid = graph.value(out).quant;
  const NodeId producer = graph.producer(in);
  const bool is_tied = grid && graph.value(in).quant == grid && graph.has_single_consumer(in);
  if (!is_tied || producer == NodeId::none) return false;
  if (!ends_within(*grid, *quantization::clip_bounds(graph, id))) return false;
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

}  // namespace

QuantizeResult quantize(const Graph& float_graph, const Calibration& calibration, const Recipe& recipe) {
  check_recipe(recipe);
  for (ValueId id : float_graph.values())
    check(!float_graph.value(id).quant, "value '{}' has a grid: the network is quantized already",
          float_graph.value(id).name);
  QuantizeResult result{.graph = float_graph, .decisions = {}};
  Graph& graph = result.graph;
  infer_shapes(graph);
  const std::vector<NodeId> nodes = graph.topological_order();
  const Plan plan = quantization::make_plan(graph, recipe.skip);
  check_calibration(graph, calibration, plan);
  for (const GridGroup& group : plan.groups) {
    const QuantParams grid = group_grid(graph, group, calibration, recipe);
    for (ValueId id : group.members) graph.value(id).quant = grid;
  }
  for (NodeId id : nodes) {
    LayerDecision decision = decide(graph, id, plan);
    if (decision.quantized && plan.at(id).role == Role::product) {
      const int raised = quantization::quantize_constants(graph, id, recipe);
      if (raised > 0)
        decision.reason = fmt::format("weight scale of {} channels raised to keep accumulators in int32", raised);
    } else if (decision.quantized && plan.at(id).role == Role::clip) {
      if (remove_clip(graph, id)) decision.reason = "expressed by the grid of its input";
    }
    result.decisions.push_back(std::move(decision));
  }
  graph.compact();
  verify(graph, Stage::quantized);
  return result;
}

LayerDecision can_quantize(const Graph& graph, NodeId id) {
  const auto [role, reason] = quantization::classify(graph, id);
  return {
      .node = graph.node(id).name, .op = op_name(graph.node(id).op), .quantized = role != Role::none, .reason = reason};
}

}  // namespace bitfold
