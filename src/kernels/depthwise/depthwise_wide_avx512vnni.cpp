// Depthwise convolution with AVX-512 VNNI, 64 codes at a time: 64 channels of a pixel, then 32 channels of two adjacent
// pixels, then 16 channels of four.
//
// The bytes of up to 4 rows are interleaved by unpacking, which works in lanes of 128 bits. So one load per row gives
// four columns of 16 channels each:
//
//        column q, lane L   channels 16 L + 4 q .. 16 L + 4 q + 3         q = 0 .. 3
//
// Packing also works in lanes, so it restores the order of codes. Weights, biases and multipliers are permuted to the
// order of the columns once per call.
//
// Each column of a row is built once, from left to right, and added to every output whose window covers it. An output
// is finished as soon as its last column has been added. So all unfinished outputs stay in registers:
//
//        3x3, stride 1     outputs    .. [ p-1 ][  p  ][ p+1 ]            column x is tap 2 of p - 1, tap 1 of p and
//                          columns         ..   x      ..                 tap 0 of p + 1
//
// The four rows of a column of a 3x3 window serve two output rows, one below the other; for the second, the weights are
// shifted by a byte. At stride 1, a column of 64 channels thus takes 8 shuffles and 24 products for two outputs.
//
// Columns and rows outside the image read the code of padding: their loads are redirected to 64 bytes of it.
#include "kernels/depthwise/depthwise.h"

#if defined(__AVX512VNNI__) && defined(__AVX512BW__)

#include "kernels/depthwise/stride_2_avx512vnni.h"
#include "kernels/depthwise/wide_source_avx512vnni.h"

namespace bitfold {
namespace {

/// Computes kOutRows rows of outputs. Everything except the weights stays in registers.
template <int kKernel, int kOutRows, class Reading, class Codes>
void run_rows(const DepthwiseTask& t, const Filter<kKernel, kOutRows, Reading::kPixels>& filter,
              Source<kKernel + kOutRows - 1, Reading> source, std::uint8_t* y) {
  constexpr int kStride = Reading::kStride, kVectorPixels = Reading::kPixels;
  using Weights = Filter<kKernel, kOutRows, kVectorPixels>;
  constexpr int kStep = kStride * kVectorPixels;  // columns from one vector's window to the next
  constexpr int kDepth = (kKernel - 1) / kStep;   // vectors started before one is finished
  // vectors in progress; one may replace another
  constexpr int kSlots = (kKernel - 1) % kStep == 0 ? kDepth : kDepth + 1;
  constexpr int kColumnCount = kStep < kKernel ? kStep : kKernel;  // columns that start with a vector
  const std::int64_t out_width = t.out_width, count = (out_width + kVectorPixels - 1) / kVectorPixels;
  const std::int64_t y_stride = t.y_stride, y_row = t.y_row;
  const Codes codes(*t.output);
  // Local copies, because stores to y could alias the originals.
  Multiplier multipliers[kColumns];
  __m512i bias[kColumns];
  unroll<kColumns>([&](auto q) BITFOLD_INLINE_LAMBDA {
    multipliers[q] = filter.multipliers[q];
    bias[q] = filter.bias[q];
  });
  __m512i sums[kSlots][kOutRows][kColumns];
  const auto finish = [&](auto slot, std::int64_t v) BITFOLD_INLINE_LAMBDA {
    unroll<kOutRows>([&](auto r) BITFOLD_INLINE_LAMBDA {
      const auto steps = [&](auto q) BITFOLD_INLINE_LAMBDA { return codes.steps(sums[slot][r][q], multipliers[q]); };
      const __m512i out =
          codes.codes_by_lane(steps(std::integral_constant<int, 0>{}), steps(std::integral_constant<int, 1>{}),
                              steps(std::integral_constant<int, 2>{}), steps(std::integral_constant<int, 3>{}));
      const std::int64_t pixel = v * kVectorPixels;
      store_pixels<kVectorPixels>(out, y + r * y_row + pixel * y_stride, y_stride, out_width - pixel);
    });
  };
  std::int64_t x = -t.pad_left;
  // Adds the columns that start with vector `v`, which takes place kSlot; kBefore vectors are started and not finished.
  const auto advance = [&](auto slot, auto begun, std::int64_t v) BITFOLD_INLINE_LAMBDA {
    constexpr int kNewest = decltype(slot)::value + (kDepth + 1) * kSlots, kBefore = decltype(begun)::value;
    unroll<kColumnCount>([&](auto s) BITFOLD_INLINE_LAMBDA {
      constexpr int kFirstTap = decltype(s)::value;
      constexpr bool kIsOwn = kFirstTap + kStep >= kKernel;  // no other vector's window covers it
      if (!kIsOwn || kDepth == 0 || v < count) {
        __m512i taps[Weights::kGroups][kColumns];
        source.template read<Weights::kGroups>(x + kFirstTap, taps);
        // The oldest vector first: it may be finished and its place reused.
        unroll<kBefore + 1>([&](auto i) BITFOLD_INLINE_LAMBDA {
          constexpr int kAge = kBefore - decltype(i)::value, kTap = kFirstTap + kAge * kStep;
          if constexpr (kTap < kKernel) {
            constexpr int kSlot = (kNewest - kAge) % kSlots;
            unroll<kOutRows>([&](auto r) BITFOLD_INLINE_LAMBDA {
              unroll<kColumns>([&](auto q) BITFOLD_INLINE_LAMBDA {
                __m512i sum = kTap == 0 ? bias[q] : sums[kSlot][r][q];
                unroll<Weights::kGroups>([&](auto g) BITFOLD_INLINE_LAMBDA {
                  sum = _mm512_dpbusd_epi32(sum, taps[g][q], filter.weights[r][kTap][g][q]);
                });
                sums[kSlot][r][q] = sum;
              });
            });
            if constexpr (kTap == kKernel - 1) finish(std::integral_constant<int, kSlot>{}, v - kAge);
          }
        });
      }
    });
    x += kStep;
  };
  unroll<kDepth>(
      [&](auto v) BITFOLD_INLINE_LAMBDA { advance(std::integral_constant<int, decltype(v)::value % kSlots>{}, v, v); });
  const std::integral_constant<int, kDepth> all;
  for (std::int64_t v = kDepth; v < count + kDepth; v += kSlots)
    unroll<kSlots>([&](auto i) BITFOLD_INLINE_LAMBDA {
      if (v + i < count + kDepth)
        advance(std::integral_constant<int, (kDepth + decltype(i)::value) % kSlots>{}, all, v + i);
    });
}

/// All rows of the channels from `channel` on. At stride 1, two output rows of a small kernel share four input rows.
template <int kKernel, class Reading, class Codes>
void run_channels(const DepthwiseTask& t, std::int64_t channel, const std::uint8_t* padding) {
  if constexpr (kKernel == 3 && Reading::kStride == 2 && Reading::kPixels == 1)
    return run_stride_2<Reading, Codes>(t, channel, padding);
  std::int64_t row = t.row_begin;
  const auto run_rows_of = [&](auto out_rows) {
    constexpr int kOutRows = decltype(out_rows)::value;
    Filter<kKernel, kOutRows, Reading::kPixels> filter;
    if (row + kOutRows <= t.row_end) filter.read(t, channel);
    for (; row + kOutRows <= t.row_end; row += kOutRows)
      run_rows<kKernel, kOutRows, Reading, Codes>(t, filter, {t, channel, row, padding},
                                                  static_cast<std::uint8_t*>(t.y) + row * t.y_row + channel);
  };
  if constexpr (kKernel == 3 && Reading::kStride == 1) run_rows_of(std::integral_constant<int, 2>{});
  run_rows_of(std::integral_constant<int, 1>{});
}

template <int kKernel, int kStride, class Codes>
std::int64_t run_as(const DepthwiseTask& t) {
  alignas(64) std::uint8_t padding[kWide];
  for (auto& code : padding) code = t.padding;
  std::int64_t done = 0;
  // Processes the channels that fill whole vectors of this many pixels.
  const auto run_vectors_of = [&](auto pixels) {
    constexpr int kPixels = decltype(pixels)::value;
    constexpr std::int64_t kChannels = kWide / kPixels;
    for (; done + kChannels <= t.channels; done += kChannels) {
      if constexpr (kKernel == 3 && kPixels > 1 && kStride == 1)
        if (t.channels == kChannels) {
          run_channels<kKernel, Reading<kPixels, kStride, true>, Codes>(t, done, padding);
          continue;
        }
      run_channels<kKernel, Reading<kPixels, kStride, kPixels == 1>, Codes>(t, done, padding);
    }
  };
  run_vectors_of(std::integral_constant<int, 1>{});
  run_vectors_of(std::integral_constant<int, 2>{});
  run_vectors_of(std::integral_constant<int, 4>{});
  return done;
}

template <int kKernel, int kStride>
std::int64_t run_square(const DepthwiseTask& t) {
  switch (bounds_of(*t.output, t.terms)) {
    case CodeBounds::quick_bytes_from_zero:
      return run_as<kKernel, kStride, Requantizer<true, CodeBounds::quick_bytes_from_zero>>(t);
    case CodeBounds::quick_bytes:
      return run_as<kKernel, kStride, Requantizer<true, CodeBounds::quick_bytes>>(t);
    default:  // also handles `bytes`, which is rare here
      return run_as<kKernel, kStride, Requantizer<true>>(t);
  }
}

std::int64_t run(const DepthwiseTask& t) noexcept {
  if (t.kernel_h != t.kernel_w || t.stride_h != t.stride_w || t.dilation_h != 1 || t.dilation_w != 1) return 0;
  if (t.output->kind != AccumulatorOutput::code || !t.steps_fit) return 0;
  if (t.kernel_h == 3 && t.stride_w == 1) return run_square<3, 1>(t);
  if (t.kernel_h == 3 && t.stride_w == 2) return run_square<3, 2>(t);
  if (t.kernel_h == 5 && t.stride_w == 1) return run_square<5, 1>(t);
  if (t.kernel_h == 5 && t.stride_w == 2) return run_square<5, 2>(t);
  return 0;
}

}  // namespace

std::int64_t (*const kAvx512VnniWideDepthwise)(const DepthwiseTask&) noexcept = run;

}  // namespace bitfold

#endif
