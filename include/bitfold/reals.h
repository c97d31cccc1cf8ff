// Reals of the four widths that networks read and write.
#pragma once

#include "bitfold/tensor.h"

namespace bitfold {

/// A tensor of reals (float32, float64, float16 or bfloat16) as reals of type `dtype`, through float32, rounded to
/// nearest. A tensor that has the type already is returned as it is. Throws Error for other element types.
Tensor convert_reals(const Tensor& reals, DataType dtype);

/// Whether `from` can be given where a network reads `to`: both are reals, of different types.
bool needs_conversion(DataType from, DataType to);

}  // namespace bitfold
