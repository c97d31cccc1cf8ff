// Depthwise convolution with AVX-512 VNNI, 64 codes at a time: 64 channels of a pixel, or 32 channels of two
// neighbours.
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

/// Lane q of the four vectors at x, `step` bytes apart: for each of q = 0 .. 3 a vector. Where there are two, they
/// count twice.
template <int kCount>
BITFOLD_INLINE void gather_lanes(const void* x, std::int64_t step, __m512i (&to)[kColumns]) {
  const auto* bytes = static_cast<const std::uint8_t*>(x);
  const __m512i v0 = _mm512_loadu_si512(bytes), v1 = _mm512_loadu_si512(bytes + step);
  const __m512i v2 = kCount == 2 ? v0 : _mm512_loadu_si512(bytes + 2 * step);
  const __m512i v3 = kCount == 2 ? v1 : _mm512_loadu_si512(bytes + 3 * step);
  const __m512i low01 = _mm512_shuffle_i32x4(v0, v1, 0x44), high01 = _mm512_shuffle_i32x4(v0, v1, 0xEE);
  const __m512i low23 = _mm512_shuffle_i32x4(v2, v3, 0x44), high23 = _mm512_shuffle_i32x4(v2, v3, 0xEE);
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
  __m512i bias[kColumns], multipliers[kColumns];

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
    gather_lanes<kCount>(t.multipliers + channel, kBlock * 4, multipliers);
  }
};

/// The input rows under kOutRows rows of outputs.
template <int kRows, int kVectorPixels>
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

  BITFOLD_INLINE bool is_inside(std::int64_t pixel) const {
    return static_cast<std::uint64_t>(pixel) < static_cast<std::uint64_t>(width);
  }

  /// Row i at `pixel`, and at the one `kVectorStep` further where a vector holds two.
  template <int kVectorStep>
  BITFOLD_INLINE __m512i load(int i, std::int64_t pixel) const {
    const std::uint8_t* at = rows[i] + pixel * steps[i];
    if constexpr (kVectorPixels == 1) return _mm512_loadu_si512(at);
    return halves(at, at + kVectorStep * steps[i]);
  }

  /// The same where a pixel may be outside.
  template <int kVectorStep>
  BITFOLD_INLINE __m512i load_border(int i, std::int64_t pixel) const {
    const auto address = [&](std::int64_t of) { return is_inside(of) ? rows[i] + of * steps[i] : padding; };
    if constexpr (kVectorPixels == 1) return _mm512_loadu_si512(address(pixel));
    return halves(address(pixel), address(pixel + kVectorStep));
  }

 private:
  BITFOLD_INLINE static __m512i halves(const std::uint8_t* low, const std::uint8_t* high) {
    const __m512i half = _mm512_castsi256_si512(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(low)));
    return _mm512_inserti64x4(half, _mm256_loadu_si256(reinterpret_cast<const __m256i*>(high)), 1);
  }
};

/// kOutRows rows of outputs.
template <int kKernel, int kStride, int kOutRows, int kVectorPixels, class Codes>
void run_rows(const DepthwiseTask& t, const Filter<kKernel, kOutRows, kVectorPixels>& filter,
              const Source<kKernel + kOutRows - 1, kVectorPixels>& source, std::uint8_t* y) {
  using Weights = Filter<kKernel, kOutRows, kVectorPixels>;
  constexpr int kStep = kStride * kVectorPixels;                            // from one vector's window to the next
  constexpr int kDepth = (kKernel - 1) / kStep;                             // vectors begun before one is finished
  constexpr int kSlots = (kKernel - 1) % kStep == 0 ? kDepth : kDepth + 1;  // in flight; one may replace another
  const std::int64_t count = (t.out_width + kVectorPixels - 1) / kVectorPixels;
  const std::int64_t y_step = kVectorPixels * t.y_stride;
  const Codes codes(*t.output);
  __m512i sums[kSlots][kOutRows][kColumns];
  unroll<kSlots>([&](auto s) BITFOLD_INLINE_LAMBDA {
    unroll<kOutRows>([&](auto r) BITFOLD_INLINE_LAMBDA {
      unroll<kColumns>([&](auto q) BITFOLD_INLINE_LAMBDA { sums[s][r][q] = filter.bias[q]; });
    });
  });
  std::int64_t pixel = -t.pad_left;
  const auto finish = [&](auto slot, std::int64_t v) BITFOLD_INLINE_LAMBDA {
    unroll<kOutRows>([&](auto r) BITFOLD_INLINE_LAMBDA {
      const auto steps = [&](auto q) BITFOLD_INLINE_LAMBDA {
        return codes.steps(sums[slot][r][q], _mm512_castsi512_ps(filter.multipliers[q]));
      };
      std::uint8_t* to = y + r * t.y_row + v * y_step;
      const __m512i out =
          codes.codes_by_lane(steps(std::integral_constant<int, 0>{}), steps(std::integral_constant<int, 1>{}),
                              steps(std::integral_constant<int, 2>{}), steps(std::integral_constant<int, 3>{}));
      if (kVectorPixels == 1 || (v + 1) * kVectorPixels <= t.out_width)
        _mm512_storeu_si512(to, out);
      else
        _mm256_storeu_si256(reinterpret_cast<__m256i*>(to), _mm512_castsi512_si256(out));
    });
  };
  // Columns of the vector `v`, which takes the place kSlot.
  const auto advance = [&](auto slot, std::int64_t v) BITFOLD_INLINE_LAMBDA {
    constexpr int kNewest = decltype(slot)::value + (kDepth + 1) * kSlots;
    unroll<(kStep < kKernel ? kStep : kKernel)>([&](auto s) BITFOLD_INLINE_LAMBDA {
      constexpr int kFirstTap = decltype(s)::value;
      if (kFirstTap + kStep >= kKernel && v >= count) return;  // of a vector that is not
      const std::int64_t x = pixel + kFirstTap;
      __m512i rows[Weights::kGroups][4], taps[Weights::kGroups][kColumns];
      const auto load = [&](auto at) BITFOLD_INLINE_LAMBDA {
        unroll<Weights::kGroups * 4>([&](auto i) BITFOLD_INLINE_LAMBDA {
          if constexpr (decltype(i)::value < Weights::kRows)
            rows[i / 4][i % 4] = at(i);
          else
            rows[i / 4][i % 4] = _mm512_setzero_si512();
        });
      };
      if (source.is_inside(x) && (kVectorPixels == 1 || source.is_inside(x + kStride)))
        load([&](int i) BITFOLD_INLINE_LAMBDA { return source.template load<kStride>(i, x); });
      else
        load([&](int i) BITFOLD_INLINE_LAMBDA { return source.template load_border<kStride>(i, x); });
      unroll<Weights::kGroups>([&](auto g) BITFOLD_INLINE_LAMBDA { interleave(rows[g], taps[g]); });
      // The oldest vector first: it may be finished, and its place taken.
      unroll<kDepth + 1>([&](auto i) BITFOLD_INLINE_LAMBDA {
        constexpr int kAge = kDepth - decltype(i)::value, kTap = kFirstTap + kAge * kStep;
        if constexpr (kTap < kKernel) {
          constexpr int kSlot = (kNewest - kAge) % kSlots;
          if constexpr (kTap == 0)
            unroll<kOutRows>([&](auto r) BITFOLD_INLINE_LAMBDA {
              unroll<kColumns>([&](auto q) BITFOLD_INLINE_LAMBDA { sums[kSlot][r][q] = filter.bias[q]; });
            });
          unroll<kOutRows * Weights::kGroups>([&](auto of) BITFOLD_INLINE_LAMBDA {
            constexpr int kRow = decltype(of)::value / Weights::kGroups,
                          kGroup = decltype(of)::value % Weights::kGroups;
            unroll<kColumns>([&](auto q) BITFOLD_INLINE_LAMBDA {
              __m512i& sum = sums[kSlot][kRow][q];
              sum = _mm512_dpbusd_epi32(sum, taps[kGroup][q], filter.weights[kRow][kTap][kGroup][q]);
            });
          });
          if constexpr (kTap == kKernel - 1)
            if (v >= kAge) finish(std::integral_constant<int, kSlot>{}, v - kAge);
        }
      });
    });
    pixel += kStep;
  };
  for (std::int64_t v = 0; v < count + kDepth;)
    unroll<kSlots>([&](auto slot) BITFOLD_INLINE_LAMBDA {
      if (v < count + kDepth) advance(slot, v);
      ++v;
    });
}

/// All rows of the channels from `channel` on. At stride 1 two rows of a small kernel have four rows of inputs.
template <int kKernel, int kStride, int kVectorPixels, class Codes>
void run_channels(const DepthwiseTask& t, std::int64_t channel, const std::uint8_t* padding) {
  std::int64_t row = t.row_begin;
  const auto run_rows_of = [&](auto out_rows) {
    constexpr int kOutRows = decltype(out_rows)::value;
    Filter<kKernel, kOutRows, kVectorPixels> filter;
    if (row + kOutRows <= t.row_end) filter.read(t, channel);
    for (; row + kOutRows <= t.row_end; row += kOutRows)
      run_rows<kKernel, kStride, kOutRows, kVectorPixels, Codes>(
          t, filter, {t, channel, row, padding}, static_cast<std::uint8_t*>(t.y) + row * t.y_row + channel);
  };
  if constexpr (kKernel == 3 && kStride == 1) run_rows_of(std::integral_constant<int, 2>{});
  run_rows_of(std::integral_constant<int, 1>{});
}

template <int kKernel, int kStride, class Codes>
std::int64_t run_as(const DepthwiseTask& t) {
  alignas(64) std::uint8_t padding[kWide];
  for (auto& code : padding) code = t.padding;
  if constexpr (kKernel == 3 && kStride == 1)
    if (t.channels == kWide / 2 && t.y_stride == t.channels) {
      run_channels<3, 1, 2, Codes>(t, 0, padding);
      return t.channels;
    }
  std::int64_t channel = 0;
  for (; channel + kWide <= t.channels; channel += kWide) run_channels<kKernel, kStride, 1, Codes>(t, channel, padding);
  return channel;
}

template <int kKernel, int kStride>
std::int64_t run_square(const DepthwiseTask& t) {
  const ConvOutput& output = *t.output;
  if (!t.steps_fit) return run_as<kKernel, kStride, Requantizer<false>>(t);
  if (output.qmin != 0 || output.qmax != 255 || output.zero_point != 0)
    return run_as<kKernel, kStride, Requantizer<true>>(t);
  return run_as<kKernel, kStride, Requantizer<true, CodeBounds::bytes_from_zero>>(t);
}

std::int64_t run(const DepthwiseTask& t) noexcept {
  if (t.kernel_h != t.kernel_w || t.stride_h != t.stride_w || t.dilation_h != 1 || t.dilation_w != 1) return 0;
  if (t.output->kind != AccumulatorOutput::code) return 0;
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
