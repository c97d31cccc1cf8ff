// Operators that rearrange, crop or mask elements: DepthToSpace, SpaceToDepth, ReverseSequence, CenterCropPad, Trilu.
#include <algorithm>

#include "ops/col2im.h"
#include "ops/operator.h"
#include "ops/rows.h"
#include "ops/strided_copy.h"

namespace bitfold::ops {
namespace {

// ---- DepthToSpace, SpaceToDepth

Outputs infer_depth_to_space(const Inputs& in) {
  const auto& op = std::get<DepthToSpace>(in.node.op);
  if (!in.shape(0)) return {like(in[0], {})};
  Shape y = *in.shape(0);
  check(y.size() == 4 && op.block_size >= 1,
        "input has shape {} and the block size is {}; expected 4 axes and a block size of at least 1", to_string(y),
        op.block_size);
  check(op.block_size < 65536, "block size is {}; it must be below 65536", op.block_size);
  const std::int64_t square = op.block_size * op.block_size;
  if (!is_unknown(y[1])) {
    check(y[1] % square == 0, "{} channels cannot be split into blocks of {}x{}", y[1], op.block_size, op.block_size);
    y[1] /= square;
  }
  y[2] = multiply(y[2], op.block_size);
  y[3] = multiply(y[3], op.block_size);
  return {like(in[0], y)};
}

Outputs infer_space_to_depth(const Inputs& in) {
  const std::int64_t block = std::get<SpaceToDepth>(in.node.op).block_size;
  if (!in.shape(0)) return {like(in[0], {})};
  Shape y = *in.shape(0);
  check(y.size() == 4 && block >= 1 && block < 65536, "input has shape {}, block size is {}", to_string(y), block);
  for (std::size_t i : {2U, 3U}) {
    check(is_unknown(y[i]) || y[i] % block == 0, "axis {} of shape {} cannot be split into blocks of {}", i,
          to_string(*in.shape(0)), block);
    if (!is_unknown(y[i])) y[i] /= block;
    if (is_unknown(y[i]) && block != 1) y[i] = kDynamic;
  }
  y[1] = multiply(y[1], block * block);
  return {like(in[0], y)};
}

/// Copies between images whose channels are [b, b, C] (depth first) or [C, b, b] (column_row_depth) and images of C
/// channels that are b times larger along both axes. `to_large` is the direction.
void copy_blocks(const TensorView& from, const TensorView& to, std::int64_t b, bool column_row_depth, bool to_large) {
  const auto deep = to_large ? from.shape : to.shape, large = to_large ? to.shape : from.shape;
  const std::int64_t channels = large[1], plane = deep[2] * deep[3];
  const std::int64_t channel_step = column_row_depth ? b * b * plane : plane;
  const std::int64_t row_step = column_row_depth ? b * plane : b * channels * plane;
  const std::int64_t column_step = column_row_depth ? plane : channels * plane;
  StridedCopy copy;
  const auto add = [&](std::int64_t size, std::int64_t in_large, std::int64_t in_deep) {
    if (to_large)
      copy.add(size, {in_large, in_deep});
    else
      copy.add(size, {in_deep, in_large});
  };
  add(deep[0], channels * large[2] * large[3], deep[1] * plane);
  add(channels, large[2] * large[3], channel_step);
  add(deep[2], b * large[3], deep[3]);
  add(b, large[3], row_step);
  add(deep[3], b, 1);
  add(b, 1, column_step);
  copy.run(from.dtype, from.data, to.data);
}

void depth_to_space(const Node& node, std::span<const TensorView> in, std::span<const TensorView> out) {
  const auto& op = std::get<DepthToSpace>(node.op);
  copy_blocks(in[0], out[0], op.block_size, op.column_row_depth, true);
}

void space_to_depth(const Node& node, std::span<const TensorView> in, std::span<const TensorView> out) {
  const auto& op = std::get<SpaceToDepth>(node.op);
  copy_blocks(in[0], out[0], op.block_size, op.column_row_depth, false);
}

// ---- ReverseSequence

Outputs infer_reverse_sequence(const Inputs& in) {
  const auto& op = std::get<ReverseSequence>(in.node.op);
  if (!in.shape(0)) return {like(in[0], {})};
  const Shape& x = *in.shape(0);
  const auto batch = normalize_axis(op.batch_axis, x.size()), time = normalize_axis(op.time_axis, x.size());
  check(x.size() >= 2 && batch != time,
        "batch_axis is {} and time_axis is {}; they must be two axes of the input of shape {}", op.batch_axis,
        op.time_axis, to_string(x));
  if (in.shape(1))
    check(in.shape(1)->size() == 1 && fits(in.shape(1)->front(), x[at(batch)]),
          "sequence_lens have shape {}, expected one length for each of {} samples", to_string(*in.shape(1)),
          to_string(Shape{x[at(batch)]}));
  return {like(in[0], x)};
}

void reverse_sequence(const Node& node, std::span<const TensorView> in, std::span<const TensorView> out) {
  const auto& op = std::get<ReverseSequence>(node.op);
  const auto shape = in[0].shape;
  const std::size_t batch = wrapped_axis(op.batch_axis, shape.size()), time = wrapped_axis(op.time_axis, shape.size());
  const Strides strides = dense_strides(shape);
  const auto bytes = static_cast<std::int64_t>(element_bytes(in[0].dtype));
  // Copies `count` time steps of a sample, from the one at `from` on in the direction of `step`.
  const auto copy_steps = [&](std::int64_t sample, std::int64_t to, std::int64_t from, std::int64_t step,
                              std::int64_t count) {
    StridedCopy copy;
    for (std::size_t i = 0; i < shape.size(); ++i)
      if (i != batch && i != time) copy.add(shape[i], {strides[i], strides[i]});
    copy.add(count, {strides[time], step * strides[time]});
    const std::int64_t first = sample * strides[batch];
    copy.run(in[0].dtype, in[0].data + (first + from * strides[time]) * bytes,
             out[0].data + (first + to * strides[time]) * bytes);
  };
  for (std::int64_t b = 0; b < shape[batch]; ++b) {
    const std::int64_t length = integer_at(in[1], b), size = shape[time];
    check(length >= 0 && length <= size, "{} the length of sample {} is {}; its axis {} has size {}", where(node), b,
          length, time, size);
    if (length > 0) copy_steps(b, 0, length - 1, -1, length);
    if (length < size) copy_steps(b, length, length, 1, size - length);
  }
}

// ---- CenterCropPad

Outputs infer_center_crop_pad(const Inputs& in) {
  const auto& op = std::get<CenterCropPad>(in.node.op);
  if (!in.shape(0)) return {like(in[0], {})};
  Shape y = *in.shape(0);
  std::vector<bool> is_given(y.size(), false);
  const std::size_t count = op.axes.empty() ? y.size() : op.axes.size();
  const auto length = length_of(in[1]);
  check(!length || *length == std::ssize(op.axes.empty() ? y : op.axes), "shape has {} elements for {} axes",
        length.value_or(0), count);
  for (std::size_t i = 0; i < count; ++i) {
    const auto axis = at(op.axes.empty() ? static_cast<std::int64_t>(i) : normalize_axis(op.axes[i], y.size()));
    check(!is_given[axis], "axis {} is given twice", axis);
    is_given[axis] = true;
    const Element size = in[1].elements && i < in[1].elements->size() ? (*in[1].elements)[i] : Element();
    check(!size || *size >= 0, "shape has {}", size.value_or(0));
    y[axis] = dimension_of(size);
  }
  return {like(in[0], y)};
}

/// If an odd number of elements is cropped or padded, one more is at the end.
void center_crop_pad(const Node&, std::span<const TensorView> in, std::span<const TensorView> out) {
  const auto x = in[0].shape, y = out[0].shape;
  const Strides from = dense_strides(x), to = dense_strides(y);
  const auto bytes = static_cast<std::int64_t>(element_bytes(in[0].dtype));
  std::memset(out[0].data, 0, size_bytes(out[0]));
  StridedCopy copy;
  std::int64_t first_from = 0, first_to = 0;
  for (std::size_t i = 0; i < x.size(); ++i) {
    copy.add(std::min(x[i], y[i]), {to[i], from[i]});
    if (x[i] > y[i]) first_from += (x[i] - y[i]) / 2 * from[i];
    if (y[i] > x[i]) first_to += (y[i] - x[i]) / 2 * to[i];
  }
  if (in[0].size() > 0 && out[0].size() > 0)
    copy.run(in[0].dtype, in[0].data + first_from * bytes, out[0].data + first_to * bytes);
}

// ---- Trilu

Outputs infer_trilu(const Inputs& in) {
  if (in.shape(0)) check(in.shape(0)->size() >= 2, "input has shape {}, expected matrices", to_string(*in.shape(0)));
  if (in.has(1) && in.shape(1) && is_static(*in.shape(1)))
    check(element_count(*in.shape(1)) == 1, "k has shape {}, expected one number", to_string(*in.shape(1)));
  return infer_same(in);
}

void trilu(const Node& node, std::span<const TensorView> in, std::span<const TensorView> out) {
  const bool upper = std::get<Trilu>(node.op).upper;
  const auto shape = in[0].shape;
  const std::int64_t rows = shape[shape.size() - 2], columns = shape.back();
  // Beyond these diagonals all or no elements are kept.
  const std::int64_t k = is_given(in, 1) ? std::clamp(integer_at(in[1], 0), -rows - 1, columns + 1) : 0;
  const std::int64_t matrices = product(shape.first(shape.size() - 2));
  with_width(in[0].dtype, [&](auto zero) {
    using T = decltype(zero);
    const T* x = in[0].as<T>();
    T* y = out[0].as<T>();
    for (std::int64_t m = 0; m < matrices; ++m)
      for (std::int64_t r = 0; r < rows; ++r) {
        const std::int64_t split = std::clamp<std::int64_t>(upper ? r + k : r + k + 1, 0, columns);
        if (upper) {
          std::copy_n(x + split, columns - split, std::fill_n(y, split, T{0}));
        } else {
          std::fill_n(std::copy_n(x, split, y), columns - split, T{0});
        }
        x += columns;
        y += columns;
      }
  });
}

}  // namespace

std::vector<OperatorInfo> arrange_operators() {
  const auto parameter = [](std::string_view name, TypeSet types = kInt64, Presence presence = Presence::required) {
    return Slot{name, types, 0, presence, Use::parameter};
  };
  const Slot input{"input", kWholeBytes, 'T'}, output{"output", kWholeBytes, 'T'};
  const Traits moves{.moves_elements = true, .commutes_with_positive_scale = true, .permutes_channels = true};
  const auto always = [](const Op&) { return true; };
  return {
      {.name = "DepthToSpace",
       .prototype = DepthToSpace{},
       .inputs = {{"input", kWholeBytes, 'T'}},
       .outputs = {{"output", kWholeBytes, 'T'}},
       .fields = {required(field("blocksize", &DepthToSpace::block_size, {1, 1 << 15})),
                  field("mode", &DepthToSpace::column_row_depth,
                        std::vector<Word<bool>>{{"DCR", false}, {"CRD", true}})},
       .infer = infer_depth_to_space,
       .evaluate = depth_to_space,
       .traits = {.moves_elements = true, .commutes_with_positive_scale = true, .permutes_channels = true},
       .role = Role::movement,
       .bounds = within_first},
      {.name = "SpaceToDepth",
       .since = 28,
       .prototype = SpaceToDepth{},
       .inputs = {input},
       .outputs = {output},
       .fields = {required(field("blocksize", &SpaceToDepth::block_size, {1, 1 << 15})),
                  field("mode", &SpaceToDepth::column_row_depth,
                        std::vector<Word<bool>>{{"DCR", false}, {"CRD", true}})},
       .infer = infer_space_to_depth,
       .evaluate = space_to_depth,
       .traits = moves,
       .role = Role::movement,
       .bounds = within_first},
      {.name = "ReverseSequence",
       .since = 10,
       .prototype = ReverseSequence{},
       .inputs = {input, parameter("sequence_lens")},
       .outputs = {{"Y", kWholeBytes, 'T'}},
       .fields = {field("batch_axis", &ReverseSequence::batch_axis), field("time_axis", &ReverseSequence::time_axis)},
       .infer = infer_reverse_sequence,
       .evaluate = reverse_sequence,
       .traits = moves},
      {.name = "CenterCropPad",
       .since = 18,
       .prototype = CenterCropPad{},
       .inputs = {{"input_data", kWholeBytes, 'T'}, parameter("shape", kIndex)},
       .outputs = {{"output_data", kWholeBytes, 'T'}},
       .fields = {omitted_when_empty(field("axes", &CenterCropPad::axes))},
       .infer = infer_center_crop_pad,
       .evaluate = center_crop_pad,
       .traits = moves,
       .fills_when = always},
      {.name = "Trilu",
       .since = 14,
       .prototype = Trilu{},
       .inputs = {input, parameter("k", kInt64, Presence::optional)},
       .outputs = {output},
       .fields = {field("upper", &Trilu::upper)},
       .infer = infer_trilu,
       .evaluate = trilu,
       .traits = moves,
       .fills_when = always},
      col2im_operator(),
  };
}

}  // namespace bitfold::ops
