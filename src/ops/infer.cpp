#include "ops/infer.h"

#include <algorithm>

#include "ops/operator.h"

namespace bitfold::ops {

const ValueInfo& Inputs::absent() {
  static const ValueInfo info;
  return info;
}

std::optional<std::vector<std::int64_t>> Inputs::known(std::size_t i) const {
  if (!has(i) || !(*this)[i].elements) return std::nullopt;
  // Elements of a type that the slot does not accept are ignored; the check of types reports the node later.
  const Slot* slot = slot_at(info(node.op).inputs, i);
  if (slot != nullptr && !slot->types.contains((*this)[i].dtype)) return std::nullopt;
  std::vector<std::int64_t> all;
  for (const auto& e : *(*this)[i].elements) {
    if (!e) return std::nullopt;
    all.push_back(*e);
  }
  return all;
}

bool shapes_fit(const Shape& a, const Shape& b) { return std::ranges::equal(a, b, fits); }

void expect_shape(const Inputs& in, std::size_t slot, std::string_view name, const Shape& expected) {
  if (!in.has(slot) || !in.shape(slot)) return;
  const Shape& found = *in.shape(slot);
  check(shapes_fit(found, expected), "{} has shape {}, expected {}", name, to_string(found), to_string(expected));
}

std::int64_t multiply(std::int64_t a, std::int64_t b) {
  if (a == 1 || b == 1) return a == 1 ? b : a;  // an unknown size keeps its identity
  if (is_unknown(a) || is_unknown(b)) return a == 0 || b == 0 ? 0 : kDynamic;
  std::int64_t product = 0;
  if (__builtin_mul_overflow(a, b, &product)) fail("the product of sizes {} and {} exceeds any memory", a, b);
  return product;
}

std::int64_t normalize_axis(std::int64_t axis, std::size_t rank) {
  const auto n = static_cast<std::int64_t>(rank);
  check(axis >= -n && axis < n, "axis {} does not exist in a value with {} axes", axis, rank);
  return axis < 0 ? axis + n : axis;
}

Shape broadcast(const Shape& a, const Shape& b) {
  const Shape& longer = a.size() >= b.size() ? a : b;
  const Shape& shorter = a.size() >= b.size() ? b : a;
  Shape y = longer;
  for (std::size_t i = 0; i < shorter.size(); ++i) {
    std::int64_t& out = y[y.size() - 1 - i];
    const std::int64_t other = shorter[shorter.size() - 1 - i];
    if (out == other || other == 1) continue;
    if (out == 1 || (is_unknown(out) && !is_unknown(other))) {
      out = other;
    } else if (is_unknown(out)) {
      out = kDynamic;  // either of two unknown sizes may be 1
    } else {
      check(is_unknown(other), "shapes {} and {} do not broadcast", to_string(a), to_string(b));
    }
  }
  return y;
}

std::optional<Shape> common_shape(const std::optional<Shape>& a, const std::optional<Shape>& b) {
  if (!a || !b || a->size() != b->size()) return std::nullopt;
  Shape both = *a;
  for (std::size_t i = 0; i < both.size(); ++i)
    if (both[i] != (*b)[i]) both[i] = kDynamic;
  return both;
}

Outputs infer_same(const Inputs& in) { return {{.dtype = in[0].dtype, .shape = in[0].shape, .elements = {}}}; }

Outputs infer_elementwise(const Inputs& in) { return infer_elementwise(in, in[0].dtype); }

Outputs infer_elementwise(const Inputs& in, DataType dtype) {
  ValueInfo y{.dtype = dtype, .shape = Shape{}, .elements = {}};
  if (is_container(dtype)) y.items = in[0].items;
  for (std::size_t i = 0; i < in.size(); ++i) {
    if (!in.has(i)) continue;
    if (!in.shape(i)) {
      y.shape.reset();
      break;
    }
    y.shape = broadcast(*y.shape, *in.shape(i));
  }
  if (y.shape && is_integer(dtype)) y.elements = elementwise_elements(in.node.op, in, *y.shape, dtype);
  return {y};
}

/// Rejects sizes that do not fit any memory, before computations on them overflow.
void check_size(const Shape& shape, const std::string& what) {
  std::int64_t count = 1;
  bool is_too_large = false;
  for (std::int64_t dim : shape) {
    is_too_large |= dim > kMaxValueElements || (dim > 0 && __builtin_mul_overflow(count, dim, &count));
    is_too_large |= count > kMaxValueElements;
    if (is_too_large) break;
  }
  check(!is_too_large, "{} has shape {}, larger than any memory", what, to_string(shape));
}

}  // namespace bitfold::ops
