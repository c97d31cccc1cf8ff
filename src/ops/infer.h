// Input and helpers of shape rules.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/check.h"
#include "bitfold/node.h"

namespace bitfold::ops {

using Elements = std::vector<Element>;

/// Larger tensors are data, not shape arithmetic.
inline constexpr std::int64_t kMaxElements = 4096;

/// More elements than any real tensor has. Larger sizes in a malicious file are rejected before arithmetic on them can
/// overflow.
inline constexpr std::int64_t kMaxValueElements = std::int64_t{1} << 48;

/// Longer float constants are not the scales of a Resize.
inline constexpr std::int64_t kMaxScaleCount = 16;

/// The inputs of one node; absent ones can be distinguished. An input beyond the last is absent, because the nodes of a
/// file are read before their number of inputs is checked.
struct Inputs {
  const Node& node;
  std::span<const ValueInfo> infos;

  bool has(std::size_t i) const { return i < node.inputs.size() && node.inputs[i] != ValueId::none; }
  const ValueInfo& operator[](std::size_t i) const { return i < infos.size() ? infos[i] : absent(); }
  std::size_t size() const { return node.inputs.size(); }
  const std::optional<Shape>& shape(std::size_t i) const { return (*this)[i].shape; }
  /// The elements of an integer input, if all are known.
  std::optional<std::vector<std::int64_t>> known(std::size_t i) const;

 private:
  static const ValueInfo& absent();
};

using Outputs = std::vector<ValueInfo>;

inline bool is_unknown(std::int64_t dim) { return dim < 0; }
/// Whether two sizes, or all sizes of two shapes, are equal as far as both are known.
inline bool fits(std::int64_t a, std::int64_t b) { return a == b || is_unknown(a) || is_unknown(b); }
bool shapes_fit(const Shape& a, const Shape& b);
/// Throws Error if input `slot` is given and its shape does not fit.
void expect_shape(const Inputs& in, std::size_t slot, std::string_view name, const Shape& expected);
/// The dimension that an element of a shape represents.
inline std::int64_t dimension_of(const Element& e) { return e ? *e : e.dimension < 0 ? e.dimension : kDynamic; }
/// Whether sums of a few such numbers cannot overflow int64.
constexpr bool is_moderate(std::int64_t v) {
  constexpr std::int64_t kLimit = std::int64_t{1} << 40;
  return v > -kLimit && v < kLimit;
}
/// The product of two sizes; kDynamic if either is unknown. Throws Error on overflow.
std::int64_t multiply(std::int64_t a, std::int64_t b);
std::int64_t normalize_axis(std::int64_t axis,
                            std::size_t rank);  ///< Wraps a negative axis. Throws Error outside [-rank, rank).
/// Whether `axis` is the last axis of a value of that rank; false for a scalar.
constexpr bool is_last_axis(std::int64_t axis, std::size_t rank) {
  return rank > 0 && (axis == -1 || axis == static_cast<std::int64_t>(rank) - 1);
}
Shape broadcast(const Shape& a, const Shape& b);  ///< numpy broadcasting; throws Error if the shapes do not fit.
inline bool is_integer(DataType t) { return t == DataType::int64 || t == DataType::int32 || t == DataType::boolean; }

void check_size(const Shape& shape, const std::string& what);  ///< Throws Error above kMaxValueElements.

inline ValueInfo real(std::optional<Shape> shape) {
  return {.dtype = DataType::float32, .shape = std::move(shape), .elements = {}};
}
inline Shape spatial_of(const Shape& shape) { return {shape.begin() + 2, shape.end()}; }

inline ValueInfo like(const ValueInfo& x, std::optional<Shape> shape) {
  return {.dtype = x.dtype, .shape = std::move(shape), .elements = {}, .scales = {}, .items = x.items};
}

/// The facts known about a shape that is either a or b: sizes that differ are unknown. Empty if the ranks differ or
/// are unknown.
std::optional<Shape> common_shape(const std::optional<Shape>& a, const std::optional<Shape>& b);

inline std::size_t at(std::int64_t i) { return static_cast<std::size_t>(i); }

/// Drops elements that do not match the shape.
inline ValueInfo with_elements(ValueInfo info, std::optional<Elements> elements) {
  if (elements && info.shape && is_static(*info.shape) && element_count(*info.shape) == std::ssize(*elements))
    info.elements = std::move(elements);
  return info;
}

/// A shape of known rank and unknown sizes.
inline Shape all_dynamic(std::int64_t rank) { return Shape(at(rank), kDynamic); }

/// The number of elements of a rank-1 input: the rank of a shape it describes.
inline std::optional<std::int64_t> length_of(const ValueInfo& info) {
  if (!info.shape || info.shape->size() != 1 || is_unknown(info.shape->front())) return std::nullopt;
  check(info.shape->front() <= 64, "a shape has {} dimensions; at most 64 are supported", info.shape->front());
  return info.shape->front();
}

/// The output has the type and shape of the first input.
Outputs infer_same(const Inputs& in);
/// The inputs' shapes broadcast; the type of the first input, or `dtype`.
Outputs infer_elementwise(const Inputs& in);
Outputs infer_elementwise(const Inputs& in, DataType dtype);

/// Elements of an elementwise operator's output, if they can be determined.
std::optional<Elements> elementwise_elements(const Op& op, const Inputs& in, const Shape& output, DataType dtype);
std::optional<Elements> reduced_elements(const Reduce& op, const Inputs& in);

}  // namespace bitfold::ops
