// Operators that read or write single elements by index: GatherElements, GatherND, ScatterElements, ScatterND,
// TensorScatter.
#include <algorithm>

#include "ops/operator.h"
#include "ops/rows.h"

namespace bitfold::ops {
namespace {

// ---- Shapes

/// Indices of one element each have data's rank, and except along `axis` are not larger than data.
void check_element_indices(const Shape& data, const Shape& indices, std::int64_t axis) {
  check(data.size() == indices.size(), "indices of shape {} for data of shape {}; both must have the same rank",
        to_string(indices), to_string(data));
  const auto along = at(normalize_axis(axis, data.size()));
  for (std::size_t i = 0; i < data.size(); ++i)
    check(i == along || indices[i] <= data[i] || is_unknown(data[i]),
          "indices of shape {} are larger than data of shape {} along axis {}", to_string(indices), to_string(data), i);
}

Outputs infer_gather_elements(const Inputs& in) {
  if (in.shape(0) && in.shape(1))
    check_element_indices(*in.shape(0), *in.shape(1), std::get<GatherElements>(in.node.op).axis);
  return {like(in[0], in.shape(1))};
}

/// The number of axes that each row of indices addresses; none if it is unknown.
std::optional<std::int64_t> index_depth(const Shape& data, const Shape& indices, std::int64_t first_axis) {
  check(!indices.empty(), "indices are a scalar; expected at least one axis");
  const std::int64_t depth = indices.back();
  if (is_unknown(depth)) return std::nullopt;
  check(depth >= 1 && depth <= std::ssize(data) - first_axis,
        "indices of shape {} cannot address data of shape {}: their last axis is 0 or too long", to_string(indices),
        to_string(data));
  return depth;
}

Outputs infer_gather_nd(const Inputs& in) {
  const std::int64_t batch = std::get<GatherNd>(in.node.op).batch_dims;
  if (!in.shape(0) || !in.shape(1)) return {like(in[0], {})};
  const Shape &data = *in.shape(0), &indices = *in.shape(1);
  check(batch >= 0 && batch < std::min(std::ssize(data), std::ssize(indices)),
        "batch_dims is {}, but data has shape {} and indices have {}", batch, to_string(data), to_string(indices));
  check(std::equal(data.begin(), data.begin() + batch, indices.begin(), fits),
        "data of shape {} and indices of shape {} differ in their first {} axes", to_string(data), to_string(indices),
        batch);
  const auto depth = index_depth(data, indices, batch);
  if (!depth) return {like(in[0], {})};
  Shape y(indices.begin(), indices.end() - 1);
  y.insert(y.end(), data.begin() + batch + *depth, data.end());
  return {like(in[0], y)};
}

void check_reduction(const Inputs& in, ScatterReduction reduction) {
  const TypeSet types = reduction == ScatterReduction::none ? kWholeBytes : kNumber;
  check(types.contains(in[0].dtype) || in[0].dtype == DataType::unknown,
        "input 'data' is {}; accepted with a reduction: {}", to_string(in[0].dtype), to_string(types));
}

Outputs infer_scatter_elements(const Inputs& in) {
  const auto& op = std::get<ScatterElements>(in.node.op);
  check_reduction(in, op.reduction);
  if (in.shape(0) && in.shape(1)) check_element_indices(*in.shape(0), *in.shape(1), op.axis);
  if (in.shape(1) && in.shape(2))
    check(shapes_fit(*in.shape(1), *in.shape(2)), "updates have shape {}, expected that of indices, {}",
          to_string(*in.shape(2)), to_string(*in.shape(1)));
  return {like(in[0], in.shape(0))};
}

Outputs infer_scatter_nd(const Inputs& in) {
  check_reduction(in, std::get<ScatterNd>(in.node.op).reduction);
  if (in.shape(1)) check(!in.shape(1)->empty(), "indices are a scalar; expected at least one axis");
  if (!in.shape(0) || !in.shape(1)) return {like(in[0], in.shape(0))};
  const Shape &data = *in.shape(0), &indices = *in.shape(1);
  const auto depth = index_depth(data, indices, 0);
  if (!depth) return {like(in[0], data)};
  Shape updates(indices.begin(), indices.end() - 1);
  updates.insert(updates.end(), data.begin() + *depth, data.end());
  check(!in.shape(2) || shapes_fit(updates, *in.shape(2)), "updates have shape {}, expected {}",
        in.shape(2) ? to_string(*in.shape(2)) : "", to_string(updates));
  return {like(in[0], data)};
}

Outputs infer_tensor_scatter(const Inputs& in) {
  const auto& op = std::get<TensorScatter>(in.node.op);
  if (!in.shape(0)) return {like(in[0], {})};
  const Shape& cache = *in.shape(0);
  const auto axis = at(normalize_axis(op.axis, cache.size()));
  check(axis > 0, "axis {} of shape {} is the batch axis", op.axis, to_string(cache));
  if (in.shape(1)) {
    const Shape& update = *in.shape(1);
    bool is_alike = update.size() == cache.size();
    for (std::size_t i = 0; is_alike && i < cache.size(); ++i)
      is_alike = fits(update[i], cache[i]) || (i == axis && update[i] <= cache[i]);
    check(is_alike, "an update of shape {} does not fit a cache of shape {} along axis {}", to_string(update),
          to_string(cache), axis);
  }
  if (in.has(2) && in.shape(2))
    check(in.shape(2)->size() == 1 && fits(in.shape(2)->front(), cache[0]),
          "write_indices have shape {}, expected one for each of {} samples", to_string(*in.shape(2)),
          to_string(Shape{cache[0]}));
  return {like(in[0], cache)};
}

// ---- Positions

/// Positions are found for that many elements at a time.
constexpr std::size_t kChunk = 256;

/// Calls f with a value of the C++ type of an index.
template <class F>
void with_index_type(DataType dtype, F f) {
  if (dtype == DataType::int32) return f(std::int32_t{});
  f(std::int64_t{});
}

/// Calls f(i, positions): elements i, i + 1, ... of `indices` address the elements of data at `positions`, which have
/// the same coordinates except along `axis`. Each call has at most kChunk positions.
template <class F>
void for_each_addressed(const Node& node, std::size_t axis, std::span<const std::int64_t> data,
                        const TensorView& indices, F f) {
  const std::int64_t size = data[axis];
  const Strides strides = dense_strides(data), own = dense_strides(indices.shape);
  const std::int64_t stride = strides[axis];
  Loops<2> loops;
  for (std::size_t i = 0; i < data.size(); ++i) loops.add(indices.shape[i], {own[i], i == axis ? 0 : strides[i]});
  std::array<std::int64_t, kChunk> positions{};
  with_index_type(indices.dtype, [&](auto zero) {
    const auto* given = indices.as<decltype(zero)>();
    loops.for_each_row([&](const auto& offsets, std::int64_t n, const auto& steps) {
      for (std::int64_t first = 0, count = 0; first < n; first += count) {
        count = std::min(static_cast<std::int64_t>(kChunk), n - first);
        const std::int64_t i = offsets[0] + first, base = offsets[1] + first * steps[1];
        for (std::int64_t k = 0; k < count; ++k) {
          const std::int64_t index = given[i + k];
          if (index < -size || index >= size)
            fail("{} index {} is outside axis {} of size {}", where(node), index, axis, size);
          positions[at(k)] = base + k * steps[1] + (index < 0 ? index + size : index) * stride;
        }
        f(i, std::span<const std::int64_t>(positions.data(), at(count)));
      }
    });
  });
}

/// The position of the first element that row `row` of `indices` addresses in axes [first, first + depth) of data.
std::int64_t addressed_row(const Node& node, std::string_view what, const TensorView& indices, std::int64_t row,
                           std::size_t first, std::span<const std::int64_t> data, const Strides& strides) {
  const std::int64_t depth = indices.shape.back();
  std::int64_t position = 0;
  for (std::int64_t k = 0; k < depth; ++k) {
    const std::size_t axis = first + at(k);
    const std::int64_t index = integer_at(indices, row * depth + k);
    if (index < -data[axis] || index >= data[axis])
      fail("{} index {} of {} {} is outside axis {} of size {}", where(node), index, what, row, axis, data[axis]);
    position += (index < 0 ? index + data[axis] : index) * strides[axis];
  }
  return position;
}

// ---- Evaluation

void gather_elements(const Node& node, std::span<const TensorView> in, std::span<const TensorView> out) {
  const auto shape = in[0].shape;
  const std::size_t axis = wrapped_axis(std::get<GatherElements>(node.op).axis, shape.size());
  with_width(in[0].dtype, [&](auto zero) {
    using T = decltype(zero);
    const T* x = in[0].as<T>();
    for_each_addressed(node, axis, shape, in[1], [&](std::int64_t i, std::span<const std::int64_t> positions) {
      T* y = out[0].as<T>() + i;
      for (std::int64_t from : positions) *y++ = x[from];
    });
  });
}

void gather_nd(const Node& node, std::span<const TensorView> in, std::span<const TensorView> out) {
  const auto shape = in[0].shape;
  const auto batch = static_cast<std::size_t>(std::get<GatherNd>(node.op).batch_dims);
  const auto depth = static_cast<std::size_t>(in[1].shape.back());
  const Strides strides = dense_strides(shape);
  const std::int64_t batches = product(shape.first(batch)),
                     rows = product(in[1].shape.subspan(batch)) / in[1].shape.back();
  const std::int64_t sample = product(shape.subspan(batch)), run = product(shape.subspan(batch + depth));
  const std::size_t bytes = static_cast<std::size_t>(run) * element_bytes(in[0].dtype);
  if (bytes == 0) return;
  std::byte* to = out[0].data;
  for (std::int64_t b = 0; b < batches; ++b)
    for (std::int64_t r = 0; r < rows; ++r, to += bytes) {
      const std::int64_t from = b * sample + addressed_row(node, "row", in[1], b * rows + r, batch, shape, strides);
      std::memcpy(to, in[0].data + static_cast<std::size_t>(from) * element_bytes(in[0].dtype), bytes);
    }
}

/// Calls apply with the function that gives an element from its present value and an update.
template <class T, class Apply>
void with_reduction(ScatterReduction reduction, Apply apply) {
  switch (reduction) {
    case ScatterReduction::none:
      return apply([](T, T b) { return b; });
    case ScatterReduction::add:
      return apply([](T a, T b) { return wrapping_add(a, b); });
    case ScatterReduction::mul:
      return apply([](T a, T b) { return wrapping_multiply(a, b); });
    case ScatterReduction::min:
      return apply([](T a, T b) { return smaller(a, b); });
    case ScatterReduction::max:
      return apply([](T a, T b) { return larger(a, b); });
  }
}

/// Calls f with a value of the element's type, or of its width if elements are only replaced.
template <class F>
void with_scattered_type(ScatterReduction reduction, DataType dtype, F f) {
  if (reduction == ScatterReduction::none)
    with_width(dtype, f);
  else
    with_number_type(dtype, f);
}

/// Updates are applied in order. If several change one position, the last one wins, or the reduction combines them.
void scatter_elements(const Node& node, std::span<const TensorView> in, std::span<const TensorView> out) {
  const auto& op = std::get<ScatterElements>(node.op);
  copy_elements(node, in, out);
  with_scattered_type(op.reduction, out[0].dtype, [&](auto zero) {
    using T = decltype(zero);
    T* data = out[0].as<T>();
    for_each_addressed(node, wrapped_axis(op.axis, out[0].shape.size()), out[0].shape, in[1],
                       [&](std::int64_t i, std::span<const std::int64_t> positions) {
                         with_reduction<T>(op.reduction, [&](auto combine) {
                           const T* update = in[2].as<T>() + i;
                           for (std::int64_t to : positions) data[to] = combine(data[to], *update++);
                         });
                       });
  });
}

void scatter_nd(const Node& node, std::span<const TensorView> in, std::span<const TensorView> out) {
  const ScatterReduction reduction = std::get<ScatterNd>(node.op).reduction;
  const auto shape = out[0].shape;
  const Strides strides = dense_strides(shape);
  const std::int64_t count = product(in[1].shape.first(in[1].shape.size() - 1));
  const std::int64_t run = product(shape.subspan(static_cast<std::size_t>(in[1].shape.back())));
  copy_elements(node, in, out);
  with_scattered_type(reduction, out[0].dtype, [&](auto zero) {
    using T = decltype(zero);
    with_reduction<T>(reduction, [&](auto combine) {
      const T* update = in[2].as<T>();
      for (std::int64_t u = 0; u < count; ++u, update += run) {
        T* data = out[0].as<T>() + addressed_row(node, "update", in[1], u, 0, shape, strides);
        for (std::int64_t i = 0; i < run; ++i) data[i] = combine(data[i], update[i]);
      }
    });
  });
}

void tensor_scatter(const Node& node, std::span<const TensorView> in, std::span<const TensorView> out) {
  const auto& op = std::get<TensorScatter>(node.op);
  const auto shape = in[0].shape;
  const std::size_t axis = wrapped_axis(op.axis, shape.size());
  const std::int64_t length = shape[axis], count = in[1].shape[axis];
  const std::int64_t between = product(shape.subspan(1, axis - 1));
  const std::size_t bytes = static_cast<std::size_t>(product(shape.subspan(axis + 1))) * element_bytes(in[0].dtype);
  copy_elements(node, in, out);
  const std::byte* from = in[1].data;
  for (std::int64_t b = 0; b < shape[0]; ++b) {
    const std::int64_t first = is_given(in, 2) ? integer_at(in[2], b) : 0;
    check(first >= 0 && (op.circular ? first < length || count == 0 : first <= length - count),
          "{} writes {} positions from {} on into axis {} of size {} of sample {}", where(node), count, first, axis,
          length, b);
    for (std::int64_t p = 0; p < between; ++p)
      for (std::int64_t i = 0; i < count && bytes > 0; ++i, from += bytes) {
        const std::int64_t row = (b * between + p) * length + (first + i) % length;
        std::memcpy(out[0].data + static_cast<std::size_t>(row) * bytes, from, bytes);
      }
  }
}

bool replaces_elements(const Op& op) { return std::get<ScatterElements>(op).reduction == ScatterReduction::none; }
bool replaces_rows(const Op& op) { return std::get<ScatterNd>(op).reduction == ScatterReduction::none; }

}  // namespace

std::vector<OperatorInfo> scatter_operators() {
  const Slot data{"data", kWholeBytes, 'T'}, output{"output", kWholeBytes, 'T'}, updates{"updates", kWholeBytes, 'T'};
  const Slot indices{"indices", kIndex, 0, Presence::required, Use::parameter};
  const Slot index_rows{"indices", kInt64, 0, Presence::required, Use::parameter};
  const std::vector<Word<ScatterReduction>> reductions{{"none", ScatterReduction::none},
                                                       {"add", ScatterReduction::add},
                                                       {"mul", ScatterReduction::mul},
                                                       {"min", ScatterReduction::min},
                                                       {"max", ScatterReduction::max}};
  const Traits picks{.moves_elements = true, .commutes_with_positive_scale = true, .permutes_channels = true};
  return {
      {.name = "GatherElements",
       .since = 11,
       .prototype = GatherElements{},
       .inputs = {data, indices},
       .outputs = {output},
       .fields = {field("axis", &GatherElements::axis)},
       .infer = infer_gather_elements,
       .evaluate = gather_elements,
       .traits = picks},
      {.name = "GatherND",
       .since = 12,
       .prototype = GatherNd{},
       .inputs = {data, index_rows},
       .outputs = {output},
       .fields = {field("batch_dims", &GatherNd::batch_dims, {0, kMaxRank})},
       .infer = infer_gather_nd,
       .evaluate = gather_nd,
       .traits = picks},
      {.name = "ScatterElements",
       .since = 18,
       .prototype = ScatterElements{},
       .inputs = {data, indices, updates},
       .outputs = {output},
       .fields = {field("axis", &ScatterElements::axis), field("reduction", &ScatterElements::reduction, reductions)},
       .infer = infer_scatter_elements,
       .evaluate = scatter_elements,
       .traits = {.moves_elements = true, .permutes_channels = true},
       .moves_when = replaces_elements},
      {.name = "ScatterND",
       .since = 18,
       .prototype = ScatterNd{},
       .inputs = {data, index_rows, updates},
       .outputs = {output},
       .fields = {field("reduction", &ScatterNd::reduction, reductions)},
       .infer = infer_scatter_nd,
       .evaluate = scatter_nd,
       .traits = {.moves_elements = true, .permutes_channels = true},
       .moves_when = replaces_rows},
      {.name = "TensorScatter",
       .since = 24,
       .prototype = TensorScatter{},
       .inputs = {{"past_cache", kWholeBytes, 'T'},
                  {"update", kWholeBytes, 'T'},
                  {"write_indices", kInt64, 0, Presence::optional, Use::parameter}},
       .outputs = {{"present_cache", kWholeBytes, 'T'}},
       .fields = {field("axis", &TensorScatter::axis),
                  field("mode", &TensorScatter::circular,
                        std::vector<Word<bool>>{{"linear", false}, {"circular", true}})},
       .infer = infer_tensor_scatter,
       .evaluate = tensor_scatter,
       .traits = {.moves_elements = true, .permutes_channels = true}},
  };
}

}  // namespace bitfold::ops
