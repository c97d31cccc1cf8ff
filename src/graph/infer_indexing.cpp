// Shapes (and, for shape arithmetic, elements) of the operators that select, pad, repeat, fill and resize.
#include <algorithm>
#include <cmath>
#include <limits>

#include "graph/infer.h"

namespace bitfold::infer {
namespace {

/// Far from where a few sums leave int64.
bool is_moderate(std::int64_t v) {
  constexpr std::int64_t kMost = std::int64_t{1} << 40;
  return v > -kMost && v < kMost;
}

/// "To the end", as exporters write it: the largest int32 or int64.
constexpr std::int64_t kBeyondAnySize = std::numeric_limits<std::int32_t>::max();

struct Bounds {
  std::int64_t start = 0, step = 1, count = 0;
};

/// ONNX Slice along an axis of known size: negative bounds count from the end, all are clamped.
Bounds clamp_slice(std::int64_t start, std::int64_t end, std::int64_t step, std::int64_t size) {
  check(step != 0, "a step of 0");
  const auto from_end = [size](std::int64_t i) { return i < 0 ? std::max(i, -size - 1) + size : i; };
  Bounds b{.step = step};
  if (step > 0) {
    b.start = std::clamp<std::int64_t>(from_end(start), 0, size);
    const std::int64_t stop = std::clamp<std::int64_t>(from_end(end), 0, size);
    b.count = stop > b.start ? (stop - b.start - 1) / step + 1 : 0;
  } else {
    // Unlike numpy's, a start before the first element is the first element.
    b.start = std::min(std::max<std::int64_t>(from_end(start), 0), size - 1);
    const std::int64_t stop = std::clamp<std::int64_t>(from_end(end), -1, size - 1);
    // -(step + 1) + 1 would overflow for the lowest int64; such a step takes one element at most.
    const std::int64_t stride = step < -size - 1 ? size + 1 : -step;
    b.count = b.start > stop ? (b.start - stop - 1) / stride + 1 : 0;
  }
  return b;
}

}  // namespace

Outputs slice(const Inputs& in) {
  ValueInfo y = like(in[0], in.shape(0));
  if (!y.shape) return {y};
  Shape& shape = *y.shape;
  const auto unknown = [&]() -> Outputs { return {like(in[0], all_dynamic(std::ssize(shape)))}; };
  const auto starts = in.known(1), ends = in.known(2);
  if (in.has(3) && !in.known(3)) return unknown();
  std::vector<std::int64_t> axes;
  if (in.has(3)) {
    axes = *in.known(3);
  } else {
    const auto count = length_of(in[1]);
    if (!count) return unknown();
    for (std::int64_t i = 0; i < *count; ++i) axes.push_back(i);
  }
  const bool has_bounds = starts && ends && (!in.has(4) || in.known(4));
  const auto steps = in.has(4) && in.known(4) ? *in.known(4) : std::vector<std::int64_t>(axes.size(), 1);
  std::optional<Elements> elements;
  for (std::size_t i = 0; i < axes.size(); ++i) {
    const auto axis = at(normalize_axis(axes[i], shape.size()));
    if (!has_bounds) {
      shape[axis] = kDynamic;
      continue;
    }
    check(starts->size() == axes.size() && ends->size() == axes.size() && steps.size() == axes.size(),
          "{} starts, {} ends, {} steps for {} axes", starts->size(), ends->size(), steps.size(), axes.size());
    const std::int64_t size = shape[axis];
    if (is_unknown(size)) {
      const bool is_whole = (*starts)[i] == 0 && (*ends)[i] >= kBeyondAnySize && steps[i] == 1;
      if (!is_whole) shape[axis] = kDynamic;
      continue;
    }
    const Bounds b = clamp_slice((*starts)[i], (*ends)[i], steps[i], size);
    shape[axis] = b.count;
    // Rows of a small matrix or elements of a vector: enough for shape arithmetic.
    if (in[0].elements && axis == 0 && axes.size() == 1) {
      const std::int64_t row = size == 0 ? 0 : std::ssize(*in[0].elements) / size;
      elements = Elements{};
      for (std::int64_t k = 0; k < b.count; ++k)
        for (std::int64_t j = 0; j < row; ++j)
          elements->push_back((*in[0].elements)[at((b.start + k * b.step) * row + j)]);
    }
  }
  return {with_elements(y, elements)};
}

Outputs gather(const Gather& op, const Inputs& in) {
  if (!in.shape(0) || !in.shape(1)) return {like(in[0], {})};
  const Shape &x = *in.shape(0), &indices = *in.shape(1);
  const auto axis = normalize_axis(op.axis, x.size());
  Shape y(x.begin(), x.begin() + axis);
  y.insert(y.end(), indices.begin(), indices.end());
  y.insert(y.end(), x.begin() + axis + 1, x.end());
  ValueInfo info = like(in[0], y);
  const auto picked = in.known(1);
  if (picked && !is_unknown(x[at(axis)]))
    for (std::int64_t i : *picked)
      check(i >= -x[at(axis)] && i < x[at(axis)], "index {} is outside axis {} of shape {}", i, axis, to_string(x));
  if (picked && in[0].elements && x.size() == 1) {
    Elements elements;
    for (std::int64_t i : *picked) elements.push_back((*in[0].elements)[at(i < 0 ? i + x[0] : i)]);
    return {with_elements(info, elements)};
  }
  return {info};
}

Outputs pad(const Inputs& in) {
  if (!in.shape(0)) return {like(in[0], {})};
  Shape y = *in.shape(0);
  const auto pads = in.known(1);
  if (!pads || (in.has(3) && !in.known(3))) return {like(in[0], all_dynamic(std::ssize(y)))};
  std::vector<std::int64_t> axes;
  if (in.has(3)) {
    axes = *in.known(3);
  } else {
    for (std::int64_t i = 0; i < std::ssize(y); ++i) axes.push_back(i);
  }
  check(pads->size() == 2 * axes.size(), "{} pads for {} axes", pads->size(), axes.size());
  for (std::size_t i = 0; i < axes.size(); ++i) {
    auto& dim = y[at(normalize_axis(axes[i], y.size()))];
    const std::int64_t begin = (*pads)[i], end = (*pads)[axes.size() + i];
    if (is_unknown(dim)) {
      if (begin != 0 || end != 0) dim = kDynamic;
      continue;
    }
    check(is_moderate(begin) && is_moderate(end), "pads of {} and {}", begin, end);
    dim += begin + end;
    check(dim >= 0, "pads of {} and {} leave nothing of axis {} of shape {}", begin, end, axes[i],
          to_string(*in.shape(0)));
  }
  return {like(in[0], y)};
}

Outputs expand(const Inputs& in) {
  const auto rank = length_of(in[1]);
  if (!in.shape(0) || !rank) return {like(in[0], {})};
  Shape target;
  for (std::int64_t i = 0; i < *rank; ++i) {
    const Element size = in[1].elements ? (*in[1].elements)[at(i)] : Element();
    check(!size || *size >= 0, "shape has {}", size.value_or(0));
    target.push_back(dimension_of(size));
  }
  ValueInfo y = like(in[0], broadcast(*in.shape(0), target));
  if (in[0].elements && in[0].elements->size() == 1 && is_static(*y.shape) && element_count(*y.shape) <= kMostElements)
    y.elements = Elements(at(element_count(*y.shape)), in[0].elements->front());
  return {y};
}

Outputs tile(const Inputs& in) {
  if (!in.shape(0)) return {like(in[0], {})};
  Shape y = *in.shape(0);
  const auto repeats = in.known(1);
  if (!repeats) return {like(in[0], all_dynamic(std::ssize(y)))};
  check(repeats->size() == y.size(), "{} repeats for shape {}", repeats->size(), to_string(y));
  for (std::size_t i = 0; i < y.size(); ++i) {
    check((*repeats)[i] >= 0, "{} repeats", (*repeats)[i]);
    y[i] = multiply(y[i], (*repeats)[i]);
  }
  return {like(in[0], y)};
}

Outputs shape_of(const ShapeOf& op, const Inputs& in) {
  ValueInfo y{.dtype = DataType::int64, .shape = Shape{kDynamic}, .elements = {}};
  if (!in.shape(0)) return {y};
  const auto rank = std::ssize(*in.shape(0));
  const auto clamp = [rank](std::int64_t i) {
    return std::clamp<std::int64_t>(i < 0 ? std::max(i, -rank) + rank : i, 0, rank);
  };
  Elements sizes;
  for (std::int64_t i = clamp(op.start); i < clamp(op.end.value_or(rank)); ++i) {
    const std::int64_t dim = (*in.shape(0))[at(i)];
    Element size;
    if (is_unknown(dim))
      size.dimension = dim;
    else
      size = dim;
    sizes.push_back(size);
  }
  y.shape = Shape{std::ssize(sizes)};
  y.elements = sizes;
  return {y};
}

Outputs constant_of_shape(const ConstantOfShape& op, const Inputs& in) {
  ValueInfo y{.dtype = op.value.dtype(), .shape = {}, .elements = {}};
  const auto rank = length_of(in[0]);
  if (!rank) return {y};
  y.shape = Shape{};
  for (std::int64_t i = 0; i < *rank; ++i) {
    const Element size = in[0].elements ? (*in[0].elements)[at(i)] : Element();
    check(!size || *size >= 0, "shape has {}", size.value_or(0));
    y.shape->push_back(dimension_of(size));
  }
  if (is_static(*y.shape) && element_count(*y.shape) <= kMostElements && op.value.size() == 1) {
    Element fill;
    if (op.value.dtype() == DataType::int64) fill = op.value.data<std::int64_t>()[0];
    if (op.value.dtype() == DataType::int32) fill = op.value.data<std::int32_t>()[0];
    if (fill) y.elements = Elements(at(element_count(*y.shape)), fill);
  }
  return {y};
}

namespace {

/// ceil((limit - start) / delta), where the three reals are constant.
std::optional<std::int64_t> real_range_count(const Inputs& in) {
  for (std::size_t i = 0; i < 3; ++i)
    if (in[i].dtype != DataType::float32 || in[i].scales.size() != 1) return std::nullopt;
  const double start = in[0].scales[0], limit = in[1].scales[0], delta = in[2].scales[0];
  const double count = std::ceil((limit - start) / delta);
  check(delta != 0 && std::isfinite(count) && count < 0x1p40, "from {} to {} by {}", start, limit, delta);
  return static_cast<std::int64_t>(std::max(count, 0.0));
}

}  // namespace

Outputs range(const Inputs& in) {
  ValueInfo y{.dtype = in[0].dtype, .shape = Shape{kDynamic}, .elements = {}};
  if (const auto count = real_range_count(in)) y.shape = Shape{*count};
  const auto start = in.known(0), limit = in.known(1), delta = in.known(2);
  if (!start || !limit || !delta || start->empty() || limit->empty() || delta->empty()) return {y};
  check((*delta)[0] != 0, "a delta of 0");
  check(is_moderate((*start)[0]) && is_moderate((*limit)[0]) && is_moderate((*delta)[0]), "from {} to {} by {}",
        (*start)[0], (*limit)[0], (*delta)[0]);
  const std::int64_t span = (*limit)[0] - (*start)[0], step = (*delta)[0];
  const std::int64_t count = (span > 0) == (step > 0) && span != 0 ? (std::abs(span) - 1) / std::abs(step) + 1 : 0;
  y.shape = Shape{count};
  if (count > kMostElements) return {y};
  y.elements = Elements{};
  for (std::int64_t i = 0; i < count; ++i) y.elements->push_back((*start)[0] + i * step);
  return {y};
}

Outputs resize(const Resize&, const Inputs& in) {
  if (!in.shape(0)) return {like(in[0], {})};
  const Shape& x = *in.shape(0);
  if (in.has(3)) {
    Shape y = all_dynamic(std::ssize(x));
    if (in[3].elements) {
      check(in[3].elements->size() == x.size(), "{} sizes for shape {}", in[3].elements->size(), to_string(x));
      for (std::size_t i = 0; i < x.size(); ++i) {
        const Element& size = (*in[3].elements)[i];
        check(!size || *size >= 0, "a size of {}", size.value_or(0));
        y[i] = dimension_of(size);
      }
    }
    return {like(in[0], y)};
  }
  Shape y = all_dynamic(std::ssize(x));
  if (in.has(2) && !in[2].scales.empty()) {
    check(in[2].scales.size() == x.size(), "{} scales for shape {}", in[2].scales.size(), to_string(x));
    for (std::size_t i = 0; i < x.size(); ++i) {
      const float scale = in[2].scales[i];
      check(scale > 0 && scale < 1e6F, "a scale of {}", scale);
      // In float32, as ONNX Runtime does: 10 * 0.7 is 7 there, and 6.9999999 in double.
      if (scale == 1)
        y[i] = x[i];
      else if (!is_unknown(x[i]))
        y[i] = static_cast<std::int64_t>(std::floor(static_cast<float>(x[i]) * scale));
    }
  }
  return {like(in[0], y)};
}

Outputs depth_to_space(const DepthToSpace& op, const Inputs& in) {
  if (!in.shape(0)) return {like(in[0], {})};
  Shape y = *in.shape(0);
  check(y.size() == 4 && op.block_size >= 1, "input has shape {}, block size is {}", to_string(y), op.block_size);
  check(op.block_size < 65536, "block size is {}", op.block_size);
  const std::int64_t square = op.block_size * op.block_size;
  if (!is_unknown(y[1])) {
    check(y[1] % square == 0, "{} channels cannot be split into blocks of {}x{}", y[1], op.block_size, op.block_size);
    y[1] /= square;
  }
  y[2] = multiply(y[2], op.block_size);
  y[3] = multiply(y[3], op.block_size);
  return {like(in[0], y)};
}

}  // namespace bitfold::infer
