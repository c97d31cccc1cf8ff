// Depthwise convolution with AVX-512 VNNI, 16 channels at a time.
//
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
  for (std::int64_t c = 0; c < t.channels; c += kBlock) {
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
