#include "ops/interpolate.h"

#include <algorithm>
#include <array>
#include <limits>
#include <type_traits>

#include "ops/infer.h"
#include "ops/rows.h"

namespace bitfold::ops {
namespace {

template <class T>
T element_from(float x) {
  if constexpr (std::is_same_v<T, float>) {
    return x;
  } else {
    // A float holds the limits of narrow types only.
    using Wide = std::conditional_t<sizeof(T) <= 2, float, double>;
    constexpr Wide kLow = std::numeric_limits<T>::lowest(), kHigh = std::numeric_limits<T>::max();
    const Wide number = x == x ? x : 0;
    return static_cast<T>(std::clamp(number, kLow, kHigh));
  }
}

/// The sums over the taps of one axis, in which an index stands for a run of elements that all later axes form. kTaps
/// is the number of taps if it is the same for all outputs, or 0.
template <int kTaps, class T>
void sum_taps(const T* __restrict x, const WeightedTaps& taps, std::int64_t run, float* __restrict y) {
  const std::size_t outputs = taps.is_outside.size();
  const std::int64_t* index = taps.index.data();
  const float* weight = taps.weight.data();
  for (std::size_t i = 0; i < outputs; ++i, y += run) {
    const int n = kTaps > 0 ? kTaps : static_cast<int>(taps.first[i + 1] - taps.first[i]);
    if (run == 1) {
      float sum = 0;
      for (int k = 0; k < n; ++k) sum += weight[k] * static_cast<float>(x[index[k]]);
      *y = sum;
    } else if constexpr (kTaps > 0) {
      for (std::int64_t c = 0; c < run; ++c) {
        float sum = 0;
        for (int k = 0; k < kTaps; ++k) sum += weight[k] * static_cast<float>(x[index[k] * run + c]);
        y[c] = sum;
      }
    } else {
      std::fill_n(y, run, 0.0F);
      for (int k = 0; k < n; ++k)
        for (std::int64_t c = 0; c < run; ++c) y[c] += weight[k] * static_cast<float>(x[index[k] * run + c]);
    }
    index += n;
    weight += n;
  }
}

/// The number of taps of every output, or 0 if outputs differ in it.
int common_count(const WeightedTaps& taps) {
  const std::size_t outputs = taps.is_outside.size(), n = taps.index.size() / outputs;
  for (std::size_t i = 0; i < outputs; ++i)
    if (taps.first[i + 1] - taps.first[i] != n) return 0;
  return static_cast<int>(n);
}

template <class T>
void sum_taps(int count, const T* x, const WeightedTaps& taps, std::int64_t run, float* y) {
  if (count == 2) return sum_taps<2>(x, taps, run, y);
  if (count == 4) return sum_taps<4>(x, taps, run, y);
  sum_taps<0>(x, taps, run, y);
}

/// Writes the weighted sum of the rows to y. kRows is their number; 0 means the number of weights.
template <int kRows, class T>
void sum_rows(std::span<const float* const> rows, std::span<const float> weights, std::int64_t n, T* __restrict y) {
  if constexpr (kRows > 0) {
    std::array<const float*, kRows> x{};
    std::array<float, kRows> w{};
    std::copy_n(rows.begin(), kRows, x.begin());
    std::copy_n(weights.begin(), kRows, w.begin());
    for (std::int64_t i = 0; i < n; ++i) {
      float sum = 0;
      for (std::size_t k = 0; k < kRows; ++k) sum += w[k] * x[k][i];
      y[i] = element_from<T>(sum);
    }
  } else {
    constexpr std::int64_t kBlock = 64;
    std::array<float, kBlock> sums{};
    for (std::int64_t first = 0; first < n; first += kBlock) {
      const std::int64_t count = std::min(kBlock, n - first);
      sums.fill(0);
      for (std::size_t k = 0; k < rows.size(); ++k)
        for (std::int64_t i = 0; i < count; ++i) sums[at(i)] += weights[k] * rows[k][first + i];
      for (std::int64_t i = 0; i < count; ++i) y[first + i] = element_from<T>(sums[at(i)]);
    }
  }
}

template <class T>
void sum_rows(std::span<const float* const> rows, std::span<const float> weights, std::int64_t n, T* y) {
  if (rows.size() == 1) return sum_rows<1>(rows, weights, n, y);
  if (rows.size() == 2) return sum_rows<2>(rows, weights, n, y);
  if (rows.size() == 4) return sum_rows<4>(rows, weights, n, y);
  sum_rows<0>(rows, weights, n, y);
}

/// All combinations of the taps of several axes, for each combination of their outputs. Indices are offsets in
/// elements.
WeightedTaps combined(std::span<const WeightedTaps> axes, std::span<const std::int64_t> outputs,
                      const std::int64_t* strides) {
  WeightedTaps all;
  all.add(0, 1);
  all.finish(false);
  for (std::size_t axis = 0; axis < axes.size(); ++axis) {
    const WeightedTaps& t = axes[axis];
    WeightedTaps next;
    for (std::size_t o = 0; o < all.is_outside.size(); ++o)
      for (std::size_t i = 0; i < at(outputs[axis]); ++i) {
        const std::size_t begin = t.is_identity ? i : t.first[i], end = t.is_identity ? i + 1 : t.first[i + 1];
        for (std::size_t k = begin; k < end; ++k)
          for (std::size_t j = all.first[o]; j < all.first[o + 1]; ++j) {
            const std::int64_t index = t.is_identity ? static_cast<std::int64_t>(k) : t.index[k];
            next.add(all.index[j] + index * strides[axis], all.weight[j] * (t.is_identity ? 1 : t.weight[k]));
          }
        next.finish(false);
      }
    all = std::move(next);
  }
  return all;
}

/// The rows that have been summed over the taps of the last axis, by their offset. Outputs next to each other use the
/// same ones.
class SummedRows {
 public:
  explicit SummedRows(std::int64_t row_size) : row_size_(row_size) {}

  void forget() {
    for (Row& row : held_) row.offset = -1;
  }

  /// The rows at `offsets`. Calls sum(offset, row) for those that are not at hand.
  template <class Sum>
  std::span<const float* const> at_offsets(std::span<const std::int64_t> offsets, Sum sum) {
    ++now_;
    rows_.resize(offsets.size());
    for (std::size_t k = 0; k < offsets.size(); ++k) {
      rows_[k] = nullptr;
      for (Row& row : held_)
        if (row.offset == offsets[k]) {
          row.last_use = now_;
          rows_[k] = row.sums.data();
          break;
        }
    }
    for (std::size_t k = 0; k < offsets.size(); ++k) {
      if (rows_[k] != nullptr) continue;
      const auto same = std::find(offsets.begin(), offsets.begin() + static_cast<std::ptrdiff_t>(k), offsets[k]);
      const auto earlier = static_cast<std::size_t>(same - offsets.begin());
      if (earlier < k) {
        rows_[k] = rows_[earlier];
        continue;
      }
      auto row = std::ranges::find_if(held_, [&](const Row& r) { return r.last_use != now_; });
      if (row == held_.end()) row = held_.insert(row, Row{.sums = std::vector<float>(at(row_size_))});
      row->offset = offsets[k];
      row->last_use = now_;
      sum(offsets[k], row->sums.data());
      rows_[k] = row->sums.data();
    }
    return rows_;
  }

 private:
  struct Row {
    std::int64_t offset = -1, last_use = 0;
    std::vector<float> sums;
  };
  std::int64_t row_size_, now_ = 0;
  std::vector<Row> held_;
  std::vector<const float*> rows_;
};

template <class T>
void interpolate_as(const TensorView& in, std::span<const WeightedTaps> taps, const TensorView& out) {
  const auto is_summed = [&](std::size_t axis) { return !taps[axis].is_identity; };
  std::size_t first = 0, last = taps.size() - 1;
  while (!is_summed(first)) ++first;
  while (!is_summed(last)) --last;
  const Strides strides = dense_strides(in.shape);
  const std::int64_t run = strides[last], row_size = out.shape[last] * run;
  const std::int64_t part = product(in.shape.subspan(first));
  const int count = common_count(taps[last]);
  const WeightedTaps outer =
      combined(taps.subspan(first, last - first), out.shape.subspan(first, last - first), &strides.of[first]);
  SummedRows rows(row_size);
  T* y = out.as<T>();
  for (std::int64_t p = 0, parts = product(in.shape.first(first)); p < parts; ++p) {
    const T* x = in.as<T>() + p * part;
    rows.forget();
    for (std::size_t row = 0; row < outer.is_outside.size(); ++row, y += row_size) {
      const std::size_t begin = outer.first[row], n = outer.first[row + 1] - begin;
      const auto summed = rows.at_offsets(
          std::span(outer.index).subspan(begin, n),
          [&](std::int64_t offset, float* sums) { sum_taps(count, x + offset, taps[last], run, sums); });
      sum_rows(summed, std::span(outer.weight).subspan(begin, n), row_size, y);
    }
  }
}

}  // namespace

void interpolate(const TensorView& in, std::span<const WeightedTaps> taps, const TensorView& out) {
  if (std::ranges::all_of(taps, &WeightedTaps::is_identity))
    return copy_run(in.dtype, in.data, out.data, size_bytes(out));
  with_number_type(in.dtype, [&](auto zero) { interpolate_as<decltype(zero)>(in, taps, out); });
}

void fill_outside(std::span<const WeightedTaps> taps, float value, const TensorView& out) {
  with_number_type(out.dtype, [&](auto zero) {
    using T = decltype(zero);
    for (std::size_t axis = 0; axis < taps.size(); ++axis) {
      const std::int64_t size = out.shape[axis], run = product(out.shape.subspan(axis + 1));
      const std::int64_t outer = product(out.shape.first(axis));
      for (std::size_t i = 0; i < taps[axis].is_outside.size(); ++i)
        for (std::int64_t o = 0; o < outer && taps[axis].is_outside[i]; ++o)
          std::fill_n(out.as<T>() + (o * size + static_cast<std::int64_t>(i)) * run, run, element_from<T>(value));
    }
  });
}

}  // namespace bitfold::ops
