// Convolutions, matrix products, normalizations and pools.
#include <algorithm>
#include <limits>

#include "base/check.h"
#include "onnx/op_table.h"

namespace bitfold {
namespace {

using Ints = std::vector<std::int64_t>;

// One attribute of a window: as long as there are spatial axes (twice that for pads), all within [least, 2^31).
Ints window_part(NodeImport& node, const char* name, std::size_t length, std::int64_t fallback) {
  const std::optional<Ints> given = node.attributes.integers(name);
  if (!given) return Ints(length, fallback);
  check(given->size() == length, "attribute '{}' has {} entries, expected {}", name, given->size(), length);
  for (std::int64_t entry : *given)
    check(entry >= fallback && entry <= std::numeric_limits<std::int32_t>::max(), "attribute '{}' has the entry {}",
          name, entry);
  return *given;
}

AutoPad read_auto_pad(NodeImport& node) {
  const std::string word = node.attributes.word("auto_pad", "NOTSET");
  if (word == "SAME_UPPER") return AutoPad::same_upper;
  if (word == "SAME_LOWER") return AutoPad::same_lower;
  check(word == "NOTSET" || word == "VALID", "auto_pad '{}' is unknown", word);
  return word == "VALID" ? AutoPad::valid : AutoPad::none;
}

// same_*: output = ceil(input / stride), the padding split evenly, the odd element at the end (upper) or the begin.
void resolve_same(Window& window, const Shape& input) {
  const std::size_t axes = window.kernel.size();
  if (input.size() != axes + 2 || std::any_of(input.begin() + 2, input.end(), [](auto dim) { return dim < 0; })) return;
  for (std::size_t i = 0; i < axes; ++i) {
    const std::int64_t size = input[i + 2], stride = window.strides[i];
    const std::int64_t reach = (window.kernel[i] - 1) * window.dilations[i] + 1;
    const std::int64_t output = size / stride + (size % stride != 0 ? 1 : 0);
    const std::int64_t total = std::max<std::int64_t>((output - 1) * stride + reach - size, 0);
    const std::int64_t small = total / 2, large = total - small;
    window.pads[i] = window.auto_pad == AutoPad::same_upper ? small : large;
    window.pads[i + axes] = total - window.pads[i];
  }
  window.auto_pad = AutoPad::none;
}

// `weights`: where the kernel's size stands when the attribute is absent.
std::optional<Window> read_window(NodeImport& node, const std::optional<Shape>& weights, bool resolves_same) {
  Window window;
  if (const auto kernel = node.attributes.integers("kernel_shape")) {
    window.kernel = *kernel;
  } else {
    if (!weights || weights->size() < 3 || !is_static(*weights)) return std::nullopt;
    window.kernel.assign(weights->begin() + 2, weights->end());
  }
  const std::size_t axes = window.kernel.size();
  check(axes > 0 && axes <= 8, "kernel_shape has {} entries", axes);
  for (std::int64_t size : window.kernel)
    check(size >= 1 && size <= std::numeric_limits<std::int32_t>::max(), "kernel_shape has the entry {}", size);
  window.strides = window_part(node, "strides", axes, 1);
  window.dilations = window_part(node, "dilations", axes, 1);
  window.pads = window_part(node, "pads", 2 * axes, 0);
  window.auto_pad = read_auto_pad(node);
  if (window.auto_pad != AutoPad::none) std::fill(window.pads.begin(), window.pads.end(), 0);
  if (window.auto_pad == AutoPad::valid) window.auto_pad = AutoPad::none;  // the same as no padding
  if (window.auto_pad != AutoPad::none && resolves_same)
    if (const auto input = node.shape(0)) resolve_same(window, *input);
  return window;
}

void write_window(const Window& window, onnx::NodeProto& node) {
  set_integers(node, "kernel_shape", window.kernel);
  set_integers(node, "strides", window.strides);
  // ONNX Runtime's quantized pools know no dilations, not even of 1.
  if (std::any_of(window.dilations.begin(), window.dilations.end(), [](auto d) { return d != 1; }))
    set_integers(node, "dilations", window.dilations);
  switch (window.auto_pad) {
    case AutoPad::none:
      return set_integers(node, "pads", window.pads);
    case AutoPad::same_upper:
      return set_word(node, "auto_pad", "SAME_UPPER");
    case AutoPad::same_lower:
      return set_word(node, "auto_pad", "SAME_LOWER");
    case AutoPad::valid:
      return set_word(node, "auto_pad", "VALID");
  }
}

std::int64_t read_group(NodeImport& node) {
  const std::int64_t group = node.attributes.integer("group", 1);
  check(group >= 1, "group is {}", group);
  return group;
}

std::optional<Op> import_conv(NodeImport& node) {
  const auto window = read_window(node, node.shape(1), true);
  if (!window) return std::nullopt;
  return Conv{*window, read_group(node)};
}
void export_conv(const Op& op, onnx::NodeProto& node) {
  const auto& conv = std::get<Conv>(op);
  write_window(conv.window, node);
  set_integer(node, "group", conv.group);
}

std::optional<Op> import_conv_transpose(NodeImport& node) {
  const auto window = read_window(node, node.shape(1), false);
  if (!window) return std::nullopt;
  return ConvTranspose{*window, read_group(node), node.attributes.integers("output_padding").value_or(Ints{}),
                       node.attributes.integers("output_shape").value_or(Ints{})};
}
void export_conv_transpose(const Op& op, onnx::NodeProto& node) {
  const auto& conv = std::get<ConvTranspose>(op);
  write_window(conv.window, node);
  set_integer(node, "group", conv.group);
  if (!conv.output_padding.empty()) set_integers(node, "output_padding", conv.output_padding);
  if (!conv.output_shape.empty()) set_integers(node, "output_shape", conv.output_shape);
}

std::optional<Op> import_gemm(NodeImport& node) {
  return Gemm{node.attributes.real("alpha", 1), node.attributes.real("beta", 1),
              node.attributes.integer("transA", 0) != 0, node.attributes.integer("transB", 0) != 0};
}
void export_gemm(const Op& op, onnx::NodeProto& node) {
  const auto& gemm = std::get<Gemm>(op);
  set_real(node, "alpha", gemm.alpha);
  set_real(node, "beta", gemm.beta);
  set_integer(node, "transA", gemm.trans_a ? 1 : 0);
  set_integer(node, "transB", gemm.trans_b ? 1 : 0);
}

std::optional<Op> import_matmul(NodeImport&) { return MatMul{}; }

std::optional<Op> import_batch_norm(NodeImport& node) {
  check(node.attributes.integer("training_mode", 0) == 0,
        "is in training mode; export the model for inference (model.eval())");
  if (node.attributes.integer("spatial", 1) != 1) return std::nullopt;  // opset 7 and 8: statistics per element
  node.attributes.ignore("momentum");
  if (node.output_count > 1) return std::nullopt;
  return BatchNorm{node.attributes.real("epsilon", 1e-5F)};
}
void export_batch_norm(const Op& op, onnx::NodeProto& node) {
  set_real(node, "epsilon", std::get<BatchNorm>(op).epsilon);
}

std::optional<Op> import_instance_norm(NodeImport& node) {
  return InstanceNorm{node.attributes.real("epsilon", 1e-5F)};
}
void export_instance_norm(const Op& op, onnx::NodeProto& node) {
  set_real(node, "epsilon", std::get<InstanceNorm>(op).epsilon);
}

std::optional<Op> import_layer_norm(NodeImport& node) {
  if (node.output_count > 1 || node.attributes.integer("stash_type", 1) != 1) return std::nullopt;
  return LayerNorm{node.attributes.integer("axis", -1), node.attributes.real("epsilon", 1e-5F)};
}
void export_layer_norm(const Op& op, onnx::NodeProto& node) {
  set_integer(node, "axis", std::get<LayerNorm>(op).axis);
  set_real(node, "epsilon", std::get<LayerNorm>(op).epsilon);
}

std::optional<Op> import_lrn(NodeImport& node) {
  const auto size = node.attributes.integer("size");
  check(size.has_value() && *size >= 1, "attribute 'size' is missing or below 1");
  return Lrn{*size, node.attributes.real("alpha", 1e-4F), node.attributes.real("beta", 0.75F),
             node.attributes.real("bias", 1)};
}
void export_lrn(const Op& op, onnx::NodeProto& node) {
  const auto& lrn = std::get<Lrn>(op);
  set_integer(node, "size", lrn.size);
  set_real(node, "alpha", lrn.alpha);
  set_real(node, "beta", lrn.beta);
  set_real(node, "bias", lrn.bias);
}

template <PoolKind kind>
std::optional<Op> import_pool(NodeImport& node) {
  if (node.output_count > 1) return std::nullopt;  // MaxPool's indices
  node.attributes.ignore("storage_order");         // of the indices
  const auto window = read_window(node, std::nullopt, true);
  check(window.has_value(), "attribute 'kernel_shape' is missing");
  Pool pool{kind, *window, node.attributes.integer("ceil_mode", 0) != 0};
  if (kind == PoolKind::average) pool.count_include_pad = node.attributes.integer("count_include_pad", 0) != 0;
  return pool;
}
void export_pool(const Op& op, onnx::NodeProto& node) {
  const auto& pool = std::get<Pool>(op);
  write_window(pool.window, node);
  set_integer(node, "ceil_mode", pool.ceil_mode ? 1 : 0);
  if (pool.kind == PoolKind::average) set_integer(node, "count_include_pad", pool.count_include_pad ? 1 : 0);
}

template <PoolKind kind>
std::optional<Op> import_global_pool(NodeImport&) {
  return GlobalPool{kind};
}

constexpr OpRow kRows[] = {
    {"Conv", 7, kLatestOpset, import_conv, export_conv},
    {"ConvTranspose", 7, kLatestOpset, import_conv_transpose, export_conv_transpose},
    {"Gemm", 7, kLatestOpset, import_gemm, export_gemm},
    {"MatMul", 7, kLatestOpset, import_matmul, export_nothing},
    {"BatchNormalization", 7, kLatestOpset, import_batch_norm, export_batch_norm},
    {"InstanceNormalization", 7, kLatestOpset, import_instance_norm, export_instance_norm},
    {"LayerNormalization", 17, kLatestOpset, import_layer_norm, export_layer_norm},
    {"LRN", 7, kLatestOpset, import_lrn, export_lrn},
    {"MaxPool", 7, kLatestOpset, import_pool<PoolKind::max>, export_pool},
    {"AveragePool", 7, kLatestOpset, import_pool<PoolKind::average>, export_pool},
    {"GlobalMaxPool", 7, kLatestOpset, import_global_pool<PoolKind::max>, export_nothing},
    {"GlobalAveragePool", 7, kLatestOpset, import_global_pool<PoolKind::average>, export_nothing},
};

}  // namespace

std::span<const OpRow> layer_rows() { return kRows; }

}  // namespace bitfold
