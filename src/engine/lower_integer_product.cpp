// Integer convolutions and matrix products: the step, and the nodes that it fuses.
#include <algorithm>

#include "base/check.h"
#include "engine/integer_product.h"
#include "engine/lowering.h"
#include "engine/steps/integer_conv.h"
#include "engine/steps/parallel.h"
#include "graph/activation.h"
#include "ops/operator.h"

namespace bitfold::engine {
namespace {

/// Nodes after the product that its step also computes: bounds, a table, a sum with a residual.
struct Tail {
  ValueId output, residual = ValueId::none;
  std::optional<CodeGrid> grid;  ///< The grid of the output's codes; absent if the output is reals.
  float negative_gain = 1;       ///< Slope of a LeakyRelu between the accumulators and that grid.
  std::optional<CodeTable> table;
  CodeGrid summand, sum;  ///< Grids of the sum's operand and its result.
  std::string op, name;
};

void take(Lowering& l, Tail& tail, NodeId next) {
  l.claim(next);
  tail.output = l.graph.node(next).outputs[0];
  tail.op += "+" + op_name(l.graph.node(next).op);
  tail.name = l.graph.node(next).name;
}

/// Fuses a following sum with another value on a grid.
void fuse_residual(Lowering& l, Tail& tail) {
  if (!l.graph.has_single_consumer(tail.output)) return;
  const NodeId next = l.graph.consumers(tail.output)[0];
  const Node& node = l.graph.node(next);
  if (l.is_claimed(next) || !ops::is<Binary>(node.op, BinaryKind::add) || node.inputs[0] == node.inputs[1]) return;
  const ValueId other = node.inputs[node.inputs[0] == tail.output ? 1 : 0];
  const auto target = code_target(l, node.outputs[0]);
  if (!target || l.graph.is_constant(other) || !l.code_grid(other) || l.shape(other) != l.shape(tail.output)) return;
  tail.residual = other;
  tail.summand = *l.code_grid(tail.output);
  tail.sum = target->grid;
  take(l, tail, next);
  if (target->activation != NodeId::none) take(l, tail, target->activation);
  // This follows the claim, so that the other operand's own convolution does not fuse this sum as well.
  l.ensure(other);
}

/// Fuses a following LeakyRelu whose output has a grid and whose input has none: it is applied to the accumulators
/// before they are rounded.
bool fuse_leaky_relu(Lowering& l, Tail& tail) {
  if (l.graph.value(tail.output).quant) return false;
  const NodeId next = only_consumer(l, tail.output);
  const auto activation = next == NodeId::none ? std::nullopt : find_activation(l.graph, next);
  if (!activation || !activation->shrinks_negatives()) return false;
  tail.grid = l.code_grid(l.graph.node(next).outputs[0]);
  if (!tail.grid) return false;
  tail.negative_gain = activation->negative_slope;
  take(l, tail, next);
  return true;
}

Tail fuse_tail(Lowering& l, NodeId id, ValueId y) {
  Tail tail{.output = y, .op = op_name(l.graph.node(id).op), .name = l.graph.node(id).name};
  if (!fuse_leaky_relu(l, tail)) {
    const auto target = code_target(l, y);
    if (!target) return tail;
    tail.grid = target->grid;
    if (target->activation != NodeId::none) take(l, tail, target->activation);
  }
  if (l.options.keep_values) return tail;  // the codes in between must stay readable
  if (const NodeId next = only_consumer(l, tail.output); next != NodeId::none) {
    if (auto table = code_table(l, l.graph.node(next))) {
      tail.table = *table;
      take(l, tail, next);
    }
  }
  fuse_residual(l, tail);
  return tail;
}

ConvOutput output_of(const Lowering& l, const Tail& tail) {
  ConvOutput out;
  if (!tail.grid) {
    out.kind = AccumulatorOutput::float32;
    return out;
  }
  out.zero_point = tail.grid->zero_point;
  out.qmin = tail.grid->qmin;
  out.qmax = tail.grid->qmax;
  out.negative_gain = tail.negative_gain;
  out.has_table = tail.table.has_value();
  if (tail.table) std::copy(tail.table->begin(), tail.table->end(), out.table);
  out.has_residual = tail.residual != ValueId::none;
  if (out.has_residual)
    out.add = {byte_grid(tail.summand), byte_grid(*l.code_grid(tail.residual)), byte_grid(tail.sum)};
  return out;
}

}  // namespace

bool lower_integer_product(Lowering& l, NodeId id) {
  const Node& node = l.graph.node(id);
  auto product = product_of(l, node);
  if (!product || element_count(l.shape(product->y)) == 0) return false;
  const CodeGrid in = *l.code_grid(product->x);
  ProductWeights weights(l, id, *product);
  const auto facts = weights.facts();
  if (facts->refusal) {
    l.explain(id, *facts->refusal);
    return false;
  }

  const Slot* folded = l.folded(product->x, true);
  const Layout layout = product->conv != nullptr ? Layout::channels_last : Layout::plain;
  const Slot source = folded != nullptr ? *folded : l.codes(product->x, layout);
  const Tail tail = fuse_tail(l, id, product->y);
  std::optional<Slot> residual;
  if (tail.residual != ValueId::none) residual = l.codes(tail.residual, layout);
  const Slot destination = l.make(tail.output, tail.grid.has_value(), layout);

  IntegerConvStep::Padding padding = product->padding;
  padding.zero_point = static_cast<std::uint8_t>(in.zero_point);
  ConvImages images = product->images;
  images.residual = images.y;
  images.padding = padding.zero_point;
  if (padding.is_needed) images.x.image = 0;  // see IntegerConvStep
  const ConvOutput output = output_of(l, tail);
  const auto filter = weights.filter(*facts, {tail.output, tail.grid}, output);
  IntegerConv conv(filter->filter, images, output, l.isa, filter->terms);
  const std::int64_t macs = element_count(l.shape(product->y)) * product->weights.depth();
  const std::string kernel = conv.kernel_name();
  auto made = std::make_unique<IntegerConvStep>(std::move(conv), padding, residual.has_value(),
                                                useful_threads(l.threads, macs));
  const std::size_t packed_bytes = made->packed_bytes(), scratch_bytes = made->scratch_bytes();
  auto& step = l.add(std::move(made), tail.name, tail.op, kernel);
  if (!product->filter.is_depthwise()) {
    if (l.last_product != nullptr) l.last_product->fetch_ahead(step);
    l.last_product = &step;
  }
  step.add_operand(destination.buffer, Access::write);
  step.add_operand(source.buffer, Access::read);
  if (padding.is_needed) step.add_operand(l.arena_buffer(packed_bytes), Access::scratch);
  if (residual) step.add_operand(residual->buffer, Access::read);
  if (scratch_bytes > 0) step.add_operand(l.arena_buffer(scratch_bytes), Access::scratch);
  step.info.is_integer = true;
  step.info.mac_count = macs;
  step.info.inputs = {l.graph.value(product->x).name};
  if (residual) step.info.inputs.push_back(l.graph.value(tail.residual).name);
  step.info.outputs = {l.graph.value(tail.output).name};
  if (tail.grid)
    l.define(tail.output, destination);
  else
    l.define_reals(tail.output, destination);
  return true;
}

}  // namespace bitfold::engine
