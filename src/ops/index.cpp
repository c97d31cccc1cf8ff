// Operators that select a range of elements or rows by index: Slice, Gather, Pad.
#include <algorithm>
#include <cmath>
#include <limits>

#include "ops/operator.h"
#include "ops/rows.h"
#include "ops/strided_copy.h"

namespace bitfold::ops {
namespace {

/// "To the end" as written by exporters: the largest int32 or int64.
constexpr std::int64_t kBeyondAnySize = std::numeric_limits<std::int32_t>::max();

struct Bounds {
  std::int64_t start = 0, step = 1, count = 0;
};

/// ONNX Slice along an axis of known size: negative bounds count from the end, all are clamped.
Bounds clamp_slice(std::int64_t start, std::int64_t end, std::int64_t step, std::int64_t size) {
  check(step != 0, "a step is 0, which is not allowed");
  const auto from_end = [size](std::int64_t i) { return i < 0 ? std::max(i, -size - 1) + size : i; };
  Bounds b{.step = step};
  if (step > 0) {
    b.start = std::clamp<std::int64_t>(from_end(start), 0, size);
    const std::int64_t stop = std::clamp<std::int64_t>(from_end(end), 0, size);
    b.count = stop > b.start ? (stop - b.start - 1) / step + 1 : 0;
  } else {
    // Unlike in numpy, a start before the first element means the first element.
    b.start = std::min(std::max<std::int64_t>(from_end(start), 0), size - 1);
    const std::int64_t stop = std::clamp<std::int64_t>(from_end(end), -1, size - 1);
    // -(step + 1) + 1 would overflow for the lowest int64; such a step selects at most one element.
    const std::int64_t stride = step < -size - 1 ? size + 1 : -step;
    b.count = b.start > stop ? (b.start - stop - 1) / stride + 1 : 0;
  }
  return b;
}

Outputs infer_slice(const Inputs& in) {
  ValueInfo y = like(in[0], in.shape(0));
  if (!y.shape) return {y};
  Shape& shape = *y.shape;
  const auto unknown = [&]() -> Outputs { return {like(in[0], all_dynamic(std::ssize(shape)))}; };
  const auto starts = in.known(1), ends = in.known(2);
  if (in.has(3) && !in.known(3)) return unknown();
  std::vector<std::int64_t> axes;
  if (in.has(3)) {
    axes = *in.known(3);
  } else {
    const auto count = length_of(in[1]);
    if (!count) return unknown();
    for (std::int64_t i = 0; i < *count; ++i) axes.push_back(i);
  }
  const bool has_bounds = starts && ends && (!in.has(4) || in.known(4));
  const auto steps = in.has(4) && in.known(4) ? *in.known(4) : std::vector<std::int64_t>(axes.size(), 1);
  std::optional<Elements> elements;
  for (std::size_t i = 0; i < axes.size(); ++i) {
    const auto axis = at(normalize_axis(axes[i], shape.size()));
    if (!has_bounds) {
      shape[axis] = kDynamic;
      continue;
    }
    check(starts->size() == axes.size() && ends->size() == axes.size() && steps.size() == axes.size(),
          "there are {} starts, {} ends and {} steps for {} axes", starts->size(), ends->size(), steps.size(),
          axes.size());
    const std::int64_t size = shape[axis];
    if (is_unknown(size)) {
      const bool is_whole = (*starts)[i] == 0 && (*ends)[i] >= kBeyondAnySize && steps[i] == 1;
      if (!is_whole) shape[axis] = kDynamic;
      continue;
    }
    const Bounds b = clamp_slice((*starts)[i], (*ends)[i], steps[i], size);
    shape[axis] = b.count;
    // Rows of a small matrix or elements of a vector suffice for shape arithmetic.
    if (in[0].elements && axis == 0 && axes.size() == 1) {
      const std::int64_t row = size == 0 ? 0 : std::ssize(*in[0].elements) / size;
      elements = Elements{};
      for (std::int64_t k = 0; k < b.count; ++k)
        for (std::int64_t j = 0; j < row; ++j)
          elements->push_back((*in[0].elements)[at((b.start + k * b.step) * row + j)]);
    }
  }
  return {with_elements(y, elements)};
}

Outputs infer_gather(const Inputs& in) {
  const auto& op = std::get<Gather>(in.node.op);
  if (!in.shape(0) || !in.shape(1)) return {like(in[0], {})};
  const Shape &x = *in.shape(0), &indices = *in.shape(1);
  const auto axis = normalize_axis(op.axis, x.size());
  Shape y(x.begin(), x.begin() + axis);
  y.insert(y.end(), indices.begin(), indices.end());
  y.insert(y.end(), x.begin() + axis + 1, x.end());
  ValueInfo info = like(in[0], y);
  const auto picked = in.known(1);
  if (picked && !is_unknown(x[at(axis)]))
    for (std::int64_t i : *picked)
      check(i >= -x[at(axis)] && i < x[at(axis)], "index {} is outside axis {} of shape {}", i, axis, to_string(x));
  if (picked && in[0].elements && x.size() == 1) {
    Elements elements;
    for (std::int64_t i : *picked) elements.push_back((*in[0].elements)[at(i < 0 ? i + x[0] : i)]);
    return {with_elements(info, elements)};
  }
  return {info};
}

Outputs infer_pad(const Inputs& in) {
  if (!in.shape(0)) return {like(in[0], {})};
  Shape y = *in.shape(0);
  const auto pads = in.known(1);
  if (!pads || (in.has(3) && !in.known(3))) return {like(in[0], all_dynamic(std::ssize(y)))};
  std::vector<std::int64_t> axes;
  if (in.has(3)) {
    axes = *in.known(3);
  } else {
    for (std::int64_t i = 0; i < std::ssize(y); ++i) axes.push_back(i);
  }
  check(pads->size() == 2 * axes.size(), "there are {} pads for {} axes; two per axis are needed", pads->size(),
        axes.size());
  for (std::size_t i = 0; i < axes.size(); ++i) {
    auto& dim = y[at(normalize_axis(axes[i], y.size()))];
    const std::int64_t begin = (*pads)[i], end = (*pads)[axes.size() + i];
    if (is_unknown(dim)) {
      if (begin != 0 || end != 0) dim = kDynamic;
      continue;
    }
    check(is_moderate(begin) && is_moderate(end), "pads of {} and {} are too large", begin, end);
    dim += begin + end;
    check(dim >= 0, "pads of {} and {} leave nothing of axis {} of shape {}", begin, end, axes[i],
          to_string(*in.shape(0)));
  }
  return {like(in[0], y)};
}

/// The start of a slice after ONNX's wrapping and clamping. Bounds may be the extremes of int64.
std::int64_t slice_start(std::int64_t start, std::int64_t step, std::int64_t dim) {
  if (start < 0) start += dim;
  return std::clamp<std::int64_t>(start, 0, step > 0 ? dim : std::max<std::int64_t>(0, dim - 1));
}

void slice(const Node& node, std::span<const TensorView> in, std::span<const TensorView> out) {
  const auto shape = in[0].shape, to_shape = out[0].shape;
  std::array<std::int64_t, kMaxRank> start{}, step{};
  step.fill(1);
  const Strides from = dense_strides(shape), to = dense_strides(to_shape);
  for (std::int64_t i = 0, n = in[1].size(); i < n; ++i) {
    const std::size_t axis = wrapped_axis(is_given(in, 3) ? integer_at(in[3], i) : i, shape.size());
    step[axis] = is_given(in, 4) ? integer_at(in[4], i) : 1;
    check(step[axis] != 0, "{} a step is 0", where(node));
    start[axis] = slice_start(integer_at(in[1], i), step[axis], shape[axis]);
  }
  StridedCopy copy;
  std::int64_t first = 0;
  for (std::size_t i = 0; i < shape.size(); ++i) {
    if (to_shape[i] > 0) first += start[i] * from[i];
    copy.add(to_shape[i], {to[i], to_shape[i] > 1 ? step[i] * from[i] : 0});  // an unused step may be huge
  }
  copy.run(in[0].dtype, in[0].data + first * static_cast<std::int64_t>(element_bytes(in[0].dtype)), out[0].data);
}

void gather(const Node& node, std::span<const TensorView> in, std::span<const TensorView> out) {
  const auto shape = in[0].shape;
  const std::size_t axis = wrapped_axis(std::get<Gather>(node.op).axis, shape.size());
  // The axes of the indices are one axis of the output, and so are all axes before it and all after it.
  const Shape from{product(shape.first(axis)), shape[axis], product(shape.subspan(axis + 1))};
  if (out[0].size() == 0) return;
  std::array<SourceIndices, 3> sources;
  for (std::int64_t i = 0; i < in[1].size(); ++i) {
    const std::int64_t index = integer_at(in[1], i);
    if (index < -from[1] || index >= from[1])
      fail("{} index {} is outside an axis of size {}", where(node), index, from[1]);
    sources[1].push_back(index < 0 ? index + from[1] : index);
  }
  copy_indexed(in[0].dtype, from, sources, in[0].data, out[0].data);
}

/// One axis of a Pad. Negative padding crops first, so that [low, low + size) of the input is padded.
struct PadAxis {
  std::int64_t begin = 0, low = 0, size = 0;
};

using PadAxes = std::array<PadAxis, kMaxRank>;

PadAxes pad_axes(std::span<const TensorView> in) {
  const auto shape = in[0].shape;
  const bool has_axes = is_given(in, 3);
  const std::int64_t count = has_axes ? in[3].size() : static_cast<std::int64_t>(shape.size());
  PadAxes axes{};
  for (std::size_t i = 0; i < shape.size(); ++i) axes[i].size = shape[i];
  for (std::int64_t i = 0; i < count; ++i) {
    const std::size_t axis = wrapped_axis(has_axes ? integer_at(in[3], i) : i, shape.size());
    const std::int64_t begin = integer_at(in[1], i), end = integer_at(in[1], i + count);
    axes[axis].begin = std::max<std::int64_t>(0, begin);
    axes[axis].low = std::min(shape[axis], std::max<std::int64_t>(0, -begin));
    axes[axis].size = std::max<std::int64_t>(0, shape[axis] - axes[axis].low - std::max<std::int64_t>(0, -end));
  }
  return axes;
}

/// The output index outside the padding whose element output index `i` repeats.
std::int64_t pad_source(const PadAxis& a, PadMode mode, std::int64_t i) {
  const std::int64_t j = i - a.begin, last = a.size - 1;
  if (mode == PadMode::edge || last <= 0)
    return a.begin + std::clamp<std::int64_t>(j, 0, std::max<std::int64_t>(0, last));
  if (mode == PadMode::wrap) return a.begin + ((j % a.size) + a.size) % a.size;
  const std::int64_t period = 2 * last, phase = ((j % period) + period) % period;
  return a.begin + (phase <= last ? phase : period - phase);
}

/// Copies the part of the input that is padded to its place.
void copy_padded(const TensorView& in, const TensorView& out, const PadAxes& axes) {
  const Strides from = dense_strides(in.shape), to = dense_strides(out.shape);
  const auto bytes = static_cast<std::int64_t>(element_bytes(in.dtype));
  StridedCopy copy;
  std::int64_t first_to = 0, first_from = 0;
  for (std::size_t i = 0; i < out.shape.size(); ++i) {
    copy.add(axes[i].size, {to[i], from[i]});
    first_to += axes[i].begin * to[i];
    first_from += axes[i].low * from[i];
  }
  if (in.size() > 0) copy.run(in.dtype, in.data + first_from * bytes, out.data + first_to * bytes);
}

/// Fills the padding [first, end) along `axis` with elements of the output that are in place: those of the later axes'
/// whole range, and of the padded part of all others.
void fill_padding(const TensorView& out, const PadAxes& axes, std::size_t axis, PadMode mode, std::int64_t first,
                  std::int64_t end) {
  const Strides strides = dense_strides(out.shape);
  const auto bytes = static_cast<std::int64_t>(element_bytes(out.dtype));
  const auto source = [&](std::int64_t i) { return pad_source(axes[axis], mode, i); };
  for (std::int64_t count = 0; first < end; first += count) {
    const std::int64_t from = source(first), step = first + 1 < end ? source(first + 1) - from : 0;
    for (count = 1; first + count < end && source(first + count) == from + count * step;) ++count;
    StridedCopy copy;
    std::int64_t corner = 0;
    for (std::size_t i = 0; i < axis; ++i) {
      copy.add(axes[i].size, {strides[i], strides[i]});
      corner += axes[i].begin * strides[i];
    }
    copy.add(count, {strides[axis], step * strides[axis]});
    copy.add(strides[axis], {1, 1});
    copy.run(out.dtype, out.data + (corner + from * strides[axis]) * bytes,
             out.data + (corner + first * strides[axis]) * bytes);
  }
}

void pad(const Node& node, std::span<const TensorView> in, std::span<const TensorView> out) {
  const PadMode mode = std::get<Pad>(node.op).mode;
  const PadAxes axes = pad_axes(in);
  if (out[0].size() == 0) return;
  if (mode == PadMode::constant || in[0].shape.empty()) {
    with_width(in[0].dtype, [&](auto zero) {
      using T = decltype(zero);
      std::fill_n(out[0].as<T>(), out[0].size(), is_given(in, 2) ? *in[2].as<T>() : T{0});
    });
    return copy_padded(in[0], out[0], axes);
  }
  const auto shape = out[0].shape;
  for (std::size_t i = 0; i < shape.size(); ++i)
    check(axes[i].size > 0, "{} there are no elements to repeat along axis {}", where(node), i);
  copy_padded(in[0], out[0], axes);
  for (std::size_t i = shape.size(); i-- > 0;) {
    fill_padding(out[0], axes, i, mode, 0, axes[i].begin);
    fill_padding(out[0], axes, i, mode, axes[i].begin + axes[i].size, shape[i]);
  }
}

RealBounds pad_bounds(const Op& op, std::span<const RealBounds> in) {
  if (std::get<Pad>(op).mode != PadMode::constant) return in[0];
  return hull(in[0], in.size() > 2 && !in[2].is_empty() ? in[2] : RealBounds{0, 0});
}

}  // namespace

std::vector<OperatorInfo> index_operators() {
  const auto parameter = [](std::string_view name, Presence presence = Presence::required) {
    return Slot{name, kIndex, 0, presence, Use::parameter};
  };
  const Slot data{"data", kMoved, 'T'}, output{"output", kMoved, 'T'};
  return {
      {.name = "Slice",
       .since = 10,
       .prototype = Slice{},
       .inputs = {data, parameter("starts"), parameter("ends"), parameter("axes", Presence::optional),
                  parameter("steps", Presence::optional)},
       .outputs = {output},
       .infer = infer_slice,
       .evaluate = slice,
       .traits = {.moves_elements = true, .commutes_with_positive_scale = true, .acts_along_axes = true},
       .role = Role::movement,
       .bounds = within_first},
      {.name = "Gather",
       .prototype = Gather{},
       .inputs = {data, parameter("indices")},
       .outputs = {output},
       .fields = {field("axis", &Gather::axis)},
       .infer = infer_gather,
       .evaluate = gather,
       .traits = {.moves_elements = true, .commutes_with_positive_scale = true, .permutes_channels = true},
       .bounds = within_first},
      {.name = "Pad",
       .since = 19,
       .prototype = Pad{},
       .inputs = {{"data", kWholeBytes, 'T'},
                  parameter("pads"),
                  {"constant_value", kWholeBytes, 'T', Presence::optional, Use::fill},
                  parameter("axes", Presence::optional)},
       .outputs = {{"output", kWholeBytes, 'T'}},
       .fields = {field("mode", &Pad::mode,
                        std::vector<Word<PadMode>>{{"constant", PadMode::constant},
                                                   {"reflect", PadMode::reflect},
                                                   {"edge", PadMode::edge},
                                                   {"wrap", PadMode::wrap}})},
       .infer = infer_pad,
       .evaluate = pad,
       .traits = {.moves_elements = true},
       .role = Role::movement,
       .fills_when = [](const Op& op) { return std::get<Pad>(op).mode == PadMode::constant; },
       .bounds = pad_bounds},
  };
}

}  // namespace bitfold::ops
