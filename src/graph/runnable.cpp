#include "graph/runnable.h"

#include <algorithm>

#include "base/check.h"
#include "ops/custom.h"
#include "ops/operator.h"

namespace bitfold {

void Refusals::add(const std::string& op, const std::string& node, const std::string& reason) {
  for (Group& g : groups_)
    if (g.op == op && g.reason == reason) {
      ++g.count;
      return;
    }
  groups_.push_back({op, reason, node, 1});
}

std::string Refusals::text() const {
  std::string text;
  for (const Group& g : groups_)
    text += fmt::format("{}{} x {} (first: [{} '{}']{}{})", text.empty() ? "" : ", ", g.count, g.op, g.op, g.node,
                        g.reason.empty() ? "" : ": ", g.reason);
  return text;
}

namespace {

bool has_unknown_type(const Node& node, std::span<const ValueInfo> infos) {
  const auto is_unknown = [&](ValueId id) {
    return id != ValueId::none && infos[static_cast<std::size_t>(id)].dtype == DataType::unknown;
  };
  return std::ranges::any_of(node.inputs, is_unknown) || std::ranges::any_of(node.outputs, is_unknown);
}

void find_refusals(const Graph& graph, std::span<const ValueInfo> infos, Refusals& refusals, Refusals& consequences) {
  for (NodeId id : graph.topological_order()) {
    const Node& node = graph.node(id);
    if (const auto reason = why_not_runnable(graph, id, infos)) {
      // The outputs of a refused node have an unknown type. Nodes refused only because they read such a type are not
      // listed.
      const bool is_consequence = !ops::is_unknown_operator(node.op) && has_unknown_type(node, infos);
      (is_consequence ? consequences : refusals).add(op_name(node.op), node.name, *reason);
    }
    for (const auto& body : node.bodies) find_refusals(*body, infer_values(*body), refusals, consequences);
  }
}

}  // namespace

std::optional<std::string> why_not_runnable(const Graph& graph, NodeId id, std::span<const ValueInfo> infos) {
  const Node& node = graph.node(id);
  const ops::OperatorInfo& row = ops::info(node.op);
  const bool has_evaluation = row.evaluate != nullptr || row.evaluate_dynamic != nullptr || !row.bodies.empty();
  if (ops::is_unknown_operator(node.op)) return std::get<Opaque>(node.op).reason;
  if (!has_evaluation) return "Bitfold cannot run it";
  const auto infos_of = [&](const std::vector<ValueId>& ids) {
    std::vector<ValueInfo> found;
    for (ValueId value : ids) {
      found.push_back(value == ValueId::none ? ValueInfo{} : infos[static_cast<std::size_t>(value)]);
      if (value == ValueId::none) continue;
      if (graph.value(value).quant)
        found.back().dtype = DataType::float32;  // the type of the reals, independent of their storage
      else if (graph.is_constant(value))
        found.back().dtype = graph.value(value).constant->dtype();
    }
    return found;
  };
  return ops::why_not_accepted(node, infos_of(node.inputs), infos_of(node.outputs));
}

std::optional<std::string> why_not_runnable_with_bodies(const Graph& graph, NodeId id,
                                                        std::span<const ValueInfo> infos) {
  if (auto reason = why_not_runnable(graph, id, infos)) return reason;
  for (const auto& body : graph.node(id).bodies) {
    Refusals refusals, consequences;
    find_refusals(*body, infer_values(*body), refusals, consequences);
    for (const Refusals& found : {refusals, consequences})
      if (!found.empty()) return fmt::format("its body contains {}", found.text());
  }
  return std::nullopt;
}

void check_items(const Value& declared, const Tensor& given) {
  if (!is_container(given.dtype()) || !declared.items) return;
  for (const Tensor& item : given.items()) {
    if (item.dtype() == DataType::sequence) {
      check_items(declared, item);
    } else if (item.dtype() != declared.items->dtype) {
      fail("input '{}' holds tensors of {}, got {}", declared.name, to_string(declared.items->dtype),
           to_string(item.dtype()));
    }
  }
}

void check_runnable(const Graph& graph, std::span<const ValueInfo> infos) {
  Refusals refusals, consequences;
  find_refusals(graph, infos, refusals, consequences);
  for (const Refusals& found : {refusals, consequences})
    if (!found.empty()) fail("cannot run: {}", found.text());
}

}  // namespace bitfold
