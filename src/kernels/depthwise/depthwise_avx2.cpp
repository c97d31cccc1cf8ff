// Depthwise convolution with AVX2 for any kernel size, 8 channels at a time: rows 0 and 2 of a column, and rows 1 and
// 3, side by side as int16. depthwise_wide_avx2.cpp handles the tasks that it supports.
#include "kernels/depthwise/depthwise.h"

#if defined(__AVX2__)

#include "kernels/avx2.h"

namespace bitfold {
namespace {

constexpr std::int64_t kBlock = 16, kHalf = 8, kRowsPerGroup = 4, kGroupBytes = kBlock * kRowsPerGroup;

BITFOLD_INLINE __m256i widen(const std::uint8_t* x) {
  return _mm256_cvtepu8_epi32(_mm_loadl_epi64(reinterpret_cast<const __m128i*>(x)));
}

/// An output pixel and 8 of its channels, beginning at c.
struct Place {
  std::int64_t row, pixel, c;
  const std::uint8_t* padding;
};

/// The address of a tap of a pixel's window, or of padding.
BITFOLD_INLINE const std::uint8_t* tap(const DepthwiseTask& t, const Place& at, std::int64_t i, std::int64_t j) {
  const std::int64_t row = at.row * t.stride_h - t.pad_top + i * t.dilation_h;
  const std::int64_t column = at.pixel * t.stride_w - t.pad_left + j * t.dilation_w;
  if (row < 0 || row >= t.in_height || column < 0 || column >= t.in_width) return at.padding;
  return t.x + row * t.x_row + column * t.channels + at.c;
}

/// 8 channels of kCount rows; at(i) is the address of row i. Missing rows are 0.
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

/// One pixel, any kernel size.
void run_any(const DepthwiseTask& t, const Place& at, const std::int8_t* w) {
  __m256i sum = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(t.bias + at.c));
  for (std::int64_t j = 0; j < t.kernel_w; ++j)
    for (std::int64_t i = 0; i < t.kernel_h; i += kRowsPerGroup, w += kGroupBytes) {
      const std::int64_t rows = t.kernel_h - i < kRowsPerGroup ? t.kernel_h - i : kRowsPerGroup;
      const Split taps = column([&](int of) BITFOLD_INLINE_LAMBDA { return tap(t, at, i + of, j); }, rows);
      multiply_add(sum, taps, split_weights(w));
    }
  store(sum, t.multipliers + at.c, *t.output, t.y, at.row * t.y_row + at.pixel * t.y_stride + at.c, t.channels - at.c);
}

void run(const DepthwiseTask& t) noexcept {
  if (kAvx2WideDepthwise(t)) return;
  alignas(32) std::uint8_t padding[kHalf];
  for (auto& code : padding) code = t.padding;
  const std::int64_t block_weights = t.kernel_w * ((t.kernel_h + kRowsPerGroup - 1) / kRowsPerGroup) * kGroupBytes;
  for (Place at{t.row_begin, 0, 0, padding}; at.row < t.row_end; ++at.row)
    for (at.c = 0; at.c < t.channels; at.c += kHalf) {
      const std::int8_t* w = t.weights + at.c / kBlock * block_weights + at.c % kBlock * kRowsPerGroup;
      for (at.pixel = 0; at.pixel < t.out_width; ++at.pixel) run_any(t, at, w);
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
