// Operators that move, repeat, cut or resample elements, and the shape arithmetic around them.
#include <algorithm>
#include <numeric>

#include "base/check.h"
#include "onnx/op_table.h"

namespace bitfold {
namespace {

// An attribute of an older opset becomes the constant input it is today.
void attribute_to_input(NodeImport& node, const char* name, std::size_t slot) {
  if (const auto values = node.attributes.integers(name)) node.set_constant(slot, name, int64_vector(*values));
}

std::int64_t required_integer(NodeImport& node, const char* name) {
  const auto value = node.attributes.integer(name);
  check(value.has_value(), "attribute '{}' is missing", name);
  return *value;
}

std::optional<Op> import_concat(NodeImport& node) {
  check(!node.inputs.empty(), "has no inputs");
  return Concat{required_integer(node, "axis")};
}
void export_concat(const Op& op, onnx::NodeProto& node) { set_integer(node, "axis", std::get<Concat>(op).axis); }

std::optional<Op> import_split(NodeImport& node) {
  attribute_to_input(node, "split", 1);
  if (const auto count = node.attributes.integer("num_outputs"))
    check(*count == node.proto.output_size(), "num_outputs is {}, the node has {}", *count, node.proto.output_size());
  return Split{node.attributes.integer("axis", 0)};
}
void export_split(const Op& op, onnx::NodeProto& node) {
  set_integer(node, "axis", std::get<Split>(op).axis);
  if (node.input_size() < 2 || node.input(1).empty()) set_integer(node, "num_outputs", node.output_size());
}

std::optional<Op> import_flatten(NodeImport& node) { return Flatten{node.attributes.integer("axis", 1)}; }
void export_flatten(const Op& op, onnx::NodeProto& node) { set_integer(node, "axis", std::get<Flatten>(op).axis); }

std::optional<Op> import_reshape(NodeImport& node) { return Reshape{node.attributes.integer("allowzero", 0) != 0}; }
void export_reshape(const Op& op, onnx::NodeProto& node) {
  set_integer(node, "allowzero", std::get<Reshape>(op).allow_zero ? 1 : 0);
}

// Without perm the axes are reversed, which needs the rank.
std::optional<Op> import_transpose(NodeImport& node) {
  if (const auto perm = node.attributes.integers("perm"); perm && !perm->empty()) return Transpose{*perm};
  const auto rank = node.rank(0);
  if (!rank || *rank == 0) return std::nullopt;
  std::vector<std::int64_t> reversed(static_cast<std::size_t>(*rank));
  std::iota(reversed.rbegin(), reversed.rend(), 0);
  return Transpose{reversed};
}
void export_transpose(const Op& op, onnx::NodeProto& node) { set_integers(node, "perm", std::get<Transpose>(op).perm); }

std::optional<Op> import_squeeze(NodeImport& node) {
  attribute_to_input(node, "axes", 1);
  return Squeeze{};
}
std::optional<Op> import_unsqueeze(NodeImport& node) {
  attribute_to_input(node, "axes", 1);
  check(node.has(1), "has no axes");
  return Unsqueeze{};
}

std::optional<Op> import_slice(NodeImport&) { return Slice{}; }
std::optional<Op> import_slice_1(NodeImport& node) {
  attribute_to_input(node, "starts", 1);
  attribute_to_input(node, "ends", 2);
  attribute_to_input(node, "axes", 3);
  check(node.has(1) && node.has(2), "attribute 'starts' or 'ends' is missing");
  return Slice{};
}

std::optional<Op> import_gather(NodeImport& node) { return Gather{node.attributes.integer("axis", 0)}; }
void export_gather(const Op& op, onnx::NodeProto& node) { set_integer(node, "axis", std::get<Gather>(op).axis); }

std::optional<Op> import_pad(NodeImport& node) {
  const std::string mode = node.attributes.word("mode", "constant");
  if (node.opset < 11) {
    attribute_to_input(node, "pads", 1);
    const float value = node.attributes.real("value", 0);
    if (value != 0) node.set_constant(2, "value", float_scalar(value));
  }
  check(node.has(1), "has no pads");
  if (mode == "constant") return Pad{PadMode::constant};
  if (mode == "reflect") return Pad{PadMode::reflect};
  if (mode == "edge") return Pad{PadMode::edge};
  return std::nullopt;  // wrap
}
void export_pad(const Op& op, onnx::NodeProto& node) {
  constexpr const char* kModes[] = {"constant", "reflect", "edge"};
  set_word(node, "mode", kModes[static_cast<int>(std::get<Pad>(op).mode)]);
}

std::optional<Op> import_expand(NodeImport&) { return Expand{}; }
std::optional<Op> import_tile(NodeImport&) { return Tile{}; }
std::optional<Op> import_range(NodeImport&) { return Range{}; }

std::optional<Op> import_shape(NodeImport& node) {
  return ShapeOf{node.attributes.integer("start", 0), node.attributes.integer("end")};
}
void export_shape(const Op& op, onnx::NodeProto& node) {
  const auto& shape = std::get<ShapeOf>(op);
  set_integer(node, "start", shape.start);
  if (shape.end) set_integer(node, "end", *shape.end);
}

std::optional<Op> import_constant_of_shape(NodeImport& node) {
  const Tensor value = node.attributes.tensor("value").value_or(Tensor(DataType::float32, {1}));
  check(value.size() == 1, "attribute 'value' has {} elements, expected 1", value.size());
  return ConstantOfShape{value};
}
void export_constant_of_shape(const Op& op, onnx::NodeProto& node) {
  // The format wants one dimension of one element.
  set_tensor(node, "value", std::get<ConstantOfShape>(op).value.reshaped({1}));
}

template <class T>
struct Word {
  const char* word;
  T value;
};
constexpr Word<ResizeMode> kResizeModes[] = {
    {"nearest", ResizeMode::nearest}, {"linear", ResizeMode::linear}, {"cubic", ResizeMode::cubic}};
constexpr Word<ResizeCoordinates> kCoordinates[] = {{"half_pixel", ResizeCoordinates::half_pixel},
                                                    {"asymmetric", ResizeCoordinates::asymmetric},
                                                    {"align_corners", ResizeCoordinates::align_corners},
                                                    {"pytorch_half_pixel", ResizeCoordinates::pytorch_half_pixel}};
constexpr Word<ResizeNearest> kNearest[] = {{"round_prefer_floor", ResizeNearest::round_prefer_floor},
                                            {"round_prefer_ceil", ResizeNearest::round_prefer_ceil},
                                            {"floor", ResizeNearest::floor},
                                            {"ceil", ResizeNearest::ceil}};

template <class T, std::size_t N>
std::optional<T> value_of(const Word<T> (&words)[N], const std::string& text) {
  for (const auto& [word, value] : words)
    if (text == word) return value;
  return std::nullopt;
}
template <class T, std::size_t N>
const char* word_of(const Word<T> (&words)[N], T value) {
  for (const auto& row : words)
    if (row.value == value) return row.word;
  return "";
}

// An optional tensor of opset 11 and 12 was left out by giving an empty one.
void drop_empty_constant(NodeImport& node, std::size_t slot) {
  if (const Tensor* given = node.constant(slot); given != nullptr && given->size() == 0)
    node.inputs[slot] = ValueId::none;
}

std::optional<Op> import_resize(NodeImport& node) {
  auto& a = node.attributes;
  const auto mode = value_of(kResizeModes, a.word("mode", "nearest"));
  const auto coordinates = value_of(kCoordinates, a.word("coordinate_transformation_mode", "half_pixel"));
  const auto nearest = value_of(kNearest, a.word("nearest_mode", "round_prefer_floor"));
  const bool is_plain = a.integer("antialias", 0) == 0 && a.integer("exclude_outside", 0) == 0 &&
                        a.word("keep_aspect_ratio_policy", "stretch") == "stretch";
  a.ignore("extrapolation_value");  // of tf_crop_and_resize, which is declined
  if (!mode || !coordinates || !nearest || !is_plain) return std::nullopt;
  const Resize op{*mode, *coordinates, *nearest, a.real("cubic_coeff_a", -0.75F)};
  if (!a.all_read()) return std::nullopt;           // axes
  if (node.has(1)) node.inputs[1] = ValueId::none;  // roi belongs to tf_crop_and_resize
  drop_empty_constant(node, 2);
  drop_empty_constant(node, 3);
  check(node.has(2) != node.has(3), "has {} of scales and sizes, expected one", node.has(2) ? "both" : "none");
  return op;
}
void export_resize(const Op& op, onnx::NodeProto& node) {
  const auto& resize = std::get<Resize>(op);
  set_word(node, "mode", word_of(kResizeModes, resize.mode));
  set_word(node, "coordinate_transformation_mode", word_of(kCoordinates, resize.coordinates));
  set_word(node, "nearest_mode", word_of(kNearest, resize.nearest));
  set_real(node, "cubic_coeff_a", resize.cubic_coeff_a);
}

// Upsample and the first Resize: x, scales; output index times 1/scale, rounded down.
std::optional<Op> import_upsample(NodeImport& node) {
  const std::string word = node.attributes.word("mode", "nearest");
  const auto mode = value_of(kResizeModes, word == "bilinear" ? "linear" : word);
  if (!mode) return std::nullopt;
  if (const auto scales = node.attributes.reals("scales"))
    node.set_constant(1, "scales", Tensor::from({static_cast<std::int64_t>(scales->size())}, *scales));
  check(node.inputs.size() == 2 && node.has(1), "has no scales");
  node.inputs = {node.inputs[0], ValueId::none, node.inputs[1]};
  return Resize{*mode, ResizeCoordinates::asymmetric, ResizeNearest::floor};
}

std::optional<Op> import_depth_to_space(NodeImport& node) {
  const std::string mode = node.attributes.word("mode", "DCR");
  const std::int64_t block_size = required_integer(node, "blocksize");
  check(block_size >= 1 && block_size <= (1 << 15), "blocksize is {}", block_size);
  if (mode != "DCR" && mode != "CRD") return std::nullopt;
  return DepthToSpace{block_size, mode == "CRD"};
}
void export_depth_to_space(const Op& op, onnx::NodeProto& node) {
  const auto& d = std::get<DepthToSpace>(op);
  set_integer(node, "blocksize", d.block_size);
  set_word(node, "mode", d.column_row_depth ? "CRD" : "DCR");
}

constexpr OpRow kRows[] = {
    {"Concat", 7, kLatestOpset, import_concat, export_concat},
    {"Split", 7, kLatestOpset, import_split, export_split},
    {"Flatten", 7, kLatestOpset, import_flatten, export_flatten},
    {"Reshape", 7, kLatestOpset, import_reshape, export_reshape},
    {"Transpose", 7, kLatestOpset, import_transpose, export_transpose},
    {"Squeeze", 7, kLatestOpset, import_squeeze, export_nothing},
    {"Unsqueeze", 7, kLatestOpset, import_unsqueeze, export_nothing},
    {"Slice", 10, kLatestOpset, import_slice, export_nothing},
    {"Slice", 7, 9, import_slice_1, nullptr},
    {"Gather", 7, kLatestOpset, import_gather, export_gather},
    {"Pad", 7, kLatestOpset, import_pad, export_pad},
    {"Expand", 8, kLatestOpset, import_expand, export_nothing},
    {"Tile", 7, kLatestOpset, import_tile, export_nothing},
    {"Shape", 7, kLatestOpset, import_shape, export_shape},
    {"ConstantOfShape", 9, kLatestOpset, import_constant_of_shape, export_constant_of_shape},
    {"Range", 11, kLatestOpset, import_range, export_nothing},
    {"Resize", 11, kLatestOpset, import_resize, export_resize},
    {"Resize", 10, 10, import_upsample, nullptr},
    {"Upsample", 7, 9, import_upsample, nullptr},
    {"DepthToSpace", 7, kLatestOpset, import_depth_to_space, export_depth_to_space},
};

}  // namespace

std::span<const OpRow> layout_rows() { return kRows; }

}  // namespace bitfold
