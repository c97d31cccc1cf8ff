// Reports whether a network can be run, and which of its layers can be quantized.
#include <algorithm>

#include "base/check.h"
#include "bitfold/report.h"
#include "graph/runnable.h"
#include "ops/operator.h"
#include "quantize/bodies.h"
#include "quantize/planner.h"
#include "report/work.h"

namespace bitfold {
namespace {

/// The constant weights of a layer; ValueId::none if it has none.
ValueId weights_of(const Graph& graph, const Node& node) {
  const bool is_recurrent = std::holds_alternative<Recurrent>(node.op);
  const ValueId weights = is_recurrent ? ops::input_named(node, "W") : ops::input_with(node, ops::Use::weights);
  return weights != ValueId::none && graph.is_constant(weights) ? weights : ValueId::none;
}

bool has_grids(const Graph& graph) {
  return std::ranges::any_of(graph.values(), [&](ValueId id) { return graph.value(id).quant.has_value(); });
}

/// Layers in float with the same operator and reason.
struct InFloat {
  std::string op, reason, first;
  std::int64_t count = 0;
};

class Counter {
 public:
  void add(const std::string& prefix, const Graph& graph, const std::vector<ValueInfo>& infos) {
    Graph planned = graph;
    infer_shapes(planned);
    const quantization::Plan plan = support.is_quantized ? quantization::Plan{} : quantization::make_plan(planned, {});
    for (NodeId id : graph.topological_order()) {
      const Node& node = graph.node(id);
      const auto macs = report::mac_count(node, infos);
      support.counts_all_macs = support.counts_all_macs && macs;
      support.macs += macs.value_or(0);
      const ValueId weights = weights_of(graph, node);
      if (weights == ValueId::none) continue;
      ++support.layers;
      const bool has_grid = graph.value(weights).quant.has_value();
      if (support.is_quantized ? has_grid : plan.at(id).in_integers) {
        ++support.quantized_layers;
        support.quantized_macs += macs.value_or(0);
      } else {
        note(op_name(node.op), support.is_quantized ? "its weights have no grid" : plan.at(id).reason,
             prefix + node.name);
      }
    }
  }
  Support take() {
    for (const InFloat& group : in_float_)
      support.in_float.push_back(
          fmt::format("{} x {} (first: '{}'): {}", group.count, group.op, group.first, group.reason));
    return std::move(support);
  }

  Support support;

 private:
  void note(const std::string& op, const std::string& reason, const std::string& name) {
    const auto found =
        std::ranges::find_if(in_float_, [&](const InFloat& g) { return g.op == op && g.reason == reason; });
    if (found == in_float_.end())
      in_float_.push_back({op, reason, name, 1});
    else
      ++found->count;
  }

  std::vector<InFloat> in_float_;
};

}  // namespace

Support check_support(const Graph& graph, std::span<const Shape> inputs) {
  Counter counter;
  const auto infos = report::infer_one_sample(graph, inputs);
  try {
    check_runnable(graph, infos);
  } catch (const Error& error) {
    counter.support.why_not = error.what();
  }
  bool& is_quantized = counter.support.is_quantized;
  is_quantized = has_grids(graph);
  quantization::for_each_body(
      graph, [&](const std::string&, const Graph& body) { is_quantized = is_quantized || has_grids(body); });
  counter.add("", graph, infos);
  quantization::for_each_body(
      graph, [&](const std::string& prefix, const Graph& body) { counter.add(prefix, body, infer_values(body)); });
  return counter.take();
}

}  // namespace bitfold
