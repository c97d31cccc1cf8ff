// Float convolutions in oneDNN.
#include <algorithm>

#include "engine/float_tail.h"
#include "engine/lowering.h"
#include "engine/steps/copy.h"
#include "engine/steps/plain_conv.h"
#include "ops/operator.h"
#include "ops/window.h"

namespace bitfold::engine {
namespace {

/// Whether a convolution runs image by image, so that a new batch size needs no new primitive. This takes no longer
/// on one thread if the weights stay in the second-level cache between images.
bool runs_image_by_image(const Lowering& l, const Shape& weights) {
  constexpr std::int64_t kMaxWeightBytes = 256 * 1024;
  return l.threads == 1 && element_count(weights) * static_cast<std::int64_t>(sizeof(float)) <= kMaxWeightBytes;
}

/// Whether the only reader of the value is a sum.
bool is_added(const Lowering& l, ValueId value) {
  return l.graph.has_single_consumer(value) &&
         ops::is<Binary>(l.graph.node(l.graph.consumers(value)[0]).op, BinaryKind::add);
}

bool lower_conv(Lowering& l, NodeId id, const Conv& conv) {
  const Node& node = l.graph.node(id);
  const ValueId x = node.inputs[0], y = node.outputs[0];
  const auto found = windowed_images(conv.window, l.shape(x), l.shape(y));
  bool has_bias = false;
  const auto bias = bias_of(l, node, 2, has_bias);
  if (!found || !l.has_constant_reals(node.inputs[1]) || has_bias != bias.has_value() || element_count(l.shape(y)) == 0)
    return false;

  const Window2dShape& w2d = found->window;
  onednn::Image in = onednn_image(found->in), out = onednn_image(found->out);
  OnednnStep::Images images;
  if (runs_image_by_image(l, l.shape(node.inputs[1]))) {
    images = {in.batch, static_cast<std::size_t>(in.channels * in.height * in.width) * sizeof(float),
              static_cast<std::size_t>(out.channels * out.height * out.width) * sizeof(float)};
    in.batch = out.batch = 1;
  }
  const bool may_add =
      is_added(l, y) && onednn::Primitive::adds_residual(in, out, onednn_window(w2d), conv.group, has_bias);
  const FloatTail tail = fuse_float_tail(l, id, may_add);
  if (lower_planar_conv(l, id, *found, conv.group, tail, bias)) return true;
  const onednn::Epilogue epilogue = tail.epilogue(has_bias);
  const Slot source = l.reals(x, Layout::channels_last);
  std::optional<Slot> residual;
  if (epilogue.has_residual) residual = l.reals(tail.residual, Layout::channels_last);
  const Slot destination = l.make(tail.output, false, Layout::channels_last);
  auto primitive = onednn::Primitive::convolution(in, out, onednn_window(w2d), conv.group, epilogue);
  const std::int64_t macs = element_count(l.shape(y)) * (element_count(l.shape(node.inputs[1])) / l.shape(y)[1]);
  const auto decode = [&] { return *l.constant_reals(node.inputs[1]); };
  add_product(l, id, std::move(primitive), {tail, {}, decode, bias, source, destination, residual, macs}).images =
      images;
  l.define_reals(tail.output, destination);
  return true;
}

/// Whether kernels of neighbouring pixels touch and do not overlap, so that each pixel of the output has one kernel.
bool tiles_output(const ops::Convolution& c) {
  return c.group == 1 && std::ranges::all_of(c.axes, [](const ops::WindowAxis& a) {
           return a.kernel == a.stride && a.dilation == 1 && a.pad_begin == 0 && a.out == a.in * a.stride;
         });
}

/// [in, out, taps] -> [tap][out][in]
Tensor by_taps(const Tensor& weights, std::int64_t in, std::int64_t out, std::int64_t taps) {
  Tensor result(DataType::float32, weights.shape());
  const float* from = weights.data<float>().data();
  float* to = result.mutable_data<float>().data();
  for (std::int64_t c = 0; c < in; ++c)
    for (std::int64_t o = 0; o < out; ++o)
      for (std::int64_t t = 0; t < taps; ++t) to[(t * out + o) * in + c] = from[(c * out + o) * taps + t];
  return result;
}

/// A transposed convolution whose kernels tile the output: a 1x1 convolution to the channels of all taps, which are
/// then moved to their pixels.
bool lower_tiling_conv(Lowering& l, NodeId id, const ops::Convolution& c, const std::optional<Tensor>& bias) {
  const Node& node = l.graph.node(id);
  const ValueId x = node.inputs[0], y = node.outputs[0];
  if (!c.is_transposed || !is_image(l.shape(x)) || !tiles_output(c)) return false;
  const ImageShape in = image_shape(l.shape(x)), out = image_shape(l.shape(y));
  const std::int64_t kernel_h = c.axes[1].kernel, kernel_w = c.axes[2].kernel, taps = kernel_h * kernel_w;
  std::optional<Tensor> biases;
  if (bias) {
    std::vector<float> repeated;
    for (std::int64_t t = 0; t < taps; ++t)
      repeated.insert(repeated.end(), bias->data<float>().begin(), bias->data<float>().end());
    biases = Tensor::from<float>({std::ssize(repeated)}, repeated);
  }
  const FloatTail tail = fuse_float_tail(l, id, false);
  const onednn::Image small = onednn_image(in);
  onednn::Image wide = small;
  wide.channels = taps * out.channels;
  const Slot source = l.reals(x, Layout::channels_last);
  Slot by_tap{.dtype = DataType::float32, .layout = Layout::channels_last};
  by_tap.shape = {in.batch, wide.channels, in.height, in.width};
  by_tap.buffer = l.arena_buffer(static_cast<std::size_t>(element_count(by_tap.shape)) * sizeof(float));
  const auto decode = [&] { return by_taps(*l.constant_reals(node.inputs[1]), in.channels, out.channels, taps); };
  FloatWeightsKey key;
  key.is_transposed = true;
  (void)add_product(
      l, id, onednn::Primitive::convolution(small, wide, {}, 1, tail.epilogue(bias.has_value())),
      {tail, key, decode, biases, source, by_tap, std::nullopt, element_count(l.shape(x)) * wide.channels});
  // The channels of a row of taps are adjacent in both.
  const std::int64_t run = kernel_w * out.channels, row = out.width * out.channels;
  const Movement movement{.shape = {in.batch * in.height, kernel_h, in.width, run},
                          .source_strides = {in.width * wide.channels, run, wide.channels, 1},
                          .destination_strides = {kernel_h * row, row, run, 1}};
  const Slot destination = l.make(tail.output, false, Layout::channels_last);
  auto& step = l.add(std::make_unique<CopyStep>(static_cast<int>(sizeof(float)), std::vector<Movement>{movement}),
                     tail.name, tail.op, "copy");
  step.add_operand(destination.buffer, Access::write);
  step.add_operand(by_tap.buffer, Access::read);
  step.info.outputs = {l.graph.value(tail.output).name};
  l.define_reals(tail.output, destination);
  return true;
}

/// Convolutions of volumes, and transposed ones.
bool lower_plain_conv(Lowering& l, NodeId id) {
  const Node& node = l.graph.node(id);
  const ValueId x = node.inputs[0], y = node.outputs[0];
  constexpr std::size_t kMaxRank = 5;
  const std::size_t rank = l.shape(x).size();
  bool has_bias = false;
  const auto bias = bias_of(l, node, 2, has_bias);
  if (rank > kMaxRank || !l.has_constant_reals(node.inputs[1]) || has_bias != bias.has_value() ||
      element_count(l.shape(x)) == 0 || element_count(l.shape(y)) == 0)
    return false;
  const auto convolution = ops::convolution_of(node.op, l.shape(x), l.shape(y));
  if (lower_tiling_conv(l, id, *convolution, bias)) return true;
  std::shared_ptr<const onednn::PlainConv> conv;
  try {
    conv = std::make_shared<const onednn::PlainConv>(onednn::plain_conv_shape(*convolution, l.shape(x), l.shape(y)),
                                                     l.constant_reals(node.inputs[1])->data<float>().data(),
                                                     bias ? bias->data<float>().data() : nullptr);
  } catch (const Error&) {
    return false;  // oneDNN rejects some windows, such as one smaller than its padding
  }
  const bool is_image = rank < kMaxRank;
  const Layout from = is_image ? l.layout(x) : Layout::plain;
  const Layout to = is_image && !l.graph.is_output(y) ? Layout::channels_last : Layout::plain;
  const Slot source = l.reals(x, from), destination = l.make(y, false, to);
  auto& step = l.add(std::make_unique<PlainConvStep>(conv, from == Layout::channels_last, to == Layout::channels_last),
                     node.name, op_name(node.op), "onednn " + conv->implementation() + l.explanation(id));
  step.add_operand(destination.buffer, Access::write);
  step.add_operand(source.buffer, Access::read);
  step.info.mac_count =
      element_count(convolution->is_transposed ? l.shape(x) : l.shape(y)) *
      (element_count(l.shape(node.inputs[1])) / (convolution->is_transposed ? l.shape(x) : l.shape(y))[1]);
  step.info.inputs = {l.graph.value(x).name};
  step.info.outputs = {l.graph.value(y).name};
  l.define_reals(y, destination);
  return true;
}

}  // namespace

bool lower_float_conv(Lowering& l, NodeId id) {
  const auto* conv = std::get_if<Conv>(&l.graph.node(id).op);
  return (conv != nullptr && lower_conv(l, id, *conv)) || lower_plain_conv(l, id);
}

}  // namespace bitfold::engine
