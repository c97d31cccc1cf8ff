// Operators on boxes: NonMaxSuppression, RoiAlign, MaxRoiPool.
#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>

#include "ops/operator.h"
#include "ops/rows.h"

namespace bitfold::ops {
namespace {

// ---- NonMaxSuppression

Outputs infer_non_max_suppression(const Inputs&) {
  return {{.dtype = DataType::int64, .shape = Shape{kDynamic, 3}, .elements = {}}};
}

struct Box {
  float y0 = 0, x0 = 0, y1 = 0, x1 = 0;
  float area() const { return (y1 - y0) * (x1 - x0); }
};

Box read_box(const float* box, bool is_centered) {
  if (is_centered) {
    const float x = box[0], y = box[1], half_width = box[2] / 2, half_height = box[3] / 2;
    return {y - half_height, x - half_width, y + half_height, x + half_width};
  }
  return {std::min(box[0], box[2]), std::min(box[1], box[3]), std::max(box[0], box[2]), std::max(box[1], box[3])};
}

/// Whether the intersection of two boxes is more than `threshold` of their union.
bool overlap(const Box& a, const Box& b, float threshold) {
  const float height = std::min(a.y1, b.y1) - std::max(a.y0, b.y0);
  const float width = std::min(a.x1, b.x1) - std::max(a.x0, b.x0);
  if (!(height > 0 && width > 0)) return false;
  const float common = height * width, all = a.area() + b.area() - common;
  return a.area() > 0 && b.area() > 0 && all > 0 && common / all > threshold;
}

/// The element of an optional input of one element; an empty tensor counts as absent.
template <class T>
std::optional<T> scalar_of(std::span<const TensorView> in, std::size_t slot) {
  if (!is_given(in, slot) || in[slot].size() == 0) return std::nullopt;
  return *in[slot].as<T>();
}

struct Selection {
  std::int64_t most = 0;
  float iou = 0;
  std::optional<float> score;
};

/// The boxes of one class that are kept, from the highest score on. Of equal scores, the lower index comes first.
std::vector<std::int64_t> select_boxes(std::span<const Box> boxes, const float* scores, const Selection& limits) {
  std::vector<std::int64_t> candidates, kept;
  for (std::int64_t i = 0; i < std::ssize(boxes); ++i)
    if (!limits.score || scores[i] > *limits.score) candidates.push_back(i);
  std::ranges::sort(candidates, [&](std::int64_t a, std::int64_t b) {
    const float sa = scores[a], sb = scores[b];
    if (sa > sb || (sa == sa && sb != sb)) return true;  // NaN is the lowest score
    if (sb > sa || (sb == sb && sa != sa)) return false;
    return a < b;
  });
  for (std::int64_t i : candidates) {
    if (std::ssize(kept) >= limits.most) break;
    const Box& box = boxes[at(i)];
    if (std::ranges::none_of(kept, [&](std::int64_t k) { return overlap(box, boxes[at(k)], limits.iou); }))
      kept.push_back(i);
  }
  return kept;
}

std::vector<Tensor> non_max_suppression(const Node& node, std::span<const TensorView> in) {
  const auto boxes = in[0].shape, scores = in[1].shape;
  check(boxes.size() == 3 && boxes[2] == 4 && scores.size() == 3 && scores[0] == boxes[0] && scores[2] == boxes[1],
        "{} boxes have shape {}, scores {}; expected batch x boxes x 4 and batch x classes x boxes", where(node),
        to_string(Shape(boxes.begin(), boxes.end())), to_string(Shape(scores.begin(), scores.end())));
  const Selection limits{scalar_of<std::int64_t>(in, 2).value_or(0), scalar_of<float>(in, 3).value_or(0),
                         scalar_of<float>(in, 4)};
  check(limits.iou >= 0 && limits.iou <= 1, "{} the IoU threshold is {}; it must be between 0 and 1", where(node),
        limits.iou);
  std::vector<std::int64_t> selected;
  std::vector<Box> own(at(boxes[1]));
  for (std::int64_t b = 0; b < boxes[0] && limits.most > 0; ++b) {
    for (std::size_t i = 0; i < own.size(); ++i)
      own[i] = read_box(in[0].as<float>() + (b * boxes[1] + static_cast<std::int64_t>(i)) * 4,
                        std::get<NonMaxSuppression>(node.op).center_point_box);
    for (std::int64_t c = 0; c < scores[1]; ++c)
      for (std::int64_t i : select_boxes(own, in[1].as<float>() + (b * scores[1] + c) * scores[2], limits))
        selected.insert(selected.end(), {b, c, i});
  }
  std::vector<Tensor> made;
  made.push_back(Tensor::from(Shape{std::ssize(selected) / 3, 3}, selected));
  return made;
}

// ---- Regions of interest

/// Checks that x is a batch of images and rois has `columns` numbers per region. Returns the number of regions.
std::int64_t check_regions(const Inputs& in, std::int64_t columns) {
  if (in.shape(0)) check(in.shape(0)->size() == 4, "input has shape {}, expected 4 axes", to_string(*in.shape(0)));
  if (!in.shape(1)) return kDynamic;
  const Shape& rois = *in.shape(1);
  check(rois.size() == 2 && (is_unknown(rois[1]) || rois[1] == columns), "rois have shape {}, expected {} columns",
        to_string(rois), columns);
  return rois[0];
}

Outputs infer_roi_align(const Inputs& in) {
  const auto& op = std::get<RoiAlign>(in.node.op);
  std::int64_t regions = check_regions(in, 4);
  if (in.shape(2)) {
    const Shape& batch = *in.shape(2);
    check(batch.size() == 1 && (batch[0] == regions || is_unknown(batch[0]) || is_unknown(regions)),
          "batch_indices have shape {}, expected one for each of the regions", to_string(batch));
    if (is_unknown(regions)) regions = batch[0];
  }
  const std::int64_t channels = in.shape(0) ? (*in.shape(0))[1] : kDynamic;
  return {like(in[0], Shape{regions, channels, op.output_height, op.output_width})};
}

Outputs infer_max_roi_pool(const Inputs& in) {
  const auto& op = std::get<MaxRoiPool>(in.node.op);
  check(op.pooled_shape.size() == 2, "attribute 'pooled_shape' has {} entries, expected 2", op.pooled_shape.size());
  const std::int64_t regions = check_regions(in, 5), channels = in.shape(0) ? (*in.shape(0))[1] : kDynamic;
  return {like(in[0], Shape{regions, channels, op.pooled_shape[0], op.pooled_shape[1]})};
}

/// The bilinear sample at a position of an image: four elements and their weights.
struct Sample {
  std::array<std::int64_t, 4> index{};
  std::array<float, 4> weight{};  ///< All 0 if the position is outside the image.
};

Sample sample_at(float y, float x, std::int64_t height, std::int64_t width) {
  if (!(y >= -1 && y <= static_cast<float>(height) && x >= -1 && x <= static_cast<float>(width))) return {};
  const auto split = [](float v, std::int64_t size) {
    const float inside = std::max(v, 0.0F);
    const std::int64_t low = std::min(static_cast<std::int64_t>(inside), size - 1), high = std::min(low + 1, size - 1);
    return std::tuple(low, high, high == low ? 0.0F : inside - static_cast<float>(low));
  };
  const auto [y0, y1, ty] = split(y, height);
  const auto [x0, x1, tx] = split(x, width);
  return {{y0 * width + x0, y0 * width + x1, y1 * width + x0, y1 * width + x1},
          {(1 - ty) * (1 - tx), (1 - ty) * tx, ty * (1 - tx), ty * tx}};
}

/// Bounds the memory that a region takes.
constexpr std::int64_t kMaxSamples = 1 << 20;

/// One axis of a region: its first position, the size of its bins, and the samples in each.
struct RegionAxis {
  float start = 0, bin = 0;
  std::int64_t samples = 0;
  float position(std::int64_t o, std::int64_t i) const {
    return start + static_cast<float>(o) * bin + (static_cast<float>(i) + 0.5F) * bin / static_cast<float>(samples);
  }
};

RegionAxis region_axis(const Node& node, float begin, float end, std::int64_t bins) {
  const auto& op = std::get<RoiAlign>(node.op);
  const float shift = op.half_pixel ? 0.5F : 0.0F;
  RegionAxis axis{.start = begin * op.spatial_scale - shift};
  float size = end * op.spatial_scale - shift - axis.start;
  if (!op.half_pixel) size = std::max(size, 1.0F);
  axis.bin = size / static_cast<float>(bins);
  const float samples = op.sampling_ratio > 0 ? static_cast<float>(op.sampling_ratio) : std::ceil(axis.bin);
  check(samples <= static_cast<float>(kMaxSamples),
        "{} a region from {} to {} has {} samples in each bin; at most {} are supported", where(node), begin, end,
        samples, kMaxSamples);
  axis.samples = samples > 0 ? static_cast<std::int64_t>(samples) : 0;
  return axis;
}

float pooled(RoiMode mode, const float* image, std::span<const Sample> samples) {
  float result = 0;
  for (std::size_t i = 0; i < samples.size(); ++i) {
    const Sample& s = samples[i];
    std::array<float, 4> part{};
    for (std::size_t k = 0; k < 4; ++k) part[k] = s.weight[k] == 0 ? 0 : s.weight[k] * image[s.index[k]];
    if (mode == RoiMode::average) {
      result += part[0] + part[1] + part[2] + part[3];
    } else {
      const float most = std::ranges::max(part);  // as ONNX defines it: of the four weighted elements
      result = i == 0 ? most : std::max(result, most);
    }
  }
  return mode == RoiMode::average && !samples.empty() ? result / static_cast<float>(samples.size()) : result;
}

void roi_align(const Node& node, std::span<const TensorView> in, std::span<const TensorView> out) {
  const auto& op = std::get<RoiAlign>(node.op);
  const auto x = in[0].shape, y = out[0].shape;
  const std::int64_t plane = x[2] * x[3], channels = x[1];
  if (out[0].size() == 0) return;
  check(plane > 0, "{} the image is empty", where(node));
  std::vector<Sample> samples;
  for (std::int64_t r = 0; r < y[0]; ++r) {
    const std::int64_t batch = integer_at(in[2], r);
    check(batch >= 0 && batch < x[0], "{} region {} is in sample {}, but the batch has {} samples", where(node), r,
          batch, x[0]);
    const float* roi = in[1].as<float>() + r * 4;
    const RegionAxis rows = region_axis(node, roi[1], roi[3], y[2]), columns = region_axis(node, roi[0], roi[2], y[3]);
    check(rows.samples * columns.samples <= kMaxSamples,
          "{} region {} has {} x {} samples in each bin; at most {} are supported", where(node), r, rows.samples,
          columns.samples, kMaxSamples);
    for (std::int64_t oy = 0; oy < y[2]; ++oy)
      for (std::int64_t ox = 0; ox < y[3]; ++ox) {
        samples.clear();
        for (std::int64_t iy = 0; iy < rows.samples; ++iy)
          for (std::int64_t ix = 0; ix < columns.samples; ++ix)
            samples.push_back(sample_at(rows.position(oy, iy), columns.position(ox, ix), x[2], x[3]));
        for (std::int64_t c = 0; c < channels; ++c)
          out[0].as<float>()[((r * channels + c) * y[2] + oy) * y[3] + ox] =
              pooled(op.mode, in[0].as<float>() + (batch * channels + c) * plane, samples);
      }
  }
}

/// A bin [begin, end) of pixels of MaxRoiPool: the region is rounded to whole pixels and contains its last one.
struct Bin {
  std::int64_t begin = 0, end = 0;
};
Bin pixel_bin(std::int64_t first, std::int64_t last, std::int64_t o, std::int64_t bins, std::int64_t size) {
  const float extent = static_cast<float>(std::max<std::int64_t>(last - first + 1, 1)) / static_cast<float>(bins);
  const auto begin = static_cast<std::int64_t>(std::floor(static_cast<float>(o) * extent));
  const auto end = static_cast<std::int64_t>(std::ceil(static_cast<float>(o + 1) * extent));
  return {std::clamp<std::int64_t>(first + begin, 0, size), std::clamp<std::int64_t>(first + end, 0, size)};
}

void max_roi_pool(const Node& node, std::span<const TensorView> in, std::span<const TensorView> out) {
  const auto& op = std::get<MaxRoiPool>(node.op);
  const auto x = in[0].shape, y = out[0].shape;
  float* to = out[0].as<float>();
  for (std::int64_t r = 0; r < y[0]; ++r) {
    const float* roi = in[1].as<float>() + r * 5;
    check(roi[0] >= 0 && roi[0] < static_cast<float>(x[0]),
          "{} region {} is in sample {}, but the batch has {} samples", where(node), r, roi[0], x[0]);
    std::array<std::int64_t, 4> corner{};
    for (std::size_t i = 0; i < 4; ++i) {
      const float position = roi[i + 1] * op.spatial_scale;
      check(std::abs(position) < 0x1p30F, "{} region {} has a corner at {}", where(node), r, position);
      corner[i] = static_cast<std::int64_t>(std::round(position));
    }
    const float* image = in[0].as<float>() + static_cast<std::int64_t>(roi[0]) * x[1] * x[2] * x[3];
    std::vector<Bin> all_rows, all_columns;
    for (std::int64_t oy = 0; oy < y[2]; ++oy) all_rows.push_back(pixel_bin(corner[1], corner[3], oy, y[2], x[2]));
    for (std::int64_t ox = 0; ox < y[3]; ++ox) all_columns.push_back(pixel_bin(corner[0], corner[2], ox, y[3], x[3]));
    for (std::int64_t c = 0; c < x[1]; ++c, image += x[2] * x[3])
      for (const Bin& rows : all_rows)
        for (const Bin& columns : all_columns) {
          const bool is_empty = rows.begin >= rows.end || columns.begin >= columns.end;
          float most = is_empty ? 0 : std::numeric_limits<float>::lowest();
          for (std::int64_t i = rows.begin; i < rows.end; ++i)
            for (std::int64_t k = columns.begin; k < columns.end; ++k) most = std::max(most, image[i * x[3] + k]);
          *to++ = most;
        }
  }
}

}  // namespace

std::vector<OperatorInfo> box_operators() {
  const auto threshold = [](std::string_view name) { return Slot{name, kReal, 0, Presence::optional, Use::parameter}; };
  constexpr Interval kSize{1, 1 << 15};
  return {
      {.name = "NonMaxSuppression",
       .since = 10,
       .prototype = NonMaxSuppression{},
       .inputs = {{"boxes", kReal},
                  {"scores", kReal},
                  {"max_output_boxes_per_class", kInt64, 0, Presence::optional, Use::parameter},
                  threshold("iou_threshold"),
                  threshold("score_threshold")},
       .outputs = {{"selected_indices", kInt64}},
       .fields = {field("center_point_box", &NonMaxSuppression::center_point_box)},
       .infer = infer_non_max_suppression,
       .evaluate_dynamic = non_max_suppression},
      {.name = "RoiAlign",
       .since = 16,
       .prototype = RoiAlign{},
       .inputs = {{"X", kReal, 'T'},
                  {"rois", kReal, 'T'},
                  {"batch_indices", kInt64, 0, Presence::required, Use::parameter}},
       .outputs = {{"Y", kReal, 'T'}},
       .fields = {field("mode", &RoiAlign::mode,
                        std::vector<Word<RoiMode>>{{"avg", RoiMode::average}, {"max", RoiMode::max}}),
                  field("coordinate_transformation_mode", &RoiAlign::half_pixel,
                        std::vector<Word<bool>>{{"half_pixel", true}, {"output_half_pixel", false}}),
                  field("output_height", &RoiAlign::output_height, kSize),
                  field("output_width", &RoiAlign::output_width, kSize),
                  field("sampling_ratio", &RoiAlign::sampling_ratio, {0, 1 << 14}),
                  field("spatial_scale", &RoiAlign::spatial_scale)},
       .infer = infer_roi_align,
       .evaluate = roi_align},
      {.name = "MaxRoiPool",
       .prototype = MaxRoiPool{.pooled_shape = {1, 1}},
       .inputs = {{"X", kReal, 'T'}, {"rois", kReal, 'T'}},
       .outputs = {{"Y", kReal, 'T'}},
       .fields = {required(field("pooled_shape", &MaxRoiPool::pooled_shape, kSize)),
                  field("spatial_scale", &MaxRoiPool::spatial_scale)},
       .infer = infer_max_roi_pool,
       .evaluate = max_roi_pool},
  };
}

}  // namespace bitfold::ops
