// Random numbers for tests.
#pragma once

#include <random>
#include <utility>

#include "bitfold/tensor.h"

namespace bitfold::testing {

/// Of float32, normal around 0; the same ones every time.
inline Tensor random_tensor(Shape shape, unsigned seed, float deviation = 1) {
  std::mt19937 random(seed);
  std::normal_distribution<float> normal(0, deviation);
  Tensor tensor(DataType::float32, std::move(shape));
  for (float& x : tensor.mutable_data<float>()) x = normal(random);
  return tensor;
}

}  // namespace bitfold::testing
