// Float layers: matrix products, pools and normalizations in oneDNN, with fused nodes after products.
#include <functional>
#include <numeric>

#include "base/check.h"
#include "engine/float_tail.h"
#include "engine/lowering.h"
#include "engine/steps/elementwise.h"
#include "engine/steps/onednn.h"
#include "engine/steps/softmax.h"
#include "graph/linear_layer.h"
#include "ops/infer.h"
#include "ops/operator.h"

namespace bitfold::engine {
namespace {

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
  (void)add_product(l, id, std::move(primitive),
                    {tail, key, decode, bias, source, destination, std::nullopt, rows * depth * columns});
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

/// Whether the factor has one matrix for each of the product's; false if it has one for all; none if it is broadcast
/// along some axes only.
std::optional<bool> has_own_matrices(const Shape& factor, const Shape& product) {
  const std::span batch(factor.begin(), factor.end() - 2), wanted(product.begin(), product.end() - 2);
  if (std::ranges::equal(batch, wanted)) return true;
  if (std::ranges::all_of(batch, [](std::int64_t size) { return size == 1; })) return false;
  return std::nullopt;
}

/// MatMul whose second factor is computed, or has several matrices.
bool lower_batched_product(Lowering& l, NodeId id) {
  const Node& node = l.graph.node(id);
  const ValueId a = node.inputs[0], b = node.inputs[1], y = node.outputs[0];
  const Shape &left = l.shape(a), &right = l.shape(b), &out = l.shape(y);
  if (left.size() < 2 || right.size() < 2 || l.dtype(y) != DataType::float32) return false;
  const auto own_a = has_own_matrices(left, out), own_b = has_own_matrices(right, out);
  if (!own_a || !own_b) return false;
  const std::size_t rank = out.size();
  const std::int64_t rows = out[rank - 2], depth = left.back(), columns = out[rank - 1];
  if (element_count(out) == 0 || depth == 0) return false;
  const std::int64_t count = element_count(out) / (rows * columns);
  const Slot source = l.reals(a, Layout::plain), weights = l.reals(b, Layout::plain);
  const Slot destination = l.make(y, false, Layout::plain);
  // With one second factor, all rows of the first form one matrix.
  auto primitive = *own_a && !*own_b
                       ? onednn::Primitive::batched_matmul({}, count * rows, depth, columns)
                       : onednn::Primitive::batched_matmul({count, !*own_a, !*own_b}, rows, depth, columns);
  auto& step = add_plain(l, node, std::move(primitive), source, destination);
  step.numbers.weights = step.add_operand(weights.buffer, Access::read);
  step.info.kernel += l.explanation(id);
  step.info.mac_count = element_count(out) * depth;
  step.info.inputs.push_back(l.graph.value(b).name);
  l.define_reals(y, destination);
  return true;
}

bool add_pool(Lowering& l, NodeId id, const WindowedImages& images, onednn::Primitive::Pool kind) {
  const Window2dShape& w = images.window;
  const Node& node = l.graph.node(id);
  const ValueId x = node.inputs[0], y = node.outputs[0];
  if (l.dtype(x) != DataType::float32 || w.dilation_h != 1 || w.dilation_w != 1 || element_count(l.shape(y)) == 0)
    return false;
  // Windows entirely in the padding are left to the plain evaluation.
  if (w.pad_top >= w.kernel_h || w.pad_left >= w.kernel_w || w.pad_bottom >= w.kernel_h || w.pad_right >= w.kernel_w)
    return false;
  const Slot source = l.reals(x, Layout::channels_last);
  const Slot destination = l.make(y, false, Layout::channels_last);
  add_plain(l, node, onednn::Primitive::pool(onednn_image(images.in), onednn_image(images.out), onednn_window(w), kind),
            source, destination);
  l.define_reals(y, destination);
  return true;
}

/// The vectors of a Softmax in memory. An image may be held channels-last.
SoftmaxStep::Vectors vectors_in_memory(const Softmax& op, const Shape& shape, Layout layout) {
  const auto product = [&](std::size_t first, std::size_t end) {
    return std::accumulate(shape.begin() + static_cast<std::ptrdiff_t>(first),
                           shape.begin() + static_cast<std::ptrdiff_t>(end), std::int64_t{1}, std::multiplies<>());
  };
  const std::size_t rank = shape.size();
  const auto axis = static_cast<std::size_t>(op.axis < 0 ? op.axis + static_cast<std::int64_t>(rank) : op.axis);
  if (op.flattened) return {product(0, axis), product(axis, rank), 1};
  if (layout == Layout::plain || axis == 0) return {product(0, axis), shape[axis], product(axis + 1, rank)};
  if (axis == 1) return {shape[0] * product(2, rank), shape[1], 1};
  return {shape[0] * product(2, axis), shape[axis], product(axis + 1, rank) * shape[1]};
}

bool lower_softmax(Lowering& l, NodeId id, const Softmax& op) {
  const Node& node = l.graph.node(id);
  const ValueId x = node.inputs[0], y = node.outputs[0];
  const Shape& shape = l.shape(x);
  if (shape.empty() || element_count(shape) == 0) return false;
  const Layout layout = op.flattened ? Layout::plain : l.layout(x);
  auto vectors = vectors_in_memory(op, shape, layout);
  if (vectors.n == 1) vectors = {1, 1, element_count(shape)};
  const Slot source = l.reals(x, layout), destination = l.make(y, false, layout);
  if (vectors.inner == 1 && vectors.n > 1) {  // oneDNN's LogSoftmax of one number is 1e-6 instead of 0
    auto& step = add_plain(l, node, onednn::Primitive::softmax(vectors.outer, vectors.n, op.log), source, destination);
    step.nan_rows = {vectors.outer, vectors.n};
  } else {
    Step& step =
        l.add(std::make_unique<SoftmaxStep>(vectors, op.log, l.isa, l.threads), node.name, op_name(node.op), "float");
    step.add_operand(destination.buffer, Access::write);
    step.add_operand(source.buffer, Access::read);
    step.info.inputs = {l.graph.value(x).name};
    step.info.outputs = {l.graph.value(y).name};
  }
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

/// InstanceNormalization (one group per channel) and GroupNormalization: each group as a row, then the scale and shift
/// of its channels.
bool lower_group_norm(Lowering& l, NodeId id, std::int64_t groups, float epsilon) {
  const Node& node = l.graph.node(id);
  const ValueId x = node.inputs[0], y = node.outputs[0];
  const Shape& shape = l.shape(x);
  const auto factors = l.constant_reals(node.inputs[1]), terms = l.constant_reals(node.inputs[2]);
  if (!factors || !terms || element_count(shape) == 0 || l.layout(x) != Layout::plain) return false;
  const std::int64_t channels = shape[1], rows = shape[0] * groups, columns = element_count(shape) / rows;
  const Slot source = l.reals(x, Layout::plain), destination = l.make(y, false, Layout::plain);
  Slot normalized = destination;
  normalized.buffer = l.arena_buffer(storage_bytes(destination.dtype, element_count(shape)));
  auto& step = add_plain(l, node, onednn::Primitive::layer_norm(rows, columns, epsilon), source, normalized);
  const std::vector<float> ones(static_cast<std::size_t>(columns), 1.0F);
  step.numbers.weights = step.add_operand(l.constant_buffer(Tensor::from<float>({columns}, ones)), Access::read);
  step.numbers.bias = step.add_operand(l.constant_buffer(Tensor(DataType::float32, {columns})), Access::read);
  const auto list = [](const Tensor& t) { return std::vector(t.data<float>().begin(), t.data<float>().end()); };
  auto& affine = l.add(std::make_unique<ScaleShiftStep>(list(*factors), list(*terms), shape[0],
                                                        element_count(shape) / (shape[0] * channels)),
                       node.name, op_name(node.op), "float");
  affine.add_operand(destination.buffer, Access::write);
  affine.add_operand(normalized.buffer, Access::read);
  affine.info.outputs = {l.graph.value(y).name};
  l.define_reals(y, destination);
  return true;
}

bool lower_pool(Lowering& l, NodeId id, const Pool& pool) {
  const Node& node = l.graph.node(id);
  const auto images = windowed_images(pool.window, l.shape(node.inputs[0]), l.shape(node.outputs[0]));
  // Columns that ceil_mode adds at the end do not count as padding in an average; oneDNN has no such pool.
  if (!images || (node.outputs.size() > 1 && node.outputs[1] != ValueId::none)) return false;
  if (pool.kind == PoolKind::average && pool.count_include_pad && pool.ceil_mode) return false;
  using Kind = onednn::Primitive::Pool;
  const Kind kind = pool.kind == PoolKind::max ? Kind::max
                    : pool.count_include_pad   ? Kind::average_with_padding
                                               : Kind::average;
  return add_pool(l, id, *images, kind);
}

bool lower_global_pool(Lowering& l, NodeId id, const GlobalPool& pool) {
  const ValueId id_of_x = l.graph.node(id).inputs[0];
  const Shape& x = l.shape(id_of_x);
  // The plain evaluation reduces the planes of the plain layout where they lie.
  if (!is_image(x) || l.layout(id_of_x) == Layout::plain) return false;
  const ImageShape in = image_shape(x);
  const Window2dShape whole{in.height, in.width, 1, 1, 1, 1, 0, 0, 0, 0};
  return add_pool(l, id, {whole, in, image_shape(l.shape(l.graph.node(id).outputs[0]))},
                  pool.kind == PoolKind::max ? onednn::Primitive::Pool::max : onednn::Primitive::Pool::average);
}

/// Lowers the operators that have a float step of their own.
struct OwnStep {
  Lowering& l;
  NodeId id;

  bool operator()(const Conv&) const { return lower_float_conv(l, id); }
  bool operator()(const ConvTranspose&) const { return lower_float_conv(l, id); }
  bool operator()(const Gemm&) const { return lower_product(l, id); }
  bool operator()(const MatMul&) const { return lower_product(l, id) || lower_batched_product(l, id); }
  bool operator()(const Pool& op) const { return lower_pool(l, id, op); }
  bool operator()(const GlobalPool& op) const { return lower_global_pool(l, id, op); }
  bool operator()(const Softmax& op) const { return lower_softmax(l, id, op); }
  bool operator()(const LayerNorm& op) const { return lower_layer_norm(l, id, op); }
  bool operator()(const InstanceNorm& op) const {
    return lower_group_norm(l, id, l.shape(l.graph.node(id).inputs[0])[1], op.epsilon);
  }
  bool operator()(const GroupNorm& op) const { return lower_group_norm(l, id, op.num_groups, op.epsilon); }
  bool operator()(const Recurrent&) const { return lower_recurrent(l, id); }
  template <class Other>
  bool operator()(const Other&) const {
    return lower_elementwise(l, id);
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
