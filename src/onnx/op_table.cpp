#include "onnx/op_table.h"

#include <array>

namespace bitfold {

const Tensor* NodeImport::constant(std::size_t slot) const {
  if (!has(slot)) return nullptr;
  const Value& value = graph.value(inputs[slot]);
  return value.constant && !value.quant ? &*value.constant : nullptr;
}

std::optional<Shape> NodeImport::shape(std::size_t slot) const {
  return has(slot) ? graph.value(inputs[slot]).shape : std::nullopt;
}

std::optional<int> NodeImport::rank(std::size_t slot) const {
  const std::optional<Shape> known = shape(slot);
  return known ? std::optional(static_cast<int>(known->size())) : std::nullopt;
}

void NodeImport::set_constant(std::size_t slot, std::string_view what, Tensor tensor) {
  if (inputs.size() <= slot) inputs.resize(slot + 1, ValueId::none);
  const std::string owner = proto.output_size() > 0 ? proto.output(0) : proto.name();
  inputs[slot] = graph.add_constant(graph.unique_name(owner + "/" + std::string(what)), std::move(tensor));
}

namespace {

std::array<std::span<const OpRow>, 4> families() {
  return {layer_rows(), elementwise_rows(), reduction_rows(), layout_rows()};
}

}  // namespace

const OpRow* find_row(std::string_view type, std::int64_t opset) {
  for (const auto& rows : families())
    for (const OpRow& row : rows)
      if (type == row.type && row.since <= opset && opset <= row.until) return &row;
  return nullptr;
}

const OpRow* find_export_row(std::string_view type) {
  for (const auto& rows : families())
    for (const OpRow& row : rows)
      if (type == row.type && row.export_node != nullptr) return &row;
  return nullptr;
}

Tensor int64_vector(const std::vector<std::int64_t>& values) {
  return Tensor::from({static_cast<std::int64_t>(values.size())}, values);
}

Tensor float_scalar(float value) { return Tensor::from<float>({}, std::span<const float>(&value, 1)); }

}  // namespace bitfold
