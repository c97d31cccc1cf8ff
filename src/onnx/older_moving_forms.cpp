// Older forms of operators that move, select or sample elements.
#include <algorithm>

#include "base/check.h"
#include "onnx/attributes.h"
#include "onnx/lift.h"
#include "onnx/older_forms.h"
#include "ops/operator.h"

namespace bitfold::older {
namespace {

Reason why_axes(const Graph& graph, const Node& node) { return unless_constant(graph, node, {1}); }
Reason why_depth_to_space(const Graph&, const Node& node) {
  if (std::get<DepthToSpace>(node.op).column_row_depth) return "its mode is CRD";
  return std::nullopt;
}
Reason why_space_to_depth(const Graph&, const Node& node) {
  if (std::get<SpaceToDepth>(node.op).column_row_depth) return "its mode is CRD";
  return std::nullopt;
}
Reason why_gather_nd(const Graph&, const Node& node) {
  if (std::get<GatherNd>(node.op).batch_dims != 0) return "it has batch_dims";
  return std::nullopt;
}
Reason why_grid_sample(const Graph& graph, const Node& node) {
  const auto shape = shape_of(graph, node, 0);
  if (!shape || shape->size() != 4) return "its input is not known to have 4 axes";
  return std::nullopt;
}
Reason why_roi_align(const Graph&, const Node& node) {
  if (std::get<RoiAlign>(node.op).half_pixel) return "its coordinates are half_pixel";
  return std::nullopt;
}
Reason why_top_k_11(const Graph&, const Node& node) {
  const auto& top_k = std::get<TopK>(node.op);
  if (!top_k.largest) return "it finds the smallest elements";
  if (!top_k.sorted) return "its result is not sorted";
  return std::nullopt;
}
Reason why_top_k_10(const Graph& graph, const Node& node) { return unless_constant(graph, node, {1}); }
Reason why_pad_wraps(const Graph&, const Node& node) {
  if (std::get<Pad>(node.op).mode == PadMode::wrap) return "its mode is wrap";
  return std::nullopt;
}
Reason why_pad_axes(const Graph& graph, const Node& node) {
  if (!has(node, 3)) return std::nullopt;
  if (!shape_of(graph, node, 0)) return "it has axes, and the rank of its input is unknown";
  return unless_constant(graph, node, {1, 3});
}
Reason why_pad_11(const Graph& graph, const Node& node) { return unless_constant(graph, node, {1, 2}); }
Reason why_reshape(const Graph&, const Node& node) {
  if (std::get<Reshape>(node.op).allow_zero) return "it has allowzero";
  return std::nullopt;
}
Reason why_resize_19(const Graph&, const Node& node) {
  if (std::get<Resize>(node.op).coordinates == ResizeCoordinates::half_pixel_symmetric)
    return "its coordinates are half_pixel_symmetric";
  return std::nullopt;
}
Reason why_resize_18(const Graph&, const Node& node) {
  const auto& resize = std::get<Resize>(node.op);
  if (resize.antialias) return "it has antialias";
  if (!resize.axes.empty()) return "it has axes";
  if (resize.policy != ResizePolicy::stretch) return "it keeps the aspect ratio";
  return std::nullopt;
}
// The form of Upsample, and of Resize in opset 10.
Reason why_resize_11(const Graph&, const Node& node) {
  const auto& resize = std::get<Resize>(node.op);
  if (!has(node, 2)) return "it has sizes";
  if (resize.coordinates != ResizeCoordinates::asymmetric) return "its coordinates are not asymmetric";
  if (resize.mode == ResizeMode::cubic) return "its mode is cubic";
  if (resize.exclude_outside) return "it excludes elements outside its input";
  if (resize.mode == ResizeMode::nearest && resize.nearest != ResizeNearest::floor)
    return "its nearest_mode is not floor";
  return std::nullopt;
}
Reason why_upsample(const Graph& graph, const Node& node) {
  const Tensor* scales = constant(graph, node, 2);
  if (scales == nullptr) return unless_constant(graph, node, {2});
  if (std::ranges::any_of(scales->data<float>(), [](float s) { return !(s >= 1); })) return "it makes images smaller";
  return std::nullopt;
}
Reason why_shape_of(const Graph&, const Node& node) {
  const auto& shape = std::get<ShapeOf>(node.op);
  if (shape.start != 0 || shape.end) return "it has the attribute start or end";
  return std::nullopt;
}
Reason why_slice(const Graph& graph, const Node& node) {
  const auto steps = constant_ints(graph, node, 4);
  if (has(node, 4) && !(steps && std::ranges::all_of(*steps, [](std::int64_t s) { return s == 1; })))
    return "it has steps";
  return unless_constant(graph, node, {1, 2, 3});
}
// The sizes of the parts if the axis cannot be divided equally; none if it can.
std::optional<Ints> unequal_parts(const Graph& graph, const Node& node) {
  const auto shape = shape_of(graph, node, 0);
  if (has(node, 1) || !shape) return std::nullopt;
  const auto rank = static_cast<std::int64_t>(shape->size());
  const std::int64_t axis = std::get<Split>(node.op).axis;
  const std::int64_t size = (*shape)[static_cast<std::size_t>(axis < 0 ? axis + rank : axis)];
  const auto count = static_cast<std::int64_t>(node.outputs.size());
  if (size < 0 || size % count == 0) return std::nullopt;
  const std::int64_t part = (size + count - 1) / count;
  Ints sizes;
  for (std::int64_t i = 0; i < count; ++i) sizes.push_back(std::clamp<std::int64_t>(size - part * i, 0, part));
  return sizes;
}
Reason why_split_18(const Graph& graph, const Node& node) {
  if (has(node, 1) || unequal_parts(graph, node)) return std::nullopt;
  const auto shape = shape_of(graph, node, 0);
  if (!shape) return "the size that it splits is unknown";
  const auto rank = static_cast<std::int64_t>(shape->size());
  const std::int64_t axis = std::get<Split>(node.op).axis;
  if ((*shape)[static_cast<std::size_t>(axis < 0 ? axis + rank : axis)] < 0)
    return "the size that it splits is unknown";
  return std::nullopt;
}
Reason why_split_13(const Graph& graph, const Node& node) { return unless_constant(graph, node, {1}); }
ScatterReduction reduction_of(const Node& node) {
  const auto* elements = std::get_if<ScatterElements>(&node.op);
  return elements != nullptr ? elements->reduction : std::get<ScatterNd>(node.op).reduction;
}
Reason why_scatter_18(const Graph&, const Node& node) {
  const ScatterReduction reduction = reduction_of(node);
  if (reduction == ScatterReduction::min || reduction == ScatterReduction::max) return "its reduction is min or max";
  return std::nullopt;
}
Reason why_scatter_16(const Graph&, const Node& node) {
  if (reduction_of(node) != ScatterReduction::none) return "its reduction is not none";
  return std::nullopt;
}
void lower_scatter(NodeWriting& w) { remove_attribute(w.proto, "reduction"); }
void lower_scatter_elements(NodeWriting& w) { w.proto.set_op_type("Scatter"); }
void lower_roi_align(NodeWriting& w) { remove_attribute(w.proto, "coordinate_transformation_mode"); }
void lower_grid_sample(NodeWriting& w) {
  const SampleMode mode = std::get<GridSample>(w.node.op).mode;
  if (mode == SampleMode::nearest) return;
  remove_attribute(w.proto, "mode");
  if (mode == SampleMode::cubic) set_word(w.proto, "mode", "bicubic");
}
void lower_top_k(NodeWriting& w) {
  const auto k = constant_ints(w.graph, w.node, 1);
  check(k && k->size() == 1, "k must be one number");
  input_to_attribute(w, 1, "k");
  remove_attribute(w.proto, "k");
  set_integer(w.proto, "k", k->front());
}
void lower_axes(NodeWriting& w) { input_to_attribute(w, 1, "axes"); }
void lower_pad(NodeWriting& w) {
  if (has(w.node, 3))
    drop_input(w.proto, 1);
  else
    input_to_attribute(w, 1, "pads");
  input_to_attribute(w, 2, "value");
}
// In opsets 11 and 12, an omitted input of Resize is an empty tensor.
void fill_resize(NodeWriting& w) {
  if (w.opset < 11) return;
  while (w.proto.input_size() < 3) w.proto.add_input("");
  for (int slot : {1, 2})
    if (w.proto.input(slot).empty())
      w.proto.set_input(slot, w.add_constant(slot == 1 ? "no_roi" : "no_scales", Tensor(DataType::float32, {0})));
}
void lower_resize_11(NodeWriting& w) {
  for (const char* name : {"coordinate_transformation_mode", "nearest_mode", "cubic_coeff_a"})
    remove_attribute(w.proto, name);
  const std::string x = w.proto.input(0), scales = w.proto.input(2);
  w.proto.clear_input();
  w.proto.add_input(x);
  w.proto.add_input(scales);
}
void lower_upsample(NodeWriting& w) { w.proto.set_op_type("Upsample"); }
void lower_upsample_9(NodeWriting& w) {
  const std::string x = w.proto.input(0);
  input_to_attribute(w, 2, "scales");
  w.proto.clear_input();
  w.proto.add_input(x);
}
void lower_slice(NodeWriting& w) {
  drop_input(w.proto, 4);
  input_to_attribute(w, 3, "axes");
  input_to_attribute(w, 2, "ends");
  input_to_attribute(w, 1, "starts");
}
void lower_split_18(NodeWriting& w) {
  remove_attribute(w.proto, "num_outputs");
  const auto sizes = unequal_parts(w.graph, w.node);
  if (!sizes) return;
  if (w.opset < 13)
    set_integers(w.proto, "split", *sizes);
  else
    w.proto.add_input(w.add_constant("sizes", int64_vector(*sizes)));
}
void lower_split_13(NodeWriting& w) { input_to_attribute(w, 1, "split"); }

constexpr Form kMovingForms[] = {
    {"DepthToSpace", 11, why_depth_to_space},
    {"Flatten", 9, never},
    {"GatherND", 12, why_gather_nd},
    {"GatherND", 11, nullptr},
    {"GridSample", 20, why_grid_sample, lower_grid_sample},
    {"GridSample", 16, nullptr},
    {"Pad", 19, why_pad_wraps},
    {"Pad", 18, why_pad_axes},
    {"Pad", 11, why_pad_11, lower_pad},
    {"Reshape", 14, why_reshape},
    {"Resize", 19, why_resize_19},
    {"Resize", 18, why_resize_18},
    {"Resize", 13, never, fill_resize},
    {"Resize", 11, why_resize_11, lower_resize_11},
    {"Resize", 10, why_upsample, lower_upsample},
    {"Resize", 9, never, lower_upsample_9},
    {"RoiAlign", 16, why_roi_align, lower_roi_align},
    {"RoiAlign", 10, nullptr},
    {"ScatterElements", 18, why_scatter_18},
    {"ScatterElements", 16, why_scatter_16, lower_scatter},
    {"ScatterElements", 11, never, lower_scatter_elements},
    {"ScatterElements", 9, nullptr},
    {"ScatterND", 18, why_scatter_18},
    {"ScatterND", 16, why_scatter_16, lower_scatter},
    {"ScatterND", 11, nullptr},
    {"Shape", 15, why_shape_of},
    {"Slice", 10, why_slice, lower_slice},
    {"SpaceToDepth", 28, why_space_to_depth},
    {"Split", 18, why_split_18, lower_split_18},
    {"Split", 13, why_split_13, lower_split_13},
    {"Squeeze", 13, why_axes, lower_axes},
    {"TopK", 11, why_top_k_11},
    {"TopK", 10, why_top_k_10, lower_top_k},
    {"Unsqueeze", 13, why_axes, lower_axes},
};

}  // namespace

void expand_pad_axes(NodeWriting& w) {
  if (!has(w.node, 3) || why_pad_axes(w.graph, w.node)) return;
  const Ints pads = *constant_ints(w.graph, w.node, 1), axes = *constant_ints(w.graph, w.node, 3);
  const std::size_t rank = shape_of(w.graph, w.node, 0)->size();
  Ints all(2 * rank, 0);
  check(pads.size() == 2 * axes.size(), "there are {} pads for {} axes; two per axis are needed", pads.size(),
        axes.size());
  for (std::size_t i = 0; i < axes.size(); ++i) {
    const auto axis = static_cast<std::size_t>(axes[i] < 0 ? axes[i] + static_cast<std::int64_t>(rank) : axes[i]);
    check(axis < rank, "axis {} does not exist in a tensor of rank {}", axes[i], rank);
    all[axis] = pads[i];
    all[axis + rank] = pads[i + axes.size()];
  }
  if (w.opset < 11)
    set_integers(w.proto, "pads", all);
  else
    w.proto.set_input(1, w.add_constant("pads", int64_vector(all)));
  drop_input(w.proto, 3);
}

std::span<const Form> moving_forms() { return kMovingForms; }

}  // namespace bitfold::older
