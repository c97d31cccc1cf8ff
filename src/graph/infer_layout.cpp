// Shapes (and, for shape arithmetic, elements) of the operators that join, split and reshape.
#include <algorithm>

#include "graph/infer.h"

namespace bitfold::infer {
namespace {

/// The size along the axis of a concatenation. Sizes are limited to 2^48, so that a sum of two does not overflow.
std::int64_t add(std::int64_t a, std::int64_t b) {
  if (a == 0 || b == 0) return a == 0 ? b : a;
  return is_unknown(a) || is_unknown(b) ? kDynamic : std::min(a + b, kMostValueElements + 1);
}

}  // namespace

Outputs concat(const Concat& op, const Inputs& in) {
  check(in.size() > 0, "no inputs");
  ValueInfo y = like(in[0], {});
  Elements joined;
  bool knows_all = true;
  for (std::size_t i = 0; i < in.size(); ++i) {
    if (!in.shape(i)) return {y};
    const Shape& x = *in.shape(i);
    if (!y.shape) {
      y.shape = x;
      (*y.shape)[at(normalize_axis(op.axis, x.size()))] = 0;
    }
    check(x.size() == y.shape->size(), "input {} has shape {}, the first has {}", i, to_string(x),
          to_string(*in.shape(0)));
    const std::size_t axis = at(normalize_axis(op.axis, x.size()));
    for (std::size_t d = 0; d < x.size(); ++d) {
      std::int64_t& out = (*y.shape)[d];
      if (d == axis) {
        out = add(out, x[d]);
      } else if (is_unknown(out)) {
        if (!is_unknown(x[d])) out = x[d];
      } else {
        check(x[d] == out || is_unknown(x[d]),
              "input {} has shape {}, the first has {}; they may differ along axis {} only", i, to_string(x),
              to_string(*in.shape(0)), axis);
      }
    }
    knows_all = knows_all && in[i].elements && x.size() == 1 &&
                std::ssize(joined) + std::ssize(*in[i].elements) <= kMostElements;
    if (knows_all) joined.insert(joined.end(), in[i].elements->begin(), in[i].elements->end());
  }
  return {knows_all ? with_elements(y, joined) : y};
}

Outputs split(const Split& op, const Inputs& in) {
  const std::size_t parts = in.node.outputs.size();
  Outputs outputs(parts, like(in[0], {}));
  if (!in.shape(0)) return outputs;
  const Shape& x = *in.shape(0);
  const std::size_t axis = at(normalize_axis(op.axis, x.size()));
  std::vector<std::int64_t> sizes(parts, kDynamic);
  if (in.has(1)) {
    if (const auto given = in.known(1)) {
      check(given->size() == parts, "{} sizes for {} outputs", given->size(), parts);
      sizes = *given;
      std::int64_t sum = 0;
      for (std::int64_t s : sizes) {
        check(s >= 0 && s < (std::int64_t{1} << 40), "a part of size {}", s);
        sum += s;
      }
      check(is_unknown(x[axis]) || sum == x[axis], "parts add up to {}, axis {} has {}", sum, axis, x[axis]);
    }
  } else if (!is_unknown(x[axis])) {
    const std::int64_t size = (x[axis] + std::ssize(sizes) - 1) / std::ssize(sizes);
    for (std::size_t i = 0; i < parts; ++i)
      sizes[i] = std::clamp<std::int64_t>(x[axis] - size * static_cast<std::int64_t>(i), 0, size);
  }
  for (std::size_t i = 0; i < parts; ++i) {
    outputs[i].shape = x;
    (*outputs[i].shape)[axis] = sizes[i];
  }
  return outputs;
}

Outputs flatten(const Flatten& op, const Inputs& in) {
  if (!in.shape(0)) return {like(in[0], all_dynamic(2))};
  const Shape& x = *in.shape(0);
  const auto rank = std::ssize(x);
  const std::int64_t axis = op.axis < 0 ? op.axis + rank : op.axis;
  check(axis >= 0 && axis <= rank, "axis {} of shape {}", op.axis, to_string(x));
  std::int64_t rows = 1, columns = 1;
  for (std::int64_t i = 0; i < rank; ++i) (i < axis ? rows : columns) = multiply(i < axis ? rows : columns, x[at(i)]);
  return {like(in[0], Shape{rows, columns})};
}

namespace {

/// product(numerator) / product(denominator), equal sizes cancelled though they be unknown; kDynamic where that does
/// not tell. Throws Error where it leaves a remainder.
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
  // What is left of the numerator may be one unknown size times what is left of the denominator.
  std::int64_t known = 1, unknown = 1;
  for (std::int64_t dim : numerator)
    (is_unknown(dim) ? unknown : known) = multiply(is_unknown(dim) ? unknown : known, dim);
  if (unknown != 1) return known == divisor ? unknown : kDynamic;
  check(divisor > 0 && known % divisor == 0, "{} elements do not divide into {}", known, divisor);
  return known / divisor;
}

/// The entry of a Reshape's target that follows from the others: its -1, or else its only unknown one.
std::optional<std::size_t> solvable_entry(const Shape& target, std::optional<std::size_t> inferred) {
  const auto unknown = std::count(target.begin(), target.end(), kDynamic);
  if (unknown != 1) return std::nullopt;
  if (inferred) return inferred;
  return at(std::find(target.begin(), target.end(), kDynamic) - target.begin());
}

}  // namespace

Outputs reshape(const Reshape& op, const Inputs& in) {
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
      check(*target[i] == -1, "shape has {}", *target[i]);
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

Outputs transpose(const Transpose& op, const Inputs& in) {
  if (!in.shape(0)) return {like(in[0], {})};
  const Shape& x = *in.shape(0);
  check(op.perm.size() == x.size(), "perm has {} entries, input has shape {}", op.perm.size(), to_string(x));
  Shape y;
  std::vector<bool> seen(x.size(), false);
  for (std::int64_t axis : op.perm) {
    check(axis >= 0 && axis < std::ssize(x) && !seen[at(axis)], "perm {} is no permutation of {} axes",
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

Outputs squeeze(const Inputs& in) {
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

Outputs unsqueeze(const Inputs& in) {
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

}  // namespace bitfold::infer
