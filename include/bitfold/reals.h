// Conversion between the four types of reals that networks read and write.
#pragma once

#include "bitfold/tensor.h"

namespace bitfold {

/// The direction of rounding to float8e8m0, whose reals are powers of two.
enum class RoundMode { up, down, nearest };

/// Converts reals (float32, float64, float16 or bfloat16) to the type `dtype` through float32, rounding to nearest. A
/// tensor that already has this type is returned unchanged. Throws Error on other element types.
Tensor convert_reals(const Tensor& reals, DataType dtype);

/// Whether convert_reals() converts `from` to `to`: both are types of reals, and they differ.
bool needs_conversion(DataType from, DataType to);

/// NumPy lacks bfloat16, reals of 8 bits and all types of fewer bits. An .npy file stores the bits of one element in an
/// integer of 8 or 16 bits. is_stored_as() returns whether `stored` is that integer type for `dtype`, from_stored()
/// converts such integers to `dtype`, and to_stored() converts back. to_stored() returns other tensors unchanged.
bool is_stored_as(DataType stored, DataType dtype);
Tensor from_stored(const Tensor& stored, DataType dtype);
Tensor to_stored(const Tensor& tensor);

}  // namespace bitfold
