// Random numbers for tests.
#pragma once

#include <random>
#include <utility>

#include "bitfold/tensor.h"

namespace bitfold::testing {

/// Normally distributed float32 around 0; the same numbers for the same seed.
inline Tensor random_tensor(Shape shape, unsigned seed, float deviation = 1) {
  std::mt19937 random(seed);
  std::normal_distribution<float> normal(0, deviation);
  Tensor tensor(DataType::float32, std::move(shape));
  for (float& x : tensor.mutable_data<float>()) x = normal(random);
  return tensor;
}

}  // namespace bitfold::testing
