// Access to small operands of operator functions.
#pragma once

#include <algorithm>
#include <array>
#include <cstdint>
#include <cstring>
#include <span>
#include <string>

#include "base/check.h"
#include "bitfold/node.h"
#include "ops/loops.h"

namespace bitfold::ops {

inline bool is_given(std::span<const TensorView> operands, std::size_t slot) {
  return slot < operands.size() && operands[slot].data != nullptr;
}

inline std::size_t element_bytes(DataType dtype) { return static_cast<std::size_t>(bit_width(dtype)) / 8; }
inline std::size_t size_bytes(const TensorView& view) { return storage_bytes(view.dtype, view.size()); }

/// Copies elements that lie one after the other, objects as objects. Both addresses are those of an element.
inline void copy_run(DataType dtype, const std::byte* from, std::byte* to, std::size_t bytes) {
  if (dtype == DataType::string)
    std::copy_n(reinterpret_cast<const std::string*>(from), bytes / sizeof(std::string),
                reinterpret_cast<std::string*>(to));
  else if (holds_objects(dtype))
    std::copy_n(reinterpret_cast<const Tensor*>(from), bytes / sizeof(Tensor), reinterpret_cast<Tensor*>(to));
  else if (bytes > 0)
    std::memcpy(to, from, bytes);
}

/// Element `i` of an int32, int64 or boolean operand.
inline std::int64_t integer_at(const TensorView& view, std::int64_t i) {
  switch (view.dtype) {
    case DataType::int64:
      return view.as<std::int64_t>()[i];
    case DataType::int32:
      return view.as<std::int32_t>()[i];
    case DataType::boolean:
      return view.as<std::uint8_t>()[i] != 0 ? 1 : 0;
    default:
      fail("an operand has type {}, expected int64", to_string(view.dtype));
  }
}

/// Wraps negative axes; -1 is the last axis.
inline std::size_t wrapped_axis(std::int64_t axis, std::size_t rank) {
  const auto r = static_cast<std::int64_t>(rank);
  check(axis >= -r && axis < r, "axis {} does not exist in a tensor of rank {}", axis, rank);
  return static_cast<std::size_t>(axis < 0 ? axis + r : axis);
}

/// Evaluation of operators that keep the order of elements in memory.
void copy_elements(const Node& node, std::span<const TensorView> in, std::span<const TensorView> out);

inline std::int64_t product(std::span<const std::int64_t> dims) {
  std::int64_t n = 1;
  for (std::int64_t d : dims) n *= d;
  return n;
}

/// The vectors along one axis: element k of vector (o, i) is at (o * n + k) * inner + i.
struct AxisVectors {
  std::int64_t outer = 1, n = 1, inner = 1;
};
/// `is_flattened`: each vector extends over all axes from `axis` on; `axis` may equal the rank. A scalar is a vector of
/// one element.
inline AxisVectors axis_vectors(std::span<const std::int64_t> shape, std::int64_t axis, bool is_flattened) {
  if (shape.empty()) return {};
  const bool is_past_end = is_flattened && axis == static_cast<std::int64_t>(shape.size());
  const std::size_t first = is_past_end ? shape.size() : wrapped_axis(axis, shape.size());
  if (is_flattened) return {product(shape.first(first)), product(shape.subspan(first)), 1};
  return {product(shape.first(first)), shape[first], product(shape.subspan(first + 1))};
}

}  // namespace bitfold::ops
