#include "base/check.h"
#include "bitfold/quantize.h"
#include "bitfold/report.h"
#include "ops/operator.h"
#include "report/work.h"

namespace bitfold {

std::optional<std::int64_t> report::mac_count(const Node& node, const std::vector<ValueInfo>& infos) {
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
  return is_known ? std::optional(count(node, inputs, outputs)) : std::nullopt;
}

std::vector<ValueInfo> report::infer_one_sample(const Graph& graph, std::span<const Shape> inputs) {
  if (!inputs.empty()) return infer_values(graph, inputs);
  std::vector<Shape> shapes;
  bool all_ranks_known = true;
  for (ValueId id : graph.inputs()) {
    all_ranks_known &= graph.value(id).shape.has_value();
    Shape shape = graph.value(id).shape.value_or(Shape{});
    if (!shape.empty() && shape[0] == kDynamic) shape[0] = 1;
    shapes.push_back(shape);
  }
  return all_ranks_known ? infer_values(graph, shapes) : infer_values(graph);
}

std::vector<LayerSummary> summarize(const Graph& graph, std::span<const Shape> inputs) {
  const auto infos = report::infer_one_sample(graph, inputs);
  std::vector<LayerSummary> layers;
  for (NodeId id : graph.topological_order()) {
    const Node& node = graph.node(id);
    LayerSummary layer{
        .name = node.name, .op = op_name(node.op), .mac_count = report::mac_count(node, infos).value_or(0)};
    if (!node.outputs.empty() && node.outputs[0] != ValueId::none) {
      const Value& output = graph.value(node.outputs[0]);
      layer.value = output.name;
      const auto& own = inputs.empty() ? output.shape : infos[static_cast<std::size_t>(node.outputs[0])].shape;
      layer.output_shape = own.value_or(Shape{});
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
