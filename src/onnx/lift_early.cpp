// Forms of operators before opset 7, mostly of files of 2017. Until then, the second operand of Add and similar
// operators was broadcast along given axes, and BatchNormalization had the attribute is_test.
#include <algorithm>
#include <array>

#include "onnx/lift.h"

namespace bitfold {
namespace {

using Ints = std::vector<std::int64_t>;
using Reason = std::optional<std::string>;

/// Appends axes of length 1 to input `slot`.
Reason append_axes(NodeForm& node, std::size_t slot, std::size_t count) {
  if (count == 0) return std::nullopt;
  const std::optional<Shape> shape = node.shape(slot);
  if (const Tensor* constant = node.constant(slot)) {
    Shape longer = constant->shape();
    longer.insert(longer.end(), count, 1);
    node.set_constant(slot, "broadcast", constant->reshaped(longer));
    return std::nullopt;
  }
  Ints axes;
  for (std::size_t i = 0; i < count; ++i) axes.push_back(std::ssize(*shape) + static_cast<std::int64_t>(i));
  const ValueId list = node.add_constant(node.proto.output(0) + "/axes", false, int64_vector(axes));
  node.inputs[slot] = node.add_node(Unsqueeze{}, {node.inputs[slot], list}, "broadcast");
  return std::nullopt;
}

/// With `broadcast`, the second input has the first input's axes from `axis` on; without `axis`, its last axes.
Reason lift_broadcast(NodeForm& node) {
  const bool broadcasts = node.take<std::int64_t>("broadcast").value_or(0) != 0;
  const std::optional<std::int64_t> axis = node.take<std::int64_t>("axis");
  if (!broadcasts || !axis) return std::nullopt;
  const std::optional<Shape> a = node.shape(0), b = node.shape(1);
  if (!a || !b) return "the rank of its inputs is unknown";
  const std::int64_t rank = std::ssize(*a), first = *axis < 0 ? *axis + rank : *axis;
  if (b->empty()) return std::nullopt;
  check(first >= 0 && first + std::ssize(*b) <= rank, "has axis {} for inputs of shape {} and {}", *axis, to_string(*a),
        to_string(*b));
  return append_axes(node, 1, static_cast<std::size_t>(rank - first - std::ssize(*b)));
}

/// Slopes per channel were a vector; now their shape broadcasts.
Reason lift_prelu(NodeForm& node) {
  const std::optional<Shape> x = node.shape(0), slope = node.shape(1);
  if (!x || !slope) return "the rank of its inputs is unknown";
  if (slope->size() != 1 || (*slope)[0] == 1 || x->size() < 3) return std::nullopt;
  return append_axes(node, 1, x->size() - 2);
}

Reason lift_early_batch_norm(NodeForm& node) {
  check(node.take<std::int64_t>("is_test").value_or(0) != 0 || node.proto.output_size() == 1,
        "is in training mode; export the model for inference (model.eval())");
  return std::nullopt;
}

Reason lift_cast(NodeForm& node) {
  const auto to = node.attributes.find("to");
  const auto* word = to == node.attributes.end() ? nullptr : std::get_if<std::string>(&to->second);
  if (word == nullptr) return std::nullopt;
  onnx::TensorProto::DataType type{};
  check(onnx::TensorProto::DataType_Parse(*word, &type), "attribute 'to' is '{}', which is not an element type", *word);
  to->second = std::int64_t{type};
  return std::nullopt;
}

Reason lift_concat(NodeForm& node) {
  if (node.opset < 4) node.attributes.try_emplace("axis", std::int64_t{1});
  return std::nullopt;
}

/// C now broadcasts without the attribute `broadcast`.
Reason lift_gemm(NodeForm& node) {
  node.take<std::int64_t>("broadcast");
  return std::nullopt;
}

Reason lift_early_pad(NodeForm& node) {
  if (const auto pads = node.take<Ints>("paddings")) node.attributes["pads"] = *pads;
  return std::nullopt;
}

Reason lift_reshape(NodeForm& node) {
  if (const auto shape = node.take<Ints>("shape")) node.set_constant(1, "shape", int64_vector(*shape));
  return std::nullopt;
}

/// The defaults had fewer digits.
Reason lift_selu(NodeForm& node) {
  if (node.opset >= 6) return std::nullopt;
  node.attributes.try_emplace("alpha", 1.6732F);
  node.attributes.try_emplace("gamma", 1.0507F);
  return std::nullopt;
}

Reason lift_early_split(NodeForm& node) {
  if (node.opset < 2 && node.has(1)) return "its sizes are an input of opset 1";
  return std::nullopt;
}

/// x, the number of repetitions, the axis
Reason lift_tile(NodeForm& node) {
  if (node.opset >= 6) return std::nullopt;
  const std::optional<Shape> shape = node.shape(0);
  const Tensor *tiles = node.constant(1), *axis = node.constant(2);
  if (!shape || tiles == nullptr || axis == nullptr) return "its repetitions or their axis are computed";
  const auto number = [](const Tensor& t) -> std::optional<std::int64_t> {
    if (t.size() != 1) return std::nullopt;
    if (t.dtype() == DataType::float32) return static_cast<std::int64_t>(t.data<float>()[0]);
    if (t.dtype() == DataType::int64) return t.data<std::int64_t>()[0];
    if (t.dtype() == DataType::int32) return t.data<std::int32_t>()[0];
    return std::nullopt;
  };
  const auto count = number(*tiles), at = number(*axis);
  if (!count || !at) return "its repetitions or their axis are not one number";
  check(*at >= 0 && *at < std::ssize(*shape), "has axis {} for an input of shape {}", *at, to_string(*shape));
  Ints repeats(shape->size(), 1);
  repeats[static_cast<std::size_t>(*at)] = *count;
  node.inputs.erase(node.inputs.begin() + 1, node.inputs.end());
  node.set_constant(1, "repeats", int64_vector(repeats));
  return std::nullopt;
}

Reason lift_early_upsample(NodeForm& node) {
  const auto width = node.take<float>("width_scale"), height = node.take<float>("height_scale");
  check(width && height, "attribute 'width_scale' or 'height_scale' is missing");
  node.attributes["scales"] = std::vector<float>{1, 1, *height, *width};
  return std::nullopt;
}

struct EarlyLift {
  std::string_view type;
  Reason (*function)(NodeForm& node);
};
constexpr EarlyLift kEarlyLifts[] = {
    {"Add", lift_broadcast},   {"And", lift_broadcast}, {"BatchNormalization", lift_early_batch_norm},
    {"Cast", lift_cast},       {"Concat", lift_concat}, {"Div", lift_broadcast},
    {"Equal", lift_broadcast}, {"Gemm", lift_gemm},     {"Greater", lift_broadcast},
    {"Less", lift_broadcast},  {"Mul", lift_broadcast}, {"Or", lift_broadcast},
    {"PRelu", lift_prelu},     {"Pad", lift_early_pad}, {"Pow", lift_broadcast},
    {"Reshape", lift_reshape}, {"Selu", lift_selu},     {"Split", lift_early_split},
    {"Sub", lift_broadcast},   {"Tile", lift_tile},     {"Upsample", lift_early_upsample},
    {"Xor", lift_broadcast},
};

/// Operators that opset 7 was the first to have.
constexpr std::array<std::string_view, 7> kOfOpset7{"Acos", "Asin", "Atan", "Cos", "Multinomial", "Sin", "Tan"};

}  // namespace

std::optional<std::string> lift_early(NodeForm& node) {
  if (std::ranges::find(kOfOpset7, node.type) != kOfOpset7.end())
    return fmt::format("opset {} does not have it, 7 is the first", node.opset);
  node.attributes.erase("consumed_inputs");  // which inputs an output may overwrite
  const auto* const early = std::ranges::find(kEarlyLifts, node.type, &EarlyLift::type);
  return early == std::end(kEarlyLifts) ? std::nullopt : early->function(node);
}

}  // namespace bitfold
