// Copies between strided tensors: permutations, slices, repetitions, and tables of source indices.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "bitfold/tensor.h"
#include "ops/loops.h"

namespace bitfold::ops {

/// A nest of loops over two tensors that copies one element per iteration. Levels may be added in any order: the copy
/// writes in the order of memory, and reads in blocks if the other tensor is permuted. No element is written twice.
class StridedCopy {
 public:
  /// The distance of two iterations, in elements. A distance of 0 in `from` repeats elements.
  struct Steps {
    std::int64_t to = 0, from = 0;
  };

  /// Adds a level with `size` iterations.
  void add(std::int64_t size, Steps steps);
  void run(DataType dtype, const std::byte* from, std::byte* to) const;
  /// The same for elements of that many bytes that are not objects.
  void run(std::size_t element_bytes, const std::byte* from, std::byte* to) const;

 private:
  struct Level {
    std::int64_t size = 1;
    Steps steps;
  };
  static constexpr std::size_t kMaxDepth = 2 * kMaxRank;  // a Tile needs two levels per axis

  template <class T>
  void run(const T* from, T* to) const;

  std::array<Level, kMaxDepth> levels_{};  ///< From the largest distance in `to` to the smallest.
  std::size_t depth_ = 0;
  bool is_empty_ = false;
};

/// Output index i along an axis reads input index source[i]. An empty list stands for the identity.
using SourceIndices = std::vector<std::int64_t>;

/// Fills a dense tensor with elements of another one, whose indices along each axis are in that axis' list.
void copy_indexed(DataType dtype, std::span<const std::int64_t> from_shape, std::span<const SourceIndices> sources,
                  const std::byte* from, std::byte* to);

}  // namespace bitfold::ops
