#include "engine/float_tail.h"

namespace bitfold::engine {
namespace {

bool can_follow(const Lowering& l, ValueId value) {
  return !l.graph.value(value).quant && l.graph.has_single_consumer(value) &&
         !l.is_claimed(l.graph.consumers(value)[0]) && l.dtype(value) == DataType::float32;
}

}  // namespace

std::optional<Rectifier> rectifier(const Lowering& l, const Node& node) {
  if (const auto* unary = std::get_if<Unary>(&node.op); unary != nullptr && unary->kind == UnaryKind::relu)
    return Rectifier{onednn::Activation::relu};
  if (const auto* p = std::get_if<Parametric>(&node.op); p != nullptr && p->kind == ParametricKind::leaky_relu)
    return Rectifier{onednn::Activation::leaky_relu, p->alpha};
  if (!std::holds_alternative<Clip>(node.op)) return std::nullopt;
  const auto bound = [&](std::size_t slot, float absent) -> std::optional<float> {
    if (slot >= node.inputs.size() || node.inputs[slot] == ValueId::none) return absent;
    return l.constant_scalar(node.inputs[slot]);
  };
  const auto low = bound(1, -std::numeric_limits<float>::infinity()),
             high = bound(2, std::numeric_limits<float>::infinity());
  if (!low || !high || *low > *high) return std::nullopt;
  return Rectifier{onednn::Activation::clip, *low, *high};
}

FloatTail fuse_float_tail(Lowering& l, NodeId id, bool may_add) {
  const Node& start = l.graph.node(id);
  FloatTail tail{.output = start.outputs[0], .op = op_name(start.op), .name = start.name};
  while (tail.rectifier.kind == onednn::Activation::none && can_follow(l, tail.output)) {
    const NodeId next_id = l.graph.consumers(tail.output)[0];
    const Node& next = l.graph.node(next_id);
    if (const auto r = rectifier(l, next); r && next.inputs[0] == tail.output) {
      tail.rectifier = *r;
    } else if (const auto* b = std::get_if<Binary>(&next.op); may_add && b != nullptr && b->kind == BinaryKind::add &&
                                                              tail.residual == ValueId::none &&
                                                              next.inputs[0] != next.inputs[1]) {
      const ValueId other = next.inputs[next.inputs[0] == tail.output ? 1 : 0];
      if (l.graph.is_constant(other) || l.shape(other) != l.shape(tail.output)) break;
      tail.residual = other;
    } else {
      break;
    }
    l.claim(next_id);
    tail.output = next.outputs[0];
    tail.op += "+" + op_name(next.op);
    tail.name = next.name;
  }
  // After claiming: the other operand's own convolution must not take this sum, too.
  if (tail.residual != ValueId::none) l.ensure(tail.residual);
  return tail;
}

}  // namespace bitfold::engine
