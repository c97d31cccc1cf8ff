// Nested loops over strided tensors, with as few levels as the strides allow.
//
// Broadcasting is a stride of 0, a transposition permutes strides, and a slice offsets and multiplies them. So one loop
// nest serves every operator that visits several tensors together, and the innermost level is long if the tensors are
// dense.
#pragma once

#include <array>
#include <cstdint>
#include <span>

#include "base/check.h"

namespace bitfold::ops {

/// Tensors of higher rank are refused.
inline constexpr int kMaxRank = 16;

struct Strides {
  std::array<std::int64_t, kMaxRank> of{};
  std::int64_t operator[](std::size_t axis) const { return of[axis]; }
};

inline void check_rank(std::span<const std::int64_t> shape) {
  check(shape.size() <= kMaxRank, "a tensor has rank {}; at most {} is supported", shape.size(), kMaxRank);
}

/// Strides of a dense row-major tensor, in elements.
inline Strides dense_strides(std::span<const std::int64_t> shape) {
  check_rank(shape);
  Strides strides;
  std::int64_t stride = 1;
  for (std::size_t axis = shape.size(); axis-- > 0;) {
    strides.of[axis] = stride;
    stride *= shape[axis];
  }
  return strides;
}

/// Strides for reading a dense tensor of `shape` as one of shape `wide` (numpy broadcasting).
inline Strides broadcast_strides(std::span<const std::int64_t> shape, std::span<const std::int64_t> wide) {
  check_rank(wide);
  check(shape.size() <= wide.size(), "rank {} does not broadcast to rank {}", shape.size(), wide.size());
  const Strides dense = dense_strides(shape);
  Strides strides;
  const std::size_t shift = wide.size() - shape.size();
  for (std::size_t axis = 0; axis < shape.size(); ++axis) {
    check(shape[axis] == 1 || shape[axis] == wide[axis + shift], "dimension {} does not broadcast to {}", shape[axis],
          wide[axis + shift]);
    strides.of[axis + shift] = shape[axis] == 1 ? 0 : dense[axis];
  }
  return strides;
}

/// A loop nest over K tensors.
template <int K>
class Loops {
 public:
  using Steps = std::array<std::int64_t, K>;

  /// Adds an innermost level with `size` iterations, each of which advances tensor k by steps[k] elements.
  void add(std::int64_t size, const Steps& steps) {
    if (size == 0) empty_ = true;
    if (size <= 1) return;
    if (depth_ > 0 && is_continued_by(size, steps)) {
      levels_[depth_ - 1].size *= size;
      levels_[depth_ - 1].steps = steps;
      return;
    }
    check(depth_ < levels_.size(), "a loop nest needs more than {} levels", levels_.size());
    levels_[depth_++] = {size, steps};
  }

  /// Calls plane(offsets, outer, inner) for each iteration of the levels outside the two innermost ones, which it gives
  /// as a size and steps.
  struct Level {
    std::int64_t size = 1;
    Steps steps{};
  };
  template <class Plane>
  void for_each_plane(Plane plane) const {
    if (depth_ < 2) {
      for_each_row([&](const Steps& offsets, std::int64_t size, const Steps& steps) {
        plane(offsets, Level{}, Level{size, steps});
      });
      return;
    }
    Loops outside = *this;
    const Level inner = outside.levels_[--outside.depth_];
    outside.for_each_row([&](const Steps& offsets, std::int64_t size, const Steps& steps) {
      plane(offsets, Level{size, steps}, inner);
    });
  }

  /// Calls row(offsets, size, steps) for each iteration of the outer levels; offsets are in elements.
  template <class Row>
  void for_each_row(Row row) const {
    if (empty_) return;
    Steps offsets{};
    if (depth_ == 0) return row(offsets, std::int64_t{1}, Steps{});
    const Level& inner = levels_[depth_ - 1];
    std::array<std::int64_t, kMaxDepth> index{};
    while (true) {
      row(offsets, inner.size, inner.steps);
      std::size_t level = depth_ - 1;
      while (level > 0) {
        --level;
        for (int k = 0; k < K; ++k) offsets[k] += levels_[level].steps[k];
        if (++index[level] < levels_[level].size) break;
        for (int k = 0; k < K; ++k) offsets[k] -= levels_[level].steps[k] * levels_[level].size;
        index[level] = 0;
        if (level == 0) return;
      }
      if (depth_ == 1) return;
    }
  }

 private:
  static constexpr std::size_t kMaxDepth = 2 * kMaxRank;  // a Tile needs two levels per axis

  bool is_continued_by(std::int64_t size, const Steps& steps) const {
    for (int k = 0; k < K; ++k)
      if (levels_[depth_ - 1].steps[k] != steps[k] * size) return false;
    return true;
  }

  std::array<Level, kMaxDepth> levels_{};
  std::size_t depth_ = 0;
  bool empty_ = false;
};

}  // namespace bitfold::ops
