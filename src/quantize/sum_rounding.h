// Rounding weights so that their errors cancel.
#pragma once

#include "bitfold/affine.h"
#include "bitfold/tensor.h"

namespace bitfold::quantization {

/// Codes of `weights` on `grid`, rounded to the nearest code or to the one on the other side, such that the errors of
/// each kernel (the `kernel_size` consecutive elements of one input channel; 1 for matrices) and then of each output
/// channel along `axis` add up to at most half a step. As few elements as that takes move, those nearest to the middle
/// first.
Tensor quantize_keeping_sums(const Tensor& weights, int axis, std::int64_t kernel_size, const QuantParams& grid);

}  // namespace bitfold::quantization
