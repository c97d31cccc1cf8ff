// Depthwise convolution with AVX-512 VNNI.
//
// 64 channels at a time, where there are so many and codes are wanted: the bytes of up to 4 rows are interleaved by
// unpacking, which works in lanes of 128 bits. So one load per row gives four columns, of 16 channels each:
//
//        column q, lane L   channels 16 L + 4 q .. 16 L + 4 q + 3         q = 0 .. 3
//
// Packing, which works in lanes too, puts the codes of the four back into order. Weights, biases and multipliers are
// brought into the columns' order once per row of pixels. At 3x3 that is 2 instructions for a column of 16 channels.
//
// 16 channels at a time, for the rest:
// A column is made of three or four loads that widen bytes to dwords, shifted into place and joined; vpdpbusd then
// multiplies a column of up to 4 taps for 16 channels at once. At 3x3 and stride 1 a column serves three output pixels:
// 6 instructions to make it, 3 to use it, for 144 products.
#include "kernels/depthwise/depthwise.h"

#if defined(__AVX512VNNI__) && defined(__AVX512BW__)

#include "kernels/avx512.h"

namespace bitfold {
namespace {

constexpr std::int64_t kBlock = 16, kRowsPerGroup = 4, kGroupBytes = kBlock * kRowsPerGroup;

BITFOLD_INLINE __m512i widen(const std::uint8_t* x) {
  return _mm512_cvtepu8_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(x)));
}

constexpr int kOr3 = 0xFE;  // a | b | c of vpternlogd

/// The bytes of kCount rows from x on, interleaved by channel; absent rows are 0.
template <int kCount>
BITFOLD_INLINE __m512i column(const std::uint8_t* x, std::int64_t row_bytes) {
  const __m512i r0 = widen(x);
  if constexpr (kCount == 1) return r0;
  const __m512i r1 = _mm512_slli_epi32(widen(x + row_bytes), 8);
  if constexpr (kCount == 2) return _mm512_or_si512(r0, r1);
  const __m512i r2 = _mm512_slli_epi32(widen(x + 2 * row_bytes), 16);
  const __m512i three = _mm512_ternarylogic_epi32(r0, r1, r2, kOr3);
  if constexpr (kCount == 3) return three;
  return _mm512_or_si512(three, _mm512_slli_epi32(widen(x + 3 * row_bytes), 24));
}

BITFOLD_INLINE __m512i column(const std::uint8_t* x, std::int64_t row_bytes, std::int64_t count) {
  return count == 1   ? column<1>(x, row_bytes)
         : count == 2 ? column<2>(x, row_bytes)
         : count == 3 ? column<3>(x, row_bytes)
                      : column<4>(x, row_bytes);
}

/// kPixels pixels of one block, for a square kernel without horizontal dilation.
template <int kKernel, int kStride, int kPixels>
void run_tile(const DepthwiseTask& t, const std::uint8_t* x, const std::int8_t* w, const std::int32_t* bias,
              const Destination& to) noexcept {
  constexpr int kGroups = (kKernel + 3) / 4;
  Accumulators<kPixels, 1> tile;
  tile.set(bias, to.channel_count);
  __m512i weights[kKernel][kGroups];
  unroll<kKernel>([&](auto j) BITFOLD_INLINE_LAMBDA {
    unroll<kGroups>(
        [&](auto q) BITFOLD_INLINE_LAMBDA { weights[j][q] = _mm512_loadu_si512(w + (j * kGroups + q) * kGroupBytes); });
  });
  unroll<(kPixels - 1) * kStride + kKernel>([&](auto at) BITFOLD_INLINE_LAMBDA {
    unroll<kGroups>([&](auto q) BITFOLD_INLINE_LAMBDA {
      constexpr int kRows = kKernel - decltype(q)::value * 4 < 4 ? kKernel - decltype(q)::value * 4 : 4;
      const __m512i taps = column<kRows>(x + at * t.channels + 4 * q * t.tap_row_bytes, t.tap_row_bytes);
      unroll<kKernel>([&](auto j) BITFOLD_INLINE_LAMBDA {
        constexpr int kFrom = decltype(at)::value - decltype(j)::value;  // the first tap of a pixel, or between two
        if constexpr (kFrom >= 0 && kFrom % kStride == 0 && kFrom / kStride < kPixels)
          tile.sums[kFrom / kStride][0] = _mm512_dpbusd_epi32(tile.sums[kFrom / kStride][0], taps, weights[j][q]);
      });
    });
  });
  tile.store(to);
}

/// One pixel of one block, for any kernel.
void run_any(const DepthwiseTask& t, const std::uint8_t* x, const std::int8_t* w, const std::int32_t* bias,
             const Destination& to) noexcept {
  Accumulators<1, 1> tile;
  tile.set(bias, to.channel_count);
  for (std::int64_t j = 0; j < t.kernel_w; ++j)
    for (std::int64_t i = 0; i < t.kernel_h; i += kRowsPerGroup, w += kGroupBytes) {
      const std::int64_t rows = t.kernel_h - i < kRowsPerGroup ? t.kernel_h - i : kRowsPerGroup;
      const __m512i taps = column(x + j * t.dilation * t.channels + i * t.tap_row_bytes, t.tap_row_bytes, rows);
      tile.sums[0][0] = _mm512_dpbusd_epi32(tile.sums[0][0], taps, _mm512_loadu_si512(w));
    }
  tile.store(to);
}

constexpr std::int64_t kWide = 64;
constexpr int kColumns = 4;

/// Lane q of the vectors at x, `step` bytes apart: for each of q = 0 .. 3 a vector.
BITFOLD_INLINE void gather_lanes(const void* x, std::int64_t step, __m512i (&to)[kColumns]) {
  const auto* bytes = static_cast<const std::uint8_t*>(x);
  const __m512i v0 = _mm512_loadu_si512(bytes), v1 = _mm512_loadu_si512(bytes + step);
  const __m512i v2 = _mm512_loadu_si512(bytes + 2 * step), v3 = _mm512_loadu_si512(bytes + 3 * step);
  const __m512i low01 = _mm512_shuffle_i32x4(v0, v1, 0x44), high01 = _mm512_shuffle_i32x4(v0, v1, 0xEE);
  const __m512i low23 = _mm512_shuffle_i32x4(v2, v3, 0x44), high23 = _mm512_shuffle_i32x4(v2, v3, 0xEE);
  to[0] = _mm512_shuffle_i32x4(low01, low23, 0x88);
  to[1] = _mm512_shuffle_i32x4(low01, low23, 0xDD);
  to[2] = _mm512_shuffle_i32x4(high01, high23, 0x88);
  to[3] = _mm512_shuffle_i32x4(high01, high23, 0xDD);
}

/// What a row of pixels needs of 64 channels, in the order of the columns.
template <int kKernel>
struct WideBlock {
  static constexpr int kGroups = (kKernel + 3) / 4;
  __m512i weights[kKernel][kGroups][kColumns];
  __m512i bias[kColumns], multipliers[kColumns];

  WideBlock(const DepthwiseTask& t, std::int64_t channel) {
    constexpr std::int64_t kBlockWeights = kKernel * kGroups * kGroupBytes;
    const std::int8_t* w = t.weights + channel / kBlock * kBlockWeights;
    for (int j = 0; j < kKernel; ++j)
      for (int q = 0; q < kGroups; ++q) gather_lanes(w + (j * kGroups + q) * kGroupBytes, kBlockWeights, weights[j][q]);
    gather_lanes(t.bias + channel, kBlock * 4, bias);
    gather_lanes(t.multipliers + channel, kBlock * 4, multipliers);
  }
};

/// Four columns of kRows rows from x on; absent rows are 0.
template <int kRows>
BITFOLD_INLINE void wide_columns(const std::uint8_t* x, std::int64_t row_bytes, __m512i (&to)[kColumns]) {
  const __m512i zero = _mm512_setzero_si512();
  const auto row = [&](auto i) BITFOLD_INLINE_LAMBDA {
    if constexpr (decltype(i)::value < kRows) return _mm512_loadu_si512(x + i * row_bytes);
    return zero;
  };
  const __m512i r0 = row(std::integral_constant<int, 0>{}), r1 = row(std::integral_constant<int, 1>{});
  const __m512i r2 = row(std::integral_constant<int, 2>{}), r3 = row(std::integral_constant<int, 3>{});
  const __m512i low01 = _mm512_unpacklo_epi8(r0, r1), high01 = _mm512_unpackhi_epi8(r0, r1);
  const __m512i low23 = kRows > 2 ? _mm512_unpacklo_epi8(r2, r3) : zero;
  const __m512i high23 = kRows > 2 ? _mm512_unpackhi_epi8(r2, r3) : zero;
  to[0] = _mm512_unpacklo_epi16(low01, low23);
  to[1] = _mm512_unpackhi_epi16(low01, low23);
  to[2] = _mm512_unpacklo_epi16(high01, high23);
  to[3] = _mm512_unpackhi_epi16(high01, high23);
}

/// kPixels pixels of 64 channels, for a square kernel without horizontal dilation.
template <int kKernel, int kStride, int kPixels, bool kStepsFit>
void run_wide_tile(const DepthwiseTask& t, const std::uint8_t* x, const WideBlock<kKernel>& block, std::uint8_t* y) {
  __m512i sums[kPixels][kColumns];
  unroll<kPixels>([&](auto p) BITFOLD_INLINE_LAMBDA {
    unroll<kColumns>([&](auto q) BITFOLD_INLINE_LAMBDA { sums[p][q] = block.bias[q]; });
  });
  unroll<(kPixels - 1) * kStride + kKernel>([&](auto at) BITFOLD_INLINE_LAMBDA {
    unroll<WideBlock<kKernel>::kGroups>([&](auto g) BITFOLD_INLINE_LAMBDA {
      constexpr int kRows = kKernel - decltype(g)::value * 4 < 4 ? kKernel - decltype(g)::value * 4 : 4;
      __m512i taps[kColumns];
      wide_columns<kRows>(x + at * t.channels + 4 * g * t.tap_row_bytes, t.tap_row_bytes, taps);
      unroll<kKernel>([&](auto j) BITFOLD_INLINE_LAMBDA {
        constexpr int kFrom = decltype(at)::value - decltype(j)::value;
        if constexpr (kFrom >= 0 && kFrom % kStride == 0 && kFrom / kStride < kPixels)
          unroll<kColumns>([&](auto q) BITFOLD_INLINE_LAMBDA {
            __m512i& sum = sums[kFrom / kStride][q];
            sum = _mm512_dpbusd_epi32(sum, taps[q], block.weights[j][g][q]);
          });
      });
    });
  });
  const Requantizer<kStepsFit> requantizer(*t.output);
  const auto steps = [&](__m512i sum, int q) BITFOLD_INLINE_LAMBDA {
    return requantizer.steps(sum, _mm512_castsi512_ps(block.multipliers[q]));
  };
  unroll<kPixels>([&](auto p) BITFOLD_INLINE_LAMBDA {
    _mm512_storeu_si512(y + p * t.y_stride, requantizer.codes_by_lane(steps(sums[p][0], 0), steps(sums[p][1], 1),
                                                                      steps(sums[p][2], 2), steps(sums[p][3], 3)));
  });
}

/// Rows of 64 channels; returns how many channels are done.
template <int kKernel, int kStride, bool kStepsFit>
std::int64_t run_wide(const DepthwiseTask& t) {
  constexpr int kMost = 4;
  std::int64_t c = 0;
  for (; c + kWide <= t.channels; c += kWide) {
    const WideBlock<kKernel> block(t, c);
    const std::uint8_t* x = t.x + c;
    std::uint8_t* y = static_cast<std::uint8_t*>(t.y) + c;
    std::int64_t left = t.pixel_count;
    const auto run_tile_of = [&](auto pixels) {
      run_wide_tile<kKernel, kStride, decltype(pixels)::value, kStepsFit>(t, x, block, y);
      x += pixels * kStride * t.channels;
      y += pixels * t.y_stride;
      left -= pixels;
    };
    while (left >= kMost) run_tile_of(std::integral_constant<int, kMost>{});
    if (left >= 2) run_tile_of(std::integral_constant<int, 2>{});
    if (left >= 1) run_tile_of(std::integral_constant<int, 1>{});
  }
  return c;
}

template <int kKernel, int kStride>
std::int64_t run_wide(const DepthwiseTask& t) {
  return t.steps_fit ? run_wide<kKernel, kStride, true>(t) : run_wide<kKernel, kStride, false>(t);
}

std::int64_t run_wide(const DepthwiseTask& t) {
  if (t.kernel_h != t.kernel_w || t.dilation != 1 || t.output->kind != AccumulatorOutput::code) return 0;
  if (t.kernel_h == 3 && t.stride == 1) return run_wide<3, 1>(t);
  if (t.kernel_h == 3 && t.stride == 2) return run_wide<3, 2>(t);
  if (t.kernel_h == 5 && t.stride == 1) return run_wide<5, 1>(t);
  if (t.kernel_h == 5 && t.stride == 2) return run_wide<5, 2>(t);
  return 0;
}

using RunTile = void (*)(const DepthwiseTask&, const std::uint8_t*, const std::int8_t*, const std::int32_t*,
                         const Destination&) noexcept;

constexpr int kMostPixels = 8;

template <int kKernel, int kStride, class Sequence = std::make_integer_sequence<int, kMostPixels>>
struct TilesOf;
template <int kKernel, int kStride, int... kPixel>
struct TilesOf<kKernel, kStride, std::integer_sequence<int, kPixel...>> {
  static constexpr RunTile by_pixels[] = {run_tile<kKernel, kStride, kPixel + 1>...};  // [pixels - 1]
};

const RunTile* tiles_for(const DepthwiseTask& t) {
  static constexpr RunTile kAny[] = {run_any};
  if (t.kernel_h != t.kernel_w || t.dilation != 1) return kAny;
  if (t.kernel_h == 3 && t.stride == 1) return TilesOf<3, 1>::by_pixels;
  if (t.kernel_h == 3 && t.stride == 2) return TilesOf<3, 2>::by_pixels;
  if (t.kernel_h == 5 && t.stride == 1) return TilesOf<5, 1>::by_pixels;
  if (t.kernel_h == 5 && t.stride == 2) return TilesOf<5, 2>::by_pixels;
  return kAny;
}

void run(const DepthwiseTask& t) noexcept {
  const RunTile* tiles = tiles_for(t);
  const std::int64_t most = tiles[0] == run_any ? 1 : kMostPixels;
  const std::int64_t block_weights = t.kernel_w * ((t.kernel_h + kRowsPerGroup - 1) / kRowsPerGroup) * kGroupBytes;
  for (std::int64_t c = run_wide(t); c < t.channels; c += kBlock) {
    const std::int64_t channels = t.channels - c < kBlock ? t.channels - c : kBlock;
    const std::int64_t count = (t.pixel_count + most - 1) / most;
    for (std::int64_t i = 0, pixel = 0; i < count; ++i) {
      const std::int64_t pixels = (t.pixel_count - pixel) / (count - i);
      tiles[pixels - 1](t, t.x + pixel * t.stride * t.channels + c, t.weights + c / kBlock * block_weights, t.bias + c,
                        {t.output, t.multipliers + c, t.y, pixel * t.y_stride + c, t.y_stride, channels, t.steps_fit});
      pixel += pixels;
    }
  }
}

}  // namespace

const DepthwiseKernel kAvx512VnniDepthwise{"avx512vnni", Isa::avx512vnni, run};

}  // namespace bitfold

#else

namespace bitfold {
const DepthwiseKernel kAvx512VnniDepthwise{"avx512vnni", Isa::avx512vnni, nullptr};
}

#endif
