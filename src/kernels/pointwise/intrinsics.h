// Operators that intrinsics do better than Highway: each null where the compiler does not target its instruction set.
#pragma once

#include <cstdint>

#include "kernels/pointwise/pointwise.h"

namespace bitfold {

/// PointwiseKernels::lookup for CPUs with AVX-512 VBMI, which is not part of any Isa level.
extern void (*const kVbmiLookup)(const std::uint8_t* x, std::uint8_t* y, std::int64_t n,
                                 const std::uint8_t* table) noexcept;
/// Two rows of `pixels` pixels, at most 16 channels each, pixel by pixel, for the same CPUs.
extern void (*const kVbmiInterleave)(const std::uint8_t* a, const std::uint8_t* b, std::uint8_t* y,
                                     std::int64_t channels, std::int64_t pixels) noexcept;
bool has_vbmi();

/// PointwiseKernels::binary for Isa::avx512vnni.
extern void (*const kAvx512Binary)(CodeBinary kind, const std::uint8_t* a, const std::uint8_t* b, std::uint8_t* y,
                                   std::int64_t n, const BinaryGrids& grids) noexcept;

/// PointwiseKernels::find_quick_sum for Isa::avx512vnni.
extern void (*const kAvx512FindQuickSum)(BinaryGrids& grids) noexcept;

}  // namespace bitfold
