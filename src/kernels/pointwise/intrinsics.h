// Operators for which intrinsics are faster than Highway. Each is null if the compiler does not target its instruction
// set.
#pragma once

#include <cstdint>

#include "kernels/pointwise/pointwise.h"

namespace bitfold {

/// PointwiseKernels::lookup for CPUs with AVX-512 VBMI, which is not part of any Isa.
extern void (*const kVbmiLookup)(const std::uint8_t* x, std::uint8_t* y, std::int64_t n,
                                 const std::uint8_t* table) noexcept;
/// Interleaves two rows of `pixels` pixels with at most 16 channels each, for CPUs with AVX-512 VBMI.
extern void (*const kVbmiInterleave)(const std::uint8_t* a, const std::uint8_t* b, std::uint8_t* y,
                                     std::int64_t channels, std::int64_t pixels) noexcept;
bool has_vbmi();

/// PointwiseKernels::binary for Isa::avx512vnni.
extern void (*const kAvx512Binary)(CodeBinary kind, const std::uint8_t* a, const std::uint8_t* b, std::uint8_t* y,
                                   std::int64_t n, const BinaryGrids& grids) noexcept;

/// PointwiseKernels::find_quick_sum for Isa::avx512vnni.
extern void (*const kAvx512FindQuickSum)(BinaryGrids& grids) noexcept;

}  // namespace bitfold
