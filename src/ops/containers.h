// Facts and values of sequences and optionals.
#pragma once

#include <algorithm>
#include <optional>
#include <span>
#include <utility>
#include <vector>

#include "ops/operands.h"
#include "ops/operator.h"

namespace bitfold::ops {

/// Throws Error if an input is an object that its slot does not accept, or no object where the slot expects one. Types
/// are checked before a network runs, but the body of a Loop may give another type than it takes.
inline void check_objects(const OperatorInfo& row, const Node& node, std::span<const TensorView> inputs) {
  for (std::size_t i = 0; i < inputs.size(); ++i) {
    const Slot* slot = slot_at(row.inputs, i);
    if (inputs[i].data == nullptr || slot == nullptr || slot->types.contains(inputs[i].dtype)) continue;
    const bool is_mixed = holds_objects(inputs[i].dtype) || slot->types.contains(DataType::sequence) ||
                          slot->types.contains(DataType::string) || slot->types.contains(DataType::optional);
    check(!is_mixed, "{} its input '{}' is {}; accepted: {}", where(node), slot->name, to_string(inputs[i].dtype),
          to_string(slot->types));
  }
}

/// A shape without the numbers that stand for unknown sizes, which have no meaning inside a sequence.
inline std::optional<Shape> plain(std::optional<Shape> shape) {
  if (shape)
    for (std::int64_t& dim : *shape) dim = std::max(dim, kDynamic);
  return shape;
}

inline ItemType item_of(const ValueInfo& info) { return {info.dtype, plain(info.shape)}; }

inline ValueInfo container_info(DataType dtype, ItemType items) {
  return {.dtype = dtype, .shape = {}, .elements = {}, .scales = {}, .items = std::move(items)};
}
inline ValueInfo sequence_info(ItemType items) { return container_info(DataType::sequence, std::move(items)); }
inline ValueInfo tensor_info(const ItemType& item) { return {.dtype = item.dtype, .shape = item.shape}; }
inline ItemType items_of(const ValueInfo& info) { return info.items.value_or(ItemType{}); }

inline std::span<const Tensor> items_of(const TensorView& view) {
  return {view.as<const Tensor>(), static_cast<std::size_t>(view.size())};
}

inline Tensor tensor_of(const TensorView& view) {
  Tensor t = Tensor::uninitialized(view.dtype, {view.shape.begin(), view.shape.end()});
  copy_run(view.dtype, view.data, t.mutable_bytes(), size_bytes(view));
  return t;
}

inline std::vector<Tensor> one(Tensor t) { return {std::move(t)}; }

}  // namespace bitfold::ops
