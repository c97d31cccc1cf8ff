// Cuts a part out of a network: which nodes belong to it, and why the others do not.
#include "bitfold/part.h"

#include <algorithm>
#include <array>
#include <optional>

#include "base/check.h"
#include "bitfold/nearest.h"
#include "graph/runnable.h"

namespace bitfold {
namespace {

// In the order of LeftBecause.
constexpr std::array<std::string_view, 3> kCauses{"cannot_run", "not_reached", "outside"};

std::size_t index(NodeId id) { return static_cast<std::size_t>(id); }

std::vector<ValueId> find_values(const Graph& graph, const std::vector<std::string>& names, const char* field) {
  std::vector<ValueId> found;
  for (const std::string& name : names) {
    const ValueId id = graph.find(name);
    if (id == ValueId::none) {
      std::vector<std::string_view> known;
      for (ValueId value : graph.values()) known.push_back(graph.value(value).name);
      fail("{}: the network has no value '{}'{}", field, name, did_you_mean(name, known));
    }
    check(!graph.is_constant(id), "{}: '{}' is a constant", field, name);
    check(std::ranges::find(found, id) == found.end(), "{}: '{}' is named twice", field, name);
    found.push_back(id);
  }
  return found;
}

/// Nodes of a graph as a graph of their own.
Graph copy_nodes(const Graph& graph, const std::vector<ValueId>& inputs, const std::vector<NodeId>& nodes,
                 const std::vector<ValueId>& outputs) {
  Graph part;
  part.name = graph.name;
  part.opset = graph.opset;
  part.metadata = graph.metadata;
  std::vector<ValueId> copies(graph.value_capacity(), ValueId::none);
  for (ValueId id : inputs) {
    const Value& value = graph.value(id);
    const DataType dtype = value.dtype == DataType::unknown ? DataType::float32 : value.dtype;
    copies[index(id)] = part.add_input(value.name, dtype, value.shape.value_or(Shape{}));
    part.value(copies[index(id)]).shape = value.shape;
    part.value(copies[index(id)]).quant = value.quant;
    part.value(copies[index(id)]).items = value.items;
  }
  const auto copy = [&](ValueId id) {
    if (id == ValueId::none) return id;
    if (copies[index(id)] == ValueId::none) copies[index(id)] = part.add_value(graph.value(id));
    return copies[index(id)];
  };
  for (NodeId id : nodes) {
    Node node = graph.node(id);
    for (ValueId& in : node.inputs) in = copy(in);
    for (ValueId& out : node.outputs) out = copy(out);
    part.add_node(std::move(node));
  }
  for (ValueId id : outputs) part.mark_output(copy(id));
  return part;
}

class Extraction {
 public:
  Extraction(const Graph& graph, const Cut& cut) : whole_(graph), typed_(graph), cut_(cut) {
    infer_shapes(typed_);  // the types and shapes of the values at the cut
    order_ = graph.topological_order();
    inputs_ = cut.inputs_at.empty() ? graph.inputs() : find_values(graph, cut.inputs_at, "inputs_at");
    outputs_ = find_values(graph, cut.outputs_at, "outputs_at");
    left_.resize(order_.empty() ? 0 : 1 + index(*std::ranges::max_element(order_)));
  }

  Part run() {
    reach();
    refuse();
    const std::vector<ValueId> outputs = cut_.outputs_at.empty() ? boundary() : outputs_;
    if (!cut_.outputs_at.empty()) keep_needed(outputs);
    Part part{.whole = whole_};
    for (NodeId id : order_) {
      if (const auto& left = left_[index(id)])
        part.left.push_back(*left);
      else
        part.nodes.push_back(id);
    }
    if (part.nodes.empty() && !order_.empty()) {
      const std::string refused = list_refused(part.left);
      check(refused.empty(), "cannot run: {}", refused);
      fail("no node lies between the given values");
    }
    part.graph = copy_nodes(typed_, inputs_, part.nodes, outputs);
    return part;
  }

 private:
  bool is_part_input(ValueId id) const { return std::ranges::find(inputs_, id) != inputs_.end(); }

  void leave(NodeId id, LeftBecause cause, std::string reason) {
    const Node& node = whole_.node(id);
    left_[index(id)] = {.node = node.name, .op = op_name(node.op), .cause = cause, .reason = std::move(reason)};
  }

  /// The first input of a node that the part does not compute.
  ValueId missing_input(NodeId id) const {
    for (ValueId in : whole_.node(id).inputs)
      if (in != ValueId::none && !is_available(in)) return in;
    return ValueId::none;
  }
  bool is_available(ValueId id) const {
    if (whole_.is_constant(id) || is_part_input(id)) return true;
    const NodeId producer = whole_.producer(id);
    return producer != NodeId::none && !left_[index(producer)];
  }
  /// The node or value for which a value is not available.
  std::pair<LeftBecause, std::string> cause(ValueId id) const {
    const NodeId producer = whole_.producer(id);
    if (producer == NodeId::none)
      return {LeftBecause::outside, fmt::format("it needs the input '{}'", whole_.value(id).name)};
    const LeftNode& left = *left_[index(producer)];
    if (left.cause == LeftBecause::cannot_run)
      return {LeftBecause::not_reached, fmt::format("it needs the output of {}", where(whole_, producer))};
    return {left.cause, left.reason};
  }

  /// Excludes nodes that do not depend on the inputs, and nodes that compute an input.
  void reach() {
    for (NodeId id : order_) {
      const auto& outputs = whole_.node(id).outputs;
      const bool is_before =
          std::ranges::any_of(outputs, [&](ValueId out) { return out != ValueId::none && is_part_input(out); });
      if (is_before)
        leave(id, LeftBecause::outside, "it is before the values from which the part starts");
      else
        leave_if_not_reached(id);
    }
  }

  void leave_if_not_reached(NodeId id) {
    const ValueId missing = missing_input(id);
    if (missing == ValueId::none) return;
    auto [why, reason] = cause(missing);
    leave(id, why, std::move(reason));
  }

  /// Excludes nodes that cannot be run, and nodes that need their outputs. Types are inferred again, because the inputs
  /// may be the outputs of nodes whose types are unknown.
  void refuse() {
    std::vector<NodeId> nodes;
    for (NodeId id : order_)
      if (!left_[index(id)]) nodes.push_back(id);
    const Graph reached = copy_nodes(typed_, inputs_, nodes, {});
    const std::vector<ValueInfo> infos = infer_values(reached);
    const std::vector<NodeId> copies = reached.nodes();  // in the order in which they were added
    for (std::size_t i = 0; i < nodes.size(); ++i) {
      leave_if_not_reached(nodes[i]);
      if (left_[index(nodes[i])]) continue;
      if (auto reason = why_not_runnable_with_bodies(reached, copies[i], infos))
        leave(nodes[i], LeftBecause::cannot_run, std::move(*reason));
    }
  }

  /// The values of the part that the rest of the network reads, and those that are the network's outputs.
  std::vector<ValueId> boundary() const {
    std::vector<ValueId> found;
    for (NodeId id : order_) {
      if (left_[index(id)]) continue;
      for (ValueId out : whole_.node(id).outputs) {
        const auto is_left = [&](NodeId reader) { return left_[index(reader)].has_value(); };
        if (out != ValueId::none && !whole_.is_output(out) && std::ranges::any_of(whole_.consumers(out), is_left))
          found.push_back(out);
      }
    }
    std::vector<ValueId> outputs;
    for (ValueId id : whole_.outputs())
      if (is_available(id) && whole_.producer(id) != NodeId::none && !is_part_input(id)) outputs.push_back(id);
    outputs.insert(outputs.end(), found.begin(), found.end());
    return outputs;
  }

  /// Excludes nodes that the outputs do not need.
  void keep_needed(const std::vector<ValueId>& outputs) {
    std::vector<bool> is_needed(left_.size());
    for (ValueId id : outputs) {
      const std::string& name = whole_.value(id).name;
      check(!is_part_input(id), "outputs_at: '{}' is an input of the part", name);
      if (!is_available(id)) {
        const NodeId producer = whole_.producer(id);
        const bool is_refused = producer != NodeId::none && left_[index(producer)]->cause == LeftBecause::cannot_run;
        const std::string& why = is_refused ? left_[index(producer)]->reason : "";
        fail("outputs_at: '{}' cannot be computed: {}{}", name,
             is_refused ? fmt::format("{} cannot be run", where(whole_, producer)) : cause(id).second,
             why.empty() ? "" : ": " + why);
      }
      if (whole_.producer(id) != NodeId::none) is_needed[index(whole_.producer(id))] = true;
    }
    for (auto id = order_.rbegin(); id != order_.rend(); ++id) {
      if (left_[index(*id)]) continue;
      if (!is_needed[index(*id)]) {
        leave(*id, LeftBecause::outside, "no output of the part needs it");
        continue;
      }
      for (ValueId in : whole_.node(*id).inputs)
        if (in != ValueId::none && !is_part_input(in) && whole_.producer(in) != NodeId::none)
          is_needed[index(whole_.producer(in))] = true;
    }
  }

  const Graph& whole_;
  Graph typed_;
  const Cut& cut_;
  std::vector<NodeId> order_;
  std::vector<ValueId> inputs_, outputs_;
  std::vector<std::optional<LeftNode>> left_;  // indexed by NodeId; absent for the part's nodes
};

}  // namespace

std::string_view to_string(LeftBecause cause) { return kCauses.at(static_cast<std::size_t>(cause)); }

Part extract_part(const Graph& graph, const Cut& cut) { return Extraction(graph, cut).run(); }

std::string list_refused(std::span<const LeftNode> left) {
  Refusals refusals;
  for (const LeftNode& node : left)
    if (node.cause == LeftBecause::cannot_run) refusals.add(node.op, node.node, node.reason);
  return refusals.text();
}

std::string describe_left(std::span<const LeftNode> left) {
  std::array<std::size_t, kCauses.size()> counts{};
  for (const LeftNode& node : left) ++counts.at(static_cast<std::size_t>(node.cause));
  const auto [refused, after, outside] = counts;
  const auto nodes = [](std::size_t count) { return fmt::format("{} {}", count, count == 1 ? "node" : "nodes"); };
  const auto stay = [](std::size_t count) { return count == 1 ? "stays" : "stay"; };
  std::vector<std::string> parts;
  if (refused > 0)
    parts.push_back(fmt::format("{} left as {}, because {} cannot be run: {}",
                                nodes(refused) + (refused == 1 ? " is" : " are"), refused == 1 ? "it is" : "they are",
                                refused == 1 ? "it" : "they", list_refused(left)));
  if (after > 0)
    parts.push_back(fmt::format("{} after {} {} in float", nodes(after), refused == 1 ? "it" : "them", stay(after)));
  if (outside > 0) parts.push_back(fmt::format("{} outside the part {} in float", nodes(outside), stay(outside)));
  return fmt::format("{}", fmt::join(parts, "; "));
}

}  // namespace bitfold
