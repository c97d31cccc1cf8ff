// 3x3 windows at stride 2, 64 channels at a time, with as few shuffles as possible: shuffles have one port, products
// have two. Part of depthwise_wide_avx512vnni.cpp, compiled with its flags.
//
// Two adjacent outputs read five columns. The middle column serves both, and the last one also serves the next two
// outputs. The last row of an odd column is grouped with the even column before it, and the rest of both odd columns is
// grouped together. Equal digits form a vector of four taps:
//
//        columns   0  1  2  3  4
//
//        row 0     0  1  2  1  4
//        row 1     0  1  2  1  4
//        row 2     0  0  2  2  4
//
// So two outputs take 24 shuffles instead of the 32 for a vector per column.
#pragma once

#include "kernels/avx512.h"
#include "kernels/depthwise/wide_source_avx512vnni.h"

namespace bitfold {
namespace {

/// Weights for the vectors of taps described above.
struct Stride2Filter {
  Filter<3, 1, 1> columns;   ///< Used for the last column of an output, which is a vector by itself.
  __m512i even[kColumns];    ///< The first column of an output, and the last row of its second column.
  __m512i odd[2][kColumns];  ///< The first two rows of the second columns of an output and of the next output.

  Stride2Filter(const DepthwiseTask& t, std::int64_t channel) {
    columns.read(t, channel);
    for (int q = 0; q < kColumns; ++q) {
      const __m512i first = columns.weights[0][0][0][q], second = columns.weights[0][1][0][q];
      const __m512i third_row = _mm512_and_si512(second, _mm512_set1_epi32(0xFF0000));
      even[q] = _mm512_or_si512(first, _mm512_slli_epi32(third_row, 8));
      odd[0][q] = _mm512_and_si512(second, _mm512_set1_epi32(0xFFFF));
      odd[1][q] = _mm512_slli_epi32(second, 16);
    }
  }
  const __m512i (&last() const)[kColumns] { return columns.weights[0][2][0]; }
};

/// A column of three rows; the first two are interleaved into pairs of codes.
struct PairedColumn {
  __m512i low, high, third;
};

/// Interleaves pairs of codes of a and of b.
BITFOLD_INLINE void join(__m512i low_a, __m512i high_a, __m512i low_b, __m512i high_b, __m512i (&to)[kColumns]) {
  to[0] = _mm512_unpacklo_epi16(low_a, low_b);
  to[1] = _mm512_unpackhi_epi16(low_a, low_b);
  to[2] = _mm512_unpacklo_epi16(high_a, high_b);
  to[3] = _mm512_unpackhi_epi16(high_a, high_b);
}

/// The taps of an even column, and the last tap of the odd column after it.
BITFOLD_INLINE void join_even(const PairedColumn& even, const PairedColumn& odd, __m512i (&to)[kColumns]) {
  join(even.low, even.high, _mm512_unpacklo_epi8(even.third, odd.third), _mm512_unpackhi_epi8(even.third, odd.third),
       to);
}

/// Computes a row of outputs.
template <class Reading, class Codes>
void run_stride_2_row(const DepthwiseTask& t, const Stride2Filter& filter, const Source<3, Reading>& source,
                      std::uint8_t* y) {
  const std::int64_t count = t.out_width, y_stride = t.y_stride;
  const Codes codes(*t.output);
  // Local copies, because stores to y could alias the originals.
  Multiplier multipliers[kColumns];
  unroll<kColumns>([&](auto q) BITFOLD_INLINE_LAMBDA { multipliers[q] = filter.columns.multipliers[q]; });
  const auto add = [](__m512i(&sums)[kColumns], const __m512i(&taps)[kColumns], const __m512i(&weights)[kColumns])
                       BITFOLD_INLINE_LAMBDA {
                         unroll<kColumns>([&](auto q) BITFOLD_INLINE_LAMBDA {
                           sums[q] = _mm512_dpbusd_epi32(sums[q], taps[q], weights[q]);
                         });
                       };
  const auto begin = [&](__m512i(&sums)[kColumns]) BITFOLD_INLINE_LAMBDA {
    unroll<kColumns>([&](auto q) BITFOLD_INLINE_LAMBDA { sums[q] = filter.columns.bias[q]; });
  };
  const auto finish = [&](const __m512i(&sums)[kColumns]) BITFOLD_INLINE_LAMBDA {
    _mm512_storeu_si512(
        y, codes.codes_by_lane(codes.steps(sums[0], multipliers[0]), codes.steps(sums[1], multipliers[1]),
                               codes.steps(sums[2], multipliers[2]), codes.steps(sums[3], multipliers[3])));
    y += y_stride;
  };
  const auto column = [&](std::int64_t x) BITFOLD_INLINE_LAMBDA {
    const __m512i first = source.load_or_pad(0, x), second = source.load_or_pad(1, x);
    return PairedColumn{_mm512_unpacklo_epi8(first, second), _mm512_unpackhi_epi8(first, second),
                        source.load_or_pad(2, x)};
  };
  std::int64_t x = -t.pad_left;
  __m512i before[kColumns];  // the output before, without its last column
  begin(before);
  for (std::int64_t v = 0; v < count; v += 2, x += 4) {
    const PairedColumn a = column(x), b = column(x + 1), c = column(x + 2), d = column(x + 3);
    __m512i taps[kColumns], odd[kColumns], sums[kColumns];
    join_even(a, b, taps);
    if (v > 0) {
      add(before, taps, filter.last());
      finish(before);
    }
    begin(sums);
    add(sums, taps, filter.even);
    join(b.low, b.high, d.low, d.high, odd);
    add(sums, odd, filter.odd[0]);
    join_even(c, d, taps);
    add(sums, taps, filter.last());
    finish(sums);
    begin(before);
    add(before, taps, filter.even);
    add(before, odd, filter.odd[1]);
  }
  if (count % 2 != 0) return;
  const PairedColumn e = column(x);
  __m512i taps[kColumns];
  join_even(e, e, taps);
  add(before, taps, filter.last());
  finish(before);
}

/// All rows of the channels from `channel` on.
template <class Reading, class Codes>
void run_stride_2(const DepthwiseTask& t, std::int64_t channel, const std::uint8_t* padding) {
  const Stride2Filter filter(t, channel);
  for (std::int64_t row = t.row_begin; row < t.row_end; ++row)
    run_stride_2_row<Reading, Codes>(t, filter, {t, channel, row, padding},
                                     static_cast<std::uint8_t*>(t.y) + row * t.y_row + channel);
}

}  // namespace
}  // namespace bitfold
