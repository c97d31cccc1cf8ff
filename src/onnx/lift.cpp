#include "onnx/lift.h"

#include <algorithm>
#include <limits>

#include "base/check.h"

namespace bitfold {
namespace {

using Ints = std::vector<std::int64_t>;
using Reason = std::optional<std::string>;

/// An attribute of an older opset becomes the constant input of the present form.
void attribute_to_input(NodeForm& node, std::string_view name, std::size_t slot) {
  const auto values = node.take<Ints>(name);
  if (!values) return;
  check(!node.has(slot), "has {} both as attribute and as input", name);
  node.set_constant(slot, name, int64_vector(*values));
}

constexpr const char* kTraining = "is in training mode; export the model for inference (model.eval())";

/// Several outputs meant training mode. Until opset 8, `spatial=0` meant statistics per element instead of per channel.
Reason lift_batch_norm(NodeForm& node) {
  const auto& outputs = node.proto.output();
  check(std::count_if(outputs.begin(), outputs.end(), [](const auto& name) { return !name.empty(); }) <= 1, kTraining);
  if (node.take<std::int64_t>("spatial").value_or(1) != 1) return "its statistics are per element (spatial=0)";
  return std::nullopt;
}
Reason check_batch_norm(NodeForm& node) {
  check(node.take<std::int64_t>("training_mode").value_or(0) == 0, kTraining);
  return std::nullopt;
}

/// The bounds were attributes. The defaults, the extremes of the type, mean no bound.
Reason lift_clip(NodeForm& node) {
  constexpr float kLowest = std::numeric_limits<float>::lowest(), kHighest = std::numeric_limits<float>::max();
  const float low = node.take<float>("min").value_or(kLowest), high = node.take<float>("max").value_or(kHighest);
  if (low != kLowest) node.set_constant(1, "min", float_scalar(low));
  if (high != kHighest) node.set_constant(2, "max", float_scalar(high));
  return std::nullopt;
}

/// The axis was an attribute. Its default was 1; now it is -2.
Reason lift_dft(NodeForm& node) {
  const std::int64_t axis = node.take<std::int64_t>("axis").value_or(1);
  const bool is_named = node.proto.doc_string().find(fmt::format("{}axis=", kConstantName)) != std::string::npos;
  if (axis != -2 || is_named)
    node.set_constant(2, "axis", Tensor::from<std::int64_t>({}, std::span<const std::int64_t>(&axis, 1)));
  return std::nullopt;
}

/// In inference, Dropout copies its input, and its mask keeps every element. Until opset 9 the mask was real.
Reason lift_dropout(NodeForm& node) {
  node.attributes.clear();  // ratio, seed
  if (node.has(2)) {
    const Tensor* training = node.constant(2);
    if (training == nullptr) return "its training_mode is not a constant";
    if (training->size() != 1 || training->bytes()[0] != std::byte{0}) return "it is in training mode";
  }
  check(!node.inputs.empty(), "has no inputs");
  node.inputs.erase(node.inputs.begin() + 1, node.inputs.end());
  node.type = "Identity";
  if (node.output_count < 2) return std::nullopt;
  const std::string& mask = node.proto.output(1);
  Tensor kept(node.opset < 10 ? DataType::float32 : DataType::boolean, {1});
  if (node.opset < 10)
    kept.mutable_data<float>()[0] = 1;
  else
    kept.mutable_data<bool>()[0] = true;
  const ValueId shape = node.add_output(ShapeOf{}, node.inputs[0], mask + "/shape");
  node.computed[1] = node.add_output(ConstantOfShape{std::move(kept)}, shape, mask);
  return std::nullopt;
}

/// The scale and the bias had one number for each group; now they have one for each channel.
Reason lift_group_norm(NodeForm& node) {
  const auto it = node.attributes.find("num_groups");
  const auto* groups = it == node.attributes.end() ? nullptr : std::get_if<std::int64_t>(&it->second);
  check(groups != nullptr && *groups >= 1, "attribute 'num_groups' is missing or not positive");
  const std::optional<Shape> shape = node.shape(0);
  if (!shape || shape->size() < 2 || (*shape)[1] < 0) return "its number of channels is unknown";
  const std::int64_t channels = (*shape)[1];
  check(channels % *groups == 0, "{} channels cannot be divided into {} groups", channels, *groups);
  for (std::size_t slot : {1U, 2U}) {
    const Tensor* given = node.constant(slot);
    if (given == nullptr || given->dtype() != DataType::float32)
      return fmt::format("its {} per group is not a float32 constant", slot == 1 ? "scale" : "bias");
    check(given->size() == *groups, "{} has {} elements, expected {}", slot == 1 ? "scale" : "bias", given->size(),
          *groups);
    Tensor spread(DataType::float32, {channels});
    for (std::int64_t c = 0; c < channels; ++c)
      spread.mutable_data<float>()[static_cast<std::size_t>(c)] =
          given->data<float>()[static_cast<std::size_t>(c / (channels / *groups))];
    node.set_constant(slot, slot == 1 ? "scale" : "bias", std::move(spread));
  }
  return std::nullopt;
}

/// Before opset 28, fmod=0 (the remainder has the divisor's sign) was defined for integers only.
Reason check_mod(NodeForm& node) {
  const auto fmod = node.attributes.find("fmod");
  const bool is_c = fmod != node.attributes.end() && fmod->second == ops::AttributeValue(std::int64_t{1});
  if (!is_c && node.has(0) && node.graph.value(node.inputs[0]).dtype == DataType::float32)
    return "fmod=0 is not defined for reals before opset 28";
  return std::nullopt;
}

Reason lift_pad(NodeForm& node) {
  attribute_to_input(node, "pads", 1);
  const float value = node.take<float>("value").value_or(0);
  if (value != 0) node.set_constant(2, "value", float_scalar(value));
  return std::nullopt;
}

Reason lift_axes(NodeForm& node) {
  attribute_to_input(node, "axes", 1);
  return std::nullopt;
}

/// The region of interest is used only by tf_crop_and_resize. Opset 11 and 12 omit an optional tensor by giving an
/// empty one.
Reason check_resize(NodeForm& node) {
  const auto coordinates = node.attributes.find("coordinate_transformation_mode");
  const bool crops = coordinates != node.attributes.end() &&
                     coordinates->second == ops::AttributeValue(std::string("tf_crop_and_resize"));
  if (node.has(1) && !crops) node.inputs[1] = ValueId::none;
  for (std::size_t slot : {2U, 3U})
    if (const Tensor* given = node.constant(slot); given != nullptr && given->size() == 0)
      node.inputs[slot] = ValueId::none;
  check(node.has(2) != node.has(3), "has {} of the inputs scales and sizes, expected exactly one",
        node.has(2) ? "both" : "none");
  return std::nullopt;
}

/// Upsample, and Resize in opset 10: inputs x and scales; output i reads element floor(i / scale).
Reason lift_upsample(NodeForm& node) {
  const auto mode = node.attributes.find("mode");
  if (mode != node.attributes.end() && mode->second == ops::AttributeValue(std::string("bilinear")))
    mode->second = std::string("linear");
  if (const auto scales = node.take<std::vector<float>>("scales"))
    node.set_constant(1, "scales", Tensor::from({static_cast<std::int64_t>(scales->size())}, *scales));
  check(node.inputs.size() == 2 && node.has(1), "has no scales");
  node.inputs = {node.inputs[0], ValueId::none, node.inputs[1]};
  node.attributes["coordinate_transformation_mode"] = std::string("asymmetric");
  node.attributes["nearest_mode"] = std::string("floor");
  node.type = "Resize";
  return std::nullopt;
}

/// Element type 0 means that the attribute is absent.
Reason drop_undefined_type(NodeForm& node) {
  const auto type = node.attributes.find("output_dtype");
  if (type != node.attributes.end() && type->second == ops::AttributeValue(std::int64_t{0}))
    node.attributes.erase(type);
  return std::nullopt;
}

/// k was an attribute.
Reason lift_top_k(NodeForm& node) {
  const auto k = node.take<std::int64_t>("k");
  check(k.has_value(), "attribute 'k' is missing");
  node.set_constant(1, "k", int64_vector({*k}));
  return std::nullopt;
}

/// The deprecated name of ScatterElements.
Reason lift_scatter(NodeForm& node) {
  node.type = "ScatterElements";
  return std::nullopt;
}

/// Before half_pixel was the default, coordinates had no other form than output_half_pixel.
Reason lift_roi_align(NodeForm& node) {
  node.attributes["coordinate_transformation_mode"] = std::string("output_half_pixel");
  return std::nullopt;
}

/// Modes were named after images of two axes.
Reason lift_grid_sample(NodeForm& node) {
  const auto mode = node.attributes.find("mode");
  if (mode == node.attributes.end()) return std::nullopt;
  for (const auto& [older, present] : {std::pair{"bilinear", "linear"}, {"bicubic", "cubic"}})
    if (mode->second == ops::AttributeValue(std::string(older))) {
      mode->second = std::string(present);
      return std::nullopt;
    }
  return std::nullopt;
}

Reason lift_scan(NodeForm&) { return "Scan of opset 8 has a batch axis"; }

Reason lift_slice(NodeForm& node) {
  attribute_to_input(node, "starts", 1);
  attribute_to_input(node, "ends", 2);
  attribute_to_input(node, "axes", 3);
  check(node.has(1) && node.has(2), "attribute 'starts' or 'ends' is missing");
  return std::nullopt;
}

Reason lift_softmax(NodeForm& node) {
  const std::int64_t axis = node.take<std::int64_t>("axis").value_or(1);
  node.attributes["axis"] = axis;
  if (!is_along_one_axis(node.shape(0), axis)) node.internal["flattened"] = std::int64_t{1};
  return std::nullopt;
}

Reason lift_split(NodeForm& node) {
  attribute_to_input(node, "split", 1);
  return std::nullopt;
}

/// num_outputs must equal the node's number of outputs.
Reason check_split(NodeForm& node) {
  if (const auto count = node.take<std::int64_t>("num_outputs"))
    check(*count == node.proto.output_size(), "num_outputs is {}, but the node has {} outputs", *count,
          node.proto.output_size());
  return std::nullopt;
}

/// Up to opset `last`, an operator has the form that `function` converts to the next one. Null: the next form includes
/// the older one. A function for kLatestOpset checks properties that the operator's row does not express.
struct Lift {
  std::string_view type;
  std::int64_t last;
  Reason (*function)(NodeForm& node);
};
/// Each operator's rows are in the order of opsets.
constexpr Lift kLifts[] = {
    {"ArgMax", 11, nullptr},
    {"ArgMin", 11, nullptr},
    {"Attention", 24, nullptr},
    {"AveragePool", 18, nullptr},
    {"BatchNormalization", 13, lift_batch_norm},
    {"BatchNormalization", kLatestOpset, check_batch_norm},
    {"Cast", 8, nullptr},
    {"Clip", 10, lift_clip},
    {"DFT", 19, lift_dft},
    {"DequantizeLinear", kLatestOpset, drop_undefined_type},
    {"Dropout", kLatestOpset, lift_dropout},
    {"Equal", 10, nullptr},
    {"Flatten", 8, nullptr},
    {"GRU", 13, nullptr},
    {"Greater", 8, nullptr},
    {"GatherND", 11, nullptr},
    {"GridSample", 19, lift_grid_sample},
    {"GroupNormalization", 20, lift_group_norm},
    {"Hardmax", 12, lift_softmax},
    {"If", 15, nullptr},
    {"LSTM", 13, nullptr},
    {"LayerNormalization", 16, nullptr},  // ONNX Runtime writes it in older opsets, too
    {"Less", 8, nullptr},
    {"LogSoftmax", 12, lift_softmax},
    {"Loop", 15, nullptr},
    {"LpPool", 17, nullptr},
    {"Max", 7, nullptr},
    {"MaxPool", 11, nullptr},
    {"Mean", 7, nullptr},
    {"Min", 7, nullptr},
    {"Mod", 27, check_mod},
    {"PRelu", 8, nullptr},
    {"Pad", 10, lift_pad},
    {"Pad", 17, nullptr},
    {"Pad", 18, nullptr},
    {"Pow", 12, nullptr},
    {"RNN", 13, nullptr},
    {"QuantizeLinear", kLatestOpset, drop_undefined_type},
    {"ReduceL1", 17, lift_axes},
    {"ReduceL2", 17, lift_axes},
    {"ReduceLogSum", 17, lift_axes},
    {"ReduceLogSumExp", 17, lift_axes},
    {"ReduceMax", 17, lift_axes},
    {"ReduceMean", 17, lift_axes},
    {"ReduceMin", 17, lift_axes},
    {"ReduceProd", 17, lift_axes},
    {"ReduceSum", 12, lift_axes},
    {"ReduceSumSquare", 17, lift_axes},
    {"Reshape", 13, nullptr},
    {"Resize", 10, lift_upsample},
    {"Resize", 18, nullptr},
    {"Resize", kLatestOpset, check_resize},
    {"RoiAlign", 15, lift_roi_align},
    {"Scan", 8, lift_scan},
    {"Scan", 15, nullptr},
    {"Scatter", 10, lift_scatter},
    {"ScatterElements", 17, nullptr},
    {"ScatterND", 17, nullptr},
    {"Shape", 14, nullptr},
    {"Slice", 9, lift_slice},
    {"Softmax", 12, lift_softmax},
    {"SpaceToDepth", 27, nullptr},
    {"Split", 12, lift_split},
    {"Split", 17, nullptr},
    {"Split", kLatestOpset, check_split},
    {"Squeeze", 12, lift_axes},
    {"Sum", 7, nullptr},
    {"TopK", 9, lift_top_k},
    {"TopK", 10, nullptr},
    {"Unsqueeze", 12, lift_axes},
    {"Upsample", 9, lift_upsample},
};

}  // namespace

bool is_along_one_axis(const std::optional<Shape>& shape, std::int64_t axis) {
  if (axis == -1) return true;
  if (!shape) return false;
  const auto rank = static_cast<std::int64_t>(shape->size());
  const std::int64_t first = axis < 0 ? axis + rank : axis;
  for (std::int64_t i = first + 1; i >= 0 && i < rank; ++i)
    if ((*shape)[static_cast<std::size_t>(i)] != 1) return false;
  return true;
}

const Tensor* NodeForm::constant(std::size_t slot) const {
  if (!has(slot)) return nullptr;
  const Value& value = graph.value(inputs[slot]);
  return value.constant && !value.quant ? &*value.constant : nullptr;
}

std::optional<Shape> NodeForm::shape(std::size_t slot) const {
  return has(slot) ? graph.value(inputs[slot]).shape : std::nullopt;
}

void NodeForm::set_constant(std::size_t slot, std::string_view what, Tensor tensor) {
  if (inputs.size() <= slot) inputs.resize(slot + 1, ValueId::none);
  const std::string key = fmt::format("{}{}=", kConstantName, what);
  if (const std::size_t at = proto.doc_string().find(key); at != std::string::npos) {
    const std::size_t begin = at + key.size();
    inputs[slot] = add_constant(proto.doc_string().substr(begin, proto.doc_string().find('\n', begin) - begin), true,
                                std::move(tensor));
    return;
  }
  const std::string owner = proto.output_size() > 0 ? proto.output(0) : proto.name();
  inputs[slot] = add_constant(fmt::format("{}/{}", owner, what), false, std::move(tensor));
}

std::optional<std::string> lift(NodeForm& node) {
  if (node.opset < kOldestOpset)
    if (Reason reason = lift_early(node)) return reason;
  std::int64_t reached = std::max(node.opset, kOldestOpset);
  for (const Lift& older : kLifts) {
    if (older.type != node.type || reached > older.last) continue;
    if (older.function != nullptr)
      if (Reason reason = older.function(node)) return reason;
    if (older.type != node.type) return std::nullopt;  // another operator, in its present form
    reached = std::min(older.last + 1, kLatestOpset);
  }
  return std::nullopt;
}

bool has_lift(std::string_view type, std::int64_t opset, std::int64_t since) {
  if (opset < kOldestOpset) return since <= kOldestOpset || has_lift(type, kOldestOpset, since);
  return std::ranges::any_of(
      kLifts, [&](const Lift& older) { return older.type == type && opset <= older.last && older.last < since; });
}

bool has_lift(std::string_view type) {
  return std::ranges::any_of(kLifts, [&](const Lift& older) { return older.type == type; });
}

Tensor int64_vector(const std::vector<std::int64_t>& values) {
  return Tensor::from({static_cast<std::int64_t>(values.size())}, values);
}

Tensor float_scalar(float value) { return Tensor::from<float>({}, std::span<const float>(&value, 1)); }

}  // namespace bitfold
