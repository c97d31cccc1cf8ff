// Resize: every output element is a weighted sum of 1 (nearest), 2 (linear) or 4 (cubic) input elements per axis. With
// antialiasing, it is a weighted sum of all elements that the widened filter covers.
//
// The source coordinate x of output i, for an axis of n inputs and m outputs, scale s (given, or m / n) and length
// l = s * n, which is m before it was rounded:
//   half_pixel            (i + 0.5) / s - 0.5
//   half_pixel_symmetric  the same, plus n / 2 * (1 - m / l): the centre is mapped to the centre
//   pytorch_half_pixel    as half_pixel, but 0 if m = 1
//   asymmetric            i / s
//   align_corners         i * (n - 1) / (l - 1)
//   tf_crop_and_resize    begin * (n - 1) + i * (end - begin) * (n - 1) / (l - 1)
// Coordinates are computed in float, as in ONNX Runtime, because the nearest element at ties depends on it. Coordinates
// outside the input read its edge, except that tf_crop_and_resize gives a fixed value there. Cubic weights: R. Keys,
// "Cubic convolution interpolation for digital image processing", 1981.
#include <algorithm>
#include <cmath>

#include "ops/interpolate.h"
#include "ops/operator.h"
#include "ops/strided_copy.h"

namespace bitfold::ops {
namespace {

/// The axes that scales, sizes and regions describe, in their order.
std::vector<std::size_t> described_axes(const Resize& op, std::size_t rank) {
  std::vector<std::size_t> axes;
  for (std::size_t i = 0; i < (op.axes.empty() ? rank : op.axes.size()); ++i) {
    axes.push_back(op.axes.empty() ? i : at(normalize_axis(op.axes[i], rank)));
    check(std::count(axes.begin(), axes.end(), axes.back()) == 1, "axis {} is given twice", axes.back());
  }
  return axes;
}

/// The one scale of all described axes that keeps the aspect ratio.
float common_scale(const Resize& op, std::span<const std::int64_t> from, std::span<const std::int64_t> sizes) {
  float scale = 0;
  for (std::size_t i = 0; i < sizes.size(); ++i) {
    check(from[i] > 0, "axis {} of the input is empty", i);
    const float own = static_cast<float>(sizes[i]) / static_cast<float>(from[i]);
    if (i == 0 || (op.policy == ResizePolicy::not_larger ? own < scale : own > scale)) scale = own;
  }
  return scale;
}

void apply_sizes(const Resize& op, const Inputs& in, std::span<const std::size_t> axes, Shape& y) {
  const Shape& x = *in.shape(0);
  const auto& elements = in[3].elements;
  if (elements)
    check(elements->size() == axes.size(), "there are {} sizes for {} axes of shape {}", elements->size(), axes.size(),
          to_string(x));
  std::vector<std::int64_t> from, sizes;
  for (std::size_t i = 0; i < axes.size(); ++i) {
    const Element size = elements ? (*elements)[i] : Element();
    check(!size || *size >= 0, "a size is {}; it must not be negative", size.value_or(0));
    y[axes[i]] = dimension_of(size);
    from.push_back(x[axes[i]]);
    sizes.push_back(y[axes[i]]);
  }
  if (op.policy == ResizePolicy::stretch) return;
  const bool is_known = is_static(from) && is_static(sizes);
  const float scale = is_known ? common_scale(op, from, sizes) : 0;
  for (std::size_t i = 0; i < axes.size(); ++i)
    y[axes[i]] =
        is_known ? static_cast<std::int64_t>(std::floor(scale * static_cast<float>(from[i]) + 0.5F)) : kDynamic;
}

void apply_scales(const Inputs& in, std::span<const std::size_t> axes, Shape& y) {
  const Shape& x = *in.shape(0);
  const std::vector<float>& scales = in[2].scales;
  if (!scales.empty())
    check(scales.size() == axes.size(), "there are {} scales for {} axes of shape {}", scales.size(), axes.size(),
          to_string(x));
  for (std::size_t i = 0; i < axes.size(); ++i) {
    std::int64_t& size = y[axes[i]];
    const float scale = scales.empty() ? 0 : scales[i];
    if (scales.empty() || (is_unknown(size) && scale != 1)) {
      size = kDynamic;
      continue;
    }
    check(scale > 0 && scale < 1e6F, "a scale is {}; it must be positive and below 1000000", scale);
    // In float32, as in ONNX Runtime, where 10 * 0.7 is 7; in double it is 6.9999999.
    if (scale != 1) size = static_cast<std::int64_t>(std::floor(static_cast<float>(size) * scale));
  }
}

Outputs infer_resize(const Inputs& in) {
  const auto& op = std::get<Resize>(in.node.op);
  if (!in.shape(0)) return {like(in[0], {})};
  Shape y = *in.shape(0);
  const std::vector<std::size_t> axes = described_axes(op, y.size());
  if (in.has(3))
    apply_sizes(op, in, axes, y);
  else
    apply_scales(in, axes, y);
  return {like(in[0], y)};
}

struct ResizeAxis {
  std::int64_t in = 1, out = 1;
  float scale = 1;
  float length = 1;          ///< The output's size before it was rounded down: scale * in.
  float begin = 0, end = 1;  ///< The region of tf_crop_and_resize, as fractions of in - 1.
  bool is_resized = false;
};

float source_coordinate(ResizeCoordinates kind, const ResizeAxis& a, std::int64_t i) {
  const auto x = static_cast<float>(i), last = static_cast<float>(a.in - 1);
  const float half_pixel = (x + 0.5F) / a.scale - 0.5F;
  switch (kind) {
    case ResizeCoordinates::half_pixel:
      return half_pixel;
    case ResizeCoordinates::pytorch_half_pixel:
      return a.out > 1 ? half_pixel : 0.0F;
    case ResizeCoordinates::half_pixel_symmetric:
      return static_cast<float>(a.in) / 2 * (1 - static_cast<float>(a.out) / a.length) + half_pixel;
    case ResizeCoordinates::asymmetric:
      return x / a.scale;
    case ResizeCoordinates::align_corners:
      return a.length == 1 ? 0.0F : x * last / (a.length - 1);
    case ResizeCoordinates::tf_crop_and_resize:
      if (a.length == 1) return a.begin * last + (a.end - a.begin) * last / 2;
      return a.begin * last + x * (a.end - a.begin) * last / (a.length - 1);
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

/// Weight of an element at distance d from the coordinate.
float cubic_weight(float d, float a) {
  d = std::abs(d);
  if (d >= 2) return 0;
  return d <= 1 ? ((a + 2) * d - (a + 3)) * d * d + 1 : ((a * d - 5 * a) * d + 8 * a) * d - 4 * a;
}

/// The elements [low, low + count) with weights around coordinate x. An antialiasing filter is as wide as the distance
/// of two outputs.
struct Filter {
  std::int64_t low = 0;
  std::vector<float> weights;
};

void set_filter(const Resize& op, const ResizeAxis& a, float x, Filter& filter) {
  filter.weights.clear();
  const float shrink = op.antialias ? std::min(a.scale, 1.0F) : 1.0F;
  const float reach = (op.mode == ResizeMode::cubic ? 2.0F : 1.0F) / shrink;
  const float floor = std::floor(x);
  filter.low = static_cast<std::int64_t>(op.antialias ? std::floor(x - reach) + 1 : floor - 1);
  const std::int64_t high = op.antialias ? static_cast<std::int64_t>(std::ceil(x + reach)) : filter.low + 4;
  for (std::int64_t k = filter.low; k < high; ++k) {
    const float distance = (static_cast<float>(k) - x) * shrink;
    filter.weights.push_back(op.mode == ResizeMode::cubic ? cubic_weight(distance, op.cubic_coeff_a)
                                                          : std::max(0.0F, 1 - std::abs(distance)));
  }
  float sum = 0;
  for (std::size_t k = 0; k < filter.weights.size(); ++k) {
    const std::int64_t index = filter.low + static_cast<std::int64_t>(k);
    if (op.exclude_outside && (index < 0 || index >= a.in)) filter.weights[k] = 0;
    sum += filter.weights[k];
  }
  if ((op.antialias || op.exclude_outside) && sum != 0)
    for (float& weight : filter.weights) weight /= sum;
}

/// Adds the taps of one output. Elements outside the input are those at its edge.
void add_taps(const Resize& op, const ResizeAxis& a, float x, Filter& filter, WeightedTaps& taps) {
  const auto inside = [&](std::int64_t index) { return std::clamp<std::int64_t>(index, 0, a.in - 1); };
  if (op.mode == ResizeMode::nearest) return taps.add(inside(nearest_index(op.nearest, x)), 1);
  if (op.mode == ResizeMode::linear && !op.antialias) {
    const float position = std::clamp(x, 0.0F, static_cast<float>(a.in - 1));
    const auto low = static_cast<std::int64_t>(position);
    const float t = position - static_cast<float>(low);
    taps.add(inside(low), 1 - t);
    taps.add(inside(low + 1), t);
    return;
  }
  set_filter(op, a, x, filter);
  for (std::size_t k = 0; k < filter.weights.size(); ++k)
    if (op.mode == ResizeMode::cubic || filter.weights[k] != 0)
      taps.add(inside(filter.low + static_cast<std::int64_t>(k)), filter.weights[k]);
}

WeightedTaps axis_taps(const Node& node, const ResizeAxis& a) {
  const auto& op = std::get<Resize>(node.op);
  WeightedTaps taps{.is_identity = !a.is_resized};
  Filter filter;
  for (std::int64_t i = 0; i < a.out && a.is_resized; ++i) {
    const float x = source_coordinate(op.coordinates, a, i);
    if (!(std::abs(x) < 0x1p30F))
      fail("{} output element {} of an axis reads position {}, which is too far away", where(node), i, x);
    add_taps(op, a, x, filter, taps);
    taps.finish(op.coordinates == ResizeCoordinates::tf_crop_and_resize && (x < 0 || x > static_cast<float>(a.in - 1)));
  }
  return taps;
}

std::vector<WeightedTaps> all_taps(const Node& node, std::span<const TensorView> in, const TensorView& out) {
  const auto& op = std::get<Resize>(node.op);
  const auto shape = in[0].shape;
  const bool has_scales = is_given(in, 2) && in[2].size() > 0;
  const bool crops = op.coordinates == ResizeCoordinates::tf_crop_and_resize;
  std::vector<ResizeAxis> axes(shape.size());
  for (std::size_t i = 0; i < axes.size(); ++i)
    axes[i] = {.in = shape[i], .out = out.shape[i], .length = static_cast<float>(out.shape[i])};
  const std::vector<std::size_t> described = described_axes(op, shape.size());
  const auto count = static_cast<std::int64_t>(described.size());
  check(!crops || (is_given(in, 1) && in[1].size() == 2 * count), "{} roi has {} elements, expected {}", where(node),
        is_given(in, 1) ? in[1].size() : 0, 2 * count);
  std::vector<std::int64_t> from, sizes;
  for (std::size_t i : described) from.push_back(shape[i]);
  for (std::int64_t i = 0; i < count && !has_scales; ++i) sizes.push_back(integer_at(in[3], i));
  const bool is_common = !has_scales && op.policy != ResizePolicy::stretch;
  const float common = is_common ? common_scale(op, from, sizes) : 0;
  for (std::size_t i = 0; i < described.size(); ++i) {
    ResizeAxis& a = axes[described[i]];
    a.scale = has_scales  ? in[2].as<float>()[i]
              : is_common ? common
                          : static_cast<float>(a.out) / static_cast<float>(a.in);
    if (has_scales || is_common) a.length = a.scale * static_cast<float>(a.in);
    if (crops) a.begin = in[1].as<float>()[i];
    if (crops) a.end = in[1].as<float>()[i + described.size()];
    a.is_resized = a.in != a.out || a.scale != 1 || a.begin != 0 || a.end != 1;
  }
  std::vector<WeightedTaps> taps;
  for (const ResizeAxis& a : axes) taps.push_back(axis_taps(node, a));
  return taps;
}

void resize(const Node& node, std::span<const TensorView> in, std::span<const TensorView> out) {
  if (out[0].size() == 0) return;
  check(in[0].size() > 0, "{} the input is empty", where(node));
  if (out[0].shape.empty()) return copy_elements(node, in, out);
  const auto& op = std::get<Resize>(node.op);
  std::vector<WeightedTaps> taps = all_taps(node, in, out[0]);
  if (op.mode == ResizeMode::nearest) {
    std::vector<SourceIndices> sources;
    for (WeightedTaps& t : taps) sources.push_back(std::move(t.index));
    copy_indexed(in[0].dtype, in[0].shape, sources, in[0].data, out[0].data);
  } else {
    interpolate(in[0], taps, out[0]);
  }
  fill_outside(taps, op.extrapolation_value, out[0]);
}

std::optional<std::string> settle_resize(Op& op, const Inputs& in) {
  const auto& resize = std::get<Resize>(op);
  check(!resize.antialias || resize.mode != ResizeMode::nearest,
        "attribute 'antialias' is set, but mode 'nearest' does not support it");
  check(resize.coordinates != ResizeCoordinates::tf_crop_and_resize || in.has(1), "input 'roi' is missing");
  check(in.has(2) != in.has(3), "has {} of the inputs scales and sizes; expected exactly one",
        in.has(2) ? "both" : "neither");
  return std::nullopt;
}
/// tf_crop_and_resize may give elements a value that is not in the input.
bool picks_elements(const Op& op) {
  const auto& resize = std::get<Resize>(op);
  return resize.mode == ResizeMode::nearest && resize.coordinates != ResizeCoordinates::tf_crop_and_resize;
}
std::optional<std::string_view> why_resize_in_float(const Op& op) {
  if (picks_elements(op)) return std::nullopt;
  return "it interpolates";
}

}  // namespace

std::vector<OperatorInfo> resize_operators() {
  const TypeSet types = kReal | TypeSet{DataType::int8, DataType::uint8, DataType::int32};
  return {
      {.name = "Resize",
       .since = 19,
       .prototype = Resize{},
       .inputs = {{"X", types, 'T'},
                  {"roi", kReal, 0, Presence::optional, Use::parameter},
                  {"scales", kReal, 0, Presence::optional, Use::parameter},
                  {"sizes", kInt64, 0, Presence::optional, Use::parameter}},
       .outputs = {{"Y", types, 'T'}},
       .fields = {field("mode", &Resize::mode,
                        std::vector<Word<ResizeMode>>{{"nearest", ResizeMode::nearest},
                                                      {"linear", ResizeMode::linear},
                                                      {"cubic", ResizeMode::cubic}}),
                  field("coordinate_transformation_mode", &Resize::coordinates,
                        std::vector<Word<ResizeCoordinates>>{
                            {"half_pixel", ResizeCoordinates::half_pixel},
                            {"asymmetric", ResizeCoordinates::asymmetric},
                            {"align_corners", ResizeCoordinates::align_corners},
                            {"pytorch_half_pixel", ResizeCoordinates::pytorch_half_pixel},
                            {"half_pixel_symmetric", ResizeCoordinates::half_pixel_symmetric},
                            {"tf_crop_and_resize", ResizeCoordinates::tf_crop_and_resize}}),
                  field("nearest_mode", &Resize::nearest,
                        std::vector<Word<ResizeNearest>>{{"round_prefer_floor", ResizeNearest::round_prefer_floor},
                                                         {"round_prefer_ceil", ResizeNearest::round_prefer_ceil},
                                                         {"floor", ResizeNearest::floor},
                                                         {"ceil", ResizeNearest::ceil}}),
                  field("cubic_coeff_a", &Resize::cubic_coeff_a), field("antialias", &Resize::antialias),
                  field("exclude_outside", &Resize::exclude_outside),
                  field("extrapolation_value", &Resize::extrapolation_value),
                  field("keep_aspect_ratio_policy", &Resize::policy,
                        std::vector<Word<ResizePolicy>>{{"stretch", ResizePolicy::stretch},
                                                        {"not_larger", ResizePolicy::not_larger},
                                                        {"not_smaller", ResizePolicy::not_smaller}}),
                  omitted_when_empty(field("axes", &Resize::axes))},
       .infer = infer_resize,
       .evaluate = resize,
       .settle = settle_resize,
       .traits =
           {.moves_elements = true, .averages = true, .commutes_with_positive_scale = true, .keeps_channels = true},
       .role = Role::movement,
       .why_in_float = why_resize_in_float,
       .moves_when = picks_elements},
  };
}

}  // namespace bitfold::ops
