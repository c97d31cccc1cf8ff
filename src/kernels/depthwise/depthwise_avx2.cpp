// Depthwise convolution with AVX2, 8 channels at a time: a column's rows 0 and 2, and 1 and 3, side by side as int16.
#include "kernels/depthwise/depthwise.h"

#if defined(__AVX2__)

#include "kernels/avx2.h"

namespace bitfold {
namespace {

constexpr std::int64_t kBlock = 16, kHalf = 8, kRowsPerGroup = 4, kGroupBytes = kBlock * kRowsPerGroup;

BITFOLD_INLINE __m256i widen(const std::uint8_t* x) {
  return _mm256_cvtepu8_epi32(_mm_loadl_epi64(reinterpret_cast<const __m128i*>(x)));
}

/// 8 channels of kCount rows from x on; absent rows are 0.
template <int kCount>
BITFOLD_INLINE Split column(const std::uint8_t* x, std::int64_t row_bytes) {
  Split taps{widen(x), _mm256_setzero_si256()};
  if constexpr (kCount > 1) taps.odd = widen(x + row_bytes);
  if constexpr (kCount > 2) taps.even = _mm256_or_si256(taps.even, _mm256_slli_epi32(widen(x + 2 * row_bytes), 16));
  if constexpr (kCount > 3) taps.odd = _mm256_or_si256(taps.odd, _mm256_slli_epi32(widen(x + 3 * row_bytes), 16));
  return taps;
}

BITFOLD_INLINE Split column(const std::uint8_t* x, std::int64_t row_bytes, std::int64_t count) {
  return count == 1   ? column<1>(x, row_bytes)
         : count == 2 ? column<2>(x, row_bytes)
         : count == 3 ? column<3>(x, row_bytes)
                      : column<4>(x, row_bytes);
}

BITFOLD_INLINE __m256i load_bias(const DepthwiseTask& t, std::int64_t c) {
  return _mm256_loadu_si256(reinterpret_cast<const __m256i*>(t.bias + c));
}

/// kPixels pixels of 8 channels from c on, 3x3 without horizontal dilation.
template <int kStride, int kPixels>
void run_3x3(const DepthwiseTask& t, std::int64_t pixel, std::int64_t c, const std::int8_t* w) noexcept {
  const Split weights[3] = {split_weights(w), split_weights(w + kGroupBytes), split_weights(w + 2 * kGroupBytes)};
  __m256i sums[kPixels];
  const __m256i bias = load_bias(t, c);
  unroll<kPixels>([&](auto p) BITFOLD_INLINE_LAMBDA { sums[p] = bias; });
  const std::uint8_t* x = t.x + pixel * kStride * t.channels + c;
  unroll<(kPixels - 1) * kStride + 3>([&](auto at) BITFOLD_INLINE_LAMBDA {
    const Split taps = column<3>(x + at * t.channels, t.tap_row_bytes);
    unroll<3>([&](auto j) BITFOLD_INLINE_LAMBDA {
      constexpr int kFrom = decltype(at)::value - decltype(j)::value;  // the first tap of a pixel, or between two
      if constexpr (kFrom >= 0 && kFrom % kStride == 0 && kFrom / kStride < kPixels)
        multiply_add(sums[kFrom / kStride], taps, weights[j]);
    });
  });
  unroll<kPixels>([&](auto p) BITFOLD_INLINE_LAMBDA {
    store(sums[p], t.multipliers + c, *t.output, t.y, (pixel + p) * t.y_stride + c, t.channels - c);
  });
}

/// One pixel of 8 channels from c on, any kernel.
void run_any(const DepthwiseTask& t, std::int64_t pixel, std::int64_t c, const std::int8_t* w) noexcept {
  __m256i sum = load_bias(t, c);
  const std::uint8_t* x = t.x + pixel * t.stride * t.channels + c;
  for (std::int64_t j = 0; j < t.kernel_w; ++j)
    for (std::int64_t i = 0; i < t.kernel_h; i += kRowsPerGroup, w += kGroupBytes) {
      const std::int64_t rows = t.kernel_h - i < kRowsPerGroup ? t.kernel_h - i : kRowsPerGroup;
      const Split taps = column(x + j * t.dilation * t.channels + i * t.tap_row_bytes, t.tap_row_bytes, rows);
      multiply_add(sum, taps, split_weights(w));
    }
  store(sum, t.multipliers + c, *t.output, t.y, pixel * t.y_stride + c, t.channels - c);
}

using RunTile = void (*)(const DepthwiseTask&, std::int64_t, std::int64_t, const std::int8_t*) noexcept;

struct Tiles {
  RunTile many, one;
  std::int64_t pixels;  ///< Of `many`.
};

constexpr Tiles kAny{run_any, run_any, 1}, kStride1{run_3x3<1, 4>, run_3x3<1, 1>, 4},
    kStride2{run_3x3<2, 4>, run_3x3<2, 1>, 4};

const Tiles& tiles_for(const DepthwiseTask& t) {
  if (t.kernel_h != 3 || t.kernel_w != 3 || t.dilation != 1 || t.stride > 2) return kAny;
  return t.stride == 1 ? kStride1 : kStride2;
}

void run(const DepthwiseTask& t) noexcept {
  const Tiles& tiles = tiles_for(t);
  const std::int64_t block_weights = t.kernel_w * ((t.kernel_h + kRowsPerGroup - 1) / kRowsPerGroup) * kGroupBytes;
  for (std::int64_t c = 0; c < t.channels; c += kHalf) {
    const std::int8_t* w = t.weights + c / kBlock * block_weights + c % kBlock * kRowsPerGroup;
    std::int64_t pixel = 0;
    for (; pixel + tiles.pixels <= t.pixel_count; pixel += tiles.pixels) tiles.many(t, pixel, c, w);
    for (; pixel < t.pixel_count; ++pixel) tiles.one(t, pixel, c, w);
  }
}

}  // namespace

const DepthwiseKernel kAvx2Depthwise{"avx2", Isa::avx2, run};

}  // namespace bitfold

#else

namespace bitfold {
const DepthwiseKernel kAvx2Depthwise{"avx2", Isa::avx2, nullptr};
}

#endif
