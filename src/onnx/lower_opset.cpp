#include "onnx/lower_opset.h"

#include <algorithm>
#include <cmath>
#include <map>

#include "base/check.h"
#include "onnx/attributes.h"
#include "onnx/lift.h"
#include "onnx/opset_history.h"
#include "onnx/qdq.h"
#include "ops/operator.h"

namespace bitfold {
namespace {

using Ints = std::vector<std::int64_t>;
using Reason = std::optional<std::string>;

constexpr std::int64_t kDefaultOpset = 13;  // the first opset with one scale per channel

// Facts about a node's inputs -----------------------------------------------------------------------------------------

bool has(const Node& node, std::size_t slot) { return slot < node.inputs.size() && node.inputs[slot] != ValueId::none; }
const Value* input(const Graph& graph, const Node& node, std::size_t slot) {
  return has(node, slot) ? &graph.value(node.inputs[slot]) : nullptr;
}
const Tensor* constant(const Graph& graph, const Node& node, std::size_t slot) {
  const Value* value = input(graph, node, slot);
  return value != nullptr && value->constant && !value->quant ? &*value->constant : nullptr;
}
std::optional<Ints> constant_ints(const Graph& graph, const Node& node, std::size_t slot) {
  const Tensor* tensor = constant(graph, node, slot);
  if (tensor == nullptr) return std::nullopt;
  Ints values;
  if (tensor->dtype() == DataType::int64)
    values.assign(tensor->data<std::int64_t>().begin(), tensor->data<std::int64_t>().end());
  else if (tensor->dtype() == DataType::int32)
    values.assign(tensor->data<std::int32_t>().begin(), tensor->data<std::int32_t>().end());
  else
    return std::nullopt;
  return values;
}
std::optional<Shape> shape_of(const Graph& graph, const Node& node, std::size_t slot) {
  const Value* value = input(graph, node, slot);
  return value != nullptr ? value->shape : std::nullopt;
}

Reason unless_constant(const Graph& graph, const Node& node, std::initializer_list<std::size_t> slots) {
  for (std::size_t slot : slots)
    if (has(node, slot) && constant(graph, node, slot) == nullptr)
      return fmt::format("its input '{}' is computed", graph.value(node.inputs[slot]).name);
  return std::nullopt;
}

// Reasons why a node has no older form --------------------------------------------------------------------------------

Reason never(const Graph&, const Node&) { return std::nullopt; }

Reason why_arg_reduce(const Graph&, const Node& node) {
  if (std::get<ArgReduce>(node.op).select_last_index) return "it selects the last index";
  return std::nullopt;
}
Reason why_attention_24(const Graph&, const Node& node) {
  const auto& op = std::get<Attention>(node.op);
  if (op.left_window_size >= 0 || op.right_window_size >= 0) return "it has a window";
  return std::nullopt;
}
Reason why_attention_23(const Graph& graph, const Node& node) {
  if (has(node, 6)) return "it has lengths of its keys";
  const auto mask = shape_of(graph, node, 3), keys = shape_of(graph, node, 1), past = shape_of(graph, node, 4);
  if (!mask || mask->empty() || !keys || keys->size() < 3 || (has(node, 4) && (!past || past->size() != 4)))
    return std::nullopt;
  const std::int64_t present = keys->size() == 3 ? (*keys)[1] : (*keys)[2], before = past ? (*past)[2] : 0;
  if (mask->back() >= 0 && present >= 0 && before >= 0 && mask->back() < present + before)
    return "its mask leaves out the last keys";
  return std::nullopt;
}
bool has_dilations(const Window& window) {
  return std::ranges::any_of(window.dilations, [](std::int64_t d) { return d != 1; });
}
Reason why_dilated(const Graph&, const Node& node) {
  if (has_dilations(std::get<Pool>(node.op).window)) return "it has dilations";
  return std::nullopt;
}
Reason why_pool_10(const Graph& graph, const Node& node) {
  if (std::get<Pool>(node.op).ceil_mode) return "it has ceil_mode";
  return why_dilated(graph, node);
}
Reason why_lp_pool(const Graph&, const Node& node) {
  const auto& pool = std::get<LpPool>(node.op);
  if (pool.ceil_mode) return "it has ceil_mode";
  if (has_dilations(pool.window)) return "it has dilations";
  return std::nullopt;
}
Reason why_pool_8(const Graph&, const Node& node) {
  if (node.outputs.size() > 1) return "its indices are used";
  if (std::get<Pool>(node.op).column_major_indices) return "it has storage_order";
  return std::nullopt;
}
Reason why_bounds(const Graph& graph, const Node& node) { return unless_constant(graph, node, {1, 2}); }
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
  if (!top_k.largest) return "it finds the smallest";
  if (!top_k.sorted) return "it does not sort";
  return std::nullopt;
}
Reason why_top_k_10(const Graph& graph, const Node& node) { return unless_constant(graph, node, {1}); }
Reason why_variadic(const Graph& graph, const Node& node) {
  for (std::size_t i = 1; i < node.inputs.size(); ++i)
    if (!shape_of(graph, node, i) || shape_of(graph, node, i) != shape_of(graph, node, 0))
      return "its inputs differ in shape";
  return std::nullopt;
}
Reason why_mod(const Graph& graph, const Node& node) {
  const Value* a = input(graph, node, 0);
  if (std::get<Binary>(node.op).fmod || a == nullptr || a->dtype != DataType::float32) return std::nullopt;
  return "it has the divisor's sign, and reals";
}
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
Reason why_reduce(const Graph& graph, const Node& node) {
  const bool has_axes = has(node, 1) && !(constant(graph, node, 1) != nullptr && constant(graph, node, 1)->size() == 0);
  if (std::get<Reduce>(node.op).noop_with_empty_axes && !has_axes) return "it has no axes and reduces none";
  return unless_constant(graph, node, {1});
}
Reason why_dft(const Graph& graph, const Node& node) { return unless_constant(graph, node, {2}); }
Reason why_recurrent(const Graph&, const Node& node) {
  if (std::get<Recurrent>(node.op).batch_first) return "its batch is the first axis (layout 1)";
  return std::nullopt;
}
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
// Upsample and the first Resize.
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
  if (std::ranges::any_of(scales->data<float>(), [](float s) { return !(s >= 1); })) return "it shrinks images";
  return std::nullopt;
}
Reason why_shape_of(const Graph&, const Node& node) {
  const auto& shape = std::get<ShapeOf>(node.op);
  if (shape.start != 0 || shape.end) return "it has the attribute start or end";
  return std::nullopt;
}
// Scales of one element each cover a whole tensor in every opset.
Reason why_quantize_13(const Graph& graph, const Node& node) {
  const auto scale = shape_of(graph, node, 1);
  if (!scale || !is_static(*scale) || element_count(*scale) != 1) return "it has a scale for each channel";
  return std::nullopt;
}
template <class O>
Reason why_quantize_21(const Graph&, const Node& node) {
  const auto& op = std::get<O>(node.op);
  if (op.block_size != 0) return "it has a scale for each block";
  if (std::is_same_v<O, QuantizeLinear> && op.output_dtype) return "it has output_dtype";
  return std::nullopt;
}
Reason why_slice(const Graph& graph, const Node& node) {
  const auto steps = constant_ints(graph, node, 4);
  if (has(node, 4) && !(steps && std::ranges::all_of(*steps, [](std::int64_t s) { return s == 1; })))
    return "it has steps";
  return unless_constant(graph, node, {1, 2, 3});
}
Reason why_along(const Graph& graph, const Node& node, std::int64_t axis, bool is_flattened) {
  if (is_flattened || is_along_one_axis(shape_of(graph, node, 0), axis)) return std::nullopt;
  return "it is along an axis that is not the last";
}
Reason why_softmax(const Graph& graph, const Node& node) {
  const auto& softmax = std::get<Softmax>(node.op);
  return why_along(graph, node, softmax.axis, softmax.flattened);
}
Reason why_hardmax(const Graph& graph, const Node& node) {
  const auto& hardmax = std::get<Hardmax>(node.op);
  return why_along(graph, node, hardmax.axis, hardmax.flattened);
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

// Writing the older form ---------------------------------------------------------------------------------------------

void drop_input(onnx::NodeProto& proto, int slot) {
  if (proto.input_size() <= slot) return;
  proto.set_input(slot, "");
  while (proto.input_size() > 0 && proto.input(proto.input_size() - 1).empty()) proto.mutable_input()->RemoveLast();
}

// Turns a constant input into an attribute. The constant's name is stored if reading the file would not restore it.
void input_to_attribute(NodeWriting& w, std::size_t slot, const char* name) {
  if (!has(w.node, slot)) return;
  if (auto values = constant_ints(w.graph, w.node, slot)) {
    // Before opset 11, axes count from the front. Those of an Unsqueeze are axes of its output.
    const auto shape = shape_of(w.graph, w.node, 0);
    const bool is_wider = std::holds_alternative<Unsqueeze>(w.node.op);
    if (std::string_view(name) == "axes" && w.opset < 11 && shape)
      for (std::int64_t& axis : *values)
        if (axis < 0) axis += std::ssize(*shape) + (is_wider ? std::ssize(*values) : 0);
    set_integers(w.proto, name, *values);
  } else {
    const Tensor* tensor = constant(w.graph, w.node, slot);
    check(tensor != nullptr && tensor->dtype() == DataType::float32, "input {} is not a constant", slot);
    const auto reals = tensor->data<float>();
    if (reals.size() == 1 && std::string_view(name) != "scales")
      set_real(w.proto, name, reals[0]);
    else
      set_reals(w.proto, name, {reals.begin(), reals.end()});
  }
  const std::string& own = w.graph.value(w.node.inputs[slot]).name;
  if (own != w.proto.output(0) + "/" + name)
    w.proto.set_doc_string(w.proto.doc_string() + kConstantName + name + "=" + own + "\n");
  drop_input(w.proto, static_cast<int>(slot));
}

void lower_clip(NodeWriting& w) {
  input_to_attribute(w, 1, "min");
  input_to_attribute(w, 2, "max");
}
// The axis becomes an attribute, whose default is another one.
void lower_dft(NodeWriting& w) {
  const auto axis = constant_ints(w.graph, w.node, 2).value_or(Ints{-2});
  check(axis.size() == 1, "axis has {} elements", axis.size());
  set_integer(w.proto, "axis", axis[0]);
  if (!has(w.node, 2)) return;
  const std::string& own = w.graph.value(w.node.inputs[2]).name;
  if (axis[0] == -2 || own != w.proto.output(0) + "/axis")
    w.proto.set_doc_string(w.proto.doc_string() + kConstantName + "axis=" + own + "\n");
  drop_input(w.proto, 2);
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
void lower_reduce(NodeWriting& w) {
  remove_attribute(w.proto, "noop_with_empty_axes");
  if (const Tensor* axes = constant(w.graph, w.node, 1); axes != nullptr && axes->size() == 0)
    drop_input(w.proto, 1);
  else
    lower_axes(w);
}
// ONNX Runtime's layout pass refuses axes, so they are not written if the rank is known.
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
void drop_axis(NodeWriting& w) { remove_attribute(w.proto, "axis"); }
void drop_saturate(NodeWriting& w) { remove_attribute(w.proto, "saturate"); }
void lower_softmax(NodeWriting& w) {
  const auto* softmax = std::get_if<Softmax>(&w.node.op);
  remove_attribute(w.proto, "axis");
  set_integer(w.proto, "axis", softmax != nullptr ? softmax->axis : std::get<Hardmax>(w.node.op).axis);
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

// Builds an operator that an older opset lacks from others. The node itself is the last of them.
void become(NodeWriting& w, const char* type, const std::vector<std::string>& inputs) {
  w.proto.set_op_type(type);
  w.proto.clear_attribute();
  w.proto.clear_input();
  for (const std::string& name : inputs) w.proto.add_input(name);
}
// 0.5 x (1 + erf(x / sqrt(2))), or 0.5 x (1 + tanh(sqrt(2 / pi) (x + 0.044715 x^3)))
void split_gelu(NodeWriting& w) {
  const std::string x = w.proto.input(0);
  if (std::holds_alternative<GeluTanh>(w.node.op)) {
    const std::string cube = w.add("Mul", {w.add("Mul", {x, x}, "square"), x}, "cube");
    const std::string small = w.add("Mul", {cube, w.add_constant("small", float_scalar(0.044715F))}, "small_cube");
    const std::string sum = w.add("Add", {x, small}, "inner");
    const std::string scaled = w.add("Mul", {sum, w.add_constant("factor", float_scalar(0.7978845608F))}, "scaled");
    const std::string one =
        w.add("Add", {w.add("Tanh", {scaled}, "tanh"), w.add_constant("one", float_scalar(1))}, "sum");
    return become(w, "Mul", {w.add("Mul", {x, w.add_constant("half", float_scalar(0.5F))}, "half_x"), one});
  }
  const std::string root = w.add_constant("sqrt_half", float_scalar(std::sqrt(0.5F)));
  const std::string erf = w.add("Erf", {w.add("Mul", {x, root}, "scaled")}, "erf");
  const std::string sum = w.add("Add", {erf, w.add_constant("one", float_scalar(1))}, "sum");
  const std::string half = w.add("Mul", {x, w.add_constant("half", float_scalar(0.5F))}, "half_x");
  become(w, "Mul", {half, sum});
}
// x max(0, min(1, x / 6 + 0.5))
void split_hard_swish(NodeWriting& w) {
  const std::string x = w.proto.input(0);
  onnx::NodeProto slope;
  set_real(slope, "alpha", 1.0F / 6);
  become(w, "Mul", {x, w.add_node(slope, "HardSigmoid", {x}, "ramp")});
}
// x tanh(softplus(x))
void split_mish(NodeWriting& w) {
  const std::string x = w.proto.input(0);
  become(w, "Mul", {x, w.add("Tanh", {w.add("Softplus", {x}, "softplus")}, "tanh")});
}
Reason why_layer_norm(const Graph& graph, const Node& node) {
  if (node.outputs.size() > 1) return "its mean or deviation is an output";
  if (std::get<LayerNorm>(node.op).axis < 0 || shape_of(graph, node, 0)) return std::nullopt;
  return "the rank of its input is unknown";
}
// (x - mean) / sqrt(variance + epsilon) * scale + bias over all axes from `axis` on
void split_layer_norm(NodeWriting& w) {
  const auto& norm = std::get<LayerNorm>(w.node.op);
  const std::string x = w.proto.input(0), scale = w.proto.input(1);
  const std::string bias = w.proto.input_size() > 2 ? w.proto.input(2) : "";
  Ints axes;
  if (norm.axis < 0)
    for (std::int64_t axis = norm.axis; axis < 0; ++axis) axes.push_back(axis);
  else
    for (std::int64_t axis = norm.axis; axis < std::ssize(*shape_of(w.graph, w.node, 0)); ++axis) axes.push_back(axis);
  onnx::NodeProto reduced;
  set_integers(reduced, "axes", axes);
  const auto mean = [&](const std::string& of, const char* stem) {
    return w.add_node(reduced, "ReduceMean", {of}, stem);
  };
  const std::string centred = w.add("Sub", {x, mean(x, "mean")}, "centred");
  const std::string variance = mean(w.add("Mul", {centred, centred}, "squared"), "variance");
  const std::string epsilon = w.add_constant("epsilon", float_scalar(norm.epsilon));
  const std::string deviation = w.add("Sqrt", {w.add("Add", {variance, epsilon}, "shifted")}, "deviation");
  const std::string unit = w.add("Div", {centred, deviation}, "normalized");
  if (bias.empty()) return become(w, "Mul", {unit, scale});
  become(w, "Add", {w.add("Mul", {unit, scale}, "scaled"), bias});
}

/// Below opset `since`, a node has an older form if `why_not` returns no reason. `write` converts the next newer form
/// to it (null: both are the same). Without `why_not` there is no older form.
struct Lowering {
  std::string_view type;
  std::int64_t since;
  Reason (*why_not)(const Graph& graph, const Node& node);
  void (*write)(NodeWriting& writing) = nullptr;
  /// The older form is several nodes, which reading the file does not combine again. Used only if the caller asks for
  /// the opset.
  bool is_split = false;
};
/// Each operator's rows are in order from the newest opset to the oldest. If the `since` of an operator's row does not
/// occur here, the operator does not exist below that opset.
constexpr Lowering kLowerings[] = {
    {"ArgMax", 12, why_arg_reduce},
    {"ArgMin", 12, why_arg_reduce},
    {"Attention", 25, why_attention_24},
    {"Attention", 24, why_attention_23},
    {"Attention", 23, nullptr},
    {"AveragePool", 19, why_dilated},
    {"AveragePool", 10, why_pool_10},
    {"BatchNormalization", 14, never},
    {"Cast", 9, never},
    {"Clip", 11, why_bounds, lower_clip},
    {"DFT", 20, why_dft, lower_dft},
    {"DFT", 17, nullptr},
    {"DepthToSpace", 11, why_depth_to_space},
    {"DequantizeLinear", 21, why_quantize_21<DequantizeLinear>},
    {"DequantizeLinear", 13, why_quantize_13, drop_axis},
    {"DequantizeLinear", 10, nullptr},
    {"Equal", 11, never},
    {"Flatten", 9, never},
    {"GatherND", 12, why_gather_nd},
    {"GatherND", 11, nullptr},
    {"GRU", 14, why_recurrent},
    {"Gelu", 20, never, split_gelu, true},
    {"Gelu", 9, nullptr},
    {"Greater", 9, never},
    {"GridSample", 20, why_grid_sample, lower_grid_sample},
    {"GridSample", 16, nullptr},
    {"GroupNormalization", 21, nullptr},
    {"HardSwish", 14, never, split_hard_swish, true},
    {"Hardmax", 13, why_hardmax, lower_softmax},
    {"If", 16, never},
    {"LSTM", 14, why_recurrent},
    {"LayerNormalization", 17, why_layer_norm, split_layer_norm, true},
    {"Less", 9, never},
    {"LogSoftmax", 13, why_softmax, lower_softmax},
    {"Loop", 16, never},
    {"LpPool", 18, why_lp_pool},
    {"Max", 8, why_variadic},
    {"MaxPool", 12, never},
    {"MaxPool", 10, why_pool_10},
    {"MaxPool", 8, why_pool_8},
    {"Mean", 8, why_variadic},
    {"Min", 8, why_variadic},
    {"Mish", 18, never, split_mish, true},
    {"Mod", 28, why_mod},
    {"PRelu", 9, never},
    {"Pad", 19, why_pad_wraps},
    {"Pad", 18, why_pad_axes},
    {"Pad", 11, why_pad_11, lower_pad},
    {"Pow", 13, never},
    {"QuantizeLinear", 21, why_quantize_21<QuantizeLinear>},
    {"QuantizeLinear", 19, never, drop_saturate},
    {"QuantizeLinear", 13, why_quantize_13, drop_axis},
    {"QuantizeLinear", 10, nullptr},
    {"RNN", 14, why_recurrent},
    {"ReduceL1", 18, why_reduce, lower_reduce},
    {"ReduceL2", 18, why_reduce, lower_reduce},
    {"ReduceLogSum", 18, why_reduce, lower_reduce},
    {"ReduceLogSumExp", 18, why_reduce, lower_reduce},
    {"ReduceMax", 18, why_reduce, lower_reduce},
    {"ReduceMean", 18, why_reduce, lower_reduce},
    {"ReduceMin", 18, why_reduce, lower_reduce},
    {"ReduceProd", 18, why_reduce, lower_reduce},
    {"ReduceSum", 13, why_reduce, lower_reduce},
    {"ReduceSumSquare", 18, why_reduce, lower_reduce},
    {"Reshape", 14, why_reshape},
    {"Resize", 19, why_resize_19},
    {"Resize", 18, why_resize_18},
    {"Resize", 13, never, fill_resize},
    {"Resize", 11, why_resize_11, lower_resize_11},
    {"Resize", 10, why_upsample, lower_upsample},
    {"Resize", 9, never, lower_upsample_9},
    {"RoiAlign", 16, why_roi_align, lower_roi_align},
    {"RoiAlign", 10, nullptr},
    {"Scan", 16, never},
    {"Scan", 9, nullptr},
    {"ScatterElements", 18, why_scatter_18},
    {"ScatterElements", 16, why_scatter_16, lower_scatter},
    {"ScatterElements", 11, never, lower_scatter_elements},
    {"ScatterElements", 9, nullptr},
    {"ScatterND", 18, why_scatter_18},
    {"ScatterND", 16, why_scatter_16, lower_scatter},
    {"ScatterND", 11, nullptr},
    {"Shape", 15, why_shape_of},
    {"Slice", 10, why_slice, lower_slice},
    {"Softmax", 13, why_softmax, lower_softmax},
    {"SpaceToDepth", 28, why_space_to_depth},
    {"Split", 18, why_split_18, lower_split_18},
    {"Split", 13, why_split_13, lower_split_13},
    {"Squeeze", 13, why_axes, lower_axes},
    {"Sum", 8, why_variadic},
    {"TopK", 11, why_top_k_11},
    {"TopK", 10, why_top_k_10, lower_top_k},
    {"Unsqueeze", 13, why_axes, lower_axes},
};

/// Below opset `since`, an operator takes only `types` as its first input.
struct TypeLimit {
  std::string_view type;
  std::int64_t since;
  ops::TypeSet types;
};
constexpr ops::TypeSet kBelow11{DataType::boolean, DataType::int32, DataType::int64};
constexpr ops::TypeSet kBelow14 = ops::kReal | ops::kWideInteger;
const TypeLimit kTypeLimits[] = {
    {"Add", 14, kBelow14},       {"Sub", 14, kBelow14},
    {"Mul", 14, kBelow14},       {"Div", 14, kBelow14},
    {"MaxPool", 12, ops::kReal}, {"TopK", 11, ops::kReal},
    {"ReduceMax", 12, kBelow14}, {"ReduceMin", 12, kBelow14},
    {"Abs", 6, ops::kNumber},    {"Clip", 12, ops::kReal},
    {"Equal", 11, kBelow11},     {"Flatten", 9, ops::kReal},
    {"Gemm", 9, ops::kReal},     {"Greater", 9, ops::kReal},
    {"Less", 9, ops::kReal},     {"MatMul", 9, ops::kReal},
    {"Max", 12, ops::kReal},     {"Min", 12, ops::kReal},
    {"PRelu", 9, ops::kReal},    {"Pad", 11, ops::kReal},
    {"Pow", 12, ops::kReal},     {"ReduceMax", 20, ops::kWholeBytes},
    {"Relu", 14, ops::kReal},    {"BitShift", 28, ops::kUnsignedInteger},
};

// The opset of a whole graph ------------------------------------------------------------------------------------------

struct Needs {
  std::int64_t lowest = kOldestOpset, highest = kLatestOpset;
  std::string why_lowest, why_highest;

  void at_least(std::int64_t opset, const std::string& who, const std::string& why) {
    if (opset <= lowest) return;
    lowest = opset;
    why_lowest = fmt::format("{} needs opset {}{}{}", who, opset, why.empty() ? "" : ": ", why);
  }
  void at_most(std::int64_t opset, const std::string& who, const std::string& why) {
    if (opset >= highest) return;
    highest = opset;
    why_highest = fmt::format("{} needs opset {} or lower: {}", who, opset, why);
  }
};

/// 16-bit codes; need_value() covers all others.
void need_code_type(const Graph& graph, const Node& node, Needs& needs) {
  const ValueId codes = std::holds_alternative<QuantizeLinear>(node.op) ? node.outputs[0] : node.inputs[0];
  const DataType type = graph.value(codes).dtype;
  if (type == DataType::int16 || type == DataType::uint16)
    needs.at_least(21, where(node), fmt::format("its codes are {}", to_string(type)));
  const auto* op = std::get_if<DequantizeLinear>(&node.op);
  if (op != nullptr && op->output_dtype) needs.at_least(23, where(node), "it has output_dtype");
}

void need_operator(const Graph& graph, const Node& node, bool may_split, Needs& needs) {
  const ops::OperatorInfo& row = ops::info(node.op);
  if (!row.domain.empty()) return;
  bool has_older_form = row.since <= kOldestOpset;
  for (const Lowering& older : kLowerings) {
    if (older.type != row.name) continue;
    has_older_form |= older.since == row.since;
    const Reason reason = older.why_not == nullptr || (older.is_split && !may_split)
                              ? Reason("older opsets do not have it")
                              : older.why_not(graph, node);
    if (reason) needs.at_least(older.since, where(node), *reason);
  }
  if (!has_older_form) needs.at_least(row.since, where(node), "older opsets do not have it");
  for (const TypeLimit& limit : kTypeLimits)
    if (limit.type == row.name && has(node, 0))
      if (const DataType type = graph.value(node.inputs[0]).dtype; !limit.types.contains(type)) {
        // A node whose input type is unknown is assumed valid in Graph::opset, because it was read from such a file.
        const bool was_valid = type == DataType::unknown && graph.opset > 0;
        const std::int64_t since = was_valid ? std::min(limit.since, graph.opset) : limit.since;
        needs.at_least(since, where(node), fmt::format("its input has element type {}", to_string(type)));
      }
  if (row.name == "QuantizeLinear" || row.name == "DequantizeLinear") need_code_type(graph, node, needs);
  const Value* base = input(graph, node, 0);
  const Value* exponent = input(graph, node, 1);
  if (row.name == "Pow" && base != nullptr && exponent != nullptr && base->dtype != exponent->dtype)
    needs.at_least(12, where(node), "its inputs differ in type");
}

void need_unknown(const Node& node, const Opaque& op, Needs& needs) {
  if (!op.domain.empty()) return;
  const OpsetRange range = opsets_of_same_meaning(op.type, op.opset);
  const std::string why = fmt::format("Bitfold does not convert it from opset {}", op.opset);
  needs.at_least(range.first, where(node), why);
  needs.at_most(range.last, where(node), why);
}

void need_value(const Value& value, bool is_computed, Needs& needs) {
  const std::string who = fmt::format("value '{}'", value.name);
  if (value.dtype == DataType::bfloat16) needs.at_least(13, who, "its type is bfloat16");
  if (!value.quant) {
    const DataType type = value.constant ? value.constant->dtype() : value.dtype;
    if (ops::kReal8.contains(type)) needs.at_least(19, who, "its reals have 8 bits");
    if (type == DataType::int4 || type == DataType::uint4) needs.at_least(21, who, "its type has 4 bits");
    if (type == DataType::float4e2m1) needs.at_least(23, who, "its reals have 4 bits");
    if (type == DataType::float8e8m0) needs.at_least(24, who, "its reals have an exponent only");
    if (type == DataType::int2 || type == DataType::uint2) needs.at_least(25, who, "its type has 2 bits");
  }
  if (!value.quant) return;
  needs.at_least(10, who, "it has a grid");
  if (is_computed && value.quant->bits != 8 && value.quant->bits != 16)
    needs.at_least(11, who, "its grid needs a Clip");
  if (value.quant->per_channel()) needs.at_least(13, who, "its grid has a scale for each channel");
  if (value.quant->has_blocks()) needs.at_least(21, who, "its grid has a scale for each block");
  const DataType type = file_type(value);
  if (type == DataType::int2 || type == DataType::uint2) needs.at_least(25, who, "its codes have 2 bits");
  if (type != DataType::int8 && type != DataType::uint8 && type != DataType::int32)
    needs.at_least(21, who, fmt::format("its codes have type {}", to_string(type)));
}

void need_graph(const Graph& graph, bool may_split, Needs& needs) {
  for (ValueId id : graph.values()) {
    if (graph.is_constant(id) && graph.consumers(id).empty() && !graph.is_output(id)) continue;
    need_value(graph.value(id), !graph.is_constant(id), needs);
  }
  for (NodeId id : graph.nodes()) {
    const Node& node = graph.node(id);
    if (const auto* opaque = std::get_if<Opaque>(&node.op))
      need_unknown(node, *opaque, needs);
    else
      need_operator(graph, node, may_split, needs);
    for (const auto& body : node.bodies) need_graph(*body, may_split, needs);
  }
}

}  // namespace

std::int64_t choose_opset(const Graph& graph, std::optional<std::int64_t> wanted) {
  if (wanted)
    check(*wanted >= kOldestOpset && *wanted <= kLatestOpset, "opset {} was requested; {} to {} can be written",
          *wanted, kOldestOpset, kLatestOpset);
  Needs needs;
  need_graph(graph, wanted.has_value(), needs);
  check(needs.lowest <= needs.highest, "no opset can express the whole network: {}, but {}", needs.why_lowest,
        needs.why_highest);
  if (wanted) {
    check(*wanted >= needs.lowest, "cannot be written in opset {}: {}", *wanted, needs.why_lowest);
    check(*wanted <= needs.highest, "cannot be written in opset {}: {}", *wanted, needs.why_highest);
    return *wanted;
  }
  const std::int64_t own = graph.opset > 0 ? graph.opset : kDefaultOpset;
  return std::clamp(std::clamp(own, kOldestOpset, kLatestOpset), needs.lowest, needs.highest);
}

void lower(NodeWriting& writing) {
  const ops::OperatorInfo& row = ops::info(writing.node.op);
  if (!row.domain.empty()) return;
  const std::string_view name = row.name;
  if (name == "Pad") expand_pad_axes(writing);
  if (name == "Split" && !has(writing.node, 1) && writing.opset >= 18)
    set_integer(writing.proto, "num_outputs", writing.proto.output_size());
  for (const Lowering& older : kLowerings)
    if (older.type == name && writing.opset < older.since && older.write != nullptr) older.write(writing);
}

bool has_lowering(std::string_view type, std::int64_t since) {
  return std::ranges::any_of(kLowerings,
                             [&](const Lowering& older) { return older.type == type && older.since == since; });
}

std::int64_t ir_version(std::int64_t opset) {
  constexpr std::pair<std::int64_t, std::int64_t> kVersions[] = {{28, 14}, {25, 13}, {24, 12}, {23, 11}, {21, 10},
                                                                 {19, 9},  {15, 8},  {12, 7},  {11, 6},  {10, 5}};
  for (const auto& [since, version] : kVersions)
    if (opset >= since) return version;
  return 4;  // older versions list every initializer as an input
}

}  // namespace bitfold
