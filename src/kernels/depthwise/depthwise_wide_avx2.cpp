// Depthwise convolution with AVX2 for 3x3 and 5x5, 16 channels at a time.
//
// vpmaddwd multiplies pairs of int16, so two taps of a channel must be adjacent. Unpacking the rows of a column,
// widened to int16, creates such pairs. It works in lanes of 128 bits:
//
//        row 0   c0 .. c7 | c8 .. c15            low    c0 .. c3 | c8  .. c11      [row 0, row 2] of each channel
//        row 2   c0 .. c7 | c8 .. c15     ->     high   c4 .. c7 | c12 .. c15
//
// Packing also works in lanes, so it restores the order of codes. Weights, biases and multipliers are permuted to this
// order once per call. Rows 1 and 3 of a 5x5 window form pairs as well. The remaining row is paired across two columns.
// So the 9 taps of 3x3 are 5 pairs, and the 25 taps of 5x5 are 13.
//
//        3x3     0 0 0          5x5     0 0 0 0 0         equal digits in a column form a pair,
//                a a b                  1 1 1 1 1         and so do equal letters
//                0 0 0                  0 0 0 0 0
//                                       1 1 1 1 1
//                                       a a b b c
//
// Each column of a row is built once, from left to right, and added to every output whose window covers it. An output
// is finished as soon as its last column has been added. So all unfinished outputs stay in registers, and weights are
// operands in memory.
#include "kernels/depthwise/depthwise.h"

#if defined(__AVX2__)

#include "kernels/avx2.h"
#include "kernels/depthwise/border_rows.h"

namespace bitfold {
namespace {

constexpr std::int64_t kBlock = 16, kHalf = 8, kRowsPerGroup = 4, kGroupBytes = kBlock * kRowsPerGroup;
// Blocks processed alternately, row by row: they share cache lines, so that most of a row is read from the first-level
// cache.
constexpr int kTurns = 4;

/// 16 channels, 8 in each vector: 0-3 and 8-11, 4-7 and 12-15.
struct Halves {
  __m256i low, high;
};

/// Rearranges two vectors of 8 channels in order into lanes, and back.
BITFOLD_INLINE Halves regroup(__m256i first, __m256i second) {
  return {_mm256_permute2x128_si256(first, second, 0x20), _mm256_permute2x128_si256(first, second, 0x31)};
}

BITFOLD_INLINE Halves load_halves(const void* x) {
  const auto* at = static_cast<const __m256i*>(x);
  return regroup(_mm256_loadu_si256(at), _mm256_loadu_si256(at + 1));
}

/// Interleaves the words of `a` and `b`.
BITFOLD_INLINE Halves pair_up(__m256i a, __m256i b) {
  return {_mm256_unpacklo_epi16(a, b), _mm256_unpackhi_epi16(a, b)};
}

BITFOLD_INLINE void multiply_add(Halves& sums, const Halves& taps, const Halves& weights) {
  sums.low = _mm256_add_epi32(sums.low, _mm256_madd_epi16(taps.low, weights.low));
  sums.high = _mm256_add_epi32(sums.high, _mm256_madd_epi16(taps.high, weights.high));
}

/// The weights, biases and multipliers of a block of 16 channels.
template <int kKernel, int kStride>
struct Filter {
  static constexpr int kPairs = kKernel / 2;            ///< Pairs of rows in a column.
  static constexpr int kLonePairs = (kKernel + 1) / 2;  ///< Pairs of columns in the remaining row.
  Halves pairs[kKernel][kPairs], lone[kLonePairs];
  Halves bias, multipliers, addends;  ///< addends: used with quick steps only.

  [[gnu::noinline]] void read(const DepthwiseTask& t, std::int64_t channel) {
    constexpr std::int64_t kGroups = (kKernel + kRowsPerGroup - 1) / kRowsPerGroup;
    const std::int8_t* w = t.weights + channel / kBlock * kKernel * kGroups * kGroupBytes;
    __m256i left[kKernel + 1][2];  // the remaining row's weights, each followed by a 0
    left[kKernel][0] = left[kKernel][1] = _mm256_setzero_si256();
    for (int j = 0; j < kKernel; ++j, w += kGroups * kGroupBytes) {
      const Split first = split_weights(w), second = split_weights(w + kGroupBytes / 2);
      pairs[j][0] = regroup(first.even, second.even);
      left[j][0] = first.odd;
      left[j][1] = second.odd;
      if constexpr (kKernel == 5) {
        pairs[j][1] = regroup(first.odd, second.odd);
        left[j][0] = split_weights(w + kGroupBytes).even;
        left[j][1] = split_weights(w + kGroupBytes * 3 / 2).even;
      }
    }
    for (int k = 0; k < kLonePairs; ++k) {
      // At stride 1 a pair consists of a column and the one before it, so the last column comes second.
      const bool is_second = kStride == 1 && k == kLonePairs - 1;
      const int a = is_second ? kKernel : 2 * k, b = is_second ? 2 * k : 2 * k + 1;
      lone[k] = regroup(_mm256_or_si256(left[a][0], _mm256_slli_epi32(left[b][0], 16)),
                        _mm256_or_si256(left[a][1], _mm256_slli_epi32(left[b][1], 16)));
    }
    bias = load_halves(t.bias + channel);
    multipliers = load_halves(t.multipliers + channel);
    addends = {_mm256_setzero_si256(), _mm256_setzero_si256()};
    if (t.terms.origins == nullptr) return;
    const Halves origins = load_halves(t.terms.origins + channel);
    bias = {_mm256_add_epi32(bias.low, origins.low), _mm256_add_epi32(bias.high, origins.high)};
    addends = load_halves(t.terms.addends + channel);
  }
};

/// Where the outputs of a block of channels are stored.
struct Destination {
  const DepthwiseTask& task;
  std::int64_t channel, count;  ///< count: how many of the 16 channels exist.
};

enum class Codes {
  any,             ///< Clamped as reals; LeakyRelu possible.
  fitting,         ///< Steps fit int32 and there is no LeakyRelu: CodeRange clamps them.
  quick,           ///< Computed with StepTerms.
  quick_from_zero  ///< Like `quick`, with zero point 0, so that only saturation is needed.
};

template <Codes kCodes>
struct CodeWriter {
  using Finished = __m256i;  // steps of 16 channels in order, as int16
  CodeRange range;
  __m256 low, high, negative_gain;

  explicit CodeWriter(const ConvOutput& output)
      : range(output),
        low(_mm256_set1_ps(static_cast<float>(output.qmin - output.zero_point))),
        high(_mm256_set1_ps(static_cast<float>(output.qmax - output.zero_point))),
        negative_gain(_mm256_set1_ps(output.negative_gain)) {}

  template <class Filter>
  BITFOLD_INLINE Finished finished(const Halves& sums, const Filter& filter) const {
    const auto steps = [&](__m256i sum, __m256i multiplier, __m256i addend) BITFOLD_INLINE_LAMBDA {
      if constexpr (kCodes >= Codes::quick)
        return quick_steps(sum, _mm256_castsi256_ps(multiplier), _mm256_castsi256_ps(addend));
      __m256 product = _mm256_mul_ps(_mm256_cvtepi32_ps(sum), _mm256_castsi256_ps(multiplier));
      if constexpr (kCodes == Codes::any)
        product = _mm256_min_ps(_mm256_max_ps(leaky_steps(product, negative_gain), low), high);
      return _mm256_cvtps_epi32(product);
    };
    return _mm256_packs_epi32(steps(sums.low, filter.multipliers.low, filter.addends.low),
                              steps(sums.high, filter.multipliers.high, filter.addends.high));
  }

  /// Stores the first of two pixels, or both.
  template <int kPixels>
  BITFOLD_INLINE void write(Finished first, Finished second, const Destination& to, std::int64_t at) const {
    const __m256i mixed = kCodes == Codes::quick_from_zero ? _mm256_packus_epi16(first, second)
                          : kCodes == Codes::quick         ? range.all_bytes(first, second)
                                                           : range(first, second);
    const __m256i codes = _mm256_permute4x64_epi64(mixed, 0xD8);
    std::uint8_t* y = static_cast<std::uint8_t*>(to.task.y) + at;
    put(_mm256_castsi256_si128(codes), y, to.count);
    if constexpr (kPixels == 2) put(_mm256_extracti128_si256(codes, 1), y + to.task.y_stride, to.count);
  }

  static BITFOLD_INLINE void put(__m128i codes, std::uint8_t* y, std::int64_t count) {
    if (count >= kBlock)
      _mm_storeu_si128(reinterpret_cast<__m128i*>(y), codes);
    else if (count == kHalf)
      _mm_storel_epi64(reinterpret_cast<__m128i*>(y), codes);
    else
      put_first(codes, y, count);
  }

  // Not inlined, because it is rare and would enlarge every place that stores.
  [[gnu::noinline]] static void put_first(__m128i codes, std::uint8_t* y, std::int64_t count) {
    std::memcpy(y, &codes, static_cast<std::size_t>(count));
  }
};

/// Stores accumulators or reals.
struct WordWriter {
  using Finished = Halves;  // 8 channels in order, and the next 8
  bool is_real;

  explicit WordWriter(const ConvOutput& output) : is_real(output.kind == AccumulatorOutput::float32) {}

  template <class Filter>
  BITFOLD_INLINE Finished finished(const Halves& sums, const Filter& filter) const {
    const auto word = [&](__m256i sum, __m256i multiplier) BITFOLD_INLINE_LAMBDA {
      const __m256 real = _mm256_mul_ps(_mm256_cvtepi32_ps(sum), _mm256_castsi256_ps(multiplier));
      return is_real ? _mm256_castps_si256(real) : sum;
    };
    return regroup(word(sums.low, filter.multipliers.low), word(sums.high, filter.multipliers.high));
  }

  template <int kPixels>
  BITFOLD_INLINE void write(const Finished& first, const Finished& second, const Destination& to,
                            std::int64_t at) const {
    auto* y = static_cast<std::int32_t*>(to.task.y) + at;
    put(first, y, to.count);
    if constexpr (kPixels == 2) put(second, y + to.task.y_stride, to.count);
  }

  static BITFOLD_INLINE void put(const Finished& words, std::int32_t* y, std::int64_t count) {
    if (count < kBlock) return put_first(words, y, count);
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(y), words.low);
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(y + kHalf), words.high);
  }

  [[gnu::noinline]] static void put_first(Finished words, std::int32_t* y, std::int64_t count) {
    std::memcpy(y, &words, static_cast<std::size_t>(count) * 4);
  }
};

/// Computes a row of outputs.
template <int kKernel, int kStride, class Writer>
void run_row(const Filter<kKernel, kStride>& filter, const Writer& writer, const Destination& to, std::int64_t row,
             const std::uint8_t* padding) {
  constexpr int kDepth = (kKernel - 1) / kStride;  // outputs started before one is finished
  constexpr int kLone = kKernel == 3 ? 1 : 4;
  const DepthwiseTask& t = to.task;
  const std::int64_t width = t.in_width, count = t.out_width;
  BorderRows<kKernel> source(t, row, to.channel, padding);
  std::int64_t x = -t.pad_left;
  Halves sums[kDepth + 1];  // sums of the newest output, of the one before it, ...
  for (Halves& of : sums) of = filter.bias;
  __m256i lone_before = _mm256_setzero_si256();

  // Processes the next kStride columns: a new output starts and the oldest is finished. kChecked: some columns may be
  // padding.
  const auto advance = [&](auto checked) BITFOLD_INLINE_LAMBDA {
    unroll<kDepth>([&](auto i) BITFOLD_INLINE_LAMBDA { sums[kDepth - i] = sums[kDepth - 1 - i]; });
    sums[0] = filter.bias;
    unroll<kStride>([&](auto first_tap) BITFOLD_INLINE_LAMBDA {
      const bool is_inside =
          !decltype(checked)::value || static_cast<std::uint64_t>(x) < static_cast<std::uint64_t>(width);
      const auto load = [&](int i) BITFOLD_INLINE_LAMBDA {
        const std::uint8_t* from = is_inside ? source.rows[i] : padding;
        return _mm256_cvtepu8_epi16(_mm_loadu_si128(reinterpret_cast<const __m128i*>(from)));
      };
      unroll<kKernel / 2>([&](auto pair) BITFOLD_INLINE_LAMBDA {
        const Halves taps = pair_up(load(pair), load(pair + 2));
        unroll<kDepth + 1>([&](auto age) BITFOLD_INLINE_LAMBDA {
          constexpr int kTap = decltype(first_tap)::value + decltype(age)::value * kStride;
          if constexpr (kTap < kKernel) multiply_add(sums[age], taps, filter.pairs[kTap][pair]);
        });
      });
      const __m256i lone = load(kLone);
      if constexpr (decltype(first_tap)::value == kStride - 1) {
        const Halves taps = pair_up(lone_before, lone);
        unroll<kDepth + 1>([&](auto age) BITFOLD_INLINE_LAMBDA {
          constexpr int kAge = decltype(age)::value;
          if constexpr (kStride == 2) multiply_add(sums[age], taps, filter.lone[age]);
          if constexpr (kStride == 1 && (kAge % 2 == 1 || kAge == kDepth))
            multiply_add(sums[age], taps, filter.lone[kAge / 2]);
        });
      }
      lone_before = lone;
      ++x;
      for (int i = 0; i < kKernel; ++i) source.rows[i] += is_inside ? source.steps[i] : 0;
    });
    return writer.finished(sums[kDepth], filter);
  };
  unroll<kDepth>([&](auto) BITFOLD_INLINE_LAMBDA { advance(std::true_type{}); });
  std::int64_t at = row * t.y_row + to.channel, pixel = 0;
  const auto write_two = [&](auto checked) BITFOLD_INLINE_LAMBDA {
    const auto first = advance(checked);
    writer.template write<2>(first, advance(checked), to, at);
  };
  for (; pixel + 2 <= count; pixel += 2) {
    if (x >= 0 && x + 2 * kStride <= width)
      write_two(std::false_type{});
    else
      write_two(std::true_type{});
    at += 2 * t.y_stride;
  }
  if (pixel == count) return;
  const auto last = advance(std::true_type{});
  writer.template write<1>(last, last, to, at);
}

template <int kKernel, int kStride, class Writer>
void run_as(const DepthwiseTask& t) {
  alignas(16) std::uint8_t padding[kBlock];
  for (auto& code : padding) code = t.padding;
  const Writer writer(*t.output);
  Filter<kKernel, kStride> filters[kTurns];
  for (std::int64_t begin = 0; begin < t.channels; begin += kTurns * kBlock) {
    const std::int64_t left = (t.channels - begin + kBlock - 1) / kBlock, turns = left < kTurns ? left : kTurns;
    for (std::int64_t i = 0; i < turns; ++i) filters[i].read(t, begin + i * kBlock);
    for (std::int64_t row = t.row_begin; row < t.row_end; ++row)
      for (std::int64_t i = 0; i < turns; ++i) {
        const std::int64_t channel = begin + i * kBlock;
        run_row(filters[i], writer, {t, channel, t.channels - channel}, row, padding);
      }
  }
}

template <int kKernel, int kStride>
void run_square(const DepthwiseTask& t) {
  const ConvOutput& output = *t.output;
  if (output.kind != AccumulatorOutput::code) return run_as<kKernel, kStride, WordWriter>(t);
  if (t.terms.origins != nullptr && output.zero_point == 0)
    return run_as<kKernel, kStride, CodeWriter<Codes::quick_from_zero>>(t);
  if (t.terms.origins != nullptr) return run_as<kKernel, kStride, CodeWriter<Codes::quick>>(t);
  if (!t.steps_fit || output.negative_gain != 1) return run_as<kKernel, kStride, CodeWriter<Codes::any>>(t);
  run_as<kKernel, kStride, CodeWriter<Codes::fitting>>(t);
}

template <int kKernel>
bool run_kernel(const DepthwiseTask& t) {
  if (t.stride_w == 1) run_square<kKernel, 1>(t);
  if (t.stride_w == 2) run_square<kKernel, 2>(t);
  return t.stride_w <= 2;
}

bool run(const DepthwiseTask& t) noexcept {
  if (t.kernel_h != t.kernel_w || t.dilation_h != 1 || t.dilation_w != 1) return false;
  return t.kernel_h == 3 ? run_kernel<3>(t) : t.kernel_h == 5 && run_kernel<5>(t);
}

}  // namespace

bool (*const kAvx2WideDepthwise)(const DepthwiseTask&) noexcept = run;

}  // namespace bitfold

#endif
