// Operators that read images at computed positions: GridSample, AffineGrid.
#include <algorithm>
#include <cmath>

#include "ops/deform_conv.h"
#include "ops/operator.h"
#include "ops/rows.h"

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
struct GridTaps {
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

GridTaps grid_taps(const GridSample& op, const GridAxis& a, float position) {
  const float x = grid_coordinate(op, a, position);
  const auto floor = static_cast<std::int64_t>(std::floor(x));
  const float t = x - static_cast<float>(floor);
  GridTaps taps;
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
float interpolate(const float* x, std::span<const GridTaps> axes) {
  if (axes.empty()) return *x;
  const GridTaps& taps = axes.front();
  float sum = 0;
  for (std::size_t k = 0; k < static_cast<std::size_t>(taps.count); ++k)
    sum += taps.weight[k] * interpolate(x + taps.offset[k], axes.subspan(1));
  return sum;
}

/// The taps of several points along one axis, number by number, so that loops over the points vectorize.
struct PointTaps {
  static constexpr std::size_t kPoints = 64;
  std::array<std::array<std::int64_t, kPoints>, 4> offset{};
  std::array<std::array<float, kPoints>, 4> weight{};

  void set(std::size_t point, const GridTaps& taps) {
    for (std::size_t k = 0; k < taps.offset.size(); ++k) {
      offset[k][point] = taps.offset[k];
      weight[k][point] = taps.weight[k];
    }
  }
};

/// The same sum as that of interpolate() for a point that has kTaps taps along each axis.
template <int kAxes, int kTaps>
float sum_at(const float* x, const PointTaps* axes, std::size_t point) {
  if constexpr (kAxes == 0) {
    return *x;
  } else {
    float sum = 0;
    for (std::size_t k = 0; k < kTaps; ++k)
      sum += axes->weight[k][point] * sum_at<kAxes - 1, kTaps>(x + axes->offset[k][point], axes + 1, point);
    return sum;
  }
}

using SumPoints = void (*)(const float* x, const PointTaps* axes, std::size_t count, float* y);

template <int kAxes, int kTaps>
void sum_points(const float* x, const PointTaps* axes, std::size_t count, float* y) {
  for (std::size_t p = 0; p < count; ++p) y[p] = sum_at<kAxes, kTaps>(x, axes, p);
}

/// Null for a rank without a loop of its own.
SumPoints sum_points_for(std::size_t rank, SampleMode mode) {
  const std::size_t taps = mode == SampleMode::nearest ? 0 : mode == SampleMode::linear ? 1 : 2;
  static constexpr std::array<std::array<SumPoints, 3>, 3> kSums{
      {{sum_points<1, 1>, sum_points<1, 2>, sum_points<1, 4>},
       {sum_points<2, 1>, sum_points<2, 2>, sum_points<2, 4>},
       {sum_points<3, 1>, sum_points<3, 2>, sum_points<3, 4>}}};
  return rank <= kSums.size() ? kSums[rank - 1][taps] : nullptr;
}

void grid_sample(const Node& node, std::span<const TensorView> in, std::span<const TensorView> out) {
  const auto& op = std::get<GridSample>(node.op);
  const auto x = in[0].shape, y = out[0].shape;
  if (out[0].size() == 0) return;
  const std::int64_t plane = product(x.subspan(2)), points = product(y.subspan(2)), channels = x[1];
  check(plane > 0, "{} the image is empty", where(node));
  const std::size_t rank = x.size() - 2;
  const Strides strides = dense_strides(x);
  const SumPoints sum_all = sum_points_for(rank, op.mode);
  const int full = op.mode == SampleMode::nearest ? 1 : op.mode == SampleMode::linear ? 2 : 4;
  std::vector<PointTaps> lists(rank);
  std::vector<GridTaps> taps(rank * PointTaps::kPoints);
  std::vector<std::size_t> others;  // points with taps outside the image
  const float* position = in[1].as<float>();
  for (std::int64_t n = 0; n < x[0]; ++n)
    for (std::int64_t first = 0, count = 0; first < points; first += count) {
      count = std::min<std::int64_t>(PointTaps::kPoints, points - first);
      others.clear();
      for (std::size_t p = 0; p < at(count); ++p, position += rank) {
        bool is_full = sum_all != nullptr;
        // The numbers of a position are in the order x, y, z: the last axis comes first.
        for (std::size_t i = 0; i < rank; ++i) {
          GridTaps& own = taps[p * rank + i];
          own = grid_taps(op, {x[i + 2], strides[i + 2]}, position[rank - 1 - i]);
          lists[i].set(p, own);
          is_full = is_full && own.count == full;
        }
        if (!is_full) others.push_back(p);
      }
      for (std::int64_t c = 0; c < channels; ++c) {
        const float* image = in[0].as<float>() + (n * channels + c) * plane;
        float* to = out[0].as<float>() + (n * channels + c) * points + first;
        if (sum_all != nullptr) sum_all(image, lists.data(), at(count), to);
        for (std::size_t p : others) to[p] = interpolate(image, std::span(taps).subspan(p * rank, rank));
      }
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
  // The coordinates along each axis; x, y, z: the last axis comes first.
  std::vector<std::vector<double>> coordinates(rank);
  for (std::size_t i = 0; i < rank; ++i)
    for (std::int64_t k = 0; k < shape[rank - i]; ++k) coordinates[i].push_back(coordinate(k, shape[rank - i]));
  float* to = out[0].as<float>();
  for (std::int64_t n = 0; n < shape[0]; ++n) {
    const float* theta = in[0].as<float>() + n * static_cast<std::int64_t>(rank * (rank + 1));
    std::array<std::size_t, kMaxRank> index{};
    for (std::int64_t p = 0; p < points; ++p) {
      for (std::size_t row = 0; row < rank; ++row) {
        const float* factors = theta + row * (rank + 1);
        double sum = factors[rank];
        for (std::size_t i = 0; i < rank; ++i) sum += static_cast<double>(factors[i]) * coordinates[i][index[i]];
        *to++ = static_cast<float>(sum);
      }
      for (std::size_t i = 0; i < rank && ++index[i] == coordinates[i].size(); ++i) index[i] = 0;
    }
  }
}

}  // namespace

std::vector<OperatorInfo> sample_operators() {
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
      deform_conv_operator(),
  };
}

}  // namespace bitfold::ops
