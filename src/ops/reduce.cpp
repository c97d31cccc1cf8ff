// Reductions over any set of axes, and running sums, products and maxima along one axis. Reals accumulate in double and
// round once; integers accumulate in 64 bits.
#include <algorithm>
#include <cmath>
#include <limits>

#include "ops/operator.h"
#include "ops/rows.h"

namespace bitfold::ops {
namespace {

Outputs infer_reduce(const Inputs& in) {
  const auto& op = std::get<Reduce>(in.node.op);
  ValueInfo y{.dtype = in[0].dtype, .shape = {}, .elements = {}};
  if (!in.shape(0)) return {y};
  const Shape& x = *in.shape(0);
  std::vector<std::int64_t> axes;
  if (in.has(1)) {
    const auto given = in.known(1);
    if (!given) return {y};
    axes = *given;
  }
  if (axes.empty() && op.noop_with_empty_axes) return {in[0]};
  std::vector<bool> is_reduced(x.size(), axes.empty());
  for (std::int64_t axis : axes) is_reduced[static_cast<std::size_t>(normalize_axis(axis, x.size()))] = true;
  y.shape = Shape{};
  for (std::size_t i = 0; i < x.size(); ++i) {
    if (!is_reduced[i]) y.shape->push_back(x[i]);
    if (is_reduced[i] && op.keepdims) y.shape->push_back(1);
  }
  y.elements = reduced_elements(op, in);
  if (y.elements && (!is_static(*y.shape) || element_count(*y.shape) != std::ssize(*y.elements))) y.elements.reset();
  return {y};
}

Outputs infer_arg_reduce(const Inputs& in) {
  const auto& op = std::get<ArgReduce>(in.node.op);
  ValueInfo y{.dtype = DataType::int64, .shape = {}, .elements = {}};
  if (!in.shape(0)) return {y};
  Shape shape = *in.shape(0);
  const auto axis = normalize_axis(op.axis, shape.size());
  if (op.keepdims)
    shape[static_cast<std::size_t>(axis)] = 1;
  else
    shape.erase(shape.begin() + axis);
  y.shape = shape;
  return {y};
}

/// Loop nests over the kept and the reduced axes. An output is dense in the order of the kept axes.
struct Axes {
  Loops<1> kept, reduced;
  std::int64_t reduced_count = 1;
};

Axes split_axes(const Reduce& op, std::span<const TensorView> in) {
  const auto shape = in[0].shape;
  std::array<bool, kMaxRank> is_reduced{};
  const Strides strides = dense_strides(shape);
  const std::int64_t count = is_given(in, 1) ? in[1].size() : 0;
  if (count == 0) is_reduced.fill(!op.noop_with_empty_axes);
  for (std::int64_t i = 0; i < count; ++i) is_reduced[wrapped_axis(integer_at(in[1], i), shape.size())] = true;
  Axes axes;
  for (std::size_t i = 0; i < shape.size(); ++i) {
    (is_reduced[i] ? axes.reduced : axes.kept).add(shape[i], {strides[i]});
    if (is_reduced[i]) axes.reduced_count *= shape[i];
  }
  return axes;
}

/// The type of sums: double for reals, wrapping 64-bit integers for integers.
template <class T>
using Wide = std::conditional_t<std::is_same_v<T, float>, double,
                                std::conditional_t<std::is_signed_v<T>, std::int64_t, std::uint64_t>>;

/// Folds f(accumulated, x) over the reduced axes of the output at `base`.
template <class T, class F>
Wide<T> fold(const Axes& axes, const T* base, Wide<T> start, F f) {
  Wide<T> result = start;
  axes.reduced.for_each_row([&](const auto& offsets, std::int64_t n, const auto& steps) {
    const T* x = base + offsets[0];
    for (std::int64_t i = 0; i < n; ++i) result = f(result, static_cast<Wide<T>>(x[i * steps[0]]));
  });
  return result;
}

template <class T>
Wide<T> highest(const Axes& axes, const T* x) {
  using W = Wide<T>;
  const W start = std::is_same_v<T, float> ? static_cast<W>(-std::numeric_limits<double>::infinity())
                                           : static_cast<W>(std::numeric_limits<T>::lowest());
  return fold(axes, x, start, [](W a, W v) { return larger(a, v); });
}

template <class T>
Wide<T> lowest(const Axes& axes, const T* x) {
  using W = Wide<T>;
  const W start = std::is_same_v<T, float> ? static_cast<W>(std::numeric_limits<double>::infinity())
                                           : static_cast<W>(std::numeric_limits<T>::max());
  return fold(axes, x, start, [](W a, W v) { return smaller(a, v); });
}

/// log(sum(exp(x))); the maximum is subtracted first, so that nothing overflows.
double log_sum_exp(const Axes& axes, const float* x) {
  const double top = highest(axes, x);
  if (!std::isfinite(top)) return top;
  return top + std::log(fold(axes, x, 0.0, [top](double a, double v) { return a + std::exp(v - top); }));
}

template <class T>
Wide<T> reduce_one(ReduceKind kind, const Axes& axes, const T* x) {
  using W = Wide<T>;
  const auto sum = [&](auto f) { return fold(axes, x, W{0}, [f](W a, W v) { return wrapping_add(a, f(v)); }); };
  const auto squares = [&] { return sum([](W v) { return wrapping_multiply(v, v); }); };
  switch (kind) {
    case ReduceKind::sum:
      return sum([](W v) { return v; });
    case ReduceKind::mean:
      return sum([](W v) { return v; }) / static_cast<W>(axes.reduced_count);
    case ReduceKind::max:
      return highest(axes, x);
    case ReduceKind::min:
      return lowest(axes, x);
    case ReduceKind::prod:
      return fold(axes, x, W{1}, [](W a, W v) { return wrapping_multiply(a, v); });
    case ReduceKind::l1:
      if constexpr (std::is_unsigned_v<W>) return sum([](W v) { return v; });
      return sum([](W v) { return v < 0 ? wrapping_subtract(W{0}, v) : v; });
    case ReduceKind::l2:
      return static_cast<W>(std::sqrt(static_cast<double>(squares())));
    case ReduceKind::sum_square:
      return squares();
    case ReduceKind::log_sum:
      return static_cast<W>(std::log(static_cast<double>(sum([](W v) { return v; }))));
    case ReduceKind::log_sum_exp:
      if constexpr (std::is_same_v<T, float>) return log_sum_exp(axes, x);
  }
  return 0;
}

void reduce(const Node& node, std::span<const TensorView> in, std::span<const TensorView> out) {
  const auto& op = std::get<Reduce>(node.op);
  const Axes axes = split_axes(op, in);
  const bool is_float = in[0].dtype == DataType::float32;
  check(is_float || op.kind != ReduceKind::mean || axes.reduced_count > 0, "{} cannot compute the mean of 0 integers",
        where(node));
  with_number_type(in[0].dtype, [&](auto zero) {
    using T = decltype(zero);
    const T* x = in[0].as<T>();
    T* y = out[0].as<T>();
    axes.kept.for_each_row([&](const auto& offsets, std::int64_t n, const auto& steps) {
      for (std::int64_t i = 0; i < n; ++i)
        *y++ = static_cast<T>(reduce_one(op.kind, axes, x + offsets[0] + i * steps[0]));
    });
  });
}

void arg_reduce(const Node& node, std::span<const TensorView> in, std::span<const TensorView> out) {
  const auto& op = std::get<ArgReduce>(node.op);
  const auto shape = in[0].shape;
  const std::size_t axis = wrapped_axis(op.axis, shape.size());
  const std::int64_t outer = product(shape.first(axis)), inner = product(shape.subspan(axis + 1)), count = shape[axis];
  check(count > 0 || outer * inner == 0, "{} cannot reduce an axis without elements", where(node));
  with_number_type(in[0].dtype, [&](auto zero) {
    using T = decltype(zero);
    std::int64_t* y = out[0].as<std::int64_t>();
    for (std::int64_t o = 0; o < outer; ++o)
      for (std::int64_t i = 0; i < inner; ++i) {
        const T* x = in[0].as<T>() + o * count * inner + i;
        std::int64_t best = 0;
        for (std::int64_t k = 1; k < count; ++k) {
          const T candidate = x[k * inner], present = x[best * inner];
          if ((op.is_max ? candidate > present : candidate < present) || (op.select_last_index && candidate == present))
            best = k;
        }
        *y++ = best;
      }
  });
}

Outputs infer_cumulative(const Inputs& in) {
  if (in.shape(1) && is_static(*in.shape(1)))
    check(element_count(*in.shape(1)) == 1, "axis has shape {}, expected one number", to_string(*in.shape(1)));
  if (const auto axis = in.known(1); axis && in.shape(0)) normalize_axis(axis->front(), in.shape(0)->size());
  return infer_same(in);
}

constexpr std::size_t kVectorsAtOnce = 64;

/// Adds up or multiplies along an axis, for `count` vectors next to each other, whose elements are `step` apart. `step`
/// is negative in reverse.
template <class T, class F>
void accumulate(const T* __restrict x, T* __restrict y, std::int64_t n, std::int64_t step, std::size_t count,
                bool exclusive, Wide<T> start, F f) {
  std::array<Wide<T>, kVectorsAtOnce> totals{};
  totals.fill(start);
  for (std::int64_t k = 0; k < n; ++k, x += step, y += step)
    for (std::size_t i = 0; i < count; ++i) {
      const Wide<T> before = totals[i];
      totals[i] = f(before, static_cast<Wide<T>>(x[i]));
      y[i] = static_cast<T>(exclusive ? before : totals[i]);
    }
}

void cumulative(const Node& node, std::span<const TensorView> in, std::span<const TensorView> out) {
  const auto& op = std::get<Cumulative>(node.op);
  const auto [outer, n, inner] = axis_vectors(in[0].shape, integer_at(in[1], 0), false);
  with_number_type(in[0].dtype, [&, outer = outer, n = n, inner = inner](auto zero) {
    using T = decltype(zero);
    using W = Wide<T>;
    const auto run = [&](W start, auto f) {
      for (std::int64_t o = 0; o < outer && n > 0; ++o)
        for (std::int64_t i = 0; i < inner; i += kVectorsAtOnce) {
          const std::int64_t first = (o * n + (op.reverse ? n - 1 : 0)) * inner + i;
          const auto count = static_cast<std::size_t>(std::min<std::int64_t>(kVectorsAtOnce, inner - i));
          const std::int64_t step = op.reverse ? -inner : inner;
          if (count == 1)
            accumulate<T>(in[0].as<T>() + first, out[0].as<T>() + first, n, step, 1, op.exclusive, start, f);
          else
            accumulate<T>(in[0].as<T>() + first, out[0].as<T>() + first, n, step, count, op.exclusive, start, f);
        }
    };
    if (op.kind == CumulativeKind::sum)
      run(W{0}, [](W a, W b) { return wrapping_add(a, b); });
    else
      run(W{1}, [](W a, W b) { return wrapping_multiply(a, b); });
  });
}

void hardmax(const Node& node, std::span<const TensorView> in, std::span<const TensorView> out) {
  const auto& op = std::get<Hardmax>(node.op);
  const auto [outer, n, inner] = axis_vectors(in[0].shape, op.axis, op.flattened);
  for (std::int64_t o = 0; o < outer; ++o)
    for (std::int64_t i = 0; i < inner; ++i) {
      const float* x = in[0].as<float>() + o * n * inner + i;
      float* y = out[0].as<float>() + o * n * inner + i;
      std::int64_t best = 0;
      for (std::int64_t k = 0; k < n; ++k) {
        y[k * inner] = 0;
        if (x[k * inner] > x[best * inner]) best = k;
      }
      if (n > 0) y[best * inner] = 1;
    }
}

}  // namespace

std::vector<OperatorInfo> reduce_operators() {
  const auto row = [](std::string_view name, int since, ReduceKind kind, TypeSet types = kReal | kWideInteger) {
    return OperatorInfo{
        .name = name,
        .since = since,
        .prototype = Reduce{.kind = kind},
        .inputs = {{"data", types, 'T'}, {"axes", kInt64, 0, Presence::optional, Use::parameter}},
        .outputs = {{"reduced", types, 'T'}},
        .fields = {field("keepdims", &Reduce::keepdims), field("noop_with_empty_axes", &Reduce::noop_with_empty_axes)},
        .infer = infer_reduce,
        .evaluate = reduce,
        .traits = {.averages = kind == ReduceKind::mean || kind == ReduceKind::max || kind == ReduceKind::min}};
  };
  const TypeSet extremes = kReal | kWideInteger | TypeSet{DataType::int8, DataType::uint8};
  const auto arg_row = [](std::string_view name, bool is_max) {
    return OperatorInfo{.name = name,
                        .since = 12,
                        .prototype = ArgReduce{.is_max = is_max},
                        .inputs = {{"data", kNumber}},
                        .outputs = {{"reduced", kInt64}},
                        .fields = {field("axis", &ArgReduce::axis), field("keepdims", &ArgReduce::keepdims),
                                   field("select_last_index", &ArgReduce::select_last_index)},
                        .infer = infer_arg_reduce,
                        .evaluate = arg_reduce};
  };
  const auto cumulative_row = [](std::string_view name, int since, CumulativeKind kind) {
    return OperatorInfo{
        .name = name,
        .since = since,
        .prototype = Cumulative{.kind = kind},
        .inputs = {{"x", kReal | kWideInteger, 'T'}, {"axis", kIndex, 0, Presence::required, Use::parameter}},
        .outputs = {{"y", kReal | kWideInteger, 'T'}},
        .fields = {field("exclusive", &Cumulative::exclusive), field("reverse", &Cumulative::reverse)},
        .infer = infer_cumulative,
        .evaluate = cumulative};
  };
  const OperatorInfo hardmax_row{.name = "Hardmax",
                                 .since = 13,
                                 .prototype = Hardmax{},
                                 .inputs = {{"input", kReal, 'T'}},
                                 .outputs = {{"output", kReal, 'T'}},
                                 .fields = {field("axis", &Hardmax::axis), internal("flattened", &Hardmax::flattened)},
                                 .infer = infer_same,
                                 .evaluate = hardmax};
  return {row("ReduceSum", 13, ReduceKind::sum),
          row("ReduceMean", 18, ReduceKind::mean),
          row("ReduceMax", 18, ReduceKind::max, extremes),
          row("ReduceMin", 18, ReduceKind::min, extremes),
          row("ReduceProd", 18, ReduceKind::prod),
          row("ReduceL1", 18, ReduceKind::l1),
          row("ReduceL2", 18, ReduceKind::l2, kReal),
          row("ReduceLogSum", 18, ReduceKind::log_sum, kReal),
          row("ReduceLogSumExp", 18, ReduceKind::log_sum_exp, kReal),
          row("ReduceSumSquare", 18, ReduceKind::sum_square),
          arg_row("ArgMax", true),
          arg_row("ArgMin", false),
          cumulative_row("CumSum", 11, CumulativeKind::sum),
          cumulative_row("CumProd", 26, CumulativeKind::product),
          hardmax_row};
}

}  // namespace bitfold::ops
