// Depthwise convolution with AVX-512 VNNI, 64 codes at a time: 64 channels of a pixel, or of what is left 32 channels
// of two neighbours, then 16 of four.
//
// The bytes of up to 4 rows are interleaved by unpacking, which works in lanes of 128 bits. So one load per row gives
// four columns, of 16 channels each:
//
//        column q, lane L   channels 16 L + 4 q .. 16 L + 4 q + 3         q = 0 .. 3
//
// Packing, which works in lanes too, puts the codes of the four back into order. Weights, biases and multipliers are
// brought into the columns' order once per call.
//
// A row's columns are made once each, from left to right, and added to every output whose window covers them; an output
// is finished as soon as its last column has come. So what is in flight stays in registers:
//
//        3x3, stride 1     outputs    .. [ p-1 ][  p  ][ p+1 ]            column x is tap 2 of p - 1, tap 1 of p and
//                          columns         ..   x      ..                 tap 0 of p + 1
//
// Four rows of a 3x3 window's column hold those of two output rows, one below the other: the second has its weights
// moved down by a byte. At stride 1 so a column of 64 channels takes 8 shuffles and 24 products, for two outputs.
//
// Outside the image a column is the code of padding, and so is a row: loads are led to 64 bytes of it.
#include "kernels/depthwise/depthwise.h"

#if defined(__AVX512VNNI__) && defined(__AVX512BW__)

#include "kernels/avx512.h"

namespace bitfold {
namespace {

constexpr std::int64_t kBlock = 16, kGroupBytes = 64, kWide = 64;
constexpr int kColumns = 4;

/// Lane q of the four vectors at x, `step` bytes apart: for each of q = 0 .. 3 a vector. Where there are kCount, they
/// take turns.
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

/// Columns of four vectors that hold the bytes of a row each.
BITFOLD_INLINE void interleave(const __m512i (&rows)[4], __m512i (&to)[kColumns]) {
  const __m512i low01 = _mm512_unpacklo_epi8(rows[0], rows[1]), high01 = _mm512_unpackhi_epi8(rows[0], rows[1]);
  const __m512i low23 = _mm512_unpacklo_epi8(rows[2], rows[3]), high23 = _mm512_unpackhi_epi8(rows[2], rows[3]);
  to[0] = _mm512_unpacklo_epi16(low01, low23);
  to[1] = _mm512_unpackhi_epi16(low01, low23);
  to[2] = _mm512_unpacklo_epi16(high01, high23);
  to[3] = _mm512_unpackhi_epi16(high01, high23);
}

/// What kVectorPixels pixels of 64 / kVectorPixels channels from `channel` on are multiplied with, kOutRows rows of
/// outputs at a time.
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
    __m512i factors[kColumns], addends[kColumns], origins[kColumns];
    gather_lanes<kCount>(t.multipliers + channel, kBlock * 4, factors);
    const bool is_quick = t.terms.origins != nullptr;
    if (is_quick) gather_lanes<kCount>(t.terms.origins + channel, kBlock * 4, origins);
    if (is_quick) gather_lanes<kCount>(t.terms.addends + channel, kBlock * 4, addends);
    for (int q = 0; q < kColumns; ++q) {
      multipliers[q].factor = _mm512_castsi512_ps(factors[q]);
      if (is_quick) multipliers[q].addend = _mm512_castsi512_ps(addends[q]);
      if (is_quick) bias[q] = _mm512_add_epi32(bias[q], origins[q]);
    }
  }
};

/// Codes of one, two or four pixels, side by side in a vector. at(constant) is where those of a pixel are.
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

/// Puts the first `count` pixels of such a vector into their places.
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

/// How an image's row is read: vectors of kPixels pixels that are kStride apart. Where such pixels have nothing between
/// them, it is 64 bytes in a row.
template <int kPixelCount, int kPixelStride, bool kDense>
struct Reading {
  static constexpr int kPixels = kPixelCount, kStride = kPixelStride;
  static constexpr bool kIsDense = kDense;
};

/// The input rows under a few rows of outputs.
template <int kRows, class Reading>
struct Source {
  const std::uint8_t* rows[kRows];  ///< A row's first pixel; outside the image, padding.
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

  /// Column x of a vector of pixels, four rows to a group.
  template <int kGroups>
  BITFOLD_INLINE void read(std::int64_t x, __m512i (&taps)[kGroups][kColumns]) const {
    constexpr std::int64_t kReach = (Reading::kPixels - 1) * Reading::kStride;
    const bool is_inside = x >= 0 && x + kReach < width;
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

 private:
  BITFOLD_INLINE __m512i load(int i, std::int64_t x) const {
    const std::uint8_t* from = rows[i] + x * steps[i];
    if constexpr (Reading::kIsDense) return _mm512_loadu_si512(from);
    const std::int64_t step = Reading::kStride * steps[i];
    return load_pixels<Reading::kPixels>([&](auto p) BITFOLD_INLINE_LAMBDA { return from + p * step; });
  }

  /// Of pixels that may be outside.
  BITFOLD_INLINE __m512i load_border(int i, std::int64_t x) const {
    return load_pixels<Reading::kPixels>([&](auto p) BITFOLD_INLINE_LAMBDA {
      const std::int64_t at = x + p * Reading::kStride;
      return at >= 0 && at < width ? rows[i] + at * steps[i] : padding;
    });
  }
};

/// kOutRows rows of outputs. All of it in registers, but for the weights.
template <int kKernel, int kOutRows, class Reading, class Codes>
void run_rows(const DepthwiseTask& t, const Filter<kKernel, kOutRows, Reading::kPixels>& filter,
              Source<kKernel + kOutRows - 1, Reading> source, std::uint8_t* y) {
  constexpr int kStride = Reading::kStride, kVectorPixels = Reading::kPixels;
  using Weights = Filter<kKernel, kOutRows, kVectorPixels>;
  constexpr int kStep = kStride * kVectorPixels;                            // from one vector's window to the next
  constexpr int kDepth = (kKernel - 1) / kStep;                             // vectors begun before one is finished
  constexpr int kSlots = (kKernel - 1) % kStep == 0 ? kDepth : kDepth + 1;  // in flight; one may replace another
  constexpr int kColumnCount = kStep < kKernel ? kStep : kKernel;           // that begin with a vector
  const std::int64_t out_width = t.out_width, count = (out_width + kVectorPixels - 1) / kVectorPixels;
  const std::int64_t y_stride = t.y_stride, y_row = t.y_row;
  const Codes codes(*t.output);
  // Copies, which what is written to y cannot change.
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
  // The columns that begin with the vector `v`, in the place kSlot, of which kBefore have begun and are not finished.
  const auto advance = [&](auto slot, auto begun, std::int64_t v) BITFOLD_INLINE_LAMBDA {
    constexpr int kNewest = decltype(slot)::value + (kDepth + 1) * kSlots, kBefore = decltype(begun)::value;
    unroll<kColumnCount>([&](auto s) BITFOLD_INLINE_LAMBDA {
      constexpr int kFirstTap = decltype(s)::value;
      constexpr bool kIsOwn = kFirstTap + kStep >= kKernel;  // no other vector's window covers it
      if (!kIsOwn || kDepth == 0 || v < count) {
        __m512i taps[Weights::kGroups][kColumns];
        source.template read<Weights::kGroups>(x + kFirstTap, taps);
        // The oldest vector first: it may be finished, and its place taken.
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

/// All rows of the channels from `channel` on. At stride 1 two rows of a small kernel have four rows of inputs.
template <int kKernel, class Reading, class Codes>
void run_channels(const DepthwiseTask& t, std::int64_t channel, const std::uint8_t* padding) {
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
  // As many channels as go evenly into vectors of so many pixels.
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
    default:
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
