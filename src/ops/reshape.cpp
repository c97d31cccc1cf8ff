// Operators that change the shape or order of elements, for all types of whole bytes and strings.
#include <algorithm>
#include <numeric>

#include "ops/operator.h"
#include "ops/rows.h"
#include "ops/strided_copy.h"

namespace bitfold::ops {
namespace {

Outputs infer_flatten(const Inputs& in) {
  const auto& op = std::get<Flatten>(in.node.op);
  if (!in.shape(0)) return {like(in[0], all_dynamic(2))};
  const Shape& x = *in.shape(0);
  const auto rank = std::ssize(x);
  const std::int64_t axis = op.axis < 0 ? op.axis + rank : op.axis;
  check(axis >= 0 && axis <= rank, "axis {} is outside shape {}", op.axis, to_string(x));
  std::int64_t rows = 1, columns = 1;
  for (std::int64_t i = 0; i < rank; ++i) (i < axis ? rows : columns) = multiply(i < axis ? rows : columns, x[at(i)]);
  return {like(in[0], Shape{rows, columns})};
}

/// product(numerator) / product(denominator), where equal sizes cancel even if unknown; kDynamic if the result remains
/// unknown. Throws Error if there is a remainder.
std::int64_t quotient(Shape numerator, const Shape& denominator) {
  std::int64_t divisor = 1;
  for (std::int64_t dim : denominator) {
    const auto equal = dim == kDynamic ? numerator.end() : std::find(numerator.begin(), numerator.end(), dim);
    if (equal != numerator.end()) {
      numerator.erase(equal);
    } else {
      divisor = multiply(divisor, dim);
    }
  }
  std::int64_t rest = 1;
  for (std::int64_t dim : numerator) rest = multiply(rest, dim);
  if (divisor == 1) return rest;
  if (is_unknown(divisor)) return kDynamic;
  // The rest of the numerator may be one unknown size times the rest of the denominator.
  std::int64_t known = 1, unknown = 1;
  for (std::int64_t dim : numerator)
    (is_unknown(dim) ? unknown : known) = multiply(is_unknown(dim) ? unknown : known, dim);
  if (unknown != 1) return known == divisor ? unknown : kDynamic;
  check(divisor > 0 && known % divisor == 0, "{} elements cannot be divided into parts of {}", known, divisor);
  return known / divisor;
}

/// The entry of a Reshape's target that follows from the others: its -1, or else its only unknown entry.
std::optional<std::size_t> solvable_entry(const Shape& target, std::optional<std::size_t> inferred) {
  const auto unknown = std::count(target.begin(), target.end(), kDynamic);
  if (unknown != 1) return std::nullopt;
  if (inferred) return inferred;
  return at(std::find(target.begin(), target.end(), kDynamic) - target.begin());
}

Outputs infer_reshape(const Inputs& in) {
  const auto& op = std::get<Reshape>(in.node.op);
  ValueInfo y = like(in[0], {});
  const auto rank = length_of(in[1]);
  if (!rank) return {y};
  Elements target = in[1].elements.value_or(Elements(at(*rank)));
  target.resize(at(*rank));
  const auto& x = in.shape(0);
  std::optional<std::size_t> inferred;
  Shape shape;
  for (std::size_t i = 0; i < target.size(); ++i) {
    std::int64_t size = dimension_of(target[i]);
    if (target[i] && *target[i] == 0 && !op.allow_zero) {
      if (x) check(i < x->size(), "shape copies dimension {} of an input of shape {}", i, to_string(*x));
      size = x ? (*x)[i] : kDynamic;
    } else if (target[i] && *target[i] < 0) {
      check(*target[i] == -1, "shape has {}; a dimension must be -1, 0 or positive", *target[i]);
      check(!inferred, "shape has -1 twice");
      inferred = i;
      size = kDynamic;
    }
    shape.push_back(size);
  }
  if (x) {
    const std::string text = to_string(shape);
    try {
      if (const auto solved = solvable_entry(shape, inferred)) {
        Shape others = shape;
        others.erase(others.begin() + static_cast<std::ptrdiff_t>(*solved));
        shape[*solved] = quotient(*x, others);
      } else if (is_static(*x) && is_static(shape)) {
        check(element_count(*x) == element_count(shape), "the element counts differ");
      }
    } catch (const Error& e) {
      fail("cannot reshape {} to {}: {}", to_string(*x), text, e.what());
    }
  }
  y.shape = shape;
  return {with_elements(y, in[0].elements)};
}

Outputs infer_transpose(const Inputs& in) {
  const auto& op = std::get<Transpose>(in.node.op);
  if (!in.shape(0)) return {like(in[0], {})};
  const Shape& x = *in.shape(0);
  check(op.perm.size() == x.size(), "perm has {} entries, but the input has shape {}", op.perm.size(), to_string(x));
  Shape y;
  std::vector<bool> seen(x.size(), false);
  for (std::int64_t axis : op.perm) {
    check(axis >= 0 && axis < std::ssize(x) && !seen[at(axis)], "perm {} is not a permutation of {} axes",
          to_string(op.perm), x.size());
    seen[at(axis)] = true;
    y.push_back(x[at(axis)]);
  }
  ValueInfo info = like(in[0], y);
  if (in[0].elements && x.size() <= 1) info.elements = in[0].elements;
  if (in[0].elements && x.size() == 2 && op.perm[0] == 1) {
    Elements turned;
    for (std::int64_t c = 0; c < x[1]; ++c)
      for (std::int64_t r = 0; r < x[0]; ++r) turned.push_back((*in[0].elements)[at(r * x[1] + c)]);
    info.elements = turned;
  }
  return {info};
}

Outputs infer_squeeze(const Inputs& in) {
  if (!in.shape(0)) return {like(in[0], {})};
  const Shape& x = *in.shape(0);
  std::vector<bool> drop(x.size(), false);
  if (in.has(1)) {
    const auto axes = in.known(1);
    if (!axes) return {like(in[0], {})};
    for (std::int64_t axis : *axes) {
      const auto i = at(normalize_axis(axis, x.size()));
      check(x[i] == 1 || is_unknown(x[i]), "axis {} of shape {} is not 1", axis, to_string(x));
      drop[i] = true;
    }
  } else {
    if (!is_static(x)) return {like(in[0], {})};
    for (std::size_t i = 0; i < x.size(); ++i) drop[i] = x[i] == 1;
  }
  Shape y;
  for (std::size_t i = 0; i < x.size(); ++i)
    if (!drop[i]) y.push_back(x[i]);
  return {with_elements(like(in[0], y), in[0].elements)};
}

Outputs infer_unsqueeze(const Inputs& in) {
  const auto axes = in.has(1) ? in.known(1) : std::nullopt;
  if (!in.shape(0) || !axes) return {like(in[0], {})};
  const std::size_t rank = in.shape(0)->size() + axes->size();
  std::vector<bool> is_new(rank, false);
  for (std::int64_t axis : *axes) {
    const auto i = at(normalize_axis(axis, rank));
    check(!is_new[i], "axis {} is given twice", axis);
    is_new[i] = true;
  }
  Shape y;
  auto next = in.shape(0)->begin();
  for (std::size_t i = 0; i < rank; ++i) y.push_back(is_new[i] ? 1 : *next++);
  return {with_elements(like(in[0], y), in[0].elements)};
}

void transpose(const Node& node, std::span<const TensorView> in, std::span<const TensorView> out) {
  const auto& perm = std::get<Transpose>(node.op).perm;
  const Strides from = dense_strides(in[0].shape), to = dense_strides(out[0].shape);
  StridedCopy copy;
  for (std::size_t i = 0; i < perm.size(); ++i)
    copy.add(out[0].shape[i], {to[i], from[static_cast<std::size_t>(perm[i])]});
  copy.run(in[0].dtype, in[0].data, out[0].data);
}

}  // namespace

namespace {

// Without perm the axes are reversed, for which the rank must be known.
std::optional<std::string> settle_transpose(Op& op, const Inputs& in) {
  auto& perm = std::get<Transpose>(op).perm;
  if (!perm.empty()) return std::nullopt;
  if (!in.shape(0) || in.shape(0)->empty()) return "it has no perm, and the rank of its input is unknown";
  perm.resize(in.shape(0)->size());
  std::iota(perm.rbegin(), perm.rend(), 0);
  return std::nullopt;
}

}  // namespace

std::vector<OperatorInfo> reshape_operators() {
  const Slot data{"data", kMoved, 'T'}, result{"reshaped", kMoved, 'T'};
  const Traits keeps{.moves_elements = true, .keeps_order = true, .commutes_with_positive_scale = true};
  const auto row = [&](std::string_view name, int since, Op prototype, std::vector<Slot> inputs,
                       std::vector<Field> fields, Infer infer) {
    return OperatorInfo{.name = name,
                        .since = since,
                        .prototype = std::move(prototype),
                        .inputs = std::move(inputs),
                        .outputs = {result},
                        .fields = std::move(fields),
                        .infer = infer,
                        .evaluate = copy_elements,
                        .traits = keeps,
                        .role = Role::movement,
                        .bounds = within_first};
  };
  const auto parameter = [](std::string_view name, Presence presence = Presence::required) {
    return Slot{name, kInt64, 0, presence, Use::parameter};
  };
  OperatorInfo transpose_row =
      row("Transpose", 1, Transpose{}, {data}, {omitted_when_empty(field("perm", &Transpose::perm))}, infer_transpose);
  transpose_row.evaluate = transpose;
  transpose_row.settle = settle_transpose;
  transpose_row.traits.keeps_order = false;
  transpose_row.traits.permutes_channels = true;
  OperatorInfo squeeze_row =
      row("Squeeze", 13, Squeeze{}, {data, parameter("axes", Presence::optional)}, {}, infer_squeeze);
  squeeze_row.traits.acts_along_axes = true;
  return {row("Flatten", 9, Flatten{}, {data}, {field("axis", &Flatten::axis)}, infer_flatten),
          row("Reshape", 14, Reshape{}, {data, parameter("shape")}, {field("allowzero", &Reshape::allow_zero)},
              infer_reshape),
          transpose_row, squeeze_row,
          row("Unsqueeze", 13, Unsqueeze{}, {data, parameter("axes")}, {}, infer_unsqueeze)};
}

}  // namespace bitfold::ops
