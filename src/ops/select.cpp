// Operators that find elements by their value, or select them by a condition: TopK, OneHot, NonZero, Unique, Compress.
#include <algorithm>
#include <cmath>
#include <numeric>

#include "ops/operator.h"
#include "ops/rows.h"

namespace bitfold::ops {
namespace {

using Order = std::vector<std::int64_t>;

ValueInfo int64_info(std::optional<Shape> shape) {
  return {.dtype = DataType::int64, .shape = std::move(shape), .elements = {}};
}

/// A total order in which NaN is the largest number and equals itself.
template <class T>
bool is_before(T a, T b) {
  return a < b || (a == a && b != b);
}

// ---- TopK

Outputs infer_top_k(const Inputs& in) {
  if (!in.shape(0)) return {like(in[0], {}), int64_info({})};
  Shape y = *in.shape(0);
  std::int64_t& size = y[at(normalize_axis(std::get<TopK>(in.node.op).axis, y.size()))];
  const auto k = in.known(1);
  if (!k) {
    size = kDynamic;
    if (in[1].elements && in[1].elements->size() == 1) size = dimension_of(in[1].elements->front());
  } else {
    check(k->size() == 1, "k has {} elements, expected 1", k->size());
    check(k->front() >= 0 && (is_unknown(size) || k->front() <= size), "k is {}, but the axis has {} elements",
          k->front(), size);
    size = k->front();
  }
  return {like(in[0], y), int64_info(y)};
}

/// Equal elements are in the order of their indices.
void top_k(const Node& node, std::span<const TensorView> in, std::span<const TensorView> out) {
  const auto& op = std::get<TopK>(node.op);
  const auto shape = in[0].shape;
  const std::size_t axis = wrapped_axis(op.axis, shape.size());
  const std::int64_t n = shape[axis], k = out[0].shape[axis], inner = product(shape.subspan(axis + 1));
  const bool has_indices = is_given(out, 1);
  Order order(at(n));
  with_number_type(in[0].dtype, [&](auto zero) {
    using T = decltype(zero);
    for (std::int64_t o = 0, outer = product(shape.first(axis)); o < outer; ++o)
      for (std::int64_t i = 0; i < inner; ++i) {
        const T* x = in[0].as<T>() + o * n * inner + i;
        const auto value = [&](std::int64_t j) { return x[j * inner]; };
        std::iota(order.begin(), order.end(), 0);
        std::partial_sort(order.begin(), order.begin() + k, order.end(), [&](std::int64_t a, std::int64_t b) {
          if (is_before(value(a), value(b))) return !op.largest;
          if (is_before(value(b), value(a))) return op.largest;
          return a < b;
        });
        for (std::int64_t j = 0; j < k; ++j) {
          const std::int64_t to = (o * k + j) * inner + i;
          if (out[0].data != nullptr) out[0].as<T>()[to] = value(order[at(j)]);
          if (has_indices) out[1].as<std::int64_t>()[to] = order[at(j)];
        }
      }
  });
}

// ---- OneHot

/// The depth, of any type of number; none if it is not known.
std::optional<std::int64_t> known_depth(const Inputs& in) {
  if (const auto depth = in.known(1)) {
    check(depth->size() == 1, "depth has {} elements, expected 1", depth->size());
    return depth->front();
  }
  if (in[1].dtype != DataType::float32 || in[1].scales.size() != 1) return std::nullopt;
  const float depth = in[1].scales.front();
  check(depth >= 0 && depth < 0x1p40F, "a depth of {}", depth);
  return static_cast<std::int64_t>(depth);
}

Outputs infer_one_hot(const Inputs& in) {
  if (in.shape(2))
    check(in.shape(2)->size() == 1 && (is_unknown(in.shape(2)->front()) || in.shape(2)->front() == 2),
          "values have shape {}, expected 2", to_string(*in.shape(2)));
  if (!in.shape(0)) return {like(in[2], {})};
  Shape y = *in.shape(0);
  const auto axis = normalize_axis(std::get<OneHot>(in.node.op).axis, y.size() + 1);
  const auto depth = known_depth(in);
  check(!depth || *depth >= 0, "a depth of {}", depth.value_or(0));
  y.insert(y.begin() + axis, depth.value_or(kDynamic));
  return {like(in[2], y)};
}

/// The index that an element stands for; none if the element is outside [-depth, depth).
template <class T>
std::optional<std::int64_t> class_of(T x, std::int64_t depth) {
  if constexpr (std::is_same_v<T, float>) {
    if (!(std::abs(x) < 0x1p40F)) return std::nullopt;
  } else if constexpr (std::is_same_v<T, std::uint64_t>) {
    if (x >= static_cast<std::uint64_t>(depth)) return std::nullopt;
  }
  const auto index = static_cast<std::int64_t>(x);
  if (index < -depth || index >= depth) return std::nullopt;
  return index < 0 ? index + depth : index;
}

void one_hot(const Node& node, std::span<const TensorView> in, std::span<const TensorView> out) {
  const auto shape = out[0].shape;
  const std::size_t axis = wrapped_axis(std::get<OneHot>(node.op).axis, shape.size());
  const std::int64_t depth = shape[axis], inner = product(shape.subspan(axis + 1)), outer = product(shape.first(axis));
  with_width(out[0].dtype, [&](auto zero) {
    using R = decltype(zero);
    const R off = in[2].as<R>()[0], on = in[2].as<R>()[1];
    std::fill_n(out[0].as<R>(), out[0].size(), off);
    with_number_type(in[0].dtype, [&](auto number) {
      const auto* x = in[0].as<decltype(number)>();
      for (std::int64_t o = 0; o < outer; ++o)
        for (std::int64_t i = 0; i < inner; ++i)
          if (const auto index = class_of(x[o * inner + i], depth))
            out[0].as<R>()[(o * depth + *index) * inner + i] = on;
    });
  });
}

// ---- NonZero

Outputs infer_non_zero(const Inputs& in) {
  if (!in.shape(0)) return {int64_info(all_dynamic(2))};
  const Shape& x = *in.shape(0);
  ValueInfo y = int64_info(Shape{std::ssize(x), kDynamic});
  const auto known = in.known(0);
  if (!known || !is_static(x) || element_count(x) != std::ssize(*known)) return {y};
  Order found;
  for (std::int64_t i = 0; i < std::ssize(*known); ++i)
    if ((*known)[at(i)] != 0) found.push_back(i);
  y.shape = Shape{std::ssize(x), std::ssize(found)};
  if (std::ssize(x) * std::ssize(found) > kMaxElements) return {y};
  Elements elements;
  const Strides strides = dense_strides(x);
  for (std::size_t axis = 0; axis < x.size(); ++axis)
    for (std::int64_t i : found) elements.push_back(i / strides[axis] % x[axis]);
  return {with_elements(y, elements)};
}

std::vector<Tensor> non_zero(const Node&, std::span<const TensorView> in) {
  const auto shape = in[0].shape;
  const std::int64_t size = in[0].size();
  Order found;
  const auto find = [&](const auto* x) {
    for (std::int64_t i = 0; i < size; ++i)
      if (x[i] != 0) found.push_back(i);
  };
  if (in[0].dtype == DataType::boolean)
    find(in[0].as<std::uint8_t>());
  else
    with_number_type(in[0].dtype, [&](auto zero) { find(in[0].as<decltype(zero)>()); });
  Tensor y = Tensor::uninitialized(DataType::int64, {std::ssize(shape), std::ssize(found)});
  std::int64_t* to = y.mutable_data<std::int64_t>().data();
  const Strides strides = dense_strides(shape);
  for (std::size_t axis = 0; axis < shape.size(); ++axis)
    for (std::int64_t i : found) *to++ = i / strides[axis] % shape[axis];
  std::vector<Tensor> made;
  made.push_back(std::move(y));
  return made;
}

// ---- Unique

Outputs infer_unique(const Inputs& in) {
  const auto& op = std::get<Unique>(in.node.op);
  const ValueInfo list = int64_info(Shape{kDynamic});
  ValueInfo inverse = list, y = like(in[0], op.axis ? in.shape(0) : Shape{kDynamic});
  if (in.shape(0) && op.axis) {
    std::int64_t& size = (*y.shape)[at(normalize_axis(*op.axis, y.shape->size()))];
    inverse.shape = Shape{size};
    size = kDynamic;
  } else if (in.shape(0) && is_static(*in.shape(0))) {
    inverse.shape = Shape{element_count(*in.shape(0))};
  }
  return {y, list, inverse, list};
}

/// A tensor as `count` slices along one axis.
template <class T>
struct Slices {
  const T* x = nullptr;
  std::int64_t outer = 1, count = 0, inner = 1;

  /// Less than, equal to or greater than 0 as slice `a` comes before slice `b`, equals it, or comes after it.
  int compare(std::int64_t a, std::int64_t b) const {
    for (std::int64_t o = 0; o < outer; ++o)
      for (std::int64_t i = 0; i < inner; ++i) {
        const T va = x[(o * count + a) * inner + i], vb = x[(o * count + b) * inner + i];
        if (is_before(va, vb)) return -1;
        if (is_before(vb, va)) return 1;
      }
    return 0;
  }
};

struct Groups {
  Order first, inverse, counts;  ///< The first slice and the size of each group; the group of each slice.
};

template <class T>
Groups group_equal(const Slices<T>& slices, bool is_sorted) {
  Order order(at(slices.count));
  std::iota(order.begin(), order.end(), 0);
  std::ranges::stable_sort(order, [&](std::int64_t a, std::int64_t b) { return slices.compare(a, b) < 0; });
  Groups groups;
  groups.inverse.resize(order.size());
  for (std::size_t i = 0; i < order.size(); ++i) {
    if (i == 0 || slices.compare(order[i - 1], order[i]) != 0) {
      groups.first.push_back(order[i]);
      groups.counts.push_back(0);
    }
    ++groups.counts.back();
    groups.inverse[at(order[i])] = std::ssize(groups.first) - 1;
  }
  if (is_sorted) return groups;
  Order by_place(groups.first.size()), rank(groups.first.size());
  std::iota(by_place.begin(), by_place.end(), 0);
  std::ranges::sort(by_place, {}, [&](std::int64_t g) { return groups.first[at(g)]; });
  Groups placed;
  for (std::size_t i = 0; i < by_place.size(); ++i) {
    rank[at(by_place[i])] = static_cast<std::int64_t>(i);
    placed.first.push_back(groups.first[at(by_place[i])]);
    placed.counts.push_back(groups.counts[at(by_place[i])]);
  }
  for (std::int64_t g : groups.inverse) placed.inverse.push_back(rank[at(g)]);
  return placed;
}

std::vector<Tensor> unique(const Node& node, std::span<const TensorView> in) {
  const auto& op = std::get<Unique>(node.op);
  const auto shape = in[0].shape;
  const std::size_t axis = op.axis ? wrapped_axis(*op.axis, shape.size()) : 0;
  std::vector<Tensor> made;
  const auto find = [&](auto zero) {
    using T = decltype(zero);
    Slices<T> slices{.x = in[0].as<T>(), .count = in[0].size()};
    if (op.axis) slices = {slices.x, product(shape.first(axis)), shape[axis], product(shape.subspan(axis + 1))};
    const Groups groups = group_equal(slices, op.sorted);
    Shape y{std::ssize(groups.first)};
    if (op.axis) {
      y.assign(shape.begin(), shape.end());
      y[axis] = std::ssize(groups.first);
    }
    Tensor values = Tensor::uninitialized(in[0].dtype, y);
    T* to = reinterpret_cast<T*>(values.mutable_bytes());
    for (std::int64_t o = 0; o < slices.outer; ++o)
      for (std::int64_t slice : groups.first)
        to = std::copy_n(slices.x + (o * slices.count + slice) * slices.inner, slices.inner, to);
    made.push_back(std::move(values));
    for (const Order& list : {groups.first, groups.inverse, groups.counts})
      made.push_back(Tensor::from(Shape{std::ssize(list)}, list));
  };
  if (in[0].dtype == DataType::boolean)
    find(std::uint8_t{});
  else
    with_number_type(in[0].dtype, find);
  return made;
}

// ---- Compress

Outputs infer_compress(const Inputs& in) {
  const auto& op = std::get<Compress>(in.node.op);
  ValueInfo y = like(in[0], op.axis ? in.shape(0) : Shape{kDynamic});
  if (in.shape(1))
    check(in.shape(1)->size() == 1, "the condition has shape {}, expected one axis", to_string(*in.shape(1)));
  if (op.axis && y.shape) (*y.shape)[at(normalize_axis(*op.axis, y.shape->size()))] = kDynamic;
  return {y};
}

std::vector<Tensor> compress(const Node& node, std::span<const TensorView> in) {
  const auto& op = std::get<Compress>(node.op);
  const auto shape = in[0].shape;
  check(in[1].shape.size() == 1, "{} the condition has rank {}, expected 1", where(node), in[1].shape.size());
  const std::size_t axis = op.axis ? wrapped_axis(*op.axis, shape.size()) : 0;
  const std::int64_t outer = op.axis ? product(shape.first(axis)) : 1;
  const std::int64_t count = op.axis ? shape[axis] : in[0].size();
  const std::size_t bytes =
      (op.axis ? static_cast<std::size_t>(product(shape.subspan(axis + 1))) : 1) * element_bytes(in[0].dtype);
  // Elements beyond the condition are dropped, and so are conditions beyond the elements.
  Order selected;
  for (std::int64_t i = 0, n = std::min(count, in[1].size()); i < n; ++i)
    if (integer_at(in[1], i) != 0) selected.push_back(i);
  Shape y{std::ssize(selected)};
  if (op.axis) {
    y.assign(shape.begin(), shape.end());
    y[axis] = std::ssize(selected);
  }
  Tensor result = Tensor::uninitialized(in[0].dtype, y);
  std::byte* to = result.mutable_bytes();
  for (std::int64_t o = 0; o < outer && bytes > 0; ++o)
    for (std::int64_t i : selected)
      to = std::copy_n(in[0].data + static_cast<std::size_t>(o * count + i) * bytes, bytes, to);
  std::vector<Tensor> made;
  made.push_back(std::move(result));
  return made;
}

}  // namespace

std::vector<OperatorInfo> select_operators() {
  const TypeSet comparable = kNumber | kBoolean;
  const auto list = [](std::string_view name) { return Slot{name, kInt64, 0, Presence::optional}; };
  return {
      {.name = "TopK",
       .since = 11,
       .prototype = TopK{},
       .inputs = {{"X", kNumber, 'T'}, {"K", kInt64, 0, Presence::required, Use::parameter}},
       .outputs = {{"Values", kNumber, 'T'}, {"Indices", kInt64}},
       .fields = {field("axis", &TopK::axis), field("largest", &TopK::largest), field("sorted", &TopK::sorted)},
       .infer = infer_top_k,
       .evaluate = top_k},
      {.name = "OneHot",
       .since = 9,
       .prototype = OneHot{},
       .inputs = {{"indices", kNumber, 0, Presence::required, Use::parameter},
                  {"depth", kReal | kIndex, 0, Presence::required, Use::parameter},
                  {"values", kWholeBytes, 'T'}},
       .outputs = {{"output", kWholeBytes, 'T'}},
       .fields = {field("axis", &OneHot::axis)},
       .infer = infer_one_hot,
       .evaluate = one_hot,
       .traits = {.moves_elements = true, .permutes_channels = true}},
      {.name = "NonZero",
       .since = 9,
       .prototype = NonZero{},
       .inputs = {{"X", comparable}},
       .outputs = {{"Y", kInt64}},
       .infer = infer_non_zero,
       .evaluate_dynamic = non_zero},
      {.name = "Unique",
       .since = 11,
       .prototype = Unique{},
       .inputs = {{"X", comparable, 'T'}},
       .outputs = {{"Y", comparable, 'T'}, list("indices"), list("inverse_indices"), list("counts")},
       .fields = {field("axis", &Unique::axis), field("sorted", &Unique::sorted)},
       .infer = infer_unique,
       .evaluate_dynamic = unique},
      {.name = "Compress",
       .since = 9,
       .prototype = Compress{},
       .inputs = {{"input", kWholeBytes, 'T'}, {"condition", kBoolean, 0, Presence::required, Use::parameter}},
       .outputs = {{"output", kWholeBytes, 'T'}},
       .fields = {field("axis", &Compress::axis)},
       .infer = infer_compress,
       .evaluate_dynamic = compress,
       .traits = {.moves_elements = true, .commutes_with_positive_scale = true, .permutes_channels = true}},
  };
}

}  // namespace bitfold::ops
