// Operators that move elements without looking at them, for every type of whole bytes.
#include "reference/families.h"
#include "reference/rows.h"

namespace bitfold::reference {
namespace {

/// Reshape, Flatten, Squeeze, Unsqueeze, Requantize: the same elements in the same order.
void same_elements(const Node&, std::span<const TensorView> in, std::span<const TensorView> out) {
  if (const std::size_t bytes = size_bytes(out[0]); bytes > 0) std::memcpy(out[0].data, in[0].data, bytes);
}

/// `part` is a run of the axis of `whole`, `start` elements of the axis in. Bytes.
struct Runs {
  std::size_t outer, part, whole, start;
};
Runs runs(const TensorView& part, const TensorView& whole, std::size_t axis, std::int64_t start) {
  const auto inner = static_cast<std::size_t>(product(whole.shape.subspan(axis + 1))) * element_bytes(whole.dtype);
  return {static_cast<std::size_t>(product(whole.shape.first(axis))),
          static_cast<std::size_t>(part.shape[axis]) * inner, static_cast<std::size_t>(whole.shape[axis]) * inner,
          static_cast<std::size_t>(start) * inner};
}

void concat(const Node& node, std::span<const TensorView> in, std::span<const TensorView> out) {
  const std::size_t axis = wrapped_axis(std::get<Concat>(node.op).axis, out[0].shape.size());
  std::int64_t start = 0;
  for (const TensorView& part : in) {
    const Runs r = runs(part, out[0], axis, start);
    for (std::size_t o = 0; o < r.outer && r.part > 0; ++o)
      std::memcpy(out[0].data + o * r.whole + r.start, part.data + o * r.part, r.part);
    start += part.shape[axis];
  }
}

/// An unused output has no data but still a shape.
void split(const Node& node, std::span<const TensorView> in, std::span<const TensorView> out) {
  const std::size_t axis = wrapped_axis(std::get<Split>(node.op).axis, in[0].shape.size());
  std::int64_t start = 0;
  for (const TensorView& part : out) {
    const Runs r = runs(part, in[0], axis, start);
    for (std::size_t o = 0; o < r.outer && r.part > 0 && part.data != nullptr; ++o)
      std::memcpy(part.data + o * r.part, in[0].data + o * r.whole + r.start, r.part);
    start += part.shape[axis];
  }
}

void transpose(const Node& node, std::span<const TensorView> in, std::span<const TensorView> out) {
  const auto& perm = std::get<Transpose>(node.op).perm;
  const Strides from = dense_strides(in[0].shape), to = dense_strides(out[0].shape);
  Loops<2> loops;
  for (std::size_t i = 0; i < perm.size(); ++i)
    loops.add(out[0].shape[i], {to[i], from[static_cast<std::size_t>(perm[i])]});
  copy(in[0].dtype, loops, in[0].data, out[0].data);
}

void expand(const Node&, std::span<const TensorView> in, std::span<const TensorView> out) {
  const Strides from = broadcast_strides(in[0].shape, out[0].shape), to = dense_strides(out[0].shape);
  Loops<2> loops;
  for (std::size_t i = 0; i < out[0].shape.size(); ++i) loops.add(out[0].shape[i], {to[i], from[i]});
  copy(in[0].dtype, loops, in[0].data, out[0].data);
}

void tile(const Node&, std::span<const TensorView> in, std::span<const TensorView> out) {
  const auto shape = in[0].shape;
  const Strides from = dense_strides(shape), to = dense_strides(out[0].shape);
  Loops<2> loops;
  for (std::size_t i = 0; i < shape.size(); ++i) {
    loops.add(integer_at(in[1], static_cast<std::int64_t>(i)), {to[i] * shape[i], 0});
    loops.add(shape[i], {to[i], from[i]});
  }
  copy(in[0].dtype, loops, in[0].data, out[0].data);
}

/// Channels [b, b, C'] (depth first) or [C', b, b] (column_row_depth) become C' channels of b x b larger images.
void depth_to_space(const Node& node, std::span<const TensorView> in, std::span<const TensorView> out) {
  const auto& op = std::get<DepthToSpace>(node.op);
  const auto x = in[0].shape, y = out[0].shape;
  const std::int64_t b = op.block_size, channels = y[1], plane = x[2] * x[3];
  const std::int64_t channel_step = op.column_row_depth ? b * b * plane : plane;
  const std::int64_t row_step = op.column_row_depth ? b * plane : b * channels * plane;
  const std::int64_t column_step = op.column_row_depth ? plane : channels * plane;
  Loops<2> loops;
  loops.add(x[0], {channels * y[2] * y[3], x[1] * plane});
  loops.add(channels, {y[2] * y[3], channel_step});
  loops.add(x[2], {b * y[3], x[3]});
  loops.add(b, {y[3], row_step});
  loops.add(x[3], {b, 1});
  loops.add(b, {1, column_step});
  copy(in[0].dtype, loops, in[0].data, out[0].data);
}

}  // namespace

OpFunction function_of(const Concat&) { return concat; }
OpFunction function_of(const Split&) { return split; }
OpFunction function_of(const Flatten&) { return same_elements; }
OpFunction function_of(const Reshape&) { return same_elements; }
OpFunction function_of(const Transpose&) { return transpose; }
OpFunction function_of(const Squeeze&) { return same_elements; }
OpFunction function_of(const Unsqueeze&) { return same_elements; }
OpFunction function_of(const Expand&) { return expand; }
OpFunction function_of(const Tile&) { return tile; }
OpFunction function_of(const DepthToSpace&) { return depth_to_space; }
OpFunction function_of(const Requantize&) { return same_elements; }

}  // namespace bitfold::reference
