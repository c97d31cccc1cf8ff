// Conversion between the four types of reals that networks read and write.
#pragma once

#include "bitfold/tensor.h"

namespace bitfold {

/// Converts reals (float32, float64, float16 or bfloat16) to the type `dtype` through float32, rounding to nearest. A
/// tensor that already has this type is returned unchanged. Throws Error on other element types.
Tensor convert_reals(const Tensor& reals, DataType dtype);

/// Whether convert_reals() converts `from` to `to`: both are types of reals, and they differ.
bool needs_conversion(DataType from, DataType to);

}  // namespace bitfold
