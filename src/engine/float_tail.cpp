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

std::optional<Tensor> bias_of(const Lowering& l, const Node& node, std::size_t slot, bool& present) {
  present = slot < node.inputs.size() && node.inputs[slot] != ValueId::none;
  return present ? l.constant_reals(node.inputs[slot]) : std::nullopt;
}

OnednnStep& add_product(Lowering& l, NodeId id, onednn::Primitive primitive, const FloatProduct& p) {
  const Node& node = l.graph.node(id);
  check_clamp(l, id, p.tail);
  const std::size_t bytes = primitive.packed_bytes();
  FloatWeightsKey key = p.key;
  key.weights = node.inputs[1];
  key.layout = primitive.packed_layout();
  const auto packed =
      l.weights.floats(key, bytes, [&](std::byte* to) { primitive.pack(p.decode().data<float>().data(), to); });
  const std::size_t scratch = primitive.scratch_bytes();
  auto& step = l.add(std::make_unique<OnednnStep>(std::move(primitive)), p.tail.name, p.tail.op, "onednn");
  auto& n = step.numbers;
  n.source = step.add_operand(p.source.buffer, Access::read);
  n.weights = step.add_operand(l.constant_buffer(packed, bytes), Access::read);
  n.destination = step.add_operand(p.destination.buffer, Access::write);
  if (p.bias) n.bias = step.add_operand(l.constant_buffer(*p.bias), Access::read);
  if (p.residual) n.residual = step.add_operand(p.residual->buffer, Access::read);
  if (scratch > 0) n.scratch = step.add_operand(l.arena_buffer(scratch), Access::scratch);
  step.info.kernel = "onednn " + step.implementation() + l.explanation(id);
  step.info.mac_count = p.mac_count;
  step.info.inputs = {l.graph.value(node.inputs[0]).name};
  step.info.outputs = {l.graph.value(p.tail.output).name};
  if (p.residual) step.info.inputs.push_back(l.graph.value(p.tail.residual).name);
  return step;
}

onednn::Image onednn_image(const ImageShape& s) { return {s.batch, s.channels, s.height, s.width}; }

onednn::Window2d onednn_window(const Window2dShape& w) {
  return {w.kernel_h,   w.kernel_w, w.stride_h, w.stride_w,   w.dilation_h,
          w.dilation_w, w.pad_top,  w.pad_left, w.pad_bottom, w.pad_right};
}

}  // namespace bitfold::engine
