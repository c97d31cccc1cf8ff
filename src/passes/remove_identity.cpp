// Removes nodes that return their input: Identity, a Cast to the same type, a Pad by nothing, a Reshape to the same
// shape, a Transpose and its inverse, a second Relu, a multiplication by 1.
#include <algorithm>
#include <cmath>
#include <limits>

#include "ops/operator.h"
#include "passes/rewrite.h"

namespace bitfold {
namespace {

/// Exporters write "to the end" as the largest int32 or int64.
constexpr std::int64_t kBeyondAnySize = std::numeric_limits<std::int32_t>::max();

struct Context {
  const Graph& graph;
  const std::vector<ValueInfo>& infos;
  bool has_opaque;  ///< Types after an unknown operator are guesses.

  const ValueInfo& info(ValueId id) const { return infos[static_cast<std::size_t>(id)]; }
  NodeId producer(ValueId id) const { return id == ValueId::none ? NodeId::none : graph.producer(id); }
};

/// Whether two shapes are equal. At most one size may be unknown: since element counts are equal, it is then equal too.
bool is_same_shape(const ValueInfo& a, const ValueInfo& b) {
  return a.shape && b.shape && *a.shape == *b.shape && std::count(a.shape->begin(), a.shape->end(), kDynamic) <= 1;
}

bool all_elements(const ValueInfo& info, std::int64_t expected) {
  return info.elements && std::all_of(info.elements->begin(), info.elements->end(),
                                      [expected](const auto& e) { return e && *e == expected; });
}

/// The input of the node before, if nothing in between snaps to another grid.
std::optional<ValueId> origin_before(const Context& c, ValueId between) {
  const NodeId before = c.producer(between);
  if (before == NodeId::none) return std::nullopt;
  const ValueId origin = c.graph.node(before).inputs[0];
  if (c.graph.value(origin).quant != c.graph.value(between).quant) return std::nullopt;
  return origin;
}

bool has_input(const Node& node, std::size_t slot) {
  return slot < node.inputs.size() && node.inputs[slot] != ValueId::none;
}

bool is_reshaping(const Op& op) {
  const ops::Traits& traits = ops::info(op).traits;
  return traits.keeps_order && !traits.elementwise;
}

/// Whether a Slice returns its whole input. Axes with equal known sizes are whole; along all others it must step by 1
/// from 0 to past the end.
bool is_whole_slice(const Context& c, const Node& node) {
  const ValueInfo &x = c.info(node.inputs[0]), &y = c.info(node.outputs[0]);
  const auto known = [&](std::size_t slot) { return c.info(node.inputs[slot]).elements; };
  const auto starts = known(1), ends = known(2);
  if (has_input(node, 4) && !all_elements(c.info(node.inputs[4]), 1)) return false;
  if (x.shape && y.shape && is_static(*x.shape) && *x.shape == *y.shape) return true;
  if (!starts || !ends || !all_elements(c.info(node.inputs[1]), 0)) return false;
  return std::all_of(ends->begin(), ends->end(), [](const auto& e) { return e && *e >= kBeyondAnySize; });
}

/// Whether the value is never below 0, so that a Relu does not change it.
bool is_never_negative(const Context& c, ValueId id) {
  const NodeId producer = c.producer(id);
  if (producer == NodeId::none) return false;
  const Node& node = c.graph.node(producer);
  std::vector<ops::RealBounds> bounds;
  for (ValueId input : node.inputs) {
    const auto number = input == ValueId::none ? std::nullopt : scalar_constant(c.graph, input);
    if (input == ValueId::none)
      bounds.push_back(ops::RealBounds::empty());
    else if (number && !std::isnan(*number))
      bounds.push_back({*number, *number});
    else
      bounds.push_back({});
  }
  return ops::bounds_of(node.op, bounds).low >= 0;
}

/// The other operand of x + 0, x - 0, x * 1 or x / 1, in either order for commutative kinds.
std::optional<ValueId> neutral_operand(const Context& c, const Node& node, BinaryKind kind) {
  const bool is_sum = kind == BinaryKind::add || kind == BinaryKind::sub;
  const bool is_product = kind == BinaryKind::mul || kind == BinaryKind::div;
  if (!is_sum && !is_product) return std::nullopt;
  const bool commutes = kind == BinaryKind::add || kind == BinaryKind::mul;
  for (std::size_t slot : {std::size_t{1}, std::size_t{0}}) {
    if (slot == 0 && !commutes) continue;
    const auto number = scalar_constant(c.graph, node.inputs[slot]);
    const ValueId x = node.inputs[1 - slot];
    const auto &from = c.info(x).shape, &to = c.info(node.outputs[0]).shape;
    if (number == (is_sum ? 0.0F : 1.0F) && from && to && from->size() == to->size()) return x;
  }
  return std::nullopt;
}

struct SourceOf {
  const Context& c;
  const Node& node;

  const ValueInfo& in() const { return c.info(node.inputs[0]); }
  const ValueInfo& out() const { return c.info(node.outputs[0]); }
  std::optional<ValueId> x_if(bool is_identity) const {
    return is_identity ? std::optional(node.inputs[0]) : std::nullopt;
  }

  std::optional<ValueId> operator()(const Unary& op) const {
    return x_if(op.kind == UnaryKind::identity || (op.kind == UnaryKind::relu && is_never_negative(c, node.inputs[0])));
  }
  std::optional<ValueId> operator()(const Parametric& op) const {
    return x_if(op.kind == ParametricKind::leaky_relu && (op.alpha == 1 || is_never_negative(c, node.inputs[0])));
  }
  std::optional<ValueId> operator()(const Cast& op) const { return x_if(!c.has_opaque && in().dtype == op.to); }
  std::optional<ValueId> operator()(const Requantize&) const { return x_if(true); }  // bypass() compares the grids
  std::optional<ValueId> operator()(const Pad&) const { return x_if(all_elements(c.info(node.inputs[1]), 0)); }
  std::optional<ValueId> operator()(const Tile&) const { return x_if(all_elements(c.info(node.inputs[1]), 1)); }
  std::optional<ValueId> operator()(const Slice&) const { return x_if(is_whole_slice(c, node)); }
  std::optional<ValueId> operator()(const Concat&) const { return x_if(node.inputs.size() == 1); }
  std::optional<ValueId> operator()(const Split&) const { return x_if(node.outputs.size() == 1); }
  std::optional<ValueId> operator()(const Variadic&) const { return x_if(node.inputs.size() == 1); }
  std::optional<ValueId> operator()(const Binary& op) const { return neutral_operand(c, node, op.kind); }
  std::optional<ValueId> operator()(const Clip&) const { return x_if(!has_input(node, 1) && !has_input(node, 2)); }
  std::optional<ValueId> operator()(const Expand&) const {
    return x_if(in().shape && is_static(*in().shape) && in().shape == out().shape);
  }
  std::optional<ValueId> operator()(const Resize&) const {
    const bool is_by_one = has_input(node, 2) && !c.info(node.inputs[2]).scales.empty() &&
                           std::ranges::all_of(c.info(node.inputs[2]).scales, [](float s) { return s == 1; });
    return x_if(is_by_one || (in().shape && is_static(*in().shape) && in().shape == out().shape));
  }
  std::optional<ValueId> operator()(const DepthToSpace& op) const { return x_if(op.block_size == 1); }
  std::optional<ValueId> operator()(const Transpose& op) const {
    if (std::ranges::is_sorted(op.perm)) return node.inputs[0];
    const NodeId before = c.producer(node.inputs[0]);
    const auto* first = before == NodeId::none ? nullptr : std::get_if<Transpose>(&c.graph.node(before).op);
    if (first == nullptr || first->perm.size() != op.perm.size()) return std::nullopt;
    for (std::size_t i = 0; i < op.perm.size(); ++i)
      if (first->perm[static_cast<std::size_t>(op.perm[i])] != static_cast<std::int64_t>(i)) return std::nullopt;
    return origin_before(c, node.inputs[0]);
  }
  std::optional<ValueId> reshaping() const {
    if (is_same_shape(in(), out())) return node.inputs[0];
    const NodeId before = c.producer(node.inputs[0]);
    if (before == NodeId::none || !is_reshaping(c.graph.node(before).op)) return std::nullopt;
    const auto origin = origin_before(c, node.inputs[0]);
    return origin && is_same_shape(c.info(*origin), out()) ? origin : std::nullopt;
  }
  template <class Other>
  std::optional<ValueId> operator()(const Other&) const {
    return is_reshaping(node.op) ? reshaping() : std::nullopt;
  }
};

}  // namespace

int remove_identity(Graph& graph) {
  const std::vector<ValueInfo> infos = infer_values(graph);
  bool has_opaque = false;
  for (NodeId id : graph.nodes()) has_opaque |= std::holds_alternative<Opaque>(graph.node(id).op);
  const Context context{graph, infos, has_opaque};
  int changes = 0;
  for (NodeId id : graph.topological_order()) {
    const Node& node = graph.node(id);
    if (node.inputs.empty() || node.outputs.empty() || node.outputs[0] == ValueId::none) continue;
    const auto source = std::visit(SourceOf{context, node}, node.op);
    if (source && bypass(graph, id, *source)) ++changes;
  }
  return changes;
}

}  // namespace bitfold
