// Operands of the depthwise convolution with AVX-512 VNNI: weights arranged by lanes, and columns of 64 codes. Part of
// depthwise_wide_avx512vnni.cpp, compiled with its flags.
#pragma once

#include "kernels/avx512.h"
#include "kernels/depthwise/depthwise.h"

namespace bitfold {
namespace {

constexpr std::int64_t kBlock = 16, kGroupBytes = 64, kWide = 64;
constexpr int kColumns = 4;

/// Gathers lane q of the four vectors at x, `step` bytes apart, into vector q, for q = 0 .. 3. If kCount is below 4,
/// the existing vectors are used again.
template <int kCount>
BITFOLD_INLINE void gather_lanes(const void* x, std::int64_t step, __m512i (&to)[kColumns]) {
  const auto* bytes = static_cast<const std::uint8_t*>(x);
  __m512i v[kColumns];
  for (int i = 0; i < kColumns; ++i) v[i] = _mm512_loadu_si512(bytes + i % kCount * step);
  const __m512i low01 = _mm512_shuffle_i32x4(v[0], v[1], 0x44), high01 = _mm512_shuffle_i32x4(v[0], v[1], 0xEE);
  const __m512i low23 = _mm512_shuffle_i32x4(v[2], v[3], 0x44), high23 = _mm512_shuffle_i32x4(v[2], v[3], 0xEE);
  to[0] = _mm512_shuffle_i32x4(low01, low23, 0x88);
  to[1] = _mm512_shuffle_i32x4(low01, low23, 0xDD);
  to[2] = _mm512_shuffle_i32x4(high01, high23, 0x88);
  to[3] = _mm512_shuffle_i32x4(high01, high23, 0xDD);
}

/// Interleaves the bytes of four rows into columns.
BITFOLD_INLINE void interleave(const __m512i (&rows)[4], __m512i (&to)[kColumns]) {
  const __m512i low01 = _mm512_unpacklo_epi8(rows[0], rows[1]), high01 = _mm512_unpackhi_epi8(rows[0], rows[1]);
  const __m512i low23 = _mm512_unpacklo_epi8(rows[2], rows[3]), high23 = _mm512_unpackhi_epi8(rows[2], rows[3]);
  to[0] = _mm512_unpacklo_epi16(low01, low23);
  to[1] = _mm512_unpackhi_epi16(low01, low23);
  to[2] = _mm512_unpacklo_epi16(high01, high23);
  to[3] = _mm512_unpackhi_epi16(high01, high23);
}

/// The weights, biases and multipliers for kVectorPixels pixels of 64 / kVectorPixels channels from `channel` on, for
/// kOutRows rows of outputs at a time.
template <int kKernel, int kOutRows, int kVectorPixels>
struct Filter {
  static constexpr int kRows = kKernel + kOutRows - 1, kGroups = (kRows + 3) / 4;
  __m512i weights[kOutRows][kKernel][kGroups][kColumns];
  __m512i bias[kColumns];
  Multiplier multipliers[kColumns];

  void read(const DepthwiseTask& t, std::int64_t channel) {
    static_assert(kOutRows == 1 || kRows == 4);
    constexpr int kCount = kColumns / kVectorPixels;
    constexpr std::int64_t kBlockWeights = kKernel * kGroups * kGroupBytes;
    const std::int8_t* w = t.weights + channel / kBlock * kBlockWeights;
    for (int j = 0; j < kKernel; ++j)
      for (int g = 0; g < kGroups; ++g)
        gather_lanes<kCount>(w + (j * kGroups + g) * kGroupBytes, kBlockWeights, weights[0][j][g]);
    if constexpr (kOutRows == 2)
      for (int j = 0; j < kKernel; ++j)
        for (int q = 0; q < kColumns; ++q) weights[1][j][0][q] = _mm512_slli_epi32(weights[0][j][0][q], 8);
    gather_lanes<kCount>(t.bias + channel, kBlock * 4, bias);
    __m512i factors[kColumns], addends[kColumns] = {}, origins[kColumns] = {};
    gather_lanes<kCount>(t.multipliers + channel, kBlock * 4, factors);
    if (t.terms.origins != nullptr) {
      gather_lanes<kCount>(t.terms.origins + channel, kBlock * 4, origins);
      gather_lanes<kCount>(t.terms.addends + channel, kBlock * 4, addends);
    }
    for (int q = 0; q < kColumns; ++q) {
      multipliers[q] = {_mm512_castsi512_ps(factors[q]), _mm512_castsi512_ps(addends[q])};
      bias[q] = _mm512_add_epi32(bias[q], origins[q]);
    }
  }
};

/// Codes of one, two or four pixels, side by side in a vector. at(constant) is the address of a pixel's codes.
template <int kVectorPixels, class At>
BITFOLD_INLINE __m512i load_pixels(const At& at) {
  const auto quarter = [&](auto i)
                           BITFOLD_INLINE_LAMBDA { return _mm_loadu_si128(reinterpret_cast<const __m128i*>(at(i))); };
  const auto half = [&](auto i)
                        BITFOLD_INLINE_LAMBDA { return _mm256_loadu_si256(reinterpret_cast<const __m256i*>(at(i))); };
  const std::integral_constant<int, 0> k0;
  const std::integral_constant<int, 1> k1;
  if constexpr (kVectorPixels == 1) return _mm512_loadu_si512(at(k0));
  if constexpr (kVectorPixels == 2) return _mm512_inserti64x4(_mm512_castsi256_si512(half(k0)), half(k1), 1);
  if constexpr (kVectorPixels == 4) {
    const __m512i two = _mm512_inserti32x4(_mm512_castsi128_si512(quarter(k0)), quarter(k1), 1);
    const __m512i three = _mm512_inserti32x4(two, quarter(std::integral_constant<int, 2>{}), 2);
    return _mm512_inserti32x4(three, quarter(std::integral_constant<int, 3>{}), 3);
  }
}

/// Stores the first `count` pixels of such a vector.
template <int kVectorPixels>
BITFOLD_INLINE void store_pixels(__m512i codes, std::uint8_t* y, std::int64_t stride, std::int64_t count) {
  if constexpr (kVectorPixels == 1) _mm512_storeu_si512(y, codes);
  if constexpr (kVectorPixels == 2) {
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(y), _mm512_castsi512_si256(codes));
    if (count > 1) _mm256_storeu_si256(reinterpret_cast<__m256i*>(y + stride), _mm512_extracti64x4_epi64(codes, 1));
  }
  if constexpr (kVectorPixels == 4) {
    const auto store = [&](__m128i pixel, int i) BITFOLD_INLINE_LAMBDA {
      if (i < count) _mm_storeu_si128(reinterpret_cast<__m128i*>(y + i * stride), pixel);
    };
    store(_mm512_castsi512_si128(codes), 0);
    store(_mm512_extracti32x4_epi32(codes, 1), 1);
    store(_mm512_extracti32x4_epi32(codes, 2), 2);
    store(_mm512_extracti32x4_epi32(codes, 3), 3);
  }
}

/// How a row of an image is read: vectors of kPixels pixels, kStride apart. Dense pixels have nothing between them and
/// are 64 contiguous bytes.
template <int kPixelCount, int kPixelStride, bool kDense>
struct Reading {
  static constexpr int kPixels = kPixelCount, kStride = kPixelStride;
  static constexpr bool kIsDense = kDense;
};

/// The input rows under a few rows of outputs.
template <int kRows, class Reading>
struct Source {
  const std::uint8_t* rows[kRows];  ///< A row's first pixel; padding for rows outside the image.
  std::int64_t steps[kRows];        ///< Bytes from one pixel to the next; 0 outside the image.
  const std::uint8_t* padding;
  std::int64_t width;

  Source(const DepthwiseTask& t, std::int64_t channel, std::int64_t out_row, const std::uint8_t* of_padding)
      : padding(of_padding), width(t.in_width) {
    for (int i = 0; i < kRows; ++i) {
      const std::int64_t row = out_row * t.stride_h - t.pad_top + i;
      const bool is_inside = row >= 0 && row < t.in_height;
      rows[i] = is_inside ? t.x + row * t.x_row + channel : of_padding;
      steps[i] = is_inside ? t.channels : 0;
    }
  }

  /// Reads column x of a vector of pixels, four rows per group.
  template <int kGroups>
  BITFOLD_INLINE void read(std::int64_t x, __m512i (&taps)[kGroups][kColumns]) const {
    constexpr std::int64_t kToLast = (Reading::kPixels - 1) * Reading::kStride;
    const bool is_inside = x >= 0 && x + kToLast < width;
    if (Reading::kPixels == 1 && !is_inside) {
      unroll<kGroups>([&](auto g) BITFOLD_INLINE_LAMBDA {
        for (__m512i& tap : taps[g]) tap = _mm512_loadu_si512(padding);
      });
      return;
    }
    unroll<kGroups>([&](auto g) BITFOLD_INLINE_LAMBDA {
      __m512i four[4];
      unroll<4>([&](auto i) BITFOLD_INLINE_LAMBDA {
        constexpr int kRow = 4 * decltype(g)::value + decltype(i)::value;
        four[i] = _mm512_setzero_si512();
        if constexpr (kRow < kRows) four[i] = is_inside ? load(kRow, x) : load_border(kRow, x);
      });
      interleave(four, taps[g]);
    });
  }

  /// Row i of a single pixel, which may be outside the image.
  BITFOLD_INLINE __m512i load_or_pad(int i, std::int64_t x) const {
    return _mm512_loadu_si512(x >= 0 && x < width ? rows[i] + x * steps[i] : padding);
  }

 private:
  BITFOLD_INLINE __m512i load(int i, std::int64_t x) const {
    const std::uint8_t* from = rows[i] + x * steps[i];
    if constexpr (Reading::kIsDense) return _mm512_loadu_si512(from);
    const std::int64_t step = Reading::kStride * steps[i];
    return load_pixels<Reading::kPixels>([&](auto p) BITFOLD_INLINE_LAMBDA { return from + p * step; });
  }

  /// Row i of pixels that may be outside the image.
  BITFOLD_INLINE __m512i load_border(int i, std::int64_t x) const {
    return load_pixels<Reading::kPixels>([&](auto p) BITFOLD_INLINE_LAMBDA {
      const std::int64_t at = x + p * Reading::kStride;
      return at >= 0 && at < width ? rows[i] + at * steps[i] : padding;
    });
  }
};

}  // namespace
}  // namespace bitfold
