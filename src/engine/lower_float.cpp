// Float layers: convolutions, matrix products and pools in oneDNN with fused nodes after them; BatchNorm, rectifiers
// and sums in the engine's own loops.
#include <cmath>

#include "base/check.h"
#include "engine/float_tail.h"
#include "engine/lowering.h"
#include "engine/steps/elementwise.h"
#include "engine/steps/onednn.h"
#include "graph/linear_layer.h"
#include "ops/infer.h"
#include "ops/operator.h"

namespace bitfold::engine {
namespace {

std::optional<Tensor> bias_of(const Lowering& l, const Node& node, std::size_t slot, bool& present) {
  present = slot < node.inputs.size() && node.inputs[slot] != ValueId::none;
  return present ? l.constant_reals(node.inputs[slot]) : std::nullopt;
}

/// Adds the step of a primitive with weights. `decode` returns them in the plain layout from which the primitive packs;
/// it is called only if they have not been packed before.
template <class Decode>
OnednnStep& add_product(Lowering& l, onednn::Primitive primitive, const FloatTail& tail, NodeId id, FloatWeightsKey key,
                        const Decode& decode, const std::optional<Tensor>& bias, const Slot& source,
                        const Slot& destination, const std::optional<Slot>& residual, std::int64_t mac_count) {
  const Node& node = l.graph.node(id);
  check_clamp(l, id, tail);
  const std::size_t bytes = primitive.packed_bytes();
  key.weights = node.inputs[1];
  key.layout = primitive.packed_layout();
  const auto packed =
      l.weights.floats(key, bytes, [&](std::byte* to) { primitive.pack(decode().template data<float>().data(), to); });
  const std::size_t scratch = primitive.scratch_bytes();
  auto& step = l.add(std::make_unique<OnednnStep>(std::move(primitive)), tail.name, tail.op, "onednn");
  auto& n = step.numbers;
  n.source = step.add_operand(source.buffer, Access::read);
  n.weights = step.add_operand(l.constant_buffer(packed, bytes), Access::read);
  n.destination = step.add_operand(destination.buffer, Access::write);
  if (bias) n.bias = step.add_operand(l.constant_buffer(*bias), Access::read);
  if (residual) n.residual = step.add_operand(residual->buffer, Access::read);
  if (scratch > 0) n.scratch = step.add_operand(l.arena_buffer(scratch), Access::scratch);
  step.info.kernel = "onednn " + step.implementation() + l.explanation(id);
  step.info.mac_count = mac_count;
  step.info.inputs = {l.graph.value(node.inputs[0]).name};
  step.info.outputs = {l.graph.value(tail.output).name};
  if (residual) step.info.inputs.push_back(l.graph.value(tail.residual).name);
  return step;
}

onednn::Image image(const Shape& shape) {
  const ImageShape s = image_shape(shape);
  return {s.batch, s.channels, s.height, s.width};
}

onednn::Window2d window(const Window2dShape& w) {
  return {w.kernel_h,   w.kernel_w, w.stride_h, w.stride_w,   w.dilation_h,
          w.dilation_w, w.pad_top,  w.pad_left, w.pad_bottom, w.pad_right};
}

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
  const auto w2d = window_2d(conv.window, l.shape(x), l.shape(y));
  bool has_bias = false;
  const auto bias = bias_of(l, node, 2, has_bias);
  if (!w2d || !l.has_constant_reals(node.inputs[1]) || has_bias != bias.has_value() || element_count(l.shape(y)) == 0)
    return false;

  onednn::Image in = image(l.shape(x)), out = image(l.shape(y));
  OnednnStep::Images images;
  if (runs_image_by_image(l, l.shape(node.inputs[1]))) {
    images = {in.batch, static_cast<std::size_t>(in.channels * in.height * in.width) * sizeof(float),
              static_cast<std::size_t>(out.channels * out.height * out.width) * sizeof(float)};
    in.batch = out.batch = 1;
  }
  const bool may_add = is_added(l, y) && onednn::Primitive::adds_residual(in, out, window(*w2d), conv.group, has_bias);
  const FloatTail tail = fuse_float_tail(l, id, may_add);
  if (lower_planar_conv(l, id, *w2d, conv.group, tail, bias)) return true;
  const onednn::Epilogue epilogue = tail.epilogue(has_bias);
  const Slot source = l.reals(x, Layout::channels_last);
  std::optional<Slot> residual;
  if (epilogue.has_residual) residual = l.reals(tail.residual, Layout::channels_last);
  const Slot destination = l.make(tail.output, false, Layout::channels_last);
  auto primitive = onednn::Primitive::convolution(in, out, window(*w2d), conv.group, epilogue);
  const std::int64_t macs = element_count(l.shape(y)) * (element_count(l.shape(node.inputs[1])) / l.shape(y)[1]);
  const auto decode = [&] { return *l.constant_reals(node.inputs[1]); };
  add_product(l, std::move(primitive), tail, id, {}, decode, bias, source, destination, residual, macs).images = images;
  l.define_reals(tail.output, destination);
  return true;
}

/// `b` times `factor` as a row of `columns` numbers; empty if `b` has another shape.
std::optional<Tensor> bias_row(const Tensor& b, std::int64_t columns, float factor) {
  const bool row = b.size() == columns && (b.rank() == 0 || b.dim(b.rank() - 1) == columns);
  if (!row && b.size() != 1) return std::nullopt;
  std::vector<float> values(static_cast<std::size_t>(columns));
  for (std::size_t i = 0; i < values.size(); ++i) values[i] = factor * b.data<float>()[row ? i : 0];
  return Tensor::from<float>({columns}, values);
}

/// Weights of a product whose input is folded: the depth is permuted to the order of the input's elements in memory.
Tensor permuted(const Tensor& weights, const ops::WeightMatrix& view, const std::vector<std::int64_t>& order) {
  Tensor out(DataType::float32, weights.shape());
  const auto from = weights.data<float>();
  const auto to = out.mutable_data<float>();
  for (std::size_t k = 0; k < order.size(); ++k)
    for (std::int64_t j = 0; j < view.outputs; ++j)
      to[view.index(0, j, static_cast<std::int64_t>(k))] = from[view.index(0, j, order[k])];
  return out;
}

/// Gemm and MatMul with constant weights, as [rows, depth] x [depth, columns].
bool lower_product(Lowering& l, NodeId id) {
  const Node& node = l.graph.node(id);
  const ValueId x = node.inputs[0], y = node.outputs[0];
  const auto w = l.has_constant_reals(node.inputs[1]) ? constant_weights(l.graph, id) : std::nullopt;
  if (!w || w->has_transposed_input || l.shape(x).empty() || element_count(l.shape(y)) == 0) return false;
  const std::int64_t depth = w->inputs, columns = w->outputs;
  const bool is_transposed = w->output_axis == 0;
  const std::int64_t rows = element_count(l.shape(x)) / std::max<std::int64_t>(depth, 1);
  bool has_bias = false;
  auto bias = bias_of(l, node, 2, has_bias);
  if (has_bias && bias) bias = bias_row(*bias, columns, w->beta);
  if (has_bias != bias.has_value() || depth == 0 || l.shape(x).back() != depth) return false;

  const Slot* folded = l.folded(x, false);
  const Slot source = folded != nullptr ? *folded : l.reals(x, Layout::plain);
  const bool is_folded = folded != nullptr;
  const auto decode = [&] {
    Tensor weights = *l.constant_reals(node.inputs[1]);
    if (w->alpha != 1)
      for (float& value : weights.mutable_data<float>()) value *= w->alpha;
    return is_folded ? permuted(weights, *w, folded_order(source)) : weights;
  };
  const FloatTail tail = fuse_float_tail(l, id, false);
  const Slot destination = l.make(tail.output, false, Layout::plain);
  auto primitive = onednn::Primitive::matmul(rows, depth, columns, is_transposed, tail.epilogue(has_bias));
  const FloatWeightsKey key{.factor = w->alpha,
                            .is_transposed = is_transposed,
                            .folded_channels = is_folded ? source.folded[1] : 0,
                            .layout = {}};
  (void)add_product(l, std::move(primitive), tail, id, key, decode, bias, source, destination, std::nullopt,
                    rows * depth * columns);
  l.define_reals(tail.output, destination);
  return true;
}

/// Adds the step of a primitive with one input.
OnednnStep& add_plain(Lowering& l, const Node& node, onednn::Primitive primitive, const Slot& source,
                      const Slot& destination) {
  const std::size_t scratch = primitive.scratch_bytes();
  auto& step = l.add(std::make_unique<OnednnStep>(std::move(primitive)), node.name, op_name(node.op), "onednn");
  step.numbers.source = step.add_operand(source.buffer, Access::read);
  step.numbers.destination = step.add_operand(destination.buffer, Access::write);
  if (scratch > 0) step.numbers.scratch = step.add_operand(l.arena_buffer(scratch), Access::scratch);
  step.info.kernel = "onednn " + step.implementation();
  step.info.inputs = {l.graph.value(node.inputs[0]).name};
  step.info.outputs = {l.graph.value(node.outputs[0]).name};
  return step;
}

/// MatMul of two computed values with equal batches.
bool lower_batched_product(Lowering& l, NodeId id) {
  const Node& node = l.graph.node(id);
  const ValueId a = node.inputs[0], b = node.inputs[1], y = node.outputs[0];
  const Shape &left = l.shape(a), &right = l.shape(b), &out = l.shape(y);
  const std::size_t rank = out.size();
  if (rank < 2 || left.size() != rank || right.size() != rank || l.dtype(y) != DataType::float32) return false;
  if (!std::equal(left.begin(), left.end() - 2, right.begin())) return false;
  const std::int64_t rows = out[rank - 2], depth = left[rank - 1], columns = out[rank - 1];
  if (element_count(out) == 0 || depth == 0) return false;
  const std::int64_t count = element_count(out) / (rows * columns);
  const Slot source = l.reals(a, Layout::plain), weights = l.reals(b, Layout::plain);
  const Slot destination = l.make(y, false, Layout::plain);
  auto& step = add_plain(l, node, onednn::Primitive::batched_matmul(count, rows, depth, columns), source, destination);
  step.numbers.weights = step.add_operand(weights.buffer, Access::read);
  step.info.kernel += l.explanation(id);
  step.info.mac_count = element_count(out) * depth;
  step.info.inputs.push_back(l.graph.value(b).name);
  l.define_reals(y, destination);
  return true;
}

bool add_pool(Lowering& l, NodeId id, const Window2dShape& w, onednn::Primitive::Pool kind) {
  const Node& node = l.graph.node(id);
  const ValueId x = node.inputs[0], y = node.outputs[0];
  if (l.dtype(x) != DataType::float32 || w.dilation_h != 1 || w.dilation_w != 1 || element_count(l.shape(y)) == 0)
    return false;
  // Windows entirely in the padding are left to the plain evaluation.
  if (w.pad_top >= w.kernel_h || w.pad_left >= w.kernel_w || w.pad_bottom >= w.kernel_h || w.pad_right >= w.kernel_w)
    return false;
  const Slot source = l.reals(x, Layout::channels_last);
  const Slot destination = l.make(y, false, Layout::channels_last);
  add_plain(l, node, onednn::Primitive::pool(image(l.shape(x)), image(l.shape(y)), window(w), kind), source,
            destination);
  l.define_reals(y, destination);
  return true;
}

bool lower_gelu(Lowering& l, NodeId id) {
  const Node& node = l.graph.node(id);
  const ValueId x = node.inputs[0], y = node.outputs[0];
  if (l.dtype(x) != DataType::float32 || element_count(l.shape(y)) == 0) return false;
  const Layout layout = l.layout(x);
  const Slot source = l.reals(x, layout), destination = l.make(y, false, layout);
  add_plain(l, node, onednn::Primitive::gelu(element_count(l.shape(y))), source, destination);
  l.define_reals(y, destination);
  return true;
}

/// Softmax and LogSoftmax over the last axis of values in the plain layout.
bool lower_softmax(Lowering& l, NodeId id, const Softmax& op) {
  const Node& node = l.graph.node(id);
  const ValueId x = node.inputs[0], y = node.outputs[0];
  const Shape& shape = l.shape(x);
  if (!ops::is_last_axis(op.axis, shape.size()) || l.layout(x) != Layout::plain || element_count(shape) == 0)
    return false;
  const Slot source = l.reals(x, Layout::plain), destination = l.make(y, false, Layout::plain);
  const std::int64_t columns = shape.back(), rows = element_count(shape) / columns;
  auto& step = add_plain(l, node, onednn::Primitive::softmax(rows, columns, op.log), source, destination);
  if (op.log) step.nan_rows = {rows, columns};
  l.define_reals(y, destination);
  return true;
}

/// LayerNormalization over the last axis, with constant scale and shift.
bool lower_layer_norm(Lowering& l, NodeId id, const LayerNorm& op) {
  const Node& node = l.graph.node(id);
  const ValueId x = node.inputs[0], y = node.outputs[0];
  const Shape& shape = l.shape(x);
  // The primitive gives neither the mean nor the deviation.
  if (!ops::is_last_axis(op.axis, shape.size()) || element_count(shape) == 0 || node.outputs.size() > 1) return false;
  bool has_terms = false;
  const auto factors = l.constant_reals(node.inputs[1]), terms = bias_of(l, node, 2, has_terms);
  if (!factors || factors->size() != shape.back() || has_terms != terms.has_value()) return false;
  if (terms && terms->size() != shape.back()) return false;
  const Slot source = l.reals(x, Layout::plain), destination = l.make(y, false, Layout::plain);
  auto primitive = onednn::Primitive::layer_norm(element_count(shape) / shape.back(), shape.back(), op.epsilon);
  auto& step = add_plain(l, node, std::move(primitive), source, destination);
  step.numbers.weights = step.add_operand(l.constant_buffer(*factors), Access::read);
  step.numbers.bias =
      step.add_operand(l.constant_buffer(terms ? *terms : Tensor(DataType::float32, {shape.back()})), Access::read);
  l.define_reals(y, destination);
  return true;
}

bool lower_pool(Lowering& l, NodeId id, const Pool& pool) {
  const Node& node = l.graph.node(id);
  const auto w = window_2d(pool.window, l.shape(node.inputs[0]), l.shape(node.outputs[0]));
  // Columns that ceil_mode adds at the end do not count as padding in an average; oneDNN has no such pool.
  if (!w || (node.outputs.size() > 1 && node.outputs[1] != ValueId::none)) return false;
  if (pool.kind == PoolKind::average && pool.count_include_pad && pool.ceil_mode) return false;
  using Kind = onednn::Primitive::Pool;
  const Kind kind = pool.kind == PoolKind::max ? Kind::max
                    : pool.count_include_pad   ? Kind::average_with_padding
                                               : Kind::average;
  return add_pool(l, id, *w, kind);
}

bool lower_global_pool(Lowering& l, NodeId id, const GlobalPool& pool) {
  const ValueId id_of_x = l.graph.node(id).inputs[0];
  const Shape& x = l.shape(id_of_x);
  // The plain evaluation reduces the planes of the plain layout where they lie.
  if (!is_image(x) || l.layout(id_of_x) == Layout::plain) return false;
  const ImageShape in = image_shape(x);
  return add_pool(l, id, {in.height, in.width, 1, 1, 1, 1, 0, 0, 0, 0},
                  pool.kind == PoolKind::max ? onednn::Primitive::Pool::max : onednn::Primitive::Pool::average);
}

void describe(const Lowering& l, Step& step, const Node& node) {
  for (ValueId input : node.inputs)
    if (input != ValueId::none && !l.graph.is_constant(input)) step.info.inputs.push_back(l.graph.value(input).name);
  step.info.outputs = {l.graph.value(node.outputs[0]).name};
}

bool lower_batch_norm(Lowering& l, NodeId id, const BatchNorm& norm) {
  const Node& node = l.graph.node(id);
  const ValueId x = node.inputs[0], y = node.outputs[0];
  const auto gamma = l.constant_reals(node.inputs[1]), beta = l.constant_reals(node.inputs[2]);
  const auto mean = l.constant_reals(node.inputs[3]), variance = l.constant_reals(node.inputs[4]);
  const Shape& s = l.shape(x);
  if (!gamma || !beta || !mean || !variance || s.size() < 2) return false;
  std::vector<float> factors, terms;
  for (std::size_t c = 0; c < static_cast<std::size_t>(s[1]); ++c) {
    const double k =
        gamma->data<float>()[c] / std::sqrt(static_cast<double>(variance->data<float>()[c]) + norm.epsilon);
    factors.push_back(static_cast<float>(k));
    terms.push_back(static_cast<float>(beta->data<float>()[c] - k * mean->data<float>()[c]));
  }
  const Layout layout = l.layout(x);
  const Slot source = l.reals(x, layout), destination = l.make(y, false, layout);
  const std::int64_t inner = element_count(s) / std::max<std::int64_t>(1, s[0] * s[1]);
  const bool last = layout == Layout::channels_last;
  auto& step = l.add(std::make_unique<ScaleShiftStep>(std::move(factors), std::move(terms), last ? s[0] * inner : s[0],
                                                      last ? 1 : inner),
                     node.name, op_name(node.op), "float");
  step.add_operand(destination.buffer, Access::write);
  step.add_operand(source.buffer, Access::read);
  describe(l, step, node);
  l.define_reals(y, destination);
  return true;
}

bool lower_activation(Lowering& l, NodeId id, const Activation& activation) {
  const Node& node = l.graph.node(id);
  const ValueId x = node.inputs[0], y = node.outputs[0];
  if (l.dtype(x) != DataType::float32) return false;
  const Layout layout = l.layout(x);
  const Slot source = l.reals(x, layout), destination = l.make(y, false, layout);
  auto& step = l.add(std::make_unique<ActivationStep>(activation, element_count(l.shape(y))), node.name,
                     op_name(node.op), "float");
  step.add_operand(destination.buffer, Access::write);
  step.add_operand(source.buffer, Access::read);
  describe(l, step, node);
  l.define_reals(y, destination);
  return true;
}

bool lower_add(Lowering& l, NodeId id) {
  const Node& node = l.graph.node(id);
  const ValueId a = node.inputs[0], b = node.inputs[1], y = node.outputs[0];
  if (l.shape(a) != l.shape(b) || l.dtype(y) != DataType::float32) return false;
  const Layout layout = l.layout(a) == Layout::channels_last ? Layout::channels_last : l.layout(b);
  const Slot left = l.reals(a, layout), right = l.reals(b, layout), destination = l.make(y, false, layout);
  auto& step = l.add(std::make_unique<AddStep>(element_count(l.shape(y))), node.name, op_name(node.op), "float");
  step.add_operand(destination.buffer, Access::write);
  step.add_operand(left.buffer, Access::read);
  step.add_operand(right.buffer, Access::read);
  describe(l, step, node);
  l.define_reals(y, destination);
  return true;
}

/// Lowers the operators that have a float step of their own.
struct OwnStep {
  Lowering& l;
  NodeId id;

  bool operator()(const Conv& op) const { return lower_conv(l, id, op); }
  bool operator()(const Gemm&) const { return lower_product(l, id); }
  bool operator()(const MatMul&) const { return lower_product(l, id) || lower_batched_product(l, id); }
  bool operator()(const Pool& op) const { return lower_pool(l, id, op); }
  bool operator()(const GlobalPool& op) const { return lower_global_pool(l, id, op); }
  bool operator()(const BatchNorm& op) const { return lower_batch_norm(l, id, op); }
  bool operator()(const Binary& op) const { return op.kind == BinaryKind::add && lower_add(l, id); }
  bool operator()(const Softmax& op) const { return lower_softmax(l, id, op); }
  bool operator()(const LayerNorm& op) const { return lower_layer_norm(l, id, op); }
  bool operator()(const Recurrent&) const { return lower_recurrent(l, id); }
  bool operator()(const Unary& op) const { return op.kind == UnaryKind::gelu ? lower_gelu(l, id) : lower_rest(); }
  template <class Other>
  bool operator()(const Other&) const {
    return lower_rest();
  }

  bool lower_rest() const {
    const auto activation = find_activation(l.graph, id);
    return activation && lower_activation(l, id, *activation);
  }
};

}  // namespace

std::vector<std::int64_t> folded_order(const Slot& folded) {
  const std::int64_t channels = image_shape(folded.folded).channels, pixels = image_shape(folded.folded).pixels();
  std::vector<std::int64_t> order;
  for (std::int64_t p = 0; p < pixels; ++p)
    for (std::int64_t c = 0; c < channels; ++c) order.push_back(c * pixels + p);
  return order;
}

bool lower_float(Lowering& l, NodeId id) { return std::visit(OwnStep{l, id}, l.graph.node(id).op); }

}  // namespace bitfold::engine
