// The matrix product with AVX2: 4 pixels times 16 channels, or 6 times 8, in 16 registers. There is a direct form and
// one with Winograd's inner product (gemm.h), which replaces half of the multiplications by additions. CPUs that
// multiply on one port only (AMD before Zen 2, Intel before Skylake) take a quarter less time with it.
#include "kernels/gemm/gemm.h"

#if defined(__AVX2__)

#include "kernels/avx2.h"

namespace bitfold {
namespace {

constexpr int kHalfChannels = 8;

/// Pixels of a tile that is `halves` vectors of channels wide.
constexpr int max_rows(int halves) { return halves == 2 ? 4 : 6; }

BITFOLD_INLINE Split broadcast_group(const std::uint8_t* x) {
  std::int32_t group;
  std::memcpy(&group, x, sizeof group);
  const __m256i bytes = _mm256_set1_epi32(group);
  return {_mm256_and_si256(bytes, _mm256_set1_epi16(0xFF)), _mm256_srli_epi16(bytes, 8)};
}

/// (x0 + w1) (x1 + w0) + (x2 + w3) (x3 + w2)
BITFOLD_INLINE void multiply_sums(__m256i& sum, const Split& x, const Split& w) {
  sum = _mm256_add_epi32(sum, _mm256_madd_epi16(_mm256_add_epi16(x.even, w.odd), _mm256_add_epi16(x.odd, w.even)));
}

/// Codes of 8 or 16 channels of one pixel. kQuick: computed with StepTerms.
template <int kHalves, bool kQuick>
struct Requantize {
  __m256 multipliers[kHalves], addends[kHalves], negative_gain;
  CodeRange range;

  BITFOLD_INLINE explicit Requantize(const GemmTask& t)
      : negative_gain(_mm256_set1_ps(t.output->negative_gain)), range(*t.output) {
    unroll<kHalves>([&](auto h) BITFOLD_INLINE_LAMBDA {
      multipliers[h] = _mm256_loadu_ps(t.multipliers + h * kHalfChannels);
      if constexpr (kQuick) addends[h] = _mm256_loadu_ps(t.terms.addends + h * kHalfChannels);
    });
  }

  BITFOLD_INLINE void operator()(const __m256i (&sums)[kHalves], std::uint8_t* to) const {
    const __m256i first = steps(sums[0], 0), last = kHalves == 1 ? first : steps(sums[kHalves - 1], kHalves - 1);
    const __m256i words = _mm256_packs_epi32(first, last);
    const __m256i codes = kQuick ? range.all_bytes(words, words) : range(words, words);
    // The lower half holds channels 0-3 and 8-11, the upper half 4-7 and 12-15.
    const __m128i in_order = _mm_unpacklo_epi32(_mm256_castsi256_si128(codes), _mm256_extracti128_si256(codes, 1));
    if constexpr (kHalves == 1)
      _mm_storel_epi64(reinterpret_cast<__m128i*>(to), in_order);
    else
      _mm_storeu_si128(reinterpret_cast<__m128i*>(to), in_order);
  }

 private:
  BITFOLD_INLINE __m256i steps(__m256i sums, int half) const {
    if constexpr (kQuick) return quick_steps(sums, multipliers[half], addends[half]);
    return _mm256_cvtps_epi32(leaky_steps(_mm256_mul_ps(_mm256_cvtepi32_ps(sums), multipliers[half]), negative_gain));
  }
};

template <int kRows, int kHalves, bool kPairs>
void run_tile(const GemmTask& t, std::int64_t pixel) noexcept {
  __m256i sums[kRows][kHalves];
  const bool is_whole = t.channel_count >= kHalves * kHalfChannels;
  const bool is_quick = is_whole && t.terms.origins != nullptr;
  // The pairs are subtracted first: after the loop, GCC 12 would copy every accumulator in every step.
  unroll<kRows>([&](auto p) BITFOLD_INLINE_LAMBDA {
    const __m256i pairs = kPairs ? _mm256_set1_epi32(t.x_pairs[pixel + p]) : _mm256_setzero_si256();
    unroll<kHalves>([&](auto h) BITFOLD_INLINE_LAMBDA {
      __m256i bias = load_words(t.bias + h * kHalfChannels);
      if (is_quick) bias = _mm256_add_epi32(bias, load_words(t.terms.origins + h * kHalfChannels));
      sums[p][h] = _mm256_sub_epi32(bias, pairs);
    });
  });
  const std::int64_t stride = t.pixel_stride;
  const std::int8_t* w = t.weights;
  for (std::int64_t r = 0; r < t.run_count; ++r) {
    const std::uint8_t* x = t.x + pixel * stride + t.run_offsets[r];
    for (std::int64_t g = 0; g < t.group_count; ++g, x += kGroupBytes, w += kGroupWeights) {
      Split weights[kHalves];
      unroll<kHalves>([&](auto h) BITFOLD_INLINE_LAMBDA { weights[h] = split_weights(w + h * kGroupWeights / 2); });
      unroll<kRows>([&](auto p) BITFOLD_INLINE_LAMBDA {
        const Split group = broadcast_group(x + p * stride);
        unroll<kHalves>([&](auto h) BITFOLD_INLINE_LAMBDA {
          if constexpr (kPairs)
            multiply_sums(sums[p][h], group, weights[h]);
          else
            multiply_add(sums[p][h], group, weights[h]);
        });
      });
    }
  }
  const auto write = [&](const auto& requantize) BITFOLD_INLINE_LAMBDA {
    std::uint8_t* y = static_cast<std::uint8_t*>(t.y) + pixel * t.y_stride;
    const std::int64_t y_stride = t.y_stride;
    unroll<kRows>([&](auto p) BITFOLD_INLINE_LAMBDA { requantize(sums[p], y + p * y_stride); });
  };
  if (is_quick) return write(Requantize<kHalves, true>(t));
  if (t.output->kind == AccumulatorOutput::code && t.steps_fit && is_whole) return write(Requantize<kHalves, false>(t));
  unroll<kRows>([&](auto p) BITFOLD_INLINE_LAMBDA {
    unroll<kHalves>([&](auto h) BITFOLD_INLINE_LAMBDA {
      store(sums[p][h], t.multipliers + h * kHalfChannels, *t.output, t.y, (pixel + p) * t.y_stride + h * kHalfChannels,
            t.channel_count - h * kHalfChannels);
    });
  });
}

template <int kHalves, bool kPairs, int... kRow>
void run_tiles(const GemmTask& t, std::integer_sequence<int, kRow...>) noexcept {
  using RunTile = void (*)(const GemmTask&, std::int64_t) noexcept;
  constexpr RunTile kTiles[] = {run_tile<kRow + 1, kHalves, kPairs>...};  // indexed by rows - 1
  constexpr std::int64_t kMaxRows = sizeof...(kRow);
  const std::int64_t tiles = (t.pixel_count + kMaxRows - 1) / kMaxRows;
  for (std::int64_t i = 0, pixel = 0; i < tiles; ++i) {
    const std::int64_t rows = (t.pixel_count - pixel) / (tiles - i);
    kTiles[rows - 1](t, pixel);
    pixel += rows;
  }
}

template <int kHalves, bool kPairs>
void run(const GemmTask& t) noexcept {
  run_tiles<kHalves, kPairs>(t, std::make_integer_sequence<int, max_rows(kHalves)>{});
}

BITFOLD_INLINE __m256i pairs_of(__m256i bytes) {
  return _mm256_madd_epi16(_mm256_and_si256(bytes, _mm256_set1_epi16(0xFF)), _mm256_srli_epi16(bytes, 8));
}

void sum_pairs(const GemmTask& t, std::int32_t* pairs) noexcept {
  constexpr std::int64_t kVectorGroups = 8, kVectorBytes = 32;
  const std::int64_t vectors = t.group_count / kVectorGroups;
  const auto rest = static_cast<int>(t.group_count % kVectorGroups);
  const __m256i mask = _mm256_cmpgt_epi32(_mm256_set1_epi32(rest), _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7));
  for (std::int64_t p = 0; p < t.pixel_count; ++p) {
    const std::uint8_t* window = t.x + p * t.pixel_stride;
    __m256i sums = _mm256_setzero_si256();
    for (std::int64_t r = 0; r < t.run_count; ++r) {
      const std::uint8_t* x = window + t.run_offsets[r];
      for (std::int64_t v = 0; v < vectors; ++v, x += kVectorBytes)
        sums = _mm256_add_epi32(sums, pairs_of(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(x))));
      if (rest > 0)
        sums = _mm256_add_epi32(sums, pairs_of(_mm256_maskload_epi32(reinterpret_cast<const int*>(x), mask)));
    }
    __m128i half = _mm_add_epi32(_mm256_castsi256_si128(sums), _mm256_extracti128_si256(sums, 1));
    half = _mm_add_epi32(half, _mm_shuffle_epi32(half, 0x4E));
    half = _mm_add_epi32(half, _mm_shuffle_epi32(half, 0xB1));
    pairs[p] = _mm_cvtsi128_si32(half);
  }
}

constexpr GemmKernel kKernels[] = {{"avx2 4x16", Isa::avx2, max_rows(2), 16, run<2, false>},
                                   {"avx2 4x16 pairs", Isa::avx2, max_rows(2), 16, run<2, true>, sum_pairs},
                                   {"avx2 6x8", Isa::avx2, max_rows(1), 8, run<1, false>},
                                   {"avx2 6x8 pairs", Isa::avx2, max_rows(1), 8, run<1, true>, sum_pairs}};

}  // namespace

const GemmTable kAvx2Gemm{kKernels, 4};

}  // namespace bitfold

#else

namespace bitfold {
const GemmTable kAvx2Gemm{nullptr, 0};
}

#endif
