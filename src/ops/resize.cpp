// Resize: every output element is a weighted sum of 1 (nearest), 2 (linear) or 4 (cubic) input elements per axis.
//
// The source coordinate x of output i, for an axis of n inputs, m outputs and scale s (given, or m / n):
//   half_pixel (i + 0.5) / s - 0.5; pytorch_half_pixel the same, but 0 if m = 1; asymmetric i / s;
//   align_corners i * (n - 1) / (m - 1)
// Coordinates are computed in float, as in ONNX Runtime, because the nearest element at ties depends on it. Coordinates
// outside the input read its edge. Cubic weights: R. Keys, "Cubic convolution interpolation for digital image
// processing", 1981.
#include <algorithm>
#include <cmath>

#include "ops/operator.h"
#include "ops/rows.h"

namespace bitfold::ops {
namespace {

Outputs infer_resize(const Inputs& in) {
  if (!in.shape(0)) return {like(in[0], {})};
  const Shape& x = *in.shape(0);
  if (in.has(3)) {
    Shape y = all_dynamic(std::ssize(x));
    if (in[3].elements) {
      check(in[3].elements->size() == x.size(), "there are {} sizes for shape {}", in[3].elements->size(),
            to_string(x));
      for (std::size_t i = 0; i < x.size(); ++i) {
        const Element& size = (*in[3].elements)[i];
        check(!size || *size >= 0, "a size is {}; it must not be negative", size.value_or(0));
        y[i] = dimension_of(size);
      }
    }
    return {like(in[0], y)};
  }
  Shape y = all_dynamic(std::ssize(x));
  if (in.has(2) && !in[2].scales.empty()) {
    check(in[2].scales.size() == x.size(), "there are {} scales for shape {}", in[2].scales.size(), to_string(x));
    for (std::size_t i = 0; i < x.size(); ++i) {
      const float scale = in[2].scales[i];
      check(scale > 0 && scale < 1e6F, "a scale is {}; it must be positive and below 1000000", scale);
      // In float32, as in ONNX Runtime, where 10 * 0.7 is 7; in double it is 6.9999999.
      if (scale == 1)
        y[i] = x[i];
      else if (!is_unknown(x[i]))
        y[i] = static_cast<std::int64_t>(std::floor(static_cast<float>(x[i]) * scale));
    }
  }
  return {like(in[0], y)};
}

Outputs infer_depth_to_space(const Inputs& in) {
  const auto& op = std::get<DepthToSpace>(in.node.op);
  if (!in.shape(0)) return {like(in[0], {})};
  Shape y = *in.shape(0);
  check(y.size() == 4 && op.block_size >= 1, "input has shape {}, block size is {}", to_string(y), op.block_size);
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

}  // namespace

namespace {

struct ResizeAxis {
  std::int64_t in = 1, out = 1, stride = 1;
  float scale = 1;
  bool is_resized = false;
};

/// The inputs of one output along one axis, as offsets in elements of x.
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

/// Weights of the elements at -1, 0, 1, 2 around a coordinate with fraction t.
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

/// All combinations of the outer axes' taps; one list per output row.
struct Combination {
  static constexpr std::size_t kMaxLists = 64;  // three outer axes of four taps
  std::array<std::int64_t, kMaxLists> offset{};
  std::array<float, kMaxLists> weight{1};
  std::size_t count = 1;

  void multiply(const Node& node, const Taps& t) {
    const auto n = static_cast<std::size_t>(t.count);
    check(count * n <= kMaxLists, "{} interpolates too many axes at once", where(node));
    // the first block is written last, because the others are computed from it
    for (std::size_t k = n; k-- > 0;)
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
  check(in[0].size() > 0, "{} the image is empty", where(node));
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

namespace {

std::optional<std::string> settle_resize(Op&, const Inputs& in) {
  check(in.has(2) != in.has(3), "has {} of the inputs scales and sizes, expected exactly one",
        in.has(2) ? "both" : "none");
  return std::nullopt;
}
bool is_nearest(const Op& op) { return std::get<Resize>(op).mode == ResizeMode::nearest; }
std::optional<std::string_view> why_resize_in_float(const Op& op) {
  if (is_nearest(op)) return std::nullopt;
  return "it interpolates";
}

}  // namespace

std::vector<OperatorInfo> resize_operators() {
  return {
      {.name = "Resize",
       .since = 19,
       .prototype = Resize{},
       .inputs = {{"X", kReal, 'T'},
                  {"roi", kReal, 0, Presence::optional, Use::parameter},
                  {"scales", kReal, 0, Presence::optional, Use::parameter},
                  {"sizes", kInt64, 0, Presence::optional, Use::parameter}},
       .outputs = {{"Y", kReal, 'T'}},
       .fields =
           {field("mode", &Resize::mode,
                  std::vector<Word<ResizeMode>>{
                      {"nearest", ResizeMode::nearest}, {"linear", ResizeMode::linear}, {"cubic", ResizeMode::cubic}}),
            field("coordinate_transformation_mode", &Resize::coordinates,
                  std::vector<Word<ResizeCoordinates>>{{"half_pixel", ResizeCoordinates::half_pixel},
                                                       {"asymmetric", ResizeCoordinates::asymmetric},
                                                       {"align_corners", ResizeCoordinates::align_corners},
                                                       {"pytorch_half_pixel", ResizeCoordinates::pytorch_half_pixel}}),
            field("nearest_mode", &Resize::nearest,
                  std::vector<Word<ResizeNearest>>{{"round_prefer_floor", ResizeNearest::round_prefer_floor},
                                                   {"round_prefer_ceil", ResizeNearest::round_prefer_ceil},
                                                   {"floor", ResizeNearest::floor},
                                                   {"ceil", ResizeNearest::ceil}}),
            field("cubic_coeff_a", &Resize::cubic_coeff_a), only<std::int64_t>("antialias", 0),
            only<std::int64_t>("exclude_outside", 0), only<std::string>("keep_aspect_ratio_policy", "stretch"),
            ignored<float>("extrapolation_value")},  // used by tf_crop_and_resize only, which is not supported
       .infer = infer_resize,
       .evaluate = resize,
       .settle = settle_resize,
       .traits =
           {.moves_elements = true, .averages = true, .commutes_with_positive_scale = true, .keeps_channels = true},
       .role = Role::movement,
       .why_in_float = why_resize_in_float,
       .moves_when = is_nearest},
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
  };
}

}  // namespace bitfold::ops
