// QuantizeLinear and DynamicQuantizeLinear as nodes and casts between float32 and float16, with the kernels of
// conversions. Importing turns most QuantizeLinear nodes into grids; those at the end of a network remain.
#include <cmath>

#include "engine/lowering.h"
#include "engine/steps/convert.h"
#include "ops/operator.h"

namespace bitfold::engine {
namespace {

/// The constant grids of a QuantizeLinear to codes of 8 bits: one, or one for each channel. Empty if they are computed.
std::vector<ByteGrid> constant_grids(const Lowering& l, const Node& node) {
  const DataType type = l.dtype(node.outputs[0]);
  if (type != DataType::uint8 && type != DataType::int8) return {};
  const auto scales = l.constant_reals(node.inputs[1]);
  if (!scales) return {};
  const bool has_zero = node.inputs.size() > 2 && node.inputs[2] != ValueId::none;
  if (has_zero && !l.graph.is_constant(node.inputs[2])) return {};
  const auto* zeros = has_zero ? l.graph.value(node.inputs[2]).constant->bytes() : nullptr;
  const bool is_signed = type == DataType::int8;
  std::vector<ByteGrid> grids;
  for (std::int64_t i = 0; i < scales->size(); ++i) {
    const float scale = scales->data<float>()[static_cast<std::size_t>(i)];
    if (!(scale > 0) || std::isinf(scale)) return {};
    ByteGrid& grid = grids.emplace_back(ByteGrid{scale, 0, is_signed ? -128 : 0, is_signed ? 127 : 255});
    if (zeros == nullptr) continue;
    const auto zero = static_cast<std::uint8_t>(zeros[i]);
    grid.zero_point = is_signed ? static_cast<std::int8_t>(zero) : zero;
  }
  return grids;
}

bool lower_quantize(Lowering& l, NodeId id, const QuantizeLinear& op) {
  const Node& node = l.graph.node(id);
  const Shape& shape = l.shape(node.inputs[0]);
  if (l.dtype(node.inputs[0]) != DataType::float32 || op.block_size != 0) return false;
  std::vector<ByteGrid> grids = constant_grids(l, node);
  if (grids.empty()) return false;
  if (grids.size() == 1) {
    add_elementwise(l, node.inputs[0], node.outputs[0],
                    std::make_unique<QuantizeLinearStep>(grids[0], element_count(shape), l.isa, l.threads),
                    op_name(node.op), "codes");
    return true;
  }
  const std::int64_t given = op.axis.value_or(1);
  const auto axis = static_cast<std::size_t>(given < 0 ? given + std::ssize(shape) : given);
  if (axis >= shape.size() || shape[axis] != std::ssize(grids) || l.layout(node.inputs[0]) != Layout::plain)
    return false;
  ChannelLayout layout{1, shape[axis], 1};
  for (std::size_t i = 0; i < shape.size(); ++i)
    if (i != axis) (i < axis ? layout.outer : layout.inner) *= shape[i];
  add_elementwise(l, node.inputs[0], node.outputs[0],
                  std::make_unique<QuantizeChannelsStep>(std::move(grids), layout, l.isa), op_name(node.op), "codes");
  return true;
}

bool lower_cast(Lowering& l, NodeId id) {
  const Node& node = l.graph.node(id);
  const DataType from = l.dtype(node.inputs[0]), to = l.dtype(node.outputs[0]);
  const bool narrows = from == DataType::float32 && to == DataType::float16;
  if (!narrows && !(from == DataType::float16 && to == DataType::float32)) return false;
  add_elementwise(l, node.inputs[0], node.outputs[0],
                  std::make_unique<HalfStep>(narrows, element_count(l.shape(node.inputs[0])), l.isa, l.threads),
                  op_name(node.op), "half");
  return true;
}

bool lower_dynamic_quantize(Lowering& l, NodeId id) {
  const Node& node = l.graph.node(id);
  const ValueId x = node.inputs[0];
  if (node.outputs[0] == ValueId::none || element_count(l.shape(x)) == 0) return false;
  const Layout layout = l.layout(x);
  const Slot source = l.reals(x, layout);
  std::vector<GenericStep::View> outputs;
  std::vector<std::pair<ValueId, Slot>> results;
  for (std::size_t i = 0; i < node.outputs.size(); ++i) {
    if (node.outputs[i] == ValueId::none) {
      const ValueInfo unused = l.output_info(id, i);
      outputs.push_back({unused.dtype, *unused.shape, false});
      continue;
    }
    const Slot slot = l.make(node.outputs[i], false, i == 0 ? layout : Layout::plain);
    outputs.push_back({slot.dtype, slot.shape, true});
    results.emplace_back(node.outputs[i], slot);
  }
  auto& step = l.add(std::make_unique<DynamicQuantizeStep>(node, GenericStep::View{DataType::float32, l.shape(x), true},
                                                           std::move(outputs), l.isa),
                     node.name, op_name(node.op), "codes");
  for (const auto& [value, slot] : results) step.add_operand(slot.buffer, Access::write);
  step.add_operand(source.buffer, Access::read);
  step.info.inputs = {l.graph.value(x).name};
  for (auto& [value, slot] : results) {
    step.info.outputs.push_back(l.graph.value(value).name);
    l.define_reals(value, slot);
  }
  return true;
}

}  // namespace

bool lower_codes(Lowering& l, NodeId id) {
  const Op& op = l.graph.node(id).op;
  if (const auto* quantize = std::get_if<QuantizeLinear>(&op)) return lower_quantize(l, id, *quantize);
  if (std::holds_alternative<DynamicQuantizeLinear>(op)) return lower_dynamic_quantize(l, id);
  return std::holds_alternative<Cast>(op) && lower_cast(l, id);
}

}  // namespace bitfold::engine
