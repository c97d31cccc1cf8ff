// Folds of many numbers into few, in loops that compilers vectorize: each iteration updates another accumulator.
#pragma once

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdint>

namespace bitfold::ops {

/// accumulators[k] = fold(accumulators[k], x[k])
template <class A, class T, class Fold>
void fold_row(A* accumulators, const T* x, std::int64_t n, Fold fold) {
  for (std::int64_t k = 0; k < n; ++k) accumulators[k] = fold(accumulators[k], x[k]);
}

/// The fold of runs of adjacent numbers into one. Each lane folds the numbers whose index in their run has its
/// remainder, so the order differs from that in memory.
template <class A>
class Lanes {
 public:
  explicit Lanes(A start) : start_(start) { lanes_[0] = start; }

  template <class T, class Fold>
  void add(const T* x, std::int64_t n, Fold fold) {
    for (const std::int64_t used = std::min(n, kCount); used_ < used; ++used_) lanes_[index(used_)] = start_;
    for (std::int64_t i = 0; i < n; i += kCount) fold_row(lanes_.data(), x + i, std::min(kCount, n - i), fold);
  }

  /// Combines the lanes; the start if there was no number.
  template <class Combine>
  A result(Combine combine) {
    for (std::int64_t size = used_; size > 1;) {
      const std::int64_t half = (size + 1) / 2;
      fold_row(lanes_.data(), lanes_.data() + half, size - half, combine);
      size = half;
    }
    return lanes_[0];
  }

 private:
  static constexpr std::int64_t kCount = 64;
  static std::size_t index(std::int64_t i) { return static_cast<std::size_t>(i); }

  A start_;
  std::int64_t used_ = 0;
  std::array<A, kCount> lanes_;
};

/// The fold of a short run of adjacent numbers into one: fewer lanes than in Lanes cost less to start and to combine.
template <class A, class T, class Fold, class Combine>
A fold_short(const T* x, std::int64_t n, A start, Fold fold, Combine combine) {
  constexpr std::int64_t kCount = 8;
  std::array<A, kCount> lanes;
  lanes.fill(start);
  std::int64_t i = 0;
  for (; i + kCount <= n; i += kCount) {
#pragma omp simd  // GCC would unroll the loop instead
    for (std::int64_t k = 0; k < kCount; ++k) lanes.data()[k] = fold(lanes.data()[k], x[i + k]);
  }
  fold_row(lanes.data(), x + i, n - i, fold);
  for (std::int64_t half = kCount / 2; half > 0; half /= 2) fold_row(lanes.data(), lanes.data() + half, half, combine);
  return lanes[0];
}

/// The sum of f(x) in double.
template <class F>
double sum_of(const float* x, std::int64_t n, F f) {
  Lanes<double> lanes(0);
  lanes.add(x, n, [f](double sum, float v) { return sum + f(static_cast<double>(v)); });
  return lanes.result([](double a, double b) { return a + b; });
}

}  // namespace bitfold::ops
