// Convolutions by their definition, accumulated in double and rounded once:
//
//   Conv           y[n, m, o] = bias[m] + sum over c, k of x[n, c, o * stride - pad + k * dilation] * w[m, c, k]
//   ConvTranspose  y[n, m, i * stride - pad + k * dilation] += x[n, c, i] * w[c, m, k]
//
// One, two or three spatial axes. The accumulators of a block of kBlock neighbouring outputs stand on the stack, so
// that the innermost loop runs along the row.
#include <algorithm>

#include "reference/families.h"
#include "reference/operands.h"

namespace bitfold::reference {
namespace {

constexpr std::int64_t kBlock = 64;

std::int64_t ceil_div(std::int64_t a, std::int64_t b) { return a >= 0 ? (a + b - 1) / b : -(-a / b); }

struct Sizes {
  std::int64_t batch, in_channels, out_channels, group;
  std::int64_t in_per_group() const { return in_channels / group; }
  std::int64_t out_per_group() const { return out_channels / group; }
};

struct Operands {
  const float *x, *w, *bias;
  float* y;
};

Operands operands(std::span<const TensorView> in, std::span<const TensorView> out) {
  return {in[0].as<float>(), in[1].as<float>(), is_given(in, 2) ? in[2].as<float>() : nullptr, out[0].as<float>()};
}

/// The outputs of row [first, first + count) that tap `offset` = k * dilation - pad reaches: x index o * stride +
/// offset.
struct Reach {
  std::int64_t begin, end;
};
Reach reach(const WindowAxis& axis, std::int64_t offset, std::int64_t first, std::int64_t count) {
  const std::int64_t begin = ceil_div(-offset, axis.stride), end = ceil_div(axis.in - offset, axis.stride);
  return {std::max(begin, first), std::min(end, first + count)};
}

bool inside(const WindowAxis& axis, std::int64_t i) { return i >= 0 && i < axis.in; }

/// Adds one input channel to the accumulators of outputs (oz, oy, [first, first + count)).
void accumulate(const Window3d& a, const float* x, const float* w, const std::array<std::int64_t, 3>& out,
                std::int64_t count, double* sums) {
  const auto& [az, ay, ax] = a;
  for (std::int64_t kz = 0; kz < az.kernel; ++kz) {
    const std::int64_t iz = az.tap(out[0], kz);
    if (!inside(az, iz)) continue;
    for (std::int64_t ky = 0; ky < ay.kernel; ++ky) {
      const std::int64_t iy = ay.tap(out[1], ky);
      if (!inside(ay, iy)) continue;
      const float* row = x + (iz * ay.in + iy) * ax.in;
      for (std::int64_t kx = 0; kx < ax.kernel; ++kx) {
        const double weight = w[(kz * ay.kernel + ky) * ax.kernel + kx];
        const std::int64_t offset = kx * ax.dilation - ax.pad_begin;
        const auto [begin, end] = reach(ax, offset, out[2], count);
        for (std::int64_t o = begin; o < end; ++o) sums[o - out[2]] += weight * row[o * ax.stride + offset];
      }
    }
  }
}

void conv(const Node& node, std::span<const TensorView> in, std::span<const TensorView> out) {
  const auto& op = std::get<Conv>(node.op);
  const Window3d a = resolve_window(op.window, in[0].shape, out[0].shape);
  const Sizes s{in[0].shape[0], in[0].shape[1], out[0].shape[1], op.group};
  const Operands t = operands(in, out);
  const std::int64_t plane = a[0].in * a[1].in * a[2].in, taps = a[0].kernel * a[1].kernel * a[2].kernel;
  float* y = t.y;
  for (std::int64_t n = 0; n < s.batch; ++n)
    for (std::int64_t m = 0; m < s.out_channels; ++m) {
      const float* x = t.x + (n * s.in_channels + m / s.out_per_group() * s.in_per_group()) * plane;
      const float* w = t.w + m * s.in_per_group() * taps;
      for (std::int64_t oz = 0; oz < a[0].out; ++oz)
        for (std::int64_t oy = 0; oy < a[1].out; ++oy)
          for (std::int64_t ox = 0; ox < a[2].out; ox += kBlock) {
            const std::int64_t count = std::min(kBlock, a[2].out - ox);
            double sums[kBlock];
            std::fill_n(sums, count, t.bias != nullptr ? t.bias[m] : 0.0);
            for (std::int64_t c = 0; c < s.in_per_group(); ++c)
              accumulate(a, x + c * plane, w + c * taps, {oz, oy, ox}, count, sums);
            for (std::int64_t i = 0; i < count; ++i) *y++ = static_cast<float>(sums[i]);
          }
    }
}

/// The axes of a ConvTranspose seen from its output: `in` and `out` are those of x and y.
Window3d transpose_window(const ConvTranspose& op, std::span<const std::int64_t> x, std::span<const std::int64_t> y) {
  Window explicit_pads = op.window;
  explicit_pads.auto_pad = AutoPad::none;
  Window3d axes = resolve_window(explicit_pads, x, y);
  const bool same = op.window.auto_pad == AutoPad::same_upper || op.window.auto_pad == AutoPad::same_lower;
  for (std::size_t i = 0; i < op.window.kernel.size(); ++i) {
    WindowAxis& a = axes[3 - op.window.kernel.size() + i];
    if (op.window.auto_pad == AutoPad::valid) a.pad_begin = a.pad_end = 0;
    if (!same && op.output_shape.empty()) continue;
    const std::int64_t adjust = op.output_padding.empty() ? 0 : op.output_padding[i];
    const std::int64_t total = std::max<std::int64_t>(0, a.stride * (a.in - 1) + adjust + a.extent() - a.out);
    a.pad_begin = op.window.auto_pad == AutoPad::same_upper ? total / 2 : total - total / 2;
    a.pad_end = total - a.pad_begin;
  }
  return axes;
}

/// The input index that reaches output `o` through tap `k`, or -1.
std::int64_t source_index(const WindowAxis& axis, std::int64_t o, std::int64_t k) {
  const std::int64_t position = o + axis.pad_begin - k * axis.dilation;
  if (position < 0 || position % axis.stride != 0) return -1;
  return position / axis.stride < axis.in ? position / axis.stride : -1;
}

void accumulate_transposed(const Window3d& a, const float* x, const float* w, const std::array<std::int64_t, 3>& out,
                           std::int64_t count, double* sums) {
  const auto& [az, ay, ax] = a;
  for (std::int64_t kz = 0; kz < az.kernel; ++kz) {
    const std::int64_t iz = source_index(az, out[0], kz);
    if (iz < 0) continue;
    for (std::int64_t ky = 0; ky < ay.kernel; ++ky) {
      const std::int64_t iy = source_index(ay, out[1], ky);
      if (iy < 0) continue;
      const float* row = x + (iz * ay.in + iy) * ax.in;
      for (std::int64_t kx = 0; kx < ax.kernel; ++kx) {
        const double weight = w[(kz * ay.kernel + ky) * ax.kernel + kx];
        // Output o = i * stride + shift lies in the block.
        const std::int64_t shift = kx * ax.dilation - ax.pad_begin - out[2];
        const std::int64_t begin = std::max<std::int64_t>(0, ceil_div(-shift, ax.stride));
        const std::int64_t end = std::min(ax.in, ceil_div(count - shift, ax.stride));
        for (std::int64_t i = begin; i < end; ++i) sums[i * ax.stride + shift] += weight * row[i];
      }
    }
  }
}

void conv_transpose(const Node& node, std::span<const TensorView> in, std::span<const TensorView> out) {
  const auto& op = std::get<ConvTranspose>(node.op);
  const Window3d a = transpose_window(op, in[0].shape, out[0].shape);
  const Sizes s{in[0].shape[0], in[0].shape[1], out[0].shape[1], op.group};
  const Operands t = operands(in, out);
  const std::int64_t plane = a[0].in * a[1].in * a[2].in, taps = a[0].kernel * a[1].kernel * a[2].kernel;
  float* y = t.y;
  for (std::int64_t n = 0; n < s.batch; ++n)
    for (std::int64_t m = 0; m < s.out_channels; ++m) {
      const std::int64_t first_in = m / s.out_per_group() * s.in_per_group(), own = m % s.out_per_group();
      for (std::int64_t oz = 0; oz < a[0].out; ++oz)
        for (std::int64_t oy = 0; oy < a[1].out; ++oy)
          for (std::int64_t ox = 0; ox < a[2].out; ox += kBlock) {
            const std::int64_t count = std::min(kBlock, a[2].out - ox);
            double sums[kBlock];
            std::fill_n(sums, count, t.bias != nullptr ? t.bias[m] : 0.0);
            for (std::int64_t c = first_in; c < first_in + s.in_per_group(); ++c)
              accumulate_transposed(a, t.x + (n * s.in_channels + c) * plane,
                                    t.w + (c * s.out_per_group() + own) * taps, {oz, oy, ox}, count, sums);
            for (std::int64_t i = 0; i < count; ++i) *y++ = static_cast<float>(sums[i]);
          }
    }
}

}  // namespace

OpFunction function_of(const Conv&) { return conv; }
OpFunction function_of(const ConvTranspose&) { return conv_transpose; }

}  // namespace bitfold::reference
