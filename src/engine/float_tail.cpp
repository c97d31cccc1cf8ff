#include "engine/float_tail.h"

#include "ops/operator.h"

namespace bitfold::engine {
namespace {

bool can_follow(const Lowering& l, ValueId value) {
  return !l.graph.value(value).quant && l.graph.has_single_consumer(value) &&
         !l.is_claimed(l.graph.consumers(value)[0]) && l.dtype(value) == DataType::float32;
}

onednn::Activation onednn_activation(RealFunction function) {
  switch (function) {
    case RealFunction::hard_swish:
      return onednn::Activation::hard_swish;
    case RealFunction::mish:
      return onednn::Activation::mish;
    case RealFunction::gelu:
      return onednn::Activation::gelu;
    case RealFunction::gelu_tanh:
      return onednn::Activation::gelu_tanh;
    default:
      return onednn::Activation::swish;
  }
}

}  // namespace

onednn::Epilogue FloatTail::epilogue(bool has_bias) const {
  onednn::Epilogue out{.has_bias = has_bias, .has_residual = residual != ValueId::none};
  if (function) {
    out.activation = onednn_activation(function->function);
    out.alpha = function->alpha;
  }
  if (!activation) return out;
  if (!activation->is_clamp()) {
    out.activation = onednn::Activation::leaky_relu;
    out.alpha = activation->negative_slope;
  } else if (*activation == Activation{.low = 0}) {
    out.activation = onednn::Activation::relu;
  } else {
    out.activation = onednn::Activation::clip;
    out.alpha = activation->low;
    out.beta = activation->high;
  }
  return out;
}

FloatTail fuse_float_tail(Lowering& l, NodeId id, bool may_add) {
  const Node& start = l.graph.node(id);
  FloatTail tail{.output = start.outputs[0], .op = op_name(start.op), .name = start.name};
  while (!tail.activation) {
    if (auto written = find_written_function(l, tail.output); written && reads_all_of(l, *written, tail.output)) {
      claim(l, *written);
      tail.output = written->output;
      tail.op += "+" + operator_names(l, *written);
      tail.name = l.graph.node(written->nodes.back()).name;
      tail.function = std::move(written);
      break;
    }
    if (!can_follow(l, tail.output)) break;
    const NodeId next_id = l.graph.consumers(tail.output)[0];
    const Node& next = l.graph.node(next_id);
    if (const auto activation = find_activation(l.graph, next_id); activation && next.inputs[0] == tail.output) {
      const double sum = l.magnitudes.product(id, Magnitudes::kChecked);  // with a residual, at most twice this
      if (activation->is_clamp() && (!l.fuses_clamps || sum > Magnitudes::kFinite)) break;
      tail.activation = activation;
    } else if (may_add && ops::is<Binary>(next.op, BinaryKind::add) && tail.residual == ValueId::none &&
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
  // Lower the other operand only after claiming the sum, so that its convolution does not fuse the sum too.
  if (tail.residual != ValueId::none) l.ensure(tail.residual);
  return tail;
}

void check_clamp(Lowering& l, NodeId id, const FloatTail& tail) {
  if (!tail.has_clamp()) return;
  const ValueId x = l.graph.node(id).inputs[0];
  const double residual = tail.residual == ValueId::none ? 0 : l.magnitudes.of(tail.residual);
  if (l.magnitudes.product(id, l.magnitudes.of(x)) + residual <= Magnitudes::kFinite) return;
  if (residual > Magnitudes::kChecked) l.check_magnitude(tail.residual);
  if (l.magnitudes.of(x) > Magnitudes::kChecked) l.check_magnitude(x);
}

}  // namespace bitfold::engine
