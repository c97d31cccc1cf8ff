// Older forms of layers, elementwise functions, reductions and bodies.
#include <algorithm>
#include <cmath>

#include "base/check.h"
#include "onnx/attributes.h"
#include "onnx/lift.h"
#include "onnx/older_forms.h"
#include "ops/operator.h"

namespace bitfold::older {
namespace {

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
Reason why_variadic(const Graph& graph, const Node& node) {
  for (std::size_t i = 1; i < node.inputs.size(); ++i)
    if (!shape_of(graph, node, i) || shape_of(graph, node, i) != shape_of(graph, node, 0))
      return "its inputs differ in shape";
  return std::nullopt;
}
Reason why_mod(const Graph& graph, const Node& node) {
  const Value* a = input(graph, node, 0);
  if (std::get<Binary>(node.op).fmod || a == nullptr || a->dtype != DataType::float32) return std::nullopt;
  return "its result has the sign of the divisor, and its inputs are reals";
}
Reason why_reduce(const Graph& graph, const Node& node) {
  const bool has_axes = has(node, 1) && !(constant(graph, node, 1) != nullptr && constant(graph, node, 1)->size() == 0);
  if (std::get<Reduce>(node.op).noop_with_empty_axes && !has_axes) return "it has no axes and keeps its input";
  return unless_constant(graph, node, {1});
}
Reason why_dft(const Graph& graph, const Node& node) { return unless_constant(graph, node, {2}); }
Reason why_recurrent(const Graph&, const Node& node) {
  if (std::get<Recurrent>(node.op).batch_first) return "its batch is the first axis (layout 1)";
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
void lower_clip(NodeWriting& w) {
  input_to_attribute(w, 1, "min");
  input_to_attribute(w, 2, "max");
}
// The axis becomes an attribute, whose default differs from that of the input.
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
void lower_reduce(NodeWriting& w) {
  remove_attribute(w.proto, "noop_with_empty_axes");
  if (const Tensor* axes = constant(w.graph, w.node, 1); axes != nullptr && axes->size() == 0)
    drop_input(w.proto, 1);
  else
    input_to_attribute(w, 1, "axes");
}
void drop_axis(NodeWriting& w) { remove_attribute(w.proto, "axis"); }
void drop_saturate(NodeWriting& w) { remove_attribute(w.proto, "saturate"); }
void lower_softmax(NodeWriting& w) {
  const auto* softmax = std::get_if<Softmax>(&w.node.op);
  remove_attribute(w.proto, "axis");
  set_integer(w.proto, "axis", softmax != nullptr ? softmax->axis : std::get<Hardmax>(w.node.op).axis);
}
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

constexpr Form kComputingForms[] = {
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
    {"DequantizeLinear", 21, why_quantize_21<DequantizeLinear>},
    {"DequantizeLinear", 13, why_quantize_13, drop_axis},
    {"DequantizeLinear", 10, nullptr},
    {"Equal", 11, never},
    {"GRU", 14, why_recurrent},
    {"Gelu", 20, never, split_gelu, true},
    {"Gelu", 9, nullptr},
    {"Greater", 9, never},
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
    {"Scan", 16, never},
    {"Scan", 9, nullptr},
    {"Softmax", 13, why_softmax, lower_softmax},
    {"Sum", 8, why_variadic},
};

}  // namespace

std::span<const Form> computing_forms() { return kComputingForms; }

}  // namespace bitfold::older
