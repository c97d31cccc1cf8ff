#include "graph/clip_bounds.h"

#include <limits>

#include "graph/linear_layer.h"

namespace bitfold {
namespace {

using Float = std::numeric_limits<float>;

}  // namespace

std::optional<float> scalar_constant(const Graph& graph, ValueId id) {
  const Tensor* tensor = plain_constant(graph, id);
  if (tensor == nullptr || tensor->size() != 1) return std::nullopt;
  return tensor->data<float>()[0];
}

std::optional<ClipBounds> clip_bounds(const Graph& graph, NodeId id) {
  const Node& node = graph.node(id);
  ClipBounds bounds{-Float::infinity(), Float::infinity()};
  if (const auto* unary = std::get_if<Unary>(&node.op); unary != nullptr && unary->kind == UnaryKind::relu)
    return ClipBounds{0, bounds.upper};
  if (!std::holds_alternative<Clip>(node.op)) return std::nullopt;
  for (std::size_t slot = 1; slot < node.inputs.size(); ++slot) {
    if (node.inputs[slot] == ValueId::none) continue;
    const auto bound = scalar_constant(graph, node.inputs[slot]);
    if (!bound || *bound != *bound) return std::nullopt;
    (slot == 1 ? bounds.lower : bounds.upper) = *bound;
  }
  // Exporters write "no bound" as the largest float.
  if (bounds.lower <= Float::lowest()) bounds.lower = -Float::infinity();
  if (bounds.upper >= Float::max()) bounds.upper = Float::infinity();
  return bounds;
}

std::optional<float> shrinking_slope(const Op& op) {
  const auto* parametric = std::get_if<Parametric>(&op);
  const bool shrinks = parametric != nullptr && parametric->kind == ParametricKind::leaky_relu &&
                       parametric->alpha >= 0 && parametric->alpha <= 1;
  return shrinks ? std::optional(parametric->alpha) : std::nullopt;
}

}  // namespace bitfold
