// Depthwise convolution with AVX-512 VNNI, 16 channels at a time. depthwise_wide_avx512vnni.cpp first handles the
// channels that it supports.
//
// A column is built by three or four loads that widen bytes to dwords, shifted into place and combined. vpdpbusd then
// multiplies a column of up to 4 taps for 16 channels at once. For 3x3 at stride 1, a column serves three output
// pixels: 6 instructions to build it and 3 to use it, for 144 products.
#include "kernels/depthwise/depthwise.h"

#if defined(__AVX512VNNI__) && defined(__AVX512BW__)

#include "kernels/avx512.h"
#include "kernels/depthwise/border_rows.h"

namespace bitfold {
namespace {

constexpr std::int64_t kBlock = 16, kRowsPerGroup = 4, kGroupBytes = kBlock * kRowsPerGroup;

BITFOLD_INLINE __m512i widen(const std::uint8_t* x) {
  return _mm512_cvtepu8_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(x)));
}

constexpr int kOr3 = 0xFE;  // vpternlogd: a | b | c

/// The bytes of kCount rows, interleaved by channel; at(i) is the address of row i. Missing rows are 0.
template <int kCount, class At>
BITFOLD_INLINE __m512i column(const At& at) {
  const __m512i r0 = widen(at(0));
  if constexpr (kCount == 1) return r0;
  const __m512i r1 = _mm512_slli_epi32(widen(at(1)), 8);
  if constexpr (kCount == 2) return _mm512_or_si512(r0, r1);
  const __m512i r2 = _mm512_slli_epi32(widen(at(2)), 16);
  const __m512i three = _mm512_ternarylogic_epi32(r0, r1, r2, kOr3);
  if constexpr (kCount == 3) return three;
  return _mm512_or_si512(three, _mm512_slli_epi32(widen(at(3)), 24));
}

template <class At>
BITFOLD_INLINE __m512i column(const At& at, std::int64_t count) {
  return count == 1 ? column<1>(at) : count == 2 ? column<2>(at) : count == 3 ? column<3>(at) : column<4>(at);
}

/// An output pixel and 16 of its channels.
struct Place {
  std::int64_t row, pixel, channel;
  const std::uint8_t* padding;

  Destination destination(const DepthwiseTask& t) const {
    const std::int64_t left = t.channels - channel;
    return {.output = t.output,
            .multipliers = t.multipliers + channel,
            .terms = t.terms.from(channel),
            .y = t.y,
            .first = row * t.y_row + pixel * t.y_stride + channel,
            .stride = t.y_stride,
            .channel_count = left < kBlock ? left : kBlock,
            .steps_fit = t.steps_fit};
  }
};

/// kPixels pixels of one block, 3x3 without dilation.
template <int kStride, bool kHasBorder, int kPixels>
void run_3x3(const DepthwiseTask& t, const Place& at, const std::int8_t* w) noexcept {
  const Destination to = at.destination(t);
  Accumulators<kPixels, 1> tile;
  tile.set(t.bias + at.channel, to.terms, to.channel_count);
  const BorderRows<3> rows(t, at.row, at.channel, at.padding);
  const std::int64_t left = at.pixel * kStride - t.pad_left;
  __m512i weights[3];
  unroll<3>([&](auto j) BITFOLD_INLINE_LAMBDA { weights[j] = _mm512_loadu_si512(w + j * kGroupBytes); });
  unroll<(kPixels - 1) * kStride + 3>([&](auto x) BITFOLD_INLINE_LAMBDA {
    const __m512i taps = column_of_3<kHasBorder>(t, rows, left + x,
                                                 [](const auto& row) BITFOLD_INLINE_LAMBDA { return column<3>(row); });
    unroll<3>([&](auto j) BITFOLD_INLINE_LAMBDA {
      // column of the first tap; a pixel starts there if it is a multiple of the stride
      constexpr int kFrom = decltype(x)::value - decltype(j)::value;
      if constexpr (kFrom >= 0 && kFrom % kStride == 0 && kFrom / kStride < kPixels)
        tile.sums[kFrom / kStride][0] = _mm512_dpbusd_epi32(tile.sums[kFrom / kStride][0], taps, weights[j]);
    });
  });
  tile.store(to);
}

/// The address of a tap of a pixel's window, or of padding.
BITFOLD_INLINE const std::uint8_t* tap(const DepthwiseTask& t, const Place& at, std::int64_t i, std::int64_t j) {
  const std::int64_t row = at.row * t.stride_h - t.pad_top + i * t.dilation_h;
  const std::int64_t column = at.pixel * t.stride_w - t.pad_left + j * t.dilation_w;
  if (row < 0 || row >= t.in_height || column < 0 || column >= t.in_width) return at.padding;
  return t.x + row * t.x_row + column * t.channels + at.channel;
}

/// One pixel of one block, any kernel size.
void run_any(const DepthwiseTask& t, const Place& at, const std::int8_t* w) noexcept {
  const Destination to = at.destination(t);
  Accumulators<1, 1> tile;
  tile.set(t.bias + at.channel, to.terms, to.channel_count);
  for (std::int64_t j = 0; j < t.kernel_w; ++j)
    for (std::int64_t i = 0; i < t.kernel_h; i += kRowsPerGroup, w += kGroupBytes) {
      const std::int64_t rows = t.kernel_h - i < kRowsPerGroup ? t.kernel_h - i : kRowsPerGroup;
      const __m512i taps = column([&](int of) BITFOLD_INLINE_LAMBDA { return tap(t, at, i + of, j); }, rows);
      tile.sums[0][0] = _mm512_dpbusd_epi32(tile.sums[0][0], taps, _mm512_loadu_si512(w));
    }
  tile.store(to);
}

using RunTile = void (*)(const DepthwiseTask&, const Place&, const std::int8_t*) noexcept;

constexpr std::int64_t kMaxPixels = 4;

/// 3x3 without dilation: [stride - 1][0: one pixel, 1: kMaxPixels][0: with a border, 1: within the image].
constexpr RunTile kTiles[2][2][2] = {
    {{run_3x3<1, true, 1>, run_3x3<1, false, 1>}, {run_3x3<1, true, kMaxPixels>, run_3x3<1, false, kMaxPixels>}},
    {{run_3x3<2, true, 1>, run_3x3<2, false, 1>}, {run_3x3<2, true, kMaxPixels>, run_3x3<2, false, kMaxPixels>}}};

void run(const DepthwiseTask& t) noexcept {
  alignas(64) std::uint8_t padding[kBlock];
  for (auto& code : padding) code = t.padding;
  const bool is_3x3 = t.kernel_h == 3 && t.kernel_w == 3 && t.dilation_h == 1 && t.dilation_w == 1 && t.stride_w <= 2;
  const std::int64_t block_weights = t.kernel_w * ((t.kernel_h + kRowsPerGroup - 1) / kRowsPerGroup) * kGroupBytes;
  const std::int64_t first_channel = kAvx512VnniWideDepthwise(t);
  for (Place at{t.row_begin, 0, first_channel, padding}; at.row < t.row_end; ++at.row) {
    const std::int64_t top = at.row * t.stride_h - t.pad_top;
    const bool has_rows = top >= 0 && top + 3 <= t.in_height;
    for (at.channel = first_channel; at.channel < t.channels; at.channel += kBlock)
      for (at.pixel = 0; at.pixel < t.out_width;) {
        const bool is_tile = is_3x3 && at.pixel + kMaxPixels <= t.out_width;
        const std::int64_t left = at.pixel * t.stride_w - t.pad_left;
        const std::int64_t right = left + (is_tile ? kMaxPixels - 1 : 0) * t.stride_w + 3;
        const bool is_inside = has_rows && left >= 0 && right <= t.in_width;
        const RunTile run_tile = is_3x3 ? kTiles[t.stride_w - 1][is_tile][is_inside] : run_any;
        run_tile(t, at, t.weights + at.channel / kBlock * block_weights);
        at.pixel += is_tile ? kMaxPixels : 1;
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
