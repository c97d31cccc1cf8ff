// Depthwise convolution with AVX2, 8 channels at a time: a column's rows 0 and 2, and 1 and 3, side by side as int16.
#include "kernels/depthwise/depthwise.h"

#if defined(__AVX2__)

#include "kernels/avx2.h"
#include "kernels/depthwise/border_rows.h"

namespace bitfold {
namespace {

constexpr std::int64_t kBlock = 16, kHalf = 8, kRowsPerGroup = 4, kGroupBytes = kBlock * kRowsPerGroup;

BITFOLD_INLINE __m256i widen(const std::uint8_t* x) {
  return _mm256_cvtepu8_epi32(_mm_loadl_epi64(reinterpret_cast<const __m128i*>(x)));
}

/// 8 channels of kCount rows, at(i) the address of row i; absent rows are 0.
template <int kCount, class At>
BITFOLD_INLINE Split column(const At& at) {
  Split taps{widen(at(0)), _mm256_setzero_si256()};
  if constexpr (kCount > 1) taps.odd = widen(at(1));
  if constexpr (kCount > 2) taps.even = _mm256_or_si256(taps.even, _mm256_slli_epi32(widen(at(2)), 16));
  if constexpr (kCount > 3) taps.odd = _mm256_or_si256(taps.odd, _mm256_slli_epi32(widen(at(3)), 16));
  return taps;
}

template <class At>
BITFOLD_INLINE Split column(const At& at, std::int64_t count) {
  return count == 1 ? column<1>(at) : count == 2 ? column<2>(at) : count == 3 ? column<3>(at) : column<4>(at);
}

BITFOLD_INLINE __m256i load_bias(const DepthwiseTask& t, std::int64_t c) {
  return _mm256_loadu_si256(reinterpret_cast<const __m256i*>(t.bias + c));
}

/// The place of an output pixel, and 8 of its channels from c on.
struct Place {
  std::int64_t row, pixel, c;
  const std::uint8_t* padding;
};

/// kPixels pixels, 3x3 without dilation.
template <int kStride, int kPixels, bool kHasBorder>
void run_3x3(const DepthwiseTask& t, const Place& at, const std::int8_t* w) noexcept {
  const Split weights[3] = {split_weights(w), split_weights(w + kGroupBytes), split_weights(w + 2 * kGroupBytes)};
  __m256i sums[kPixels];
  const __m256i bias = load_bias(t, at.c);
  unroll<kPixels>([&](auto p) BITFOLD_INLINE_LAMBDA { sums[p] = bias; });
  const BorderRows rows(t, at.row, at.c, at.padding);
  const std::int64_t left = at.pixel * kStride - t.pad_left;
  unroll<(kPixels - 1) * kStride + 3>([&](auto x) BITFOLD_INLINE_LAMBDA {
    const Split taps = column_of_3<kHasBorder>(t, rows, left + x,
                                               [](const auto& row) BITFOLD_INLINE_LAMBDA { return column<3>(row); });
    unroll<3>([&](auto j) BITFOLD_INLINE_LAMBDA {
      constexpr int kFrom = decltype(x)::value - decltype(j)::value;  // the first tap of a pixel, or between two
      if constexpr (kFrom >= 0 && kFrom % kStride == 0 && kFrom / kStride < kPixels)
        multiply_add(sums[kFrom / kStride], taps, weights[j]);
    });
  });
  unroll<kPixels>([&](auto p) BITFOLD_INLINE_LAMBDA {
    store(sums[p], t.multipliers + at.c, *t.output, t.y, at.row * t.y_row + (at.pixel + p) * t.y_stride + at.c,
          t.channels - at.c);
  });
}

/// Where a tap of a pixel's window is, or padding.
BITFOLD_INLINE const std::uint8_t* tap(const DepthwiseTask& t, const Place& at, std::int64_t i, std::int64_t j) {
  const std::int64_t row = at.row * t.stride_h - t.pad_top + i * t.dilation_h;
  const std::int64_t column = at.pixel * t.stride_w - t.pad_left + j * t.dilation_w;
  if (row < 0 || row >= t.in_height || column < 0 || column >= t.in_width) return at.padding;
  return t.x + row * t.x_row + column * t.channels + at.c;
}

/// One pixel, any kernel.
void run_any(const DepthwiseTask& t, const Place& at, const std::int8_t* w) noexcept {
  __m256i sum = load_bias(t, at.c);
  for (std::int64_t j = 0; j < t.kernel_w; ++j)
    for (std::int64_t i = 0; i < t.kernel_h; i += kRowsPerGroup, w += kGroupBytes) {
      const std::int64_t rows = t.kernel_h - i < kRowsPerGroup ? t.kernel_h - i : kRowsPerGroup;
      const Split taps = column([&](int of) BITFOLD_INLINE_LAMBDA { return tap(t, at, i + of, j); }, rows);
      multiply_add(sum, taps, split_weights(w));
    }
  store(sum, t.multipliers + at.c, *t.output, t.y, at.row * t.y_row + at.pixel * t.y_stride + at.c, t.channels - at.c);
}

using RunTile = void (*)(const DepthwiseTask&, const Place&, const std::int8_t*) noexcept;

constexpr std::int64_t kMostPixels = 4;

/// 3x3 without dilation: [stride - 1][4 pixels, not one][within the image].
constexpr RunTile kTiles[2][2][2] = {
    {{run_3x3<1, 1, true>, run_3x3<1, 1, false>}, {run_3x3<1, kMostPixels, true>, run_3x3<1, kMostPixels, false>}},
    {{run_3x3<2, 1, true>, run_3x3<2, 1, false>}, {run_3x3<2, kMostPixels, true>, run_3x3<2, kMostPixels, false>}}};

void run(const DepthwiseTask& t) noexcept {
  alignas(32) std::uint8_t padding[kHalf];
  for (auto& code : padding) code = t.padding;
  const bool is_3x3 = t.kernel_h == 3 && t.kernel_w == 3 && t.dilation_h == 1 && t.dilation_w == 1 && t.stride_w <= 2;
  const std::int64_t block_weights = t.kernel_w * ((t.kernel_h + kRowsPerGroup - 1) / kRowsPerGroup) * kGroupBytes;
  for (Place at{t.row_begin, 0, 0, padding}; at.row < t.row_end; ++at.row) {
    const std::int64_t row = at.row * t.stride_h - t.pad_top;
    const bool has_rows = row >= 0 && row + 3 <= t.in_height;
    for (at.c = 0; at.c < t.channels; at.c += kHalf) {
      const std::int8_t* w = t.weights + at.c / kBlock * block_weights + at.c % kBlock * kRowsPerGroup;
      for (at.pixel = 0; at.pixel < t.out_width;) {
        const std::int64_t first = at.pixel * t.stride_w - t.pad_left;
        const bool is_tile = is_3x3 && at.pixel + kMostPixels <= t.out_width;
        const std::int64_t end = first + (is_tile ? kMostPixels - 1 : 0) * t.stride_w + 3;
        const bool is_inside = has_rows && first >= 0 && end <= t.in_width;
        (is_3x3 ? kTiles[t.stride_w - 1][is_tile][is_inside] : run_any)(t, at, w);
        at.pixel += is_tile ? kMostPixels : 1;
      }
    }
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
