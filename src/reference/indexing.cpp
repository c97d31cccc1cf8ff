// Operators that take elements by index: Slice, Gather, Pad.
#include <algorithm>

#include "reference/families.h"
#include "reference/rows.h"

namespace bitfold::reference {
namespace {

/// Where a slice starts, after ONNX's wrapping and clamping; bounds may be the extremes of int64.
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
    check(step[axis] != 0, "{} a step of 0", where(node));
    start[axis] = slice_start(integer_at(in[1], i), step[axis], shape[axis]);
  }
  Loops<2> loops;
  std::int64_t first = 0;
  for (std::size_t i = 0; i < shape.size(); ++i) {
    if (to_shape[i] > 0) first += start[i] * from[i];
    loops.add(to_shape[i], {to[i], to_shape[i] > 1 ? step[i] * from[i] : 0});  // an unused step may be huge
  }
  copy(in[0].dtype, loops, in[0].data + first * static_cast<std::int64_t>(element_bytes(in[0].dtype)), out[0].data);
}

void gather(const Node& node, std::span<const TensorView> in, std::span<const TensorView> out) {
  const auto shape = in[0].shape;
  const std::size_t axis = wrapped_axis(std::get<Gather>(node.op).axis, shape.size());
  const std::int64_t outer = product(shape.first(axis)), dim = shape[axis], count = in[1].size();
  const std::size_t bytes = static_cast<std::size_t>(product(shape.subspan(axis + 1))) * element_bytes(in[0].dtype);
  std::byte* to = out[0].data;
  for (std::int64_t o = 0; o < outer && bytes > 0; ++o)
    for (std::int64_t i = 0; i < count; ++i, to += bytes) {
      const std::int64_t index = integer_at(in[1], i);
      check(index >= -dim && index < dim, "{} index {} of an axis of {}", where(node), index, dim);
      std::memcpy(to, in[0].data + static_cast<std::size_t>(o * dim + (index < 0 ? index + dim : index)) * bytes,
                  bytes);
    }
}

/// One axis of a Pad. Negative padding crops first: [low, low + size) of the input is what is padded.
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

/// The input index behind output index `i`.
std::int64_t pad_source(const PadAxis& a, PadMode mode, std::int64_t i) {
  const std::int64_t j = i - a.begin, last = a.size - 1;
  if (mode == PadMode::edge || last <= 0)
    return a.low + std::clamp<std::int64_t>(j, 0, std::max<std::int64_t>(0, last));
  const std::int64_t period = 2 * last, phase = ((j % period) + period) % period;
  return a.low + (phase <= last ? phase : period - phase);
}

template <class T>
void pad_constant(std::span<const TensorView> in, const TensorView& out, const PadAxes& axes) {
  const auto shape = out.shape;
  std::fill_n(out.as<T>(), out.size(), is_given(in, 2) ? *in[2].as<T>() : T{0});
  const Strides from = dense_strides(in[0].shape), to = dense_strides(shape);
  Loops<2> loops;
  std::int64_t first_to = 0, first_from = 0;
  for (std::size_t i = 0; i < shape.size(); ++i) {
    loops.add(axes[i].size, {to[i], from[i]});
    first_to += axes[i].begin * to[i];
    first_from += axes[i].low * from[i];
  }
  if (in[0].size() == 0) return;
  copy(in[0].dtype, loops, in[0].data + first_from * static_cast<std::int64_t>(sizeof(T)),
       out.data + first_to * static_cast<std::int64_t>(sizeof(T)));
}

/// Reflect and edge: every output element has an input element; the last axis runs inside.
template <class T>
void pad_mapped(const TensorView& in, const TensorView& out, const PadAxes& axes, PadMode mode) {
  const auto shape = out.shape;
  const Strides from = dense_strides(in.shape);
  const std::size_t last = shape.size() - 1;
  std::array<std::int64_t, kMaxRank> index{};
  T* to = out.as<T>();
  for (std::int64_t row = 0, rows = out.size() / shape[last]; row < rows; ++row) {
    std::int64_t base = 0;
    for (std::size_t i = 0; i < last; ++i) base += pad_source(axes[i], mode, index[i]) * from[i];
    for (std::int64_t i = 0; i < shape[last]; ++i) *to++ = in.as<T>()[base + pad_source(axes[last], mode, i)];
    for (std::size_t i = last; i-- > 0;) {
      if (++index[i] < shape[i]) break;
      index[i] = 0;
    }
  }
}

void pad(const Node& node, std::span<const TensorView> in, std::span<const TensorView> out) {
  const PadMode mode = std::get<Pad>(node.op).mode;
  const PadAxes axes = pad_axes(in);
  if (out[0].size() == 0) return;
  with_width(in[0].dtype, [&](auto zero) {
    using T = decltype(zero);
    if (mode == PadMode::constant || in[0].shape.empty()) return pad_constant<T>(in, out[0], axes);
    for (std::size_t i = 0; i < in[0].shape.size(); ++i)
      check(axes[i].size > 0, "{} nothing to repeat along axis {}", where(node), i);
    pad_mapped<T>(in[0], out[0], axes, mode);
  });
}

}  // namespace

OpFunction function_of(const Slice&) { return slice; }
OpFunction function_of(const Gather&) { return gather; }
OpFunction function_of(const Pad&) { return pad; }

}  // namespace bitfold::reference
