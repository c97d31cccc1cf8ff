#include "base/check.h"
#include "bitfold/quantize.h"
#include "bitfold/report.h"
#include "ops/operator.h"

namespace bitfold {
namespace {

/// Multiply-accumulates of one run; 0 where a shape is open.
std::int64_t mac_count(const Node& node, const std::vector<ValueInfo>& infos) {
  const auto count = ops::info(node.op).macs;
  if (count == nullptr) return 0;
  std::vector<Shape> inputs, outputs;
  bool is_known = true;
  const auto collect = [&](const std::vector<ValueId>& ids, std::vector<Shape>& shapes) {
    for (ValueId id : ids) {
      const auto shape = id == ValueId::none ? std::optional(Shape{}) : infos[static_cast<std::size_t>(id)].shape;
      is_known &= shape && is_static(*shape);
      shapes.push_back(shape.value_or(Shape{}));
    }
  };
  collect(node.inputs, inputs);
  collect(node.outputs, outputs);
  return is_known ? count(node, inputs, outputs) : 0;
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
      layer.value = output.name;
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
