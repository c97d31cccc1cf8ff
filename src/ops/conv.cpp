// Convolutions by their definition, accumulated in double and rounded once:
//
//   Conv           y[n, m, o] = bias[m] + sum over c, k of x[n, c, o * stride - pad + k * dilation] * w[m, c, k]
//   ConvTranspose  y[n, m, i * stride - pad + k * dilation] += x[n, c, i] * w[c, m, k]
//
// One, two or three spatial axes. The accumulators of a block of kOutputsPerBlock adjacent outputs are on the stack, so
// that the innermost loop runs along a row.
#include <algorithm>

#include "ops/operands.h"
#include "ops/operator.h"
#include "ops/window.h"

namespace bitfold::ops {
namespace {

void check_bias(const Inputs& in, std::int64_t channels) {
  if (!in.has(2) || !in.shape(2)) return;
  const Shape& bias = *in.shape(2);
  check(bias.size() == 1 && (bias[0] == channels || is_unknown(bias[0]) || is_unknown(channels)),
        "bias has shape {}, expected {}", to_string(bias), channels);
}

Outputs infer_conv(const Inputs& in) {
  const auto& op = std::get<Conv>(in.node.op);
  if (!in.shape(0) || !in.shape(1)) return {real({})};
  const Shape y = conv_shape(op.window, op.group, *in.shape(0), *in.shape(1));
  check_bias(in, y[1]);
  return {real(y)};
}

Outputs infer_conv_transpose(const Inputs& in) {
  const auto& op = std::get<ConvTranspose>(in.node.op);
  if (!in.shape(0) || !in.shape(1)) return {real({})};
  const Shape &x = *in.shape(0), &w = *in.shape(1);
  check(x.size() >= 3 && w.size() == x.size(),
        "weights have shape {} and the input has {}; expected equal ranks of at least 3", to_string(w), to_string(x));
  check(is_unknown(x[1]) || is_unknown(w[0]) || x[1] == w[0], "weights have {} input channels, but the input has {}",
        w[0], x[1]);
  check(op.group >= 1 && (is_unknown(w[0]) || w[0] % op.group == 0), "{} input channels cannot be split into {} groups",
        w[0], op.group);
  Shape y{x[0], multiply(w[1], op.group)};
  check_bias(in, y[1]);
  for (std::size_t i = 0; i + 2 < w.size(); ++i)
    if (i < op.window.kernel.size())
      check(is_unknown(w[i + 2]) || op.window.kernel[i] == w[i + 2], "kernel_shape {} differs from the weights' {}",
            to_string(op.window.kernel), to_string(w));
  const auto spatial = resolve_transposed_window(op, spatial_of(x)).output;
  y.insert(y.end(), spatial.begin(), spatial.end());
  return {real(y)};
}

}  // namespace

Shape conv_shape(const Window& window, std::int64_t group, const Shape& x, const Shape& w) {
  check(x.size() >= 3, "input has shape {}, expected batch, channels and at least one spatial axis", to_string(x));
  check(w.size() == x.size(), "weights have shape {} and the input has {}; expected equal ranks of at least 3",
        to_string(w), to_string(x));
  check(group >= 1 && (is_unknown(w[0]) || w[0] % group == 0), "{} output channels cannot be split into {} groups",
        w[0], group);
  if (!is_unknown(x[1]) && !is_unknown(w[1]))
    check(multiply(w[1], group) == x[1], "weights have {} input channels{}, but the input has {}",
          multiply(w[1], group), group > 1 ? fmt::format(" ({} in each of {} groups)", w[1], group) : "", x[1]);
  for (std::size_t i = 0; i + 2 < w.size(); ++i)
    if (i < window.kernel.size())
      check(is_unknown(w[i + 2]) || window.kernel[i] == w[i + 2], "kernel_shape {} differs from the weights' {}",
            to_string(window.kernel), to_string(w));
  Shape y{x[0], w[0]};
  const auto spatial = resolve_window(window, spatial_of(x), false).output;
  y.insert(y.end(), spatial.begin(), spatial.end());
  return y;
}

namespace {

constexpr std::int64_t kOutputsPerBlock = 64;

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

/// The part of the outputs [first, first + count) of a row whose tap lies inside the input. Output o reads the x index
/// o * stride + offset, with offset = k * dilation - pad.
struct TapOutputs {
  std::int64_t begin, end;
};
TapOutputs outputs_of_tap(const WindowAxis& axis, std::int64_t offset, std::int64_t first, std::int64_t count) {
  const std::int64_t begin = ceil_div(-offset, axis.stride), end = ceil_div(axis.in - offset, axis.stride);
  return {std::max(begin, first), std::min(end, first + count)};
}

/// Adds one input channel to the accumulators of outputs (oz, oy, [first, first + count)).
void accumulate(const Window3d& a, const float* x, const float* w, const std::array<std::int64_t, 3>& out,
                std::int64_t count, double* sums) {
  const auto& [az, ay, ax] = a;
  for (std::int64_t kz = 0; kz < az.kernel; ++kz) {
    const std::int64_t iz = az.tap(out[0], kz);
    if (!az.contains(iz)) continue;
    for (std::int64_t ky = 0; ky < ay.kernel; ++ky) {
      const std::int64_t iy = ay.tap(out[1], ky);
      if (!ay.contains(iy)) continue;
      const float* row = x + (iz * ay.in + iy) * ax.in;
      for (std::int64_t kx = 0; kx < ax.kernel; ++kx) {
        const double weight = w[(kz * ay.kernel + ky) * ax.kernel + kx];
        const std::int64_t offset = kx * ax.dilation - ax.pad_begin;
        const auto [begin, end] = outputs_of_tap(ax, offset, out[2], count);
        for (std::int64_t o = begin; o < end; ++o) sums[o - out[2]] += weight * row[o * ax.stride + offset];
      }
    }
  }
}

/// Writes every output: the bias plus the sum over the input channels of the output channel's group. For each of them,
/// accumulate(a, x, w, {oz, oy, ox}, count, sums) adds its part; x is its image and w its kernel. weights_of(m, c) is
/// the number of the kernel from input channel c of the group to output channel m.
template <class WeightsOf, class Accumulate>
void for_each_block(const Window3d& a, const Sizes& s, const Operands& t, const WeightsOf& weights_of,
                    const Accumulate& accumulate) {
  const std::int64_t plane = a[0].in * a[1].in * a[2].in, taps = a[0].kernel * a[1].kernel * a[2].kernel;
  float* y = t.y;
  for (std::int64_t n = 0; n < s.batch; ++n)
    for (std::int64_t m = 0; m < s.out_channels; ++m) {
      const float* x = t.x + (n * s.in_channels + m / s.out_per_group() * s.in_per_group()) * plane;
      for (std::int64_t oz = 0; oz < a[0].out; ++oz)
        for (std::int64_t oy = 0; oy < a[1].out; ++oy)
          for (std::int64_t ox = 0; ox < a[2].out; ox += kOutputsPerBlock) {
            const std::int64_t count = std::min(kOutputsPerBlock, a[2].out - ox);
            double sums[kOutputsPerBlock];
            std::fill_n(sums, count, t.bias != nullptr ? t.bias[m] : 0.0);
            for (std::int64_t c = 0; c < s.in_per_group(); ++c)
              accumulate(a, x + c * plane, t.w + weights_of(m, c) * taps, std::array{oz, oy, ox}, count, sums);
            for (std::int64_t i = 0; i < count; ++i) *y++ = static_cast<float>(sums[i]);
          }
    }
}

void conv(const Node& node, std::span<const TensorView> in, std::span<const TensorView> out) {
  const auto& op = std::get<Conv>(node.op);
  const Window3d a = window_3d(op.window, in[0].shape, out[0].shape);
  const Sizes s{in[0].shape[0], in[0].shape[1], out[0].shape[1], op.group};
  for_each_block(
      a, s, operands(in, out), [&](std::int64_t m, std::int64_t c) { return m * s.in_per_group() + c; }, accumulate);
}

/// The input index that output `o` reads through tap `k`, or -1.
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
        // Input element i contributes to element o = i * stride + shift of the block.
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
  const Window3d a = transposed_window_3d(op, in[0].shape, out[0].shape);
  const Sizes s{in[0].shape[0], in[0].shape[1], out[0].shape[1], op.group};
  const auto weights_of = [&](std::int64_t m, std::int64_t c) {
    const std::int64_t group = m / s.out_per_group(), own = m % s.out_per_group();
    return (group * s.in_per_group() + c) * s.out_per_group() + own;
  };
  for_each_block(a, s, operands(in, out), weights_of, accumulate_transposed);
}

// Attributes that a file may omit: the kernel has the size of the weights, the others have one entry per axis.
std::optional<std::string> settle_conv(Op& op, const Inputs& in) {
  return settle_kernel(std::get<Conv>(op).window, in.shape(0), in.shape(1));
}
// auto_pad stays unresolved, because output_shape affects the padding.
std::optional<std::string> settle_conv_transpose(Op& op, const Inputs& in) {
  Window& window = std::get<ConvTranspose>(op).window;
  const AutoPad auto_pad = window.auto_pad;
  window.auto_pad = AutoPad::none;
  auto reason = settle_kernel(window, in.shape(0), in.shape(1));
  window.auto_pad = auto_pad == AutoPad::valid ? AutoPad::none : auto_pad;
  if (auto_pad != AutoPad::none) std::fill(window.pads.begin(), window.pads.end(), 0);
  return reason;
}

std::optional<WeightMatrix> view_conv_weights(const Op& any, const Shape& w) {
  const auto& op = std::get<Conv>(any);
  if (w.size() < 3 || w[0] % op.group != 0) return std::nullopt;
  const std::int64_t taps = product(std::span(w).subspan(2)), outputs = w[0] / op.group;
  const bool pads = op.window.auto_pad != AutoPad::none ||
                    std::ranges::any_of(op.window.pads, [](std::int64_t pad) { return pad != 0; });
  return WeightMatrix{.groups = op.group,
                      .outputs = outputs,
                      .inputs = w[1],
                      .taps = taps,
                      .group_stride = outputs * w[1] * taps,
                      .output_stride = w[1] * taps,
                      .input_stride = taps,
                      .output_axis = 0,
                      .has_partial_sums = pads};
}
std::optional<WeightMatrix> view_transposed_weights(const Op& any, const Shape& w) {
  const auto& op = std::get<ConvTranspose>(any);
  if (w.size() < 3 || w[0] % op.group != 0) return std::nullopt;
  const std::int64_t taps = product(std::span(w).subspan(2)), inputs = w[0] / op.group;
  return WeightMatrix{.groups = op.group,
                      .outputs = w[1],
                      .inputs = inputs,
                      .taps = taps,
                      .group_stride = inputs * w[1] * taps,
                      .output_stride = taps,
                      .input_stride = w[1] * taps,
                      .output_axis = 1,
                      .has_partial_sums = true};
}

std::int64_t conv_macs(const Node&, std::span<const Shape> in, std::span<const Shape> out) {
  return product(out[0]) * product(std::span(in[1]).subspan(1));
}
// Every input element is multiplied by every weight of its group.
std::int64_t conv_transpose_macs(const Node&, std::span<const Shape> in, std::span<const Shape>) {
  return product(in[0]) * product(std::span(in[1]).subspan(1));
}

}  // namespace

std::vector<OperatorInfo> conv_operators() {
  const std::vector<Slot> inputs{{"X", kReal, 'T'},
                                 {"W", kReal, 'T', Presence::required, Use::weights},
                                 {"B", kReal, 'T', Presence::optional, Use::bias}};
  const std::vector<Slot> outputs{{"Y", kReal, 'T'}};
  return {
      {.name = "Conv",
       .prototype = Conv{},
       .inputs = inputs,
       .outputs = outputs,
       .fields = window_fields<Conv>() + std::vector{field("group", &Conv::group, kPositive)},
       .infer = infer_conv,
       .evaluate = conv,
       .settle = settle_conv,
       .role = Role::product,
       .view_weights = view_conv_weights,
       .macs = conv_macs},
      {.name = "ConvTranspose",
       .prototype = ConvTranspose{},
       .inputs = inputs,
       .outputs = outputs,
       .fields = window_fields<ConvTranspose>() +
                 std::vector{field("group", &ConvTranspose::group, kPositive),
                             omitted_when_empty(field("output_padding", &ConvTranspose::output_padding)),
                             omitted_when_empty(field("output_shape", &ConvTranspose::output_shape))},
       .infer = infer_conv_transpose,
       .evaluate = conv_transpose,
       .settle = settle_conv_transpose,
       .role = Role::product,
       .why_in_float = [](const Op&) -> std::optional<std::string_view> {
         return "transposed convolutions run in float";
       },
       .view_weights = view_transposed_weights,
       .macs = conv_transpose_macs},
  };
}

}  // namespace bitfold::ops
