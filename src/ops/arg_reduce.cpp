#include "ops/arg_reduce.h"

#include <algorithm>
#include <array>

#include "ops/folds.h"
#include "ops/rows.h"

namespace bitfold::ops {
namespace {

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

/// Writes the index of the largest (or smallest) element of each vector along an axis: the first or the last one that
/// none exceeds. A NaN exceeds nothing.
template <class T>
void find_extremes(const AxisVectors& v, const T* x, std::int64_t* y, bool is_max, bool finds_last) {
  const auto search = [&](auto exceeds) {
    const auto better = [exceeds](T a, T b) { return exceeds(b, a) ? b : a; };
    if (v.inner == 1) {
      for (std::int64_t o = 0; o < v.outer; ++o, x += v.n) {
        Lanes<T> lanes(x[0]);
        lanes.add(x, v.n, better);
        const T best = lanes.result(better);
        std::int64_t found = 0;
        if (finds_last)
          for (found = v.n - 1; found > 0 && !(x[found] == best);) --found;
        else
          while (found + 1 < v.n && !(x[found] == best)) ++found;
        y[o] = x[found] == best ? found : 0;  // a NaN in the first place stays the best
      }
      return;
    }
    constexpr std::int64_t kColumns = 256;
    std::array<T, kColumns> best;
    for (std::int64_t o = 0; o < v.outer; ++o, x += v.n * v.inner, y += v.inner)
      for (std::int64_t first = 0; first < v.inner; first += kColumns) {
        const std::int64_t count = std::min(kColumns, v.inner - first);
        std::int64_t* found = y + first;
        std::copy_n(x + first, count, best.begin());
        std::fill_n(found, count, 0);
        for (std::int64_t k = 1; k < v.n; ++k) {
          const T* row = x + k * v.inner + first;
          for (std::int64_t i = 0; i < count; ++i) {
            const T old = best[static_cast<std::size_t>(i)];
            const bool takes = exceeds(row[i], old) | (finds_last & (row[i] == old));
            best[static_cast<std::size_t>(i)] = takes ? row[i] : old;
            found[i] = takes ? k : found[i];
          }
        }
      }
  };
  if (is_max) return search([](T a, T b) { return a > b; });
  search([](T a, T b) { return a < b; });
}

void arg_reduce(const Node& node, std::span<const TensorView> in, std::span<const TensorView> out) {
  const auto& op = std::get<ArgReduce>(node.op);
  const AxisVectors v = axis_vectors(in[0].shape, op.axis, false);
  check(v.n > 0 || v.outer * v.inner == 0, "{} cannot reduce an axis without elements", where(node));
  if (v.n == 0) return;
  with_number_type(in[0].dtype, [&](auto zero) {
    find_extremes(v, in[0].as<decltype(zero)>(), out[0].as<std::int64_t>(), op.is_max, op.select_last_index);
  });
}

void hardmax(const Node& node, std::span<const TensorView> in, std::span<const TensorView> out) {
  const auto& op = std::get<Hardmax>(node.op);
  const AxisVectors v = axis_vectors(in[0].shape, op.axis, op.flattened);
  float* y = out[0].as<float>();
  std::vector<std::int64_t> indices(static_cast<std::size_t>(v.outer * v.inner));
  if (v.n > 0) find_extremes(v, in[0].as<float>(), indices.data(), true, false);
  std::fill_n(y, out[0].size(), 0.0F);
  if (v.n == 0) return;
  for (std::int64_t o = 0; o < v.outer; ++o)
    for (std::int64_t i = 0; i < v.inner; ++i)
      y[(o * v.n + indices[static_cast<std::size_t>(o * v.inner + i)]) * v.inner + i] = 1;
}

}  // namespace

std::vector<OperatorInfo> arg_reduce_operators() {
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
  const OperatorInfo hardmax_row{.name = "Hardmax",
                                 .since = 13,
                                 .prototype = Hardmax{},
                                 .inputs = {{"input", kReal, 'T'}},
                                 .outputs = {{"output", kReal, 'T'}},
                                 .fields = {field("axis", &Hardmax::axis), internal("flattened", &Hardmax::flattened)},
                                 .infer = infer_same,
                                 .evaluate = hardmax};
  return {arg_row("ArgMax", true), arg_row("ArgMin", false), hardmax_row};
}

}  // namespace bitfold::ops
