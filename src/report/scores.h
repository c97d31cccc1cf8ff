// Interprets a classifier's output as rows of scores.
#pragma once

#include <cstdint>
#include <optional>
#include <span>

#include "bitfold/tensor.h"

namespace bitfold::report {

/// Classes per sample of a float32 output [samples, classes] or [samples, classes, 1, 1...]; empty for other shapes.
inline std::optional<std::int64_t> class_count(const Tensor& output) {
  if (output.dtype() != DataType::float32 || output.rank() < 2 || output.dim(1) < 2) return std::nullopt;
  for (int axis = 2; axis < output.rank(); ++axis)
    if (output.dim(axis) != 1) return std::nullopt;
  return output.dim(1);
}

/// Number of scores ranked before `label`: higher scores, and equal ones of a lower index (as argmax breaks ties).
inline std::int64_t rank_of(std::span<const float> scores, std::int64_t label) {
  const float own = scores[static_cast<std::size_t>(label)];
  std::int64_t before = 0;
  for (std::size_t i = 0; i < scores.size(); ++i)
    before += scores[i] > own || (scores[i] == own && static_cast<std::int64_t>(i) < label);
  return before;
}

/// The index of the largest score; the lowest index among equal ones.
inline std::int64_t argmax(std::span<const float> scores) {
  std::size_t best = 0;
  for (std::size_t i = 1; i < scores.size(); ++i)
    if (scores[i] > scores[best]) best = i;
  return static_cast<std::int64_t>(best);
}

}  // namespace bitfold::report
