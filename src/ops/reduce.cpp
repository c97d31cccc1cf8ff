// Reductions over any set of axes, and running sums, products and maxima along one axis. Reals accumulate in double and
// round once; integers accumulate in 64 bits.
#include <algorithm>
#include <array>
#include <cmath>
#include <functional>
#include <limits>

#include "ops/arg_reduce.h"
#include "ops/folds.h"
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

/// Loop nests over the kept and the reduced axes. An output is dense in the order of the kept axes.
struct Axes {
  Loops<1> kept, reduced;
  std::int64_t reduced_count = 1;
  bool reduces_innermost = false;  ///< Whether adjacent elements are reduced; otherwise they belong to other outputs.
  bool reduces_short_run = false;  ///< Whether the reduced elements of an output are one run that is short.
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
    if (shape[i] != 1) axes.reduces_innermost = is_reduced[i];
  }
  constexpr std::int64_t kShort = 128;
  std::int64_t run = 1;
  for (std::size_t i = shape.size(); i-- > 0 && (is_reduced[i] || shape[i] == 1);) run *= shape[i];
  axes.reduces_short_run = axes.reduces_innermost && run == axes.reduced_count && run <= kShort;
  return axes;
}

/// The type of sums: double for reals, wrapping 64-bit integers for integers.
template <class T>
using Wide = std::conditional_t<std::is_same_v<T, float>, double,
                                std::conditional_t<std::is_signed_v<T>, std::int64_t, std::uint64_t>>;

/// Folds over the reduced axes into accumulators of type A and writes finish(accumulator). `fold` takes an accumulator
/// and an element, `combine` two accumulators.
template <class A, class T, class Fold, class Combine, class Finish>
void fold_axes(const Axes& axes, const T* x, T* y, A start, Fold fold, Combine combine, Finish finish) {
  const auto adjacent_elements = [&](const T* first) {
    Lanes<A> lanes(start);
    axes.reduced.for_each_row(
        [&](const auto& offsets, std::int64_t n, const auto&) { lanes.add(first + offsets[0], n, fold); });
    return finish(lanes.result(combine));
  };
  constexpr std::int64_t kOutputs = 256;
  std::array<A, kOutputs> accumulators;
  const auto adjacent_outputs = [&](const T* first, std::int64_t count) {
    std::fill_n(accumulators.begin(), count, start);
    axes.reduced.for_each_row([&](const auto& offsets, std::int64_t n, const auto& steps) {
      for (std::int64_t i = 0; i < n; ++i)
        fold_row(accumulators.data(), first + offsets[0] + i * steps[0], count, fold);
    });
    for (std::int64_t i = 0; i < count; ++i) *y++ = finish(accumulators[static_cast<std::size_t>(i)]);
  };
  axes.kept.for_each_row([&](const auto& offsets, std::int64_t n, const auto& steps) {
    const T* first = x + offsets[0];
    if (axes.reduces_short_run)
      for (std::int64_t i = 0; i < n; ++i)
        *y++ = finish(fold_short(first + i * steps[0], axes.reduced_count, start, fold, combine));
    else if (axes.reduces_innermost)
      for (std::int64_t i = 0; i < n; ++i) *y++ = adjacent_elements(first + i * steps[0]);
    else
      for (std::int64_t i = 0; i < n; i += kOutputs) adjacent_outputs(first + i, std::min(kOutputs, n - i));
  });
}

/// log(sum(exp(x))); the maximum is subtracted first, so that nothing overflows.
double log_sum_exp(const Axes& axes, const float* x) {
  const auto fold = [&](double result, auto f) {
    axes.reduced.for_each_row([&](const auto& offsets, std::int64_t n, const auto& steps) {
      for (std::int64_t i = 0; i < n; ++i) result = f(result, static_cast<double>(x[offsets[0] + i * steps[0]]));
    });
    return result;
  };
  const double top = fold(-std::numeric_limits<double>::infinity(), [](double a, double b) { return larger(a, b); });
  if (!std::isfinite(top)) return top;
  return top + std::log(fold(0.0, [top](double a, double v) { return a + std::exp(v - top); }));
}

template <class T>
void reduce_as(ReduceKind kind, const Axes& axes, const T* x, T* y) {
  using W = Wide<T>;
  constexpr bool kIsReal = std::is_same_v<T, float>;
  // Function pointers would not be inlined.
  const auto keep_larger = [](T a, T b) { return larger(a, b); };
  const auto keep_smaller = [](T a, T b) { return smaller(a, b); };
  const auto add = [](W a, W b) { return wrapping_add(a, b); };
  const auto multiply = [](W a, W b) { return wrapping_multiply(a, b); };
  const auto narrow = [](W v) { return static_cast<T>(v); };
  const auto sum = [&](auto f, auto finish) {
    fold_axes(
        axes, x, y, W{0}, [f](W a, T v) { return wrapping_add(a, f(static_cast<W>(v))); }, add, finish);
  };
  const auto same = [](W v) { return v; };
  const auto square = [](W v) { return wrapping_multiply(v, v); };
  using Limits = std::numeric_limits<T>;
  switch (kind) {
    case ReduceKind::sum:
      return sum(same, narrow);
    case ReduceKind::mean:
      return sum(same, [n = static_cast<W>(axes.reduced_count)](W v) { return static_cast<T>(v / n); });
    case ReduceKind::max:
      return fold_axes(axes, x, y, kIsReal ? -Limits::infinity() : Limits::lowest(), keep_larger, keep_larger,
                       std::identity{});
    case ReduceKind::min:
      return fold_axes(axes, x, y, kIsReal ? Limits::infinity() : Limits::max(), keep_smaller, keep_smaller,
                       std::identity{});
    case ReduceKind::prod:
      return fold_axes(
          axes, x, y, W{1}, [](W a, T v) { return wrapping_multiply(a, static_cast<W>(v)); }, multiply, narrow);
    case ReduceKind::l1:
      if constexpr (std::is_unsigned_v<W>) return sum(same, narrow);
      if constexpr (kIsReal) return sum([](W v) { return std::abs(v); }, narrow);
      return sum([](W v) { return v < 0 ? wrapping_subtract(W{0}, v) : v; }, narrow);
    case ReduceKind::l2:
      return sum(square, [](W v) { return static_cast<T>(std::sqrt(static_cast<double>(v))); });
    case ReduceKind::sum_square:
      return sum(square, narrow);
    case ReduceKind::log_sum:
      return sum(same, [](W v) { return static_cast<T>(std::log(static_cast<double>(v))); });
    case ReduceKind::log_sum_exp:
      if constexpr (kIsReal)
        axes.kept.for_each_row([&](const auto& offsets, std::int64_t n, const auto& steps) {
          for (std::int64_t i = 0; i < n; ++i)
            *y++ = static_cast<float>(log_sum_exp(axes, x + offsets[0] + i * steps[0]));
        });
  }
}

void reduce(const Node& node, std::span<const TensorView> in, std::span<const TensorView> out) {
  const auto& op = std::get<Reduce>(node.op);
  const Axes axes = split_axes(op, in);
  const bool is_float = in[0].dtype == DataType::float32;
  check(is_float || op.kind != ReduceKind::mean || axes.reduced_count > 0, "{} cannot compute the mean of 0 integers",
        where(node));
  with_number_type(in[0].dtype, [&](auto zero) {
    using T = decltype(zero);
    reduce_as(op.kind, axes, in[0].as<T>(), out[0].as<T>());
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
  std::vector<OperatorInfo> rows{row("ReduceSum", 13, ReduceKind::sum),
                                 row("ReduceMean", 18, ReduceKind::mean),
                                 row("ReduceMax", 18, ReduceKind::max, extremes),
                                 row("ReduceMin", 18, ReduceKind::min, extremes),
                                 row("ReduceProd", 18, ReduceKind::prod),
                                 row("ReduceL1", 18, ReduceKind::l1),
                                 row("ReduceL2", 18, ReduceKind::l2, kReal),
                                 row("ReduceLogSum", 18, ReduceKind::log_sum, kReal),
                                 row("ReduceLogSumExp", 18, ReduceKind::log_sum_exp, kReal),
                                 row("ReduceSumSquare", 18, ReduceKind::sum_square),
                                 cumulative_row("CumSum", 11, CumulativeKind::sum),
                                 cumulative_row("CumProd", 26, CumulativeKind::product)};
  for (OperatorInfo& made : arg_reduce_operators()) rows.push_back(std::move(made));
  return rows;
}

}  // namespace bitfold::ops
