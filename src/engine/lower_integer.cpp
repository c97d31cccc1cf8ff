// Integer layers, from codes to codes.
//
// A convolution or matrix product is lowered here if its input has a grid of at most 8 bits; its weights are constants
// on a grid of at most 8 bits whose codes minus zero point fit int8; its bias fits int32 on the grid s_x * s_w[c]; and
// no accumulator can exceed int32: sum |w| * 255 + |bias| < 2^31 for every output channel.
#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <limits>

#include "engine/lowering.h"
#include "engine/steps/pointwise.h"
#include "graph/activation.h"

namespace bitfold::engine {
namespace {

void describe(const Lowering& l, Step& step, const Node& node) {
  step.info.is_integer = true;
  for (ValueId input : node.inputs)
    if (input != ValueId::none && !l.graph.is_constant(input)) step.info.inputs.push_back(l.graph.value(input).name);
  step.info.outputs = {l.graph.value(node.outputs[0]).name};
}

std::string pointwise_name(const Lowering& l) { return std::string("pointwise.") + pointwise_kernels(l.isa).name; }

bool lower_pool(Lowering& l, const Node& node, PoolKind kind, const Window2dShape& window, bool counts_padding) {
  const ValueId x = node.inputs[0], y = node.outputs[0];
  const ImageShape in = image_shape(l.shape(x)), out = image_shape(l.shape(y));
  const auto from = l.code_grid(x), to = l.code_grid(y);
  // A sum of codes must fit int32.
  if (!from || !to || window.kernel_h * window.kernel_w > std::numeric_limits<std::int32_t>::max() / 255) return false;
  const PoolShape shape{in.channels,       in.height,       in.width,        out.height,      out.width,
                        window.kernel_h,   window.kernel_w, window.stride_h, window.stride_w, window.dilation_h,
                        window.dilation_w, window.pad_top,  window.pad_left};
  const Slot source = l.codes(x, Layout::channels_last), destination = l.make(y, true, Layout::channels_last);
  std::optional<AveragePool> average;
  if (kind == PoolKind::average) average = AveragePool{byte_grid(*from), byte_grid(*to), counts_padding};
  auto& step = l.add(std::make_unique<CodePoolStep>(shape, average, in.batch, l.isa, l.threads), node.name,
                     op_name(node.op), pointwise_name(l));
  step.add_operand(destination.buffer, Access::write);
  step.add_operand(source.buffer, Access::read);
  describe(l, step, node);
  l.define(y, kind == PoolKind::max ? l.regridded(node.name, destination, *from, *to) : destination);
  return true;
}

bool lower_window_pool(Lowering& l, const Node& node, const Pool& pool) {
  const auto window = window_2d(pool.window, l.shape(node.inputs[0]), l.shape(node.outputs[0]));
  if (!window || (node.outputs.size() > 1 && node.outputs[1] != ValueId::none)) return false;
  if (pool.count_include_pad && pool.ceil_mode) return false;
  return lower_pool(l, node, pool.kind, *window, pool.count_include_pad);
}

bool lower_global_pool(Lowering& l, const Node& node, const GlobalPool& pool) {
  if (!is_image(l.shape(node.inputs[0]))) return false;
  const ImageShape in = image_shape(l.shape(node.inputs[0]));
  return lower_pool(l, node, pool.kind, {in.height, in.width, 1, 1, 1, 1, 0, 0, 0, 0}, false);
}

bool lower_binary(Lowering& l, const Node& node, const Binary& op) {
  const ValueId a = node.inputs[0], b = node.inputs[1], y = node.outputs[0];
  const bool supported = op.kind == BinaryKind::add || op.kind == BinaryKind::sub || op.kind == BinaryKind::mul;
  const auto target = code_target(l, y);
  if (!supported || l.shape(a) != l.shape(b) || !target || !l.has_codes(a) || !l.has_codes(b)) return false;
  const CodeBinary kind = op.kind == BinaryKind::add   ? CodeBinary::add
                          : op.kind == BinaryKind::sub ? CodeBinary::sub
                                                       : CodeBinary::mul;
  const Layout layout = l.layout(a) == Layout::channels_last ? Layout::channels_last : l.layout(b);
  const Slot left = l.codes(a, layout), right = l.codes(b, layout), destination = l.make(target->output, true, layout);
  const BinaryGrids grids{byte_grid(*l.code_grid(a)), byte_grid(*l.code_grid(b)), byte_grid(target->grid)};
  auto made = std::make_unique<CodeBinaryStep>(kind, l.weights.grids(l.pointwise(), kind, grids),
                                               element_count(l.shape(y)), l.isa);
  auto& step = l.add(std::move(made), node.name, op_name(node.op), pointwise_name(l));
  step.add_operand(destination.buffer, Access::write);
  step.add_operand(left.buffer, Access::read);
  step.add_operand(right.buffer, Access::read);
  describe(l, step, node);
  if (target->activation != NodeId::none) {
    l.claim(target->activation);
    step.info.name = l.graph.node(target->activation).name;
    step.info.op += "+" + op_name(l.graph.node(target->activation).op);
    step.info.outputs = {l.graph.value(target->output).name};
  }
  l.define(target->output, destination);
  return true;
}

bool lower_table(Lowering& l, const Node& node) {
  const ValueId x = node.inputs[0], y = node.outputs[0];
  if (!l.code_grid(y) || !l.has_codes(x)) return false;
  const auto table = code_table(l, node);
  if (!table) return false;
  const Layout layout = l.layout(x);
  const Slot source = l.codes(x, layout), destination = l.make(y, true, layout);
  auto& step = l.add(std::make_unique<TableStep>(*table, element_count(l.shape(y)), l.isa), node.name, op_name(node.op),
                     "table");
  step.add_operand(destination.buffer, Access::write);
  step.add_operand(source.buffer, Access::read);
  describe(l, step, node);
  l.define(y, destination);
  return true;
}

struct IntegerStep {
  Lowering& l;
  NodeId id;
  const Node& node;

  bool operator()(const Pool& op) const { return lower_window_pool(l, node, op); }
  bool operator()(const GlobalPool& op) const { return lower_global_pool(l, node, op); }
  bool operator()(const Binary& op) const { return lower_binary(l, node, op); }
  template <class Other>
  bool operator()(const Other&) const {
    return lower_gather(l, id) || lower_table(l, node);
  }
};

}  // namespace

NodeId only_consumer(const Lowering& l, ValueId value) {
  if (!l.graph.has_single_consumer(value)) return NodeId::none;
  const NodeId next = l.graph.consumers(value)[0];
  return l.is_claimed(next) || l.graph.node(next).inputs[0] != value ? NodeId::none : next;
}

std::optional<CodeTarget> code_target(const Lowering& l, ValueId value) {
  if (const auto grid = l.code_grid(value)) return CodeTarget{value, *grid};
  const NodeId next = l.graph.value(value).quant ? NodeId::none : only_consumer(l, value);
  if (next == NodeId::none) return std::nullopt;
  const Node& node = l.graph.node(next);
  const auto clamp = find_clamp(l.graph, next);
  auto grid = l.code_grid(node.outputs[0]);
  if (!clamp || !grid) return std::nullopt;
  const int low = quantize_code(clamp->low, *grid), high = quantize_code(clamp->high, *grid);
  // Kernels require real 0 between the bounds.
  if (low > grid->zero_point || high < grid->zero_point) return std::nullopt;
  grid->qmin = low;
  grid->qmax = high;
  return CodeTarget{node.outputs[0], *grid, next};
}

std::optional<CodeTable> code_table(const Lowering& l, const Node& node) {
  const ValueId x = node.inputs[0], y = node.outputs[0];
  const auto from = l.code_grid(x), to = l.code_grid(y);
  if (!from || !to) return std::nullopt;
  std::vector<float> reals(256);
  for (int q = 0; q < 256; ++q) reals[static_cast<std::size_t>(q)] = dequantize_code(q, *from);
  const auto results =
      evaluate_elementwise(l, node, reals.size(), [&](std::size_t slot) { return slot == 0 ? &reals : nullptr; });
  if (!results) return std::nullopt;
  CodeTable table;
  for (std::size_t q = 0; q < 256; ++q) table[q] = quantize_code((*results)[q], *to);
  return table;
}

bool lower_integer(Lowering& l, NodeId id) {
  const Node& node = l.graph.node(id);
  if (node.inputs.empty() || node.inputs[0] == ValueId::none || node.outputs[0] == ValueId::none) return false;
  if (lower_code_product(l, id)) return true;
  if (!l.has_codes(node.inputs[0])) return false;
  if (lower_integer_product(l, id)) return true;
  return std::visit(IntegerStep{l, id, node}, node.op);
}

}  // namespace bitfold::engine
