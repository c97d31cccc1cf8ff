// Resize: every output element is a weighted sum of 1 (nearest), 2 (linear) or 4 (cubic) input elements per axis.
//
// The source coordinate x of output i, for an axis of n inputs, m outputs and scale s (given, or m / n):
//   half_pixel (i + 0.5) / s - 0.5; pytorch_half_pixel the same, but 0 where m = 1; asymmetric i / s;
//   align_corners i * (n - 1) / (m - 1)
// Coordinates are computed in float, as ONNX Runtime does: at ties the nearest element depends on it. Beyond the edge
// the edge repeats. Cubic weights: R. Keys, "Cubic convolution interpolation for digital image processing", 1981.
#include <algorithm>
#include <cmath>

#include "reference/families.h"
#include "reference/operands.h"

namespace bitfold::reference {
namespace {

struct ResizeAxis {
  std::int64_t in = 1, out = 1, stride = 1;
  float scale = 1;
  bool is_resized = false;
};

/// The inputs that make one output along one axis: offsets in elements of x.
struct Taps {
  int count = 1;
  std::array<std::int64_t, 4> offset{};
  std::array<float, 4> weight{1};
};

float source_coordinate(ResizeCoordinates kind, const ResizeAxis& a, std::int64_t i) {
  const auto x = static_cast<float>(i);
  switch (kind) {
    case ResizeCoordinates::half_pixel:
      return (x + 0.5F) / a.scale - 0.5F;
    case ResizeCoordinates::pytorch_half_pixel:
      return a.out > 1 ? (x + 0.5F) / a.scale - 0.5F : 0.0F;
    case ResizeCoordinates::asymmetric:
      return x / a.scale;
    case ResizeCoordinates::align_corners:
      return a.out > 1 ? x * static_cast<float>(a.in - 1) / static_cast<float>(a.out - 1) : 0.0F;
  }
  return 0;
}

std::int64_t nearest_index(ResizeNearest mode, float x) {
  switch (mode) {
    case ResizeNearest::round_prefer_floor:
      return static_cast<std::int64_t>(std::ceil(x - 0.5F));
    case ResizeNearest::round_prefer_ceil:
      return static_cast<std::int64_t>(std::floor(x + 0.5F));
    case ResizeNearest::floor:
      return static_cast<std::int64_t>(std::floor(x));
    case ResizeNearest::ceil:
      return static_cast<std::int64_t>(std::ceil(x));
  }
  return 0;
}

/// Weights of the elements at -1, 0, 1, 2 around a coordinate of fraction t.
std::array<float, 4> cubic_weights(float t, float a) {
  const float u = 1 - t;
  const auto near = [a](float d) { return ((a + 2) * d - (a + 3)) * d * d + 1; };
  const auto far = [a](float d) { return ((a * d - 5 * a) * d + 8 * a) * d - 4 * a; };
  return {far(t + 1), near(t), near(u), far(u + 1)};
}

Taps taps(const Resize& op, const ResizeAxis& a, std::int64_t i) {
  if (!a.is_resized) return {1, {i * a.stride}, {1}};
  const float x = source_coordinate(op.coordinates, a, i);
  const auto offset = [&](std::int64_t index) { return std::clamp<std::int64_t>(index, 0, a.in - 1) * a.stride; };
  if (op.mode == ResizeMode::nearest) return {1, {offset(nearest_index(op.nearest, x))}, {1}};
  if (op.mode == ResizeMode::linear) {
    const float inside = std::clamp(x, 0.0F, static_cast<float>(a.in - 1));
    const auto low = static_cast<std::int64_t>(inside);
    const float t = inside - static_cast<float>(low);
    return {2, {offset(low), offset(low + 1)}, {1 - t, t}};
  }
  const auto floor = static_cast<std::int64_t>(std::floor(x));
  return {4,
          {offset(floor - 1), offset(floor), offset(floor + 1), offset(floor + 2)},
          cubic_weights(x - static_cast<float>(floor), op.cubic_coeff_a)};
}

/// All combinations of the outer axes' taps: one list per output row.
struct Combination {
  static constexpr std::size_t kMost = 64;  // three outer axes of four taps
  std::array<std::int64_t, kMost> offset{};
  std::array<float, kMost> weight{1};
  std::size_t count = 1;

  void multiply(const Node& node, const Taps& t) {
    const auto n = static_cast<std::size_t>(t.count);
    check(count * n <= kMost, "{} interpolates too many axes at once", where(node));
    for (std::size_t k = n; k-- > 0;)  // the first block last: it is what the others are made from
      for (std::size_t i = 0; i < count; ++i) {
        offset[k * count + i] = offset[i] + t.offset[k];
        weight[k * count + i] = weight[i] * t.weight[k];
      }
    count *= n;
  }
};

std::array<ResizeAxis, kMaxRank> resize_axes(std::span<const TensorView> in, const TensorView& out) {
  const Strides strides = dense_strides(in[0].shape);
  const bool has_scales = is_given(in, 2) && in[2].size() > 0;
  std::array<ResizeAxis, kMaxRank> axes{};
  for (std::size_t i = 0; i < in[0].shape.size(); ++i) {
    ResizeAxis& a = axes[i];
    a = {in[0].shape[i], out.shape[i], strides[i]};
    a.scale = has_scales ? in[2].as<float>()[i] : static_cast<float>(a.out) / static_cast<float>(a.in);
    a.is_resized = a.in != a.out || a.scale != 1;
  }
  return axes;
}

void resize(const Node& node, std::span<const TensorView> in, std::span<const TensorView> out) {
  const auto& op = std::get<Resize>(node.op);
  const auto shape = out[0].shape;
  const auto axes = resize_axes(in, out[0]);
  if (out[0].size() == 0) return;
  check(in[0].size() > 0, "{} of an empty image", where(node));
  const float* x = in[0].as<float>();
  float* y = out[0].as<float>();
  if (shape.empty()) {
    *y = *x;
    return;
  }
  const std::size_t last = shape.size() - 1;
  std::array<std::int64_t, kMaxRank> index{};
  for (std::int64_t row = 0, rows = out[0].size() / shape[last]; row < rows; ++row) {
    Combination outer;
    for (std::size_t i = 0; i < last; ++i) outer.multiply(node, taps(op, axes[i], index[i]));
    for (std::int64_t i = 0; i < shape[last]; ++i) {
      const Taps t = taps(op, axes[last], i);
      float sum = 0;
      for (std::size_t k = 0; k < outer.count; ++k) {
        float inner = 0;
        for (int j = 0; j < t.count; ++j) {
          const auto slot = static_cast<std::size_t>(j);
          inner += t.weight[slot] * x[outer.offset[k] + t.offset[slot]];
        }
        sum += outer.weight[k] * inner;
      }
      *y++ = sum;
    }
    for (std::size_t i = last; i-- > 0;) {
      if (++index[i] < shape[i]) break;
      index[i] = 0;
    }
  }
}

}  // namespace

OpFunction function_of(const Resize&) { return resize; }

}  // namespace bitfold::reference
