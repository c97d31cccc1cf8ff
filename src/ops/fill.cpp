// Operators that repeat elements or create tensors from shapes and numbers.
#include <algorithm>
#include <cmath>
#include <limits>

#include "ops/operator.h"
#include "ops/rows.h"
#include "ops/strided_copy.h"

namespace bitfold::ops {
namespace {

Outputs infer_expand(const Inputs& in) {
  const auto rank = length_of(in[1]);
  if (!in.shape(0) || !rank) return {like(in[0], {})};
  Shape target;
  for (std::int64_t i = 0; i < *rank; ++i) {
    const Element size = in[1].elements ? (*in[1].elements)[at(i)] : Element();
    check(!size || *size >= 0, "shape has the negative entry {}", size.value_or(0));
    target.push_back(dimension_of(size));
  }
  ValueInfo y = like(in[0], broadcast(*in.shape(0), target));
  if (in[0].elements && in[0].elements->size() == 1 && is_static(*y.shape) && element_count(*y.shape) <= kMaxElements)
    y.elements = Elements(at(element_count(*y.shape)), in[0].elements->front());
  return {y};
}

Outputs infer_tile(const Inputs& in) {
  if (!in.shape(0)) return {like(in[0], {})};
  Shape y = *in.shape(0);
  const auto repeats = in.known(1);
  if (!repeats) return {like(in[0], all_dynamic(std::ssize(y)))};
  check(repeats->size() == y.size(), "repeats has {} entries for an input of shape {}; expected one per axis",
        repeats->size(), to_string(y));
  for (std::size_t i = 0; i < y.size(); ++i) {
    check((*repeats)[i] >= 0, "an entry of repeats is {}; it must not be negative", (*repeats)[i]);
    y[i] = multiply(y[i], (*repeats)[i]);
  }
  return {like(in[0], y)};
}

Outputs infer_shape_of(const Inputs& in) {
  const auto& op = std::get<ShapeOf>(in.node.op);
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

/// The number of elements. If all axes but one have size 1, it is the size of that axis, which may be unknown.
Outputs infer_size_of(const Inputs& in) {
  ValueInfo y{.dtype = DataType::int64, .shape = Shape{}, .elements = {}};
  if (!in.shape(0)) return {y};
  std::int64_t size = 1;
  for (std::int64_t dim : *in.shape(0)) size = multiply(size, dim);
  Element element;
  if (is_unknown(size))
    element.dimension = size < kDynamic ? size : 0;
  else
    element = size;
  y.elements = Elements{element};
  return {y};
}

Outputs infer_eye_like(const Inputs& in) {
  const auto& op = std::get<EyeLike>(in.node.op);
  if (in.shape(0)) check(in.shape(0)->size() == 2, "input has shape {}, expected a matrix", to_string(*in.shape(0)));
  return {{.dtype = op.dtype.value_or(in[0].dtype), .shape = in.shape(0), .elements = {}}};
}

Outputs infer_constant_of_shape(const Inputs& in) {
  const auto& op = std::get<ConstantOfShape>(in.node.op);
  ValueInfo y{.dtype = op.value.dtype(), .shape = {}, .elements = {}};
  const auto rank = length_of(in[0]);
  if (!rank) return {y};
  y.shape = Shape{};
  for (std::int64_t i = 0; i < *rank; ++i) {
    const Element size = in[0].elements ? (*in[0].elements)[at(i)] : Element();
    check(!size || *size >= 0, "shape has the negative entry {}", size.value_or(0));
    y.shape->push_back(dimension_of(size));
  }
  if (is_static(*y.shape) && element_count(*y.shape) <= kMaxElements && op.value.size() == 1) {
    Element fill;
    if (op.value.dtype() == DataType::int64) fill = op.value.data<std::int64_t>()[0];
    if (op.value.dtype() == DataType::int32) fill = op.value.data<std::int32_t>()[0];
    if (fill) y.elements = Elements(at(element_count(*y.shape)), fill);
  }
  return {y};
}

/// ceil((limit - start) / delta), if the three reals are constant.
std::optional<std::int64_t> real_range_count(const Inputs& in) {
  for (std::size_t i = 0; i < 3; ++i)
    if (in[i].dtype != DataType::float32 || in[i].scales.size() != 1) return std::nullopt;
  const double start = in[0].scales[0], limit = in[1].scales[0], delta = in[2].scales[0];
  const double count = std::ceil((limit - start) / delta);
  check(delta != 0 && std::isfinite(count) && count < 0x1p40,
        "the range from {} to {} in steps of {} must have fewer than 2^40 elements", start, limit, delta);
  return static_cast<std::int64_t>(std::max(count, 0.0));
}

Outputs infer_range(const Inputs& in) {
  ValueInfo y{.dtype = in[0].dtype, .shape = Shape{kDynamic}, .elements = {}};
  if (const auto count = real_range_count(in)) y.shape = Shape{*count};
  const auto start = in.known(0), limit = in.known(1), delta = in.known(2);
  if (!start || !limit || !delta || start->empty() || limit->empty() || delta->empty()) return {y};
  check((*delta)[0] != 0, "delta is 0");
  check(is_moderate((*start)[0]) && is_moderate((*limit)[0]) && is_moderate((*delta)[0]),
        "start {}, limit {} or delta {} of the range is too large", (*start)[0], (*limit)[0], (*delta)[0]);
  const std::int64_t span = (*limit)[0] - (*start)[0], step = (*delta)[0];
  const std::int64_t count = (span > 0) == (step > 0) && span != 0 ? (std::abs(span) - 1) / std::abs(step) + 1 : 0;
  y.shape = Shape{count};
  if (count > kMaxElements) return {y};
  y.elements = Elements{};
  for (std::int64_t i = 0; i < count; ++i) y.elements->push_back((*start)[0] + i * step);
  return {y};
}

void expand(const Node&, std::span<const TensorView> in, std::span<const TensorView> out) {
  const Strides from = broadcast_strides(in[0].shape, out[0].shape), to = dense_strides(out[0].shape);
  StridedCopy copy;
  for (std::size_t i = 0; i < out[0].shape.size(); ++i) copy.add(out[0].shape[i], {to[i], from[i]});
  copy.run(in[0].dtype, in[0].data, out[0].data);
}

void tile(const Node&, std::span<const TensorView> in, std::span<const TensorView> out) {
  const auto shape = in[0].shape;
  const Strides from = dense_strides(shape), to = dense_strides(out[0].shape);
  StridedCopy copy;
  for (std::size_t i = 0; i < shape.size(); ++i) {
    copy.add(integer_at(in[1], static_cast<std::int64_t>(i)), {to[i] * shape[i], 0});
    copy.add(shape[i], {to[i], from[i]});
  }
  copy.run(in[0].dtype, in[0].data, out[0].data);
}

void shape_of(const Node& node, std::span<const TensorView> in, std::span<const TensorView> out) {
  const auto& op = std::get<ShapeOf>(node.op);
  const auto rank = static_cast<std::int64_t>(in[0].shape.size());
  const std::int64_t start = std::clamp<std::int64_t>(op.start < 0 ? op.start + rank : op.start, 0, rank);
  for (std::int64_t i = 0; i < out[0].size(); ++i)
    out[0].as<std::int64_t>()[i] = in[0].shape[static_cast<std::size_t>(start + i)];
}

void size_of(const Node&, std::span<const TensorView> in, std::span<const TensorView> out) {
  *out[0].as<std::int64_t>() = in[0].size();
}

void eye_like(const Node& node, std::span<const TensorView>, std::span<const TensorView> out) {
  const std::int64_t k = std::get<EyeLike>(node.op).k, rows = out[0].shape[0], columns = out[0].shape[1];
  const auto fill = [&](auto zero) {
    using T = decltype(zero);
    T* y = out[0].as<T>();
    std::fill_n(y, out[0].size(), T{0});
    if (k <= -rows || k >= columns) return;
    for (std::int64_t row = std::max<std::int64_t>(0, -k); row < rows && row + k < columns; ++row)
      y[row * columns + row + k] = T{1};
  };
  if (out[0].dtype == DataType::boolean) return fill(std::uint8_t{});
  with_number_type(out[0].dtype, fill);
}

void constant_of_shape(const Node& node, std::span<const TensorView>, std::span<const TensorView> out) {
  const Tensor& value = std::get<ConstantOfShape>(node.op).value;
  with_width(out[0].dtype, [&](auto zero) {
    using T = decltype(zero);
    T element{0};
    if (value.size() > 0) std::memcpy(&element, value.bytes(), sizeof(T));
    std::fill_n(out[0].as<T>(), out[0].size(), element);
  });
}

void range(const Node&, std::span<const TensorView> in, std::span<const TensorView> out) {
  const auto fill = [&](auto zero) {
    using T = decltype(zero);
    using Wide = std::conditional_t<std::is_same_v<T, float>, double, std::int64_t>;
    const Wide start = *in[0].as<T>(), delta = *in[2].as<T>();
    for (std::int64_t i = 0; i < out[0].size(); ++i)
      out[0].as<T>()[i] = static_cast<T>(start + static_cast<Wide>(i) * delta);
  };
  if (out[0].dtype == DataType::float32) return fill(float{});
  if (out[0].dtype == DataType::int32) return fill(std::int32_t{});
  fill(std::int64_t{});
}

std::optional<std::string> settle_constant_of_shape(Op& op, const Inputs&) {
  const Tensor& value = std::get<ConstantOfShape>(op).value;
  check(value.size() == 1, "attribute 'value' has {} elements, expected 1", value.size());
  return std::nullopt;
}

}  // namespace

std::vector<OperatorInfo> fill_operators() {
  const auto parameter = [](std::string_view name) {
    return Slot{name, kInt64, 0, Presence::required, Use::parameter};
  };
  const Traits moves{.moves_elements = true, .commutes_with_positive_scale = true};
  return {
      {.name = "Expand",
       .since = 8,
       .prototype = Expand{},
       .inputs = {{"input", kMoved, 'T'}, parameter("shape")},
       .outputs = {{"output", kMoved, 'T'}},
       .infer = infer_expand,
       .evaluate = expand,
       .traits = moves,
       .bounds = within_first},
      {.name = "Tile",
       .since = 6,
       .prototype = Tile{},
       .inputs = {{"input", kMoved, 'T'}, parameter("repeats")},
       .outputs = {{"output", kMoved, 'T'}},
       .infer = infer_tile,
       .evaluate = tile,
       .traits = moves,
       .bounds = within_first},
      {.name = "Shape",
       .since = 15,
       .prototype = ShapeOf{},
       .inputs = {{"data", kMoved | kPacked}},
       .outputs = {{"shape", kInt64}},
       .fields = {field("start", &ShapeOf::start), field("end", &ShapeOf::end)},
       .infer = infer_shape_of,
       .evaluate = shape_of,
       .traits = {.reads_shape_only = true}},
      {.name = "Size",
       .prototype = SizeOf{},
       .inputs = {{"data", kMoved | kPacked}},
       .outputs = {{"size", kInt64}},
       .infer = infer_size_of,
       .evaluate = size_of,
       .traits = {.reads_shape_only = true}},
      {.name = "EyeLike",
       .since = 9,
       .prototype = EyeLike{},
       .inputs = {{"input", kWholeBytes}},
       .outputs = {{"output", kNumber | kBoolean}},
       .fields = {field("dtype", &EyeLike::dtype), field("k", &EyeLike::k)},
       .infer = infer_eye_like,
       .evaluate = eye_like,
       .traits = {.reads_shape_only = true}},
      {.name = "ConstantOfShape",
       .since = 9,
       .prototype = ConstantOfShape{.value = Tensor(DataType::float32, {1})},
       .inputs = {parameter("input")},
       .outputs = {{"output", kWholeBytes}},
       .fields = {field("value", &ConstantOfShape::value)},
       .infer = infer_constant_of_shape,
       .evaluate = constant_of_shape,
       .settle = settle_constant_of_shape},
      {.name = "Range",
       .since = 11,
       .prototype = Range{},
       .inputs = {{"start", kReal | kIndex, 'T', Presence::required, Use::parameter},
                  {"limit", kReal | kIndex, 'T', Presence::required, Use::parameter},
                  {"delta", kReal | kIndex, 'T', Presence::required, Use::parameter}},
       .outputs = {{"output", kReal | kIndex, 'T'}},
       // Concerns float16 and bfloat16 only, which are computed in float32.
       .fields = {ignored<std::int64_t>("stash_type")},
       .infer = infer_range,
       .evaluate = range},
  };
}

}  // namespace bitfold::ops
