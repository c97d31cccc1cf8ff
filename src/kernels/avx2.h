// Shared by the AVX2 kernels: exact products of u8 by s8, and stores of accumulators.
//
// vpmaddubsw would multiply bytes in one instruction, but it saturates sums of two products at int16, and 255 * 127 * 2
// does not fit. So the bytes are split into int16, even and odd ones, and vpmaddwd adds pairs of products in int32.
//
// Only files compiled for AVX2 include this header. Everything is in an anonymous namespace, so that the linker cannot
// use AVX2 code for a function of the rest of the program.
#pragma once

#include <immintrin.h>

#include <cstring>
#include <utility>

#include "kernels/conv_output.h"

#define BITFOLD_INLINE __attribute__((always_inline)) inline
#define BITFOLD_INLINE_LAMBDA __attribute__((always_inline))

namespace bitfold {
namespace {

// Calls f(constant 0), f(constant 1), ... at compile time, so that arrays of registers stay in registers.
template <int... kIndex, class F>
BITFOLD_INLINE void unroll_indices(std::integer_sequence<int, kIndex...>, [[maybe_unused]] F f) {
  (f(std::integral_constant<int, kIndex>{}), ...);
}
template <int kCount, class F>
BITFOLD_INLINE void unroll([[maybe_unused]] F f) {
  unroll_indices(std::make_integer_sequence<int, kCount>{}, f);
}

/// Bytes widened to int16: `even` holds the first and third of every four bytes, `odd` the second and fourth.
struct Split {
  __m256i even, odd;
};

BITFOLD_INLINE Split split_weights(const std::int8_t* w) {
  const __m256i bytes = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(w));
  return {_mm256_srai_epi16(_mm256_slli_epi16(bytes, 8), 8), _mm256_srai_epi16(bytes, 8)};
}

BITFOLD_INLINE void multiply_add(__m256i& sum, const Split& x, const Split& w) {
  sum = _mm256_add_epi32(sum, _mm256_madd_epi16(x.even, w.even));
  sum = _mm256_add_epi32(sum, _mm256_madd_epi16(x.odd, w.odd));
}

/// accumulator * multiplier, then the fused LeakyRelu if there is one. A gain of 1 leaves the value unchanged.
BITFOLD_INLINE __m256 leaky_steps(__m256 steps, __m256 negative_gain) {
  // The blend looks at the sign bit; an accumulator is never -0.
  return _mm256_blendv_ps(steps, _mm256_mul_ps(steps, negative_gain), steps);
}

BITFOLD_INLINE __m256i load_words(const std::int32_t* from) {
  return _mm256_loadu_si256(reinterpret_cast<const __m256i*>(from));
}

/// Rounded steps of accumulators that started from the origins in StepTerms.
BITFOLD_INLINE __m256i quick_steps(__m256i sums, __m256 multipliers, __m256 addends) {
  return _mm256_cvtps_epi32(_mm256_fmadd_ps(_mm256_castsi256_ps(sums), multipliers, addends));
}

/// Converts rounded steps to codes. Requires that accumulator * multiplier fits int32: then rounding first and clamping
/// afterwards, at int16 and at uint8, equals store(). The members are values, so that the compiler keeps them in
/// registers; stores through a byte pointer could alias the task.
struct CodeRange {
  __m256i zero_point, low, high;

  BITFOLD_INLINE explicit CodeRange(const ConvOutput& output)
      : zero_point(_mm256_set1_epi16(static_cast<short>(output.zero_point))),
        low(_mm256_set1_epi8(static_cast<char>(output.qmin))),
        high(_mm256_set1_epi8(static_cast<char>(output.qmax))) {}

  /// Steps as saturated int16; each half holds first those of `a`, then those of `b`.
  BITFOLD_INLINE __m256i operator()(__m256i a, __m256i b) const {
    return _mm256_min_epu8(_mm256_max_epu8(all_bytes(a, b), low), high);
  }
  /// The same for outputs whose codes span 0 to 255.
  BITFOLD_INLINE __m256i all_bytes(__m256i a, __m256i b) const {
    return _mm256_packus_epi16(_mm256_adds_epi16(a, zero_point), _mm256_adds_epi16(b, zero_point));
  }
};

/// Stores the first `count` of 8 accumulators to y, beginning at element `at`.
BITFOLD_INLINE void store(__m256i sums, const float* multipliers, const ConvOutput& output, void* y, std::int64_t at,
                          std::int64_t count) {
  if (count <= 0) return;
  const std::size_t stored = count < 8 ? static_cast<std::size_t>(count) : 8;
  const __m256 steps = _mm256_mul_ps(_mm256_cvtepi32_ps(sums), _mm256_loadu_ps(multipliers));
  if (output.kind != AccumulatorOutput::code) {
    alignas(32) std::int32_t words[8];
    _mm256_store_si256(reinterpret_cast<__m256i*>(words),
                       output.kind == AccumulatorOutput::int32 ? sums : _mm256_castps_si256(steps));
    std::memcpy(static_cast<std::int32_t*>(y) + at, words, stored * 4);
    return;
  }
  const auto low = static_cast<float>(output.qmin - output.zero_point);
  const auto high = static_cast<float>(output.qmax - output.zero_point);
  const __m256 leaky = leaky_steps(steps, _mm256_set1_ps(output.negative_gain));
  const __m256 clamped = _mm256_min_ps(_mm256_max_ps(leaky, _mm256_set1_ps(low)), _mm256_set1_ps(high));
  const __m256i whole = _mm256_add_epi32(_mm256_cvtps_epi32(clamped), _mm256_set1_epi32(output.zero_point));
  const __m128i words = _mm_packs_epi32(_mm256_castsi256_si128(whole), _mm256_extracti128_si256(whole, 1));
  const std::int64_t codes = _mm_cvtsi128_si64(_mm_packus_epi16(words, words));
  std::uint8_t* to = static_cast<std::uint8_t*>(y) + at;
  if (stored == 8)
    std::memcpy(to, &codes, 8);
  else
    std::memcpy(to, &codes, stored);
}

}  // namespace
}  // namespace bitfold
