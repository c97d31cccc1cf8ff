// DeformConv: a convolution whose taps are read at computed positions.
#include "ops/deform_conv.h"

#include <algorithm>
#include <array>
#include <cmath>

#include "ops/rows.h"
#include "ops/window.h"

namespace bitfold::ops {
namespace {

Outputs infer_deform_conv(const Inputs& in) {
  const auto& op = std::get<DeformConv>(in.node.op);
  if (!in.shape(0) || !in.shape(1)) return {like(in[0], {})};
  const Shape &x = *in.shape(0), &w = *in.shape(1);
  check(x.size() == 4 && w.size() == 4,
        "input has shape {} and the weights have {}; only two spatial axes are supported", to_string(x), to_string(w));
  check((is_unknown(w[0]) || w[0] % op.group == 0) && fits(x[1], multiply(w[1], op.group)),
        "input has shape {}, which does not fit weights of shape {} in {} groups", to_string(x), to_string(w),
        op.group);
  check(is_unknown(x[1]) || x[1] % op.offset_group == 0, "{} channels cannot be split into {} offset groups", x[1],
        op.offset_group);
  check(op.window.kernel.size() == 2 && fits(w[2], op.window.kernel[0]) && fits(w[3], op.window.kernel[1]),
        "kernel_shape {} differs from the weights' {}", to_string(op.window.kernel), to_string(w));
  const Shape spatial = resolve_window(op.window, spatial_of(x), false).output;
  const std::int64_t taps = multiply(op.offset_group, op.window.kernel[0] * op.window.kernel[1]);
  const auto check_field = [&](std::size_t slot, const char* name, std::int64_t channels) {
    if (!in.has(slot) || !in.shape(slot)) return;
    check(shapes_fit(*in.shape(slot), Shape{x[0], channels, spatial[0], spatial[1]}),
          "{} has shape {}, expected {} channels of {}", name, to_string(*in.shape(slot)), channels,
          to_string(spatial));
  };
  check_field(2, "offset", 2 * taps);
  check_field(4, "mask", taps);
  if (in.has(3) && in.shape(3))
    check(in.shape(3)->size() == 1 && fits(in.shape(3)->front(), w[0]), "bias has shape {}, expected {}",
          to_string(*in.shape(3)), w[0]);
  return {like(in[0], Shape{x[0], w[0], spatial[0], spatial[1]})};
}

/// A bilinear sample of an image: the sum of up to four elements with weights. Elements outside the image are 0.
struct ImageSample {
  std::array<std::int64_t, 4> index{};
  std::array<double, 4> weight{};
  std::size_t count = 0;  ///< Elements inside the image.

  double of(const float* image) const {
    const auto part = [&](std::size_t k) { return weight[k] * static_cast<double>(image[index[k]]); };
    if (count == 4) return (part(0) + part(1)) + (part(2) + part(3));
    double sum = 0;
    for (std::size_t k = 0; k < count; ++k) sum += part(k);
    return sum;
  }
};

ImageSample image_sample(std::int64_t height, std::int64_t width, double y, double x, double mask) {
  if (!(y > -1 && y < static_cast<double>(height) && x > -1 && x < static_cast<double>(width))) return {};
  const auto y0 = static_cast<std::int64_t>(std::floor(y)), x0 = static_cast<std::int64_t>(std::floor(x));
  const double ty = y - static_cast<double>(y0), tx = x - static_cast<double>(x0);
  ImageSample sample;
  for (std::int64_t k = 0; k < 4; ++k) {
    const std::int64_t row = y0 + k / 2, column = x0 + k % 2;
    if (row < 0 || row >= height || column < 0 || column >= width) continue;
    sample.index[sample.count] = row * width + column;
    sample.weight[sample.count++] = (k / 2 == 0 ? 1 - ty : ty) * (k % 2 == 0 ? 1 - tx : tx) * mask;
  }
  return sample;
}

void deform_conv(const Node& node, std::span<const TensorView> in, std::span<const TensorView> out) {
  const auto& op = std::get<DeformConv>(node.op);
  const auto x = in[0].shape, w = in[1].shape, y = out[0].shape;
  const Window3d axes = window_3d(op.window, x, y);
  const WindowAxis &rows = axes[1], &columns = axes[2];
  const std::int64_t kernel = rows.kernel * columns.kernel, points = y[2] * y[3], plane = x[2] * x[3];
  const std::int64_t channels_per_group = w[1], outputs_per_group = w[0] / op.group;
  const std::int64_t channels_per_offset = x[1] / op.offset_group;
  const float* offsets = in[2].as<float>();
  // The samples of some points, tap by tap: every output channel of the group uses them.
  constexpr std::size_t kPoints = 16;
  constexpr std::size_t kOutputs = 4, kPointsPerBlock = 4;
  using Points = std::array<double, kPoints>;
  std::vector<Points> samples(at(channels_per_group * kernel));
  std::vector<std::array<ImageSample, kPoints>> positions(at(kernel));
  const auto sample_of = [&](std::int64_t tap, std::int64_t k, std::int64_t p) {
    const double row = static_cast<double>(rows.tap(p / y[3], k / columns.kernel)) + offsets[2 * tap * points + p];
    const double column =
        static_cast<double>(columns.tap(p % y[3], k % columns.kernel)) + offsets[(2 * tap + 1) * points + p];
    const double mask = is_given(in, 4) ? static_cast<double>(in[4].as<float>()[tap * points + p]) : 1;
    return image_sample(x[2], x[3], row, column, mask);
  };
  for (std::int64_t n = 0; n < y[0]; ++n)
    for (std::int64_t group = 0; group < op.group; ++group)
      for (std::int64_t first = 0, count = 0; first < points; first += count) {
        count = std::min<std::int64_t>(kPoints, points - first);
        std::int64_t offset_group = -1;
        for (std::int64_t c = 0; c < channels_per_group; ++c) {
          const std::int64_t channel = group * channels_per_group + c;
          const float* image = in[0].as<float>() + (n * x[1] + channel) * plane;
          if (offset_group != channel / channels_per_offset) {
            offset_group = channel / channels_per_offset;
            for (std::int64_t k = 0; k < kernel; ++k)
              for (std::int64_t i = 0; i < count; ++i)
                positions[at(k)][at(i)] = sample_of((n * op.offset_group + offset_group) * kernel + k, k, first + i);
          }
          for (std::int64_t k = 0; k < kernel; ++k)
            for (std::int64_t i = 0; i < count; ++i)
              samples[at(c * kernel + k)][at(i)] = positions[at(k)][at(i)].of(image);
        }
        const std::int64_t end = (group + 1) * outputs_per_group;
        for (std::int64_t m = group * outputs_per_group; m < end; m += std::int64_t{kOutputs}) {
          // Each sample is loaded once for several output channels. The last ones may repeat a channel.
          std::array<const float*, kOutputs> weights{};
          std::array<Points, kOutputs> sums{};
          for (std::size_t o = 0; o < kOutputs; ++o) {
            const std::int64_t channel = std::min(m + static_cast<std::int64_t>(o), end - 1);
            weights[o] = in[1].as<float>() + channel * std::ssize(samples);
            sums[o].fill(is_given(in, 3) ? static_cast<double>(in[3].as<float>()[channel]) : 0);
          }
          for (std::size_t i = 0; i < kPoints; i += kPointsPerBlock) {
            // Sums of a block stay in registers.
            std::array<std::array<double, kPointsPerBlock>, kOutputs> block{};
            for (std::size_t k = 0; k < samples.size(); ++k)
              for (std::size_t o = 0; o < kOutputs; ++o) {
                const double weight = weights[o][k];
                for (std::size_t j = 0; j < kPointsPerBlock; ++j) block[o][j] += samples[k][i + j] * weight;
              }
            for (std::size_t o = 0; o < kOutputs; ++o)
              for (std::size_t j = 0; j < kPointsPerBlock; ++j) sums[o][i + j] += block[o][j];
          }
          for (std::int64_t o = 0; o < std::min(std::ssize(sums), end - m); ++o) {
            float* to = out[0].as<float>() + (n * y[1] + m + o) * points + first;
            for (std::int64_t i = 0; i < count; ++i) to[i] = static_cast<float>(sums[at(o)][at(i)]);
          }
        }
      }
}

std::optional<std::string> settle_deform_conv(Op& op, const Inputs& in) {
  return settle_kernel(std::get<DeformConv>(op).window, in.shape(0), in.shape(1));
}

std::int64_t deform_conv_macs(const Node&, std::span<const Shape> in, std::span<const Shape> out) {
  return product(out[0]) * product(std::span(in[1]).subspan(1));
}

}  // namespace

OperatorInfo deform_conv_operator() {
  return {.name = "DeformConv",
          .since = 19,
          .prototype = DeformConv{},
          .inputs = {{"X", kReal, 'T'},
                     {"W", kReal, 'T'},
                     {"offset", kReal, 'T'},
                     {"B", kReal, 'T', Presence::optional},
                     {"mask", kReal, 'T', Presence::optional}},
          .outputs = {{"Y", kReal, 'T'}},
          .fields = without(window_fields<DeformConv>(), {"auto_pad"}) +
                    std::vector{field("group", &DeformConv::group, kPositive),
                                field("offset_group", &DeformConv::offset_group, kPositive)},
          .infer = infer_deform_conv,
          .evaluate = deform_conv,
          .settle = settle_deform_conv,
          .macs = deform_conv_macs};
}

}  // namespace bitfold::ops
