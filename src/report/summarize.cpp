#include "base/check.h"
#include "bitfold/quantize.h"
#include "bitfold/report.h"

namespace bitfold {
namespace {

std::int64_t product(std::span<const std::int64_t> dims) {
  std::int64_t n = 1;
  for (std::int64_t d : dims) n *= d;
  return n;
}

/// Multiply-accumulates of a node: output elements times the length of each sum.
std::int64_t mac_count(const Node& node, const std::vector<ValueInfo>& infos) {
  const auto shape_of = [&](ValueId id) -> Shape {
    const auto& shape = infos[static_cast<std::size_t>(id)].shape;
    return shape && is_static(*shape) ? *shape : Shape{0};
  };
  if (node.outputs.empty() || node.outputs[0] == ValueId::none) return 0;
  const std::int64_t out = product(shape_of(node.outputs[0]));
  if (std::holds_alternative<Conv>(node.op)) {
    const Shape w = shape_of(node.inputs[1]);
    return out * product(std::span(w).subspan(1));
  }
  if (const auto* op = std::get_if<ConvTranspose>(&node.op)) {
    // Every input element is multiplied by every weight of its group.
    const Shape w = shape_of(node.inputs[1]);
    return op->group > 0 ? product(shape_of(node.inputs[0])) * product(std::span(w).subspan(1)) : 0;
  }
  if (const auto* op = std::get_if<Gemm>(&node.op)) {
    const Shape a = shape_of(node.inputs[0]);
    return a.size() == 2 ? out * a[op->trans_a ? 0 : 1] : 0;
  }
  if (std::holds_alternative<MatMul>(node.op)) {
    const Shape a = shape_of(node.inputs[0]);
    return a.empty() ? 0 : out * a.back();
  }
  return 0;
}

}  // namespace

std::vector<LayerSummary> summarize(const Graph& graph) {
  // One sample: an open batch counts as 1. An open height or width stays open, because a window may not fit a size of
  // 1. Layers that depend on it have no MAC count.
  std::vector<Shape> shapes;
  bool all_ranks_known = true;
  for (ValueId id : graph.inputs()) {
    all_ranks_known &= graph.value(id).shape.has_value();
    Shape shape = graph.value(id).shape.value_or(Shape{});
    if (!shape.empty() && shape[0] == kDynamic) shape[0] = 1;
    shapes.push_back(shape);
  }
  const auto infos = all_ranks_known ? infer_values(graph, shapes) : infer_values(graph);
  std::vector<LayerSummary> layers;
  for (NodeId id : graph.topological_order()) {
    const Node& node = graph.node(id);
    LayerSummary layer{.name = node.name, .op = op_name(node.op), .mac_count = mac_count(node, infos)};
    if (!node.outputs.empty() && node.outputs[0] != ValueId::none) {
      const Value& output = graph.value(node.outputs[0]);
      layer.output_shape = output.shape.value_or(Shape{});
      if (output.quant) layer.activation_bits = output.quant->bits;
    }
    for (std::size_t slot = 0; slot < node.inputs.size(); ++slot) {
      const ValueId input = node.inputs[slot];
      if (!graph.is_constant(input)) continue;
      const Value& constant = graph.value(input);
      if (constant.dtype == DataType::float32) layer.parameter_count += constant.constant->size();
      if (slot == 1 && constant.quant) layer.weight_bits = constant.quant->bits;
    }
    const LayerDecision decision = can_quantize(graph, id);
    layer.can_quantize = decision.quantized;
    layer.reason = decision.reason;
    layers.push_back(std::move(layer));
  }
  return layers;
}

}  // namespace bitfold
