// Operators that make tensors: from shapes, from formulas, from random numbers.
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "bitfold/tensor.h"

namespace bitfold {

// Inputs in brackets are optional.

struct ShapeOf {
  std::int64_t start = 0;
  std::optional<std::int64_t> end;
  bool operator==(const ShapeOf&) const = default;
};
/// shape -> filled with `value` (one element)
struct ConstantOfShape {
  Tensor value;
  bool operator==(const ConstantOfShape&) const = default;
};
/// start, limit, delta
struct Range {
  bool operator==(const Range&) const = default;
};
/// The number of elements of a tensor.
struct SizeOf {
  bool operator==(const SizeOf&) const = default;
};
/// A matrix of x's shape with ones on diagonal k.
struct EyeLike {
  std::optional<DataType> dtype;  ///< Empty means x's type.
  std::int64_t k = 0;
  bool operator==(const EyeLike&) const = default;
};
enum class RandomKind { normal, uniform };
/// Independent numbers: normal (a mean, b standard deviation) or uniform (from a to b).
struct RandomTensor {
  RandomKind kind = RandomKind::normal;
  float a = 0, b = 1;
  DataType dtype = DataType::float32;
  std::vector<std::int64_t> shape;
  std::optional<float> seed;  ///< Empty means different numbers at each run.
  bool operator==(const RandomTensor&) const = default;
};
/// RandomTensor of x's shape.
struct RandomLike {
  RandomKind kind = RandomKind::normal;
  float a = 0, b = 1;
  std::optional<DataType> dtype;  ///< Empty means x's type.
  std::optional<float> seed;      ///< Empty means different numbers at each run.
  bool operator==(const RandomLike&) const = default;
};
/// x, probabilities -> 1 with probability x, else 0
struct Bernoulli {
  std::optional<DataType> dtype;  ///< Empty means x's type.
  std::optional<float> seed;      ///< Empty means different numbers at each run.
  bool operator==(const Bernoulli&) const = default;
};
/// x [batch, classes], log-probabilities -> classes [batch, sample_size]
struct Multinomial {
  DataType dtype = DataType::int32;
  std::int64_t sample_size = 1;
  std::optional<float> seed;  ///< Empty means different numbers at each run.
  bool operator==(const Multinomial&) const = default;
};

}  // namespace bitfold
