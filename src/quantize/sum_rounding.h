// Rounds weights so that their errors cancel (SQuant).
#pragma once

#include "bitfold/affine.h"
#include "bitfold/tensor.h"

namespace bitfold::quantization {

/// Codes of `weights` on `grid`. Each is rounded up or down such that the errors of each kernel (`kernel_size`
/// consecutive elements of one input channel; 1 for matrices), and then of each output channel along `axis`, add up to
/// at most half a step. As few elements as necessary leave their nearest code, those closest to the middle first.
Tensor quantize_keeping_sums(const Tensor& weights, int axis, std::int64_t kernel_size, const QuantParams& grid);

}  // namespace bitfold::quantization
