// Shared by the AVX-512 kernels: loops unrolled at compile time, and stores of accumulators.
//
// Only files compiled for AVX-512 include this header. Everything is in an anonymous namespace, so that the linker
// cannot use AVX-512 code for a function of the rest of the program.
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

/// Which codes and zero points a writer must handle. `any`: [qmin, qmax], any zero point, with or without LeakyRelu.
/// `bytes`: 0 to 255, no LeakyRelu. `quick_bytes`: as `bytes`, computed with StepTerms. `quick_bytes_from_zero`: as
/// `quick_bytes`, with zero point 0.
enum class CodeBounds { any, bytes, quick_bytes, quick_bytes_from_zero };

constexpr bool is_quick(CodeBounds bounds) { return bounds >= CodeBounds::quick_bytes; }

BITFOLD_INLINE CodeBounds bounds_of(const ConvOutput& output, const StepTerms& terms) {
  if (terms.origins != nullptr)
    return output.zero_point == 0 ? CodeBounds::quick_bytes_from_zero : CodeBounds::quick_bytes;
  return output.qmin != 0 || output.qmax != 255 || output.negative_gain != 1 ? CodeBounds::any : CodeBounds::bytes;
}

/// Initial values of the accumulators of 16 channels.
BITFOLD_INLINE __m512i start_of(const std::int32_t* bias, const StepTerms& terms, std::int64_t channel) {
  const __m512i start = _mm512_loadu_si512(bias + channel);
  return terms.origins == nullptr ? start : _mm512_add_epi32(start, _mm512_loadu_si512(terms.origins + channel));
}

/// Turns the accumulators of 16 channels into steps. `addend` is used with StepTerms only.
struct Multiplier {
  __m512 factor, addend;
};

/// requantize() of 64 accumulators at a time. Rounding is monotonic and the bounds are integers, so clamping may follow
/// rounding: the saturating packs and the byte bounds at the end clamp 64 codes at once. Only values above int32 must
/// be clamped before the conversion; values below it convert to the lowest int32.
template <bool kStepsFit, CodeBounds kBounds = CodeBounds::any>
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
        is_leaky(output.negative_gain != 1) {
    asm("" : "+r"(is_leaky));  // without this the compiler compares floats again for every accumulator
  }

  BITFOLD_INLINE __m512i steps(__m512i sum, const Multiplier& multiplier) const {
    if constexpr (is_quick(kBounds))
      return round(_mm512_fmadd_ps(_mm512_castsi512_ps(sum), multiplier.factor, multiplier.addend));
    const __m512 steps = _mm512_mul_ps(_mm512_cvtepi32_ps(sum), multiplier.factor);
    if (kBounds != CodeBounds::any || !is_leaky) return round(steps);
    return round(_mm512_mask_mul_ps(steps, _mm512_movepi32_mask(sum), steps, negative_gain));
  }

  BITFOLD_INLINE __m512i round(__m512 t) const {
    if constexpr (!kStepsFit) t = _mm512_min_ps(t, high);
    return _mm512_cvt_roundps_epi32(t, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
  }

  /// 128-bit lane L of the result holds the codes of lane L of a, b, c and d, in this order.
  BITFOLD_INLINE __m512i codes_by_lane(__m512i a, __m512i b, __m512i c, __m512i d) const {
    __m512i ab = _mm512_packs_epi32(a, b), cd = _mm512_packs_epi32(c, d);
    if constexpr (kBounds != CodeBounds::quick_bytes_from_zero) {
      ab = _mm512_adds_epi16(ab, zero_point);
      cd = _mm512_adds_epi16(cd, zero_point);
    }
    __m512i mixed = _mm512_packus_epi16(ab, cd);
    if constexpr (kBounds == CodeBounds::any) mixed = _mm512_min_epu8(_mm512_max_epu8(mixed, low_code), high_code);
    return mixed;
  }

  /// The codes of a, then those of b, c and d.
  BITFOLD_INLINE __m512i codes(__m512i a, __m512i b, __m512i c, __m512i d) const {
    const __m512i order = _mm512_setr_epi32(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15);
    return _mm512_permutexvar_epi32(order, codes_by_lane(a, b, c, d));
  }
};

/// The first channel of block b, or of the last block if b is past the end.
BITFOLD_INLINE std::int64_t block_start(std::int64_t b, std::int64_t channel_count) {
  if (b == 0) return 0;
  const std::int64_t last = (channel_count - 1) / 16;
  return 16 * (b < last ? b : last);
}

/// Where a tile of outputs is stored: pixels at a fixed stride, the first `channel_count` channels of each.
struct Destination {
  const ConvOutput* output;
  const float* multipliers;  ///< One per channel of the tile, as are the terms.
  StepTerms terms;
  void* y;
  std::int64_t first;   ///< Elements from y to the first pixel.
  std::int64_t stride;  ///< Elements from one pixel to the next.
  std::int64_t channel_count;
  bool steps_fit;  ///< As in GemmTask.
};

/// Stores rows of accumulators, kBlocks registers each, as codes. Keeps what the rows share in registers.
template <int kBlocks, bool kStepsFit, CodeBounds kBounds = CodeBounds::any>
class CodeWriter {
 public:
  using Element = std::uint8_t;

  BITFOLD_INLINE explicit CodeWriter(const Destination& to)
      : requantizer_(*to.output),
        whole_(to.channel_count == kBlocks * 16),
        is_dense_(whole_ && to.stride == kBlocks * 16),
        mask_(~std::uint64_t{0} >> (64 - to.channel_count)) {
    unroll<kBlocks>([&](auto b) BITFOLD_INLINE_LAMBDA {
      const std::int64_t channel = block_start(b, to.channel_count);
      multipliers_[b].factor = _mm512_loadu_ps(to.multipliers + channel);
      if constexpr (is_quick(kBounds)) multipliers_[b].addend = _mm512_loadu_ps(to.terms.addends + channel);
    });
  }

  /// at(constant) returns where the first channel of a row is stored.
  template <int kRows, class At>
  BITFOLD_INLINE void write(const __m512i (&sums)[kRows][kBlocks], const At& at) const {
    constexpr int kRegisters = kRows * kBlocks;
    const auto steps = [&](auto i) BITFOLD_INLINE_LAMBDA {
      constexpr int kIndex = decltype(i)::value < kRegisters ? decltype(i)::value : kRegisters - 1;
      return requantizer_.steps(sums[kIndex / kBlocks][kIndex % kBlocks], multipliers_[kIndex % kBlocks]);
    };
    unroll<(kRegisters + 3) / 4>([&](auto quad) BITFOLD_INLINE_LAMBDA {
      constexpr int kFirst = decltype(quad)::value * 4;
      const __m512i codes = requantizer_.codes(
          steps(std::integral_constant<int, kFirst>{}), steps(std::integral_constant<int, kFirst + 1>{}),
          steps(std::integral_constant<int, kFirst + 2>{}), steps(std::integral_constant<int, kFirst + 3>{}));
      // 64 codes, which are one row, two or four.
      if (kBlocks < 4 && kFirst + 4 <= kRegisters && is_dense_) {
        _mm512_storeu_si512(at(std::integral_constant<int, kFirst / kBlocks>{}), codes);
        return;
      }
      unroll<4 / kBlocks>([&](auto i) BITFOLD_INLINE_LAMBDA {
        constexpr int kRow = kFirst / kBlocks + decltype(i)::value;
        if constexpr (kRow < kRows) store<decltype(i)::value>(codes, at(std::integral_constant<int, kRow>{}));
      });
    });
  }

 private:
  template <int kPart>
  BITFOLD_INLINE void store(__m512i codes, std::uint8_t* to) const {
    if constexpr (kBlocks == 4) {
      if (whole_)
        _mm512_storeu_si512(to, codes);
      else
        _mm512_mask_storeu_epi8(to, mask_, codes);
    } else if constexpr (kBlocks == 2) {
      const __m256i row = _mm512_extracti64x4_epi64(codes, kPart);
      if (whole_)
        _mm256_storeu_si256(reinterpret_cast<__m256i*>(to), row);
      else
        _mm256_mask_storeu_epi8(to, static_cast<__mmask32>(mask_), row);
    } else {
      const __m128i row = _mm512_extracti32x4_epi32(codes, kPart);
      if (whole_)
        _mm_storeu_si128(reinterpret_cast<__m128i*>(to), row);
      else
        _mm_mask_storeu_epi8(to, static_cast<__mmask16>(mask_), row);
    }
  }

  Requantizer<kStepsFit, kBounds> requantizer_;
  Multiplier multipliers_[kBlocks];
  bool whole_, is_dense_;  ///< whole_: all channels are stored; is_dense_: no gaps between pixels.
  __mmask64 mask_;
};

/// Stores accumulators unchanged, or as floats.
template <int kBlocks>
class WordWriter {
 public:
  using Element = std::int32_t;

  BITFOLD_INLINE explicit WordWriter(const Destination& to)
      : to_(to), is_real_(to.output->kind == AccumulatorOutput::float32) {}

  template <int kRows, class At>
  BITFOLD_INLINE void write(const __m512i (&sums)[kRows][kBlocks], const At& at) const {
    unroll<kBlocks>([&](auto b) BITFOLD_INLINE_LAMBDA {
      const std::int64_t left = to_.channel_count - b * 16;
      const auto mask = static_cast<__mmask16>(left >= 16 ? 0xFFFF : left <= 0 ? 0 : (1 << left) - 1);
      const __m512 multiplier = _mm512_loadu_ps(to_.multipliers + block_start(b, to_.channel_count));
      unroll<kRows>([&](auto p) BITFOLD_INLINE_LAMBDA {
        __m512i word = sums[p][b];
        if (is_real_) word = _mm512_castps_si512(_mm512_mul_ps(_mm512_cvtepi32_ps(word), multiplier));
        _mm512_mask_storeu_epi32(at(p) + b * 16, mask, word);
      });
    });
  }

 private:
  const Destination to_;
  bool is_real_;
};

/// int32 accumulators of kRows pixels times kBlocks * 16 channels, in registers.
template <int kRows, int kBlocks>
struct Accumulators {
  __m512i sums[kRows][kBlocks];

  /// Blocks past the last channel repeat the last block's values.
  BITFOLD_INLINE void set(const std::int32_t* bias, const StepTerms& terms, std::int64_t channel_count) {
    unroll<kBlocks>([&](auto b) BITFOLD_INLINE_LAMBDA {
      const __m512i start = start_of(bias, terms, block_start(b, channel_count));
      unroll<kRows>([&](auto p) BITFOLD_INLINE_LAMBDA { sums[p][b] = start; });
    });
  }

  BITFOLD_INLINE void store(const Destination& to) const {
    const CodeBounds bounds = bounds_of(*to.output, to.terms);
    if (to.output->kind != AccumulatorOutput::code)
      write(WordWriter<kBlocks>(to), to);
    else if (!to.steps_fit)
      write(CodeWriter<kBlocks, false>(to), to);
    else if (bounds == CodeBounds::any)
      write(CodeWriter<kBlocks, true>(to), to);
    else if (bounds == CodeBounds::bytes)
      write(CodeWriter<kBlocks, true, CodeBounds::bytes>(to), to);
    else if (bounds == CodeBounds::quick_bytes)
      write(CodeWriter<kBlocks, true, CodeBounds::quick_bytes>(to), to);
    else
      write(CodeWriter<kBlocks, true, CodeBounds::quick_bytes_from_zero>(to), to);
  }

 private:
  template <class Writer>
  BITFOLD_INLINE void write(const Writer& writer, const Destination& to) const {
    auto* y = static_cast<typename Writer::Element*>(to.y) + to.first;
    writer.write(sums, [&](auto p) BITFOLD_INLINE_LAMBDA { return y + p * to.stride; });
  }
};

}  // namespace
}  // namespace bitfold
