// Operators that read images at computed positions: GridSample, AffineGrid, DeformConv.
#include <algorithm>
#include <cmath>

#include "ops/operator.h"
#include "ops/rows.h"
#include "ops/window.h"

namespace bitfold::ops {
namespace {

// ---- GridSample

Outputs infer_grid_sample(const Inputs& in) {
  if (!in.shape(0) || !in.shape(1)) return {like(in[0], {})};
  const Shape &x = *in.shape(0), &grid = *in.shape(1);
  check(x.size() >= 3 && x.size() == grid.size() && fits(grid.back(), std::ssize(x) - 2) && fits(x[0], grid[0]),
        "input has shape {} and the grid has {}; expected one position of {} numbers for each output", to_string(x),
        to_string(grid), std::max<std::int64_t>(std::ssize(x) - 2, 1));
  Shape y{is_unknown(x[0]) ? grid[0] : x[0], x[1]};
  y.insert(y.end(), grid.begin() + 1, grid.end() - 1);
  return {like(in[0], y)};
}

/// Mirrors a coordinate at both ends until it lies between them.
double reflect(double x, double low, double high) {
  const double range = high - low;
  if (range <= 0) return low;
  const bool is_below = x < low;
  if (!is_below && x <= high) return x;
  const double excess = is_below ? low - x : x - high, turns = std::floor(excess / range);
  const double rest = excess - turns * range;
  const bool is_even = std::fmod(turns, 2) == 0;
  return is_even == is_below ? low + rest : high - rest;
}

/// One spatial axis of x.
struct GridAxis {
  std::int64_t size = 1, stride = 1;
};

/// The elements along one axis that contribute to a sample. Those outside the image are left out.
struct Taps {
  int count = 0;
  std::array<std::int64_t, 4> offset{};
  std::array<float, 4> weight{};
};

/// R. Keys, "Cubic convolution interpolation for digital image processing", 1981, with a = -0.75.
std::array<float, 4> cubic_weights(float t) {
  constexpr float a = -0.75F;
  const auto near = [](float d) { return ((a + 2) * d - (a + 3)) * d * d + 1; };
  const auto far = [](float d) { return ((a * d - 5 * a) * d + 8 * a) * d - 4 * a; };
  return {far(t + 1), near(t), near(1 - t), far(2 - t)};
}

/// The coordinate in elements of a position in [-1, 1], after the padding of positions outside. NaN is outside.
float grid_coordinate(const GridSample& op, const GridAxis& a, float position) {
  const auto size = static_cast<float>(a.size);
  constexpr float kFar = 0x1p24F;  // beyond it, a float has no fraction
  float x = op.align_corners ? (position + 1) / 2 * (size - 1) : ((position + 1) * size - 1) / 2;
  x = std::isnan(x) ? -kFar : std::clamp(x, -kFar, kFar);
  if (op.mode == SampleMode::nearest) x = std::nearbyint(x);  // half to even
  const double low = op.align_corners ? 0 : -0.5, high = op.align_corners ? size - 1 : size - 0.5;
  if (x >= low && x <= high) return x;
  if (op.padding == SamplePadding::border) return std::clamp(x, 0.0F, size - 1);
  if (op.padding == SamplePadding::reflection) return static_cast<float>(reflect(x, low, high));
  return x;
}

Taps grid_taps(const GridSample& op, const GridAxis& a, float position) {
  const float x = grid_coordinate(op, a, position);
  const auto floor = static_cast<std::int64_t>(std::floor(x));
  const float t = x - static_cast<float>(floor);
  Taps taps;
  const auto add = [&](std::int64_t index, float weight) {
    if (op.padding == SamplePadding::reflection)
      index = static_cast<std::int64_t>(reflect(static_cast<double>(index), op.align_corners ? 0 : -0.5,
                                                static_cast<double>(a.size) - (op.align_corners ? 1 : 0.5)));
    if (op.padding == SamplePadding::zeros && (index < 0 || index >= a.size)) return;
    const auto slot = static_cast<std::size_t>(taps.count++);
    taps.offset[slot] = std::clamp<std::int64_t>(index, 0, a.size - 1) * a.stride;
    taps.weight[slot] = weight;
  };
  if (op.mode == SampleMode::nearest) {
    add(static_cast<std::int64_t>(x), 1);
  } else if (op.mode == SampleMode::linear) {
    add(floor, 1 - t);
    add(floor + 1, t);
  } else {
    const auto weights = cubic_weights(t);
    for (std::int64_t k = 0; k < 4; ++k) add(floor - 1 + k, weights[at(k)]);
  }
  return taps;
}

/// The weighted sum over the remaining axes.
float interpolate(const float* x, std::span<const Taps> axes) {
  if (axes.empty()) return *x;
  const Taps& taps = axes.front();
  float sum = 0;
  for (std::size_t k = 0; k < static_cast<std::size_t>(taps.count); ++k)
    sum += taps.weight[k] * interpolate(x + taps.offset[k], axes.subspan(1));
  return sum;
}

void grid_sample(const Node& node, std::span<const TensorView> in, std::span<const TensorView> out) {
  const auto& op = std::get<GridSample>(node.op);
  const auto x = in[0].shape, y = out[0].shape;
  if (out[0].size() == 0) return;
  const std::int64_t plane = product(x.subspan(2)), points = product(y.subspan(2)), channels = x[1];
  check(plane > 0, "{} the image is empty", where(node));
  const std::size_t rank = x.size() - 2;
  const Strides strides = dense_strides(x);
  std::array<Taps, kMaxRank> taps{};
  const float* position = in[1].as<float>();
  for (std::int64_t n = 0; n < x[0]; ++n)
    for (std::int64_t p = 0; p < points; ++p, position += rank) {
      // The numbers of a position are in the order x, y, z: the last axis comes first.
      for (std::size_t i = 0; i < rank; ++i)
        taps[i] = grid_taps(op, {x[i + 2], strides[i + 2]}, position[rank - 1 - i]);
      for (std::int64_t c = 0; c < channels; ++c)
        out[0].as<float>()[(n * channels + c) * points + p] =
            interpolate(in[0].as<float>() + (n * channels + c) * plane, std::span(taps).first(rank));
    }
}

// ---- AffineGrid

Outputs infer_affine_grid(const Inputs& in) {
  const auto rank = length_of(in[1]);
  if (!rank) return {like(in[0], {})};
  check(*rank == 4 || *rank == 5, "size has {} elements, expected 4 or 5", *rank);
  const Shape theta{kDynamic, *rank - 2, *rank - 1};
  Shape size = all_dynamic(*rank);
  const bool is_known = in[1].elements && in[1].dtype == DataType::int64;
  for (std::size_t i = 0; i < size.size() && is_known; ++i) {
    const Element& element = (*in[1].elements)[i];
    check(!element || *element >= 0, "size contains {}; no size may be negative", element.value_or(0));
    size[i] = dimension_of(element);
  }
  if (in.shape(0))
    check(shapes_fit(*in.shape(0), theta) && fits(in.shape(0)->front(), size[0]),
          "theta has shape {}, which does not fit size {}", to_string(*in.shape(0)), to_string(size));
  Shape y{size[0]};
  y.insert(y.end(), size.begin() + 2, size.end());
  y.push_back(*rank - 2);
  return {like(in[0], y)};
}

void affine_grid(const Node& node, std::span<const TensorView> in, std::span<const TensorView> out) {
  const bool align_corners = std::get<AffineGrid>(node.op).align_corners;
  const auto shape = out[0].shape;
  const std::size_t rank = shape.size() - 2;
  const std::int64_t points = product(shape.subspan(1, rank));
  const auto coordinate = [align_corners](std::int64_t i, std::int64_t size) {
    const auto n = static_cast<double>(size), k = static_cast<double>(i);
    if (!align_corners) return (2 * k + 1) / n - 1;
    return size > 1 ? 2 * k / (n - 1) - 1 : -1.0;
  };
  float* to = out[0].as<float>();
  std::array<double, kMaxRank> position{};
  for (std::int64_t n = 0; n < shape[0]; ++n) {
    const float* theta = in[0].as<float>() + n * static_cast<std::int64_t>(rank * (rank + 1));
    for (std::int64_t p = 0; p < points; ++p) {
      std::int64_t rest = p;
      for (std::size_t i = 0; i < rank; ++i) {  // x, y, z: the last axis comes first
        const std::int64_t size = shape[rank - i];
        position[i] = coordinate(rest % size, size);
        rest /= size;
      }
      for (std::size_t row = 0; row < rank; ++row) {
        const float* factors = theta + row * (rank + 1);
        double sum = factors[rank];
        for (std::size_t i = 0; i < rank; ++i) sum += static_cast<double>(factors[i]) * position[i];
        *to++ = static_cast<float>(sum);
      }
    }
  }
}

// ---- DeformConv

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

/// The bilinear sample of an image; elements outside it are 0.
double sample_image(const float* image, std::int64_t height, std::int64_t width, double y, double x) {
  if (!(y > -1 && y < static_cast<double>(height) && x > -1 && x < static_cast<double>(width))) return 0;
  const auto y0 = static_cast<std::int64_t>(std::floor(y)), x0 = static_cast<std::int64_t>(std::floor(x));
  const double ty = y - static_cast<double>(y0), tx = x - static_cast<double>(x0);
  const auto element = [&](std::int64_t row, std::int64_t column) {
    const bool is_inside = row >= 0 && row < height && column >= 0 && column < width;
    return is_inside ? static_cast<double>(image[row * width + column]) : 0;
  };
  return (1 - ty) * ((1 - tx) * element(y0, x0) + tx * element(y0, x0 + 1)) +
         ty * ((1 - tx) * element(y0 + 1, x0) + tx * element(y0 + 1, x0 + 1));
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
  for (std::int64_t n = 0; n < y[0]; ++n)
    for (std::int64_t m = 0; m < y[1]; ++m)
      for (std::int64_t p = 0; p < points; ++p) {
        const std::int64_t oy = p / y[3], ox = p % y[3];
        double sum = is_given(in, 3) ? static_cast<double>(in[3].as<float>()[m]) : 0;
        for (std::int64_t c = 0; c < channels_per_group; ++c) {
          const std::int64_t channel = m / outputs_per_group * channels_per_group + c;
          const float* image = in[0].as<float>() + (n * x[1] + channel) * plane;
          for (std::int64_t k = 0; k < kernel; ++k) {
            const std::int64_t tap = (n * op.offset_group + channel / channels_per_offset) * kernel + k;
            const std::int64_t ky = k / columns.kernel, kx = k % columns.kernel;
            const double row = static_cast<double>(rows.tap(oy, ky)) + offsets[2 * tap * points + p];
            const double column = static_cast<double>(columns.tap(ox, kx)) + offsets[(2 * tap + 1) * points + p];
            const double mask = is_given(in, 4) ? static_cast<double>(in[4].as<float>()[tap * points + p]) : 1;
            sum += sample_image(image, x[2], x[3], row, column) * mask *
                   static_cast<double>(in[1].as<float>()[(m * channels_per_group + c) * kernel + k]);
          }
        }
        out[0].as<float>()[(n * y[1] + m) * points + p] = static_cast<float>(sum);
      }
}

std::optional<std::string> settle_deform_conv(Op& op, const Inputs& in) {
  return settle_kernel(std::get<DeformConv>(op).window, in.shape(0), in.shape(1));
}

std::int64_t deform_conv_macs(const Node&, std::span<const Shape> in, std::span<const Shape> out) {
  return product(out[0]) * product(std::span(in[1]).subspan(1));
}

}  // namespace

std::vector<OperatorInfo> sample_operators() {
  constexpr Interval kPositive{1, std::numeric_limits<std::int32_t>::max()};
  return {
      {.name = "GridSample",
       .since = 20,
       .prototype = GridSample{},
       .inputs = {{"X", kReal, 'T'}, {"grid", kReal}},
       .outputs = {{"Y", kReal, 'T'}},
       .fields = {field("align_corners", &GridSample::align_corners),
                  field("mode", &GridSample::mode,
                        std::vector<Word<SampleMode>>{{"linear", SampleMode::linear},
                                                      {"nearest", SampleMode::nearest},
                                                      {"cubic", SampleMode::cubic}}),
                  field("padding_mode", &GridSample::padding,
                        std::vector<Word<SamplePadding>>{{"zeros", SamplePadding::zeros},
                                                         {"border", SamplePadding::border},
                                                         {"reflection", SamplePadding::reflection}})},
       .infer = infer_grid_sample,
       .evaluate = grid_sample},
      {.name = "AffineGrid",
       .since = 20,
       .prototype = AffineGrid{},
       .inputs = {{"theta", kReal, 'T'}, {"size", kInt64, 0, Presence::required, Use::parameter}},
       .outputs = {{"grid", kReal, 'T'}},
       .fields = {field("align_corners", &AffineGrid::align_corners)},
       .infer = infer_affine_grid,
       .evaluate = affine_grid},
      {.name = "DeformConv",
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
       .macs = deform_conv_macs},
  };
}

}  // namespace bitfold::ops
