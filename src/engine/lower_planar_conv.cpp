// Float convolutions with planar input and output.
#include <algorithm>

#include "base/check.h"
#include "engine/float_tail.h"
#include "engine/steps/planar_conv.h"

namespace bitfold::engine {
namespace {

constexpr std::int64_t kMaxPlanes = 4;

bool is_last(const Lowering& l, ValueId value) {
  const auto& outputs = l.graph.outputs();
  return l.graph.consumers(value).empty() && std::find(outputs.begin(), outputs.end(), value) != outputs.end();
}

}  // namespace

bool lower_planar_conv(Lowering& l, NodeId id, const WindowedImages& windowed, std::int64_t groups,
                       const FloatTail& tail, const std::optional<Tensor>& bias) {
  const Node& node = l.graph.node(id);
  const auto& [w, in, out] = windowed;
  const PlanarConvKernel& kernel = planar_conv_kernel(l.isa);
  // This kernel is not used for values on grids of more than 8 bits: their bytes must not depend on the ISA cap, which
  // oneDNN ignores.
  const bool pays = is_last(l, tail.output) && !l.graph.value(tail.output).quant && l.isa >= Isa::avx2 &&
                    l.layout(node.inputs[0]) == Layout::plain && in.channels <= kMaxPlanes;
  if (!pays || tail.function || groups != 1 || w.stride_w != 1 || tail.residual != ValueId::none ||
      out.width < kernel.lanes)
    return false;

  const Activation activation = tail.activation.value_or(Activation{});
  const PlanarConvStep::Images images{in.batch, in.height, in.width, w.pad_top, w.pad_bottom, w.pad_left, w.pad_right};
  const PlanarConv conv{.in_channels = in.channels,
                        .out_channels = out.channels,
                        .kernel_h = w.kernel_h,
                        .kernel_w = w.kernel_w,
                        .stride_h = w.stride_h,
                        .dilation_h = w.dilation_h,
                        .dilation_w = w.dilation_w,
                        .x_row = images.row(),
                        .x_plane = images.plane(),
                        .out_height = out.height,
                        .out_width = out.width,
                        .low = activation.low,
                        .high = activation.high,
                        .negative_slope = activation.negative_slope,
                        .is_leaky = !activation.is_clamp()};
  const auto bytes = static_cast<std::size_t>(element_count(l.shape(node.inputs[1]))) * sizeof(float);
  const FloatWeightsKey key{.weights = node.inputs[1], .is_planar = true, .layout = {}};
  const auto packed = l.weights.floats(key, bytes, [&](std::byte* to) {
    const Tensor weights = *l.constant_reals(node.inputs[1]);
    pack_planar_weights(conv, kernel, weights.data<float>().data(), reinterpret_cast<float*>(to));
  });
  const Slot source = l.reals(node.inputs[0], Layout::plain), destination = l.make(tail.output, false, Layout::plain);
  const std::int64_t macs = element_count(l.shape(tail.output)) * conv.depth();
  auto& step = l.add(std::make_unique<PlanarConvStep>(conv, kernel, images, useful_threads(l.threads, macs / 4)),
                     tail.name, tail.op, kernel.name + l.explanation(id));
  step.add_operand(destination.buffer, Access::write);
  step.add_operand(source.buffer, Access::read);
  step.add_operand(l.constant_buffer(packed, bytes), Access::read);
  step.add_operand(l.constant_buffer(bias ? *bias : Tensor(DataType::float32, {out.channels})), Access::read);
  if (images.is_padded())
    step.add_operand(l.arena_buffer(static_cast<std::size_t>(in.channels * images.plane()) * sizeof(float)),
                     Access::scratch);
  step.info.mac_count = macs;
  step.info.inputs = {l.graph.value(node.inputs[0]).name};
  step.info.outputs = {l.graph.value(tail.output).name};
  l.define_reals(tail.output, destination);
  return true;
}

}  // namespace bitfold::engine
