// What the AVX-512 kernels share: loops unrolled at compile time, and accumulators on their way to memory.
//
// Included only by files compiled for AVX-512; everything is in an anonymous namespace, so that no code of theirs can
// stand in for a function of the rest of the program.
#pragma once

#include <immintrin.h>

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

/// requantize() of 64 accumulators at a time. Rounding keeps order and the bounds are integers, so clamping after it is
/// clamping before it: the saturating packs and the byte bounds at the end do it for 64 codes at once. Only what would
/// leave int32 upwards must be cut before it is converted; what leaves it downwards converts to the lowest int32.
template <bool kStepsFit>
struct Requantizer {
  __m512 high, negative_gain;
  __m512i zero_point, low_code, high_code;
  bool is_leaky;

  BITFOLD_INLINE explicit Requantizer(const ConvOutput& output)
      : high(_mm512_set1_ps(static_cast<float>(output.qmax - output.zero_point))),
        negative_gain(_mm512_set1_ps(output.negative_gain)),
        zero_point(_mm512_set1_epi16(static_cast<short>(output.zero_point))),
        low_code(_mm512_set1_epi8(static_cast<char>(output.qmin))),
        high_code(_mm512_set1_epi8(static_cast<char>(output.qmax))),
        is_leaky(output.negative_gain != 1) {}

  BITFOLD_INLINE __m512i steps(__m512i sum, __m512 multiplier) const {
    const __m512 steps = _mm512_mul_ps(_mm512_cvtepi32_ps(sum), multiplier);
    if (!is_leaky) return round(steps);
    return round(_mm512_mask_mul_ps(steps, _mm512_movepi32_mask(sum), steps, negative_gain));
  }

  BITFOLD_INLINE __m512i round(__m512 t) const {
    if constexpr (!kStepsFit) t = _mm512_min_ps(t, high);
    return _mm512_cvt_roundps_epi32(t, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
  }

  BITFOLD_INLINE __m512i codes(__m512i a, __m512i b, __m512i c, __m512i d) const {
    const __m512i ab = _mm512_adds_epi16(_mm512_packs_epi32(a, b), zero_point);
    const __m512i cd = _mm512_adds_epi16(_mm512_packs_epi32(c, d), zero_point);
    const __m512i mixed = _mm512_min_epu8(_mm512_max_epu8(_mm512_packus_epi16(ab, cd), low_code), high_code);
    // Packs work in lanes of 128 bits: lane L holds channels 4L..4L+3 of a, b, c, d.
    const __m512i order = _mm512_setr_epi32(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15);
    return _mm512_permutexvar_epi32(order, mixed);
  }
};

/// The first channel of block b, or of the last block there is.
BITFOLD_INLINE std::int64_t block_start(std::int64_t b, std::int64_t channel_count) {
  if (b == 0) return 0;
  const std::int64_t last = (channel_count - 1) / 16;
  return 16 * (b < last ? b : last);
}

/// Where a tile of outputs goes: pixels at equal distances, the first `channel_count` channels of each.
struct Destination {
  const ConvOutput* output;
  const float* multipliers;  ///< As many as the tile has channels.
  void* y;
  std::int64_t first;   ///< Elements from y to the first pixel.
  std::int64_t stride;  ///< Elements from one pixel to the next.
  std::int64_t channel_count;
  bool steps_fit;  ///< As in GemmTask.
};

/// int32 accumulators of kRows pixels times kBlocks * 16 channels, in registers.
template <int kRows, int kBlocks>
struct Accumulators {
  __m512i sums[kRows][kBlocks];

  /// Blocks beyond the last channel repeat the last block's.
  BITFOLD_INLINE void set(const std::int32_t* bias, std::int64_t channel_count) {
    unroll<kBlocks>([&](auto b) BITFOLD_INLINE_LAMBDA {
      const __m512i start = _mm512_loadu_si512(bias + block_start(b, channel_count));
      unroll<kRows>([&](auto p) BITFOLD_INLINE_LAMBDA { sums[p][b] = start; });
    });
  }

  BITFOLD_INLINE void store(const Destination& to) const {
    if (to.output->kind != AccumulatorOutput::code)
      store_words(to);
    else if (to.steps_fit)
      store_codes<true>(to);
    else
      store_codes<false>(to);
  }

 private:
  template <bool kStepsFit>
  BITFOLD_INLINE void store_codes(const Destination& t) const {
    std::uint8_t* y = static_cast<std::uint8_t*>(t.y) + t.first;
    const Requantizer<kStepsFit> requantizer(*t.output);
    __m512 multipliers[kBlocks];
    unroll<kBlocks>([&](auto b) BITFOLD_INLINE_LAMBDA {
      multipliers[b] = _mm512_loadu_ps(t.multipliers + block_start(b, t.channel_count));
    });
    const bool whole = t.channel_count == kBlocks * 16;
    const __mmask64 mask = ~std::uint64_t{0} >> (64 - t.channel_count);
    constexpr int kRegisters = kRows * kBlocks;
    const auto steps = [&](auto i) BITFOLD_INLINE_LAMBDA {
      constexpr int kIndex = decltype(i)::value < kRegisters ? decltype(i)::value : kRegisters - 1;
      return requantizer.steps(sums[kIndex / kBlocks][kIndex % kBlocks], multipliers[kIndex % kBlocks]);
    };
    unroll<(kRegisters + 3) / 4>([&](auto quad) BITFOLD_INLINE_LAMBDA {
      constexpr int kFirst = decltype(quad)::value * 4;
      const __m512i codes = requantizer.codes(
          steps(std::integral_constant<int, kFirst>{}), steps(std::integral_constant<int, kFirst + 1>{}),
          steps(std::integral_constant<int, kFirst + 2>{}), steps(std::integral_constant<int, kFirst + 3>{}));
      store_quad<kFirst / kBlocks>(codes, y, t.stride, whole, mask);
    });
  }

  // 64 codes: of one pixel, two or four, from pixel kFirst on.
  template <int kFirst>
  BITFOLD_INLINE static void store_quad(__m512i codes, std::uint8_t* y, std::int64_t stride, bool whole,
                                        __mmask64 mask) {
    if constexpr (kBlocks == 4) {
      if (whole)
        _mm512_storeu_si512(y + kFirst * stride, codes);
      else
        _mm512_mask_storeu_epi8(y + kFirst * stride, mask, codes);
    } else if constexpr (kBlocks == 2) {
      unroll<2>([&](auto i) BITFOLD_INLINE_LAMBDA {
        if constexpr (kFirst + decltype(i)::value < kRows) {
          const __m256i pixel = _mm512_extracti64x4_epi64(codes, decltype(i)::value);
          std::uint8_t* to = y + (kFirst + i) * stride;
          if (whole)
            _mm256_storeu_si256(reinterpret_cast<__m256i*>(to), pixel);
          else
            _mm256_mask_storeu_epi8(to, static_cast<__mmask32>(mask), pixel);
        }
      });
    } else {
      unroll<4>([&](auto i) BITFOLD_INLINE_LAMBDA {
        if constexpr (kFirst + decltype(i)::value < kRows) {
          const __m128i pixel = _mm512_extracti32x4_epi32(codes, decltype(i)::value);
          std::uint8_t* to = y + (kFirst + i) * stride;
          if (whole)
            _mm_storeu_si128(reinterpret_cast<__m128i*>(to), pixel);
          else
            _mm_mask_storeu_epi8(to, static_cast<__mmask16>(mask), pixel);
        }
      });
    }
  }

  BITFOLD_INLINE void store_words(const Destination& t) const {
    std::int32_t* y = static_cast<std::int32_t*>(t.y) + t.first;
    const bool is_real = t.output->kind == AccumulatorOutput::float32;
    unroll<kBlocks>([&](auto b) BITFOLD_INLINE_LAMBDA {
      const std::int64_t left = t.channel_count - b * 16;
      const auto mask = static_cast<__mmask16>(left >= 16 ? 0xFFFF : left <= 0 ? 0 : (1 << left) - 1);
      const __m512 multiplier = _mm512_loadu_ps(t.multipliers + block_start(b, t.channel_count));
      unroll<kRows>([&](auto p) BITFOLD_INLINE_LAMBDA {
        __m512i word = sums[p][b];
        if (is_real) word = _mm512_castps_si512(_mm512_mul_ps(_mm512_cvtepi32_ps(word), multiplier));
        _mm512_mask_storeu_epi32(y + p * t.stride + b * 16, mask, word);
      });
    });
  }
};

}  // namespace
}  // namespace bitfold
