// Sums, differences and products of codes with AVX-512, 64 at a time.
//
// The definition divides by the output's scale, and a division takes as long as everything else together. Multiplying
// by the reciprocal of the scale rounds twice more: its relative error is below 2^-22, so its error is below 2^-13 for
// results below 512 steps, and only those matter. The quotient and this product round to the same step unless the
// product is that close to halfway between two steps. If any of 64 products is that close, all 64 are divided. Scales
// whose ratio is a power of two make ties, and therefore divisions, common.
//
// A sum of two codes on given grids is a function of only 65536 pairs, so faster forms can be checked on all of them in
// advance. Their error matters only for the few pairs whose sum lies next to halfway between two steps.
//
// In integers: factors of 23 bits relative to the output's scale. Each pair allows an interval of terms. The intervals
// of all pairs usually have a common part, if not for the nearest factors, then for others a unit away. 16 pairs take
// two products:
//
//        bytes   0  a  0  b      a, b: codes - 128
//        words   256a  256b      times the factors' upper 16 bits: vpdpwssd
//        bytes      a     b      times their lower 8 bits:         vpdpbusd
//
// Packing inverts the interleaving of bytes, so no permutation is needed at the end.
//
// In reals: two fused multiply-adds. If the ratio of scales is a power of two, many sums lie halfway, and integers do
// not round those to even.
#include "kernels/pointwise/intrinsics.h"

#if defined(__AVX512VNNI__) && defined(__AVX512BW__) && defined(__AVX512DQ__)

#include <cstring>

#include "kernels/avx512.h"

namespace bitfold {
namespace {

constexpr int kCodes = 64, kLanes = 16, kQuarters = kCodes / kLanes;
constexpr float kSafe = 0.5F - 0x1p-12F;   // twice the bound above
constexpr float kMaxScale = 0x1p118F;      // above this, reals or their sums overflow, or the reciprocal is subnormal
constexpr int kRestOfNearest = 0x08;       // vreduceps: x - round_half_even(x), no exceptions
constexpr int kLargestMagnitude = 0b1011;  // vrangeps: the larger of |a| and |b|

struct Reals {
  __m512 scale;
  __m512i zero_point;
  BITFOLD_INLINE explicit Reals(const ByteGrid& grid)
      : scale(_mm512_set1_ps(grid.scale)), zero_point(_mm512_set1_epi32(grid.zero_point)) {}
  BITFOLD_INLINE __m512 operator()(const std::uint8_t* codes) const {
    const __m512i wide = _mm512_cvtepu8_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(codes)));
    return _mm512_mul_ps(_mm512_cvtepi32_ps(_mm512_sub_epi32(wide, zero_point)), scale);
  }
};

template <CodeBinary kKind>
struct Operator {
  Reals a, b;
  Requantizer<false> requantizer;
  __m512 scale, reciprocal, low;
  bool has_reciprocal;

  explicit Operator(const BinaryGrids& grids)
      : a(grids.a),
        b(grids.b),
        requantizer(ConvOutput{.zero_point = grids.y.zero_point, .qmin = grids.y.qmin, .qmax = grids.y.qmax}),
        scale(_mm512_set1_ps(grids.y.scale)),
        reciprocal(_mm512_set1_ps(1.0F / grids.y.scale)),
        low(_mm512_set1_ps(static_cast<float>(grids.y.qmin - grids.y.zero_point))),
        has_reciprocal(grids.a.scale < kMaxScale && grids.b.scale < kMaxScale && grids.y.scale < kMaxScale) {}

  BITFOLD_INLINE void run(const std::uint8_t* xa, const std::uint8_t* xb, std::uint8_t* y) const {
    __m512 reals[kQuarters];
    __m512i steps[kQuarters];
    __m512 rest = _mm512_setzero_ps();
    unroll<kQuarters>([&](auto q) BITFOLD_INLINE_LAMBDA {
      const __m512 ra = a(xa + q * kLanes), rb = b(xb + q * kLanes);
      reals[q] = kKind == CodeBinary::add   ? _mm512_add_ps(ra, rb)
                 : kKind == CodeBinary::sub ? _mm512_sub_ps(ra, rb)
                                            : _mm512_mul_ps(ra, rb);
      const __m512 t = _mm512_mul_ps(reals[q], reciprocal);
      rest = _mm512_range_ps(rest, _mm512_reduce_ps(t, kRestOfNearest), kLargestMagnitude);
      steps[q] = requantizer.round(t);
    });
    const bool is_safe = _mm512_cmp_ps_mask(rest, _mm512_set1_ps(kSafe), _CMP_LT_OQ) == 0xFFFF;
    if (!is_safe || !has_reciprocal)
      unroll<kQuarters>([&](auto q) BITFOLD_INLINE_LAMBDA {
        // For NaN the maximum returns its second operand: the lowest code, as in the definition.
        steps[q] = requantizer.round(_mm512_max_ps(_mm512_div_ps(reals[q], scale), low));
      });
    _mm512_storeu_si512(y, requantizer.codes(steps[0], steps[1], steps[2], steps[3]));
  }
};

/// The integer form of QuickSum.
template <CodeBounds kBounds>
struct IntegerSum {
  __m512i high, low, term, shift, low_code, high_code;

  explicit IntegerSum(const BinaryGrids& grids)
      : high(_mm512_set1_epi32((grids.sum.a >> 8) | static_cast<int>(static_cast<unsigned>(grids.sum.b >> 8) << 16))),
        low(_mm512_set1_epi32((grids.sum.a & 0xFF) << 8 | static_cast<int>(static_cast<unsigned>(grids.sum.b) << 24))),
        term(_mm512_set1_epi32(grids.sum.term)),
        shift(_mm512_set1_epi32(grids.sum.shift)),
        low_code(_mm512_set1_epi8(static_cast<char>(grids.y.qmin))),
        high_code(_mm512_set1_epi8(static_cast<char>(grids.y.qmax))) {}

  BITFOLD_INLINE __m512i steps(__m512i pairs) const {
    const __m512i sums = _mm512_dpbusd_epi32(_mm512_dpwssd_epi32(term, pairs, high), low, pairs);
    return _mm512_srav_epi32(sums, shift);
  }

  BITFOLD_INLINE void run(const std::uint8_t* xa, const std::uint8_t* xb, std::uint8_t* y) const {
    const __m512i middle = _mm512_set1_epi8(-128), zero = _mm512_setzero_si512();
    const __m512i a = _mm512_xor_si512(_mm512_loadu_si512(xa), middle);
    const __m512i b = _mm512_xor_si512(_mm512_loadu_si512(xb), middle);
    const __m512i first = _mm512_unpacklo_epi8(a, b), last = _mm512_unpackhi_epi8(a, b);
    const __m512i words = _mm512_packs_epi32(steps(_mm512_unpacklo_epi8(zero, first)),  //
                                             steps(_mm512_unpackhi_epi8(zero, first)));
    const __m512i more = _mm512_packs_epi32(steps(_mm512_unpacklo_epi8(zero, last)),  //
                                            steps(_mm512_unpackhi_epi8(zero, last)));
    __m512i codes = _mm512_packus_epi16(words, more);
    if constexpr (kBounds == CodeBounds::any) codes = _mm512_min_epu8(_mm512_max_epu8(codes, low_code), high_code);
    _mm512_storeu_si512(y, codes);
  }
};

/// The real form of QuickSum.
template <CodeBounds kBounds>
struct FusedSum {
  __m512 a, b, term;
  Requantizer<true, kBounds> requantizer;

  explicit FusedSum(const BinaryGrids& grids)
      : a(_mm512_set1_ps(grids.sum.real_a)),
        b(_mm512_set1_ps(grids.sum.real_b)),
        term(_mm512_set1_ps(grids.sum.real_term)),
        requantizer(ConvOutput{.zero_point = grids.y.zero_point, .qmin = grids.y.qmin, .qmax = grids.y.qmax}) {}

  BITFOLD_INLINE static __m512 real(const std::uint8_t* codes) {
    return _mm512_cvtepi32_ps(_mm512_cvtepu8_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(codes))));
  }

  BITFOLD_INLINE void run(const std::uint8_t* xa, const std::uint8_t* xb, std::uint8_t* y) const {
    __m512i steps[kQuarters];
    unroll<kQuarters>([&](auto q) BITFOLD_INLINE_LAMBDA {
      const __m512 partial = _mm512_fmadd_ps(real(xb + q * kLanes), b, term);
      steps[q] = requantizer.round(_mm512_fmadd_ps(real(xa + q * kLanes), a, partial));
    });
    _mm512_storeu_si512(y, requantizer.codes(steps[0], steps[1], steps[2], steps[3]));
  }
};

template <class Op>
void run(const std::uint8_t* a, const std::uint8_t* b, std::uint8_t* y, std::int64_t n, const BinaryGrids& grids) {
  const Op op(grids);
  std::int64_t i = 0;
  for (; i + kCodes <= n; i += kCodes) op.run(a + i, b + i, y + i);
  if (i == n) return;
  const auto rest = static_cast<std::size_t>(n - i);
  std::uint8_t end_a[kCodes] = {}, end_b[kCodes] = {}, end_y[kCodes];
  std::memcpy(end_a, a + i, rest);
  std::memcpy(end_b, b + i, rest);
  op.run(end_a, end_b, end_y);
  std::memcpy(y + i, end_y, rest);
}

void add_fused(const std::uint8_t* a, const std::uint8_t* b, std::uint8_t* y, std::int64_t n,
               const BinaryGrids& grids) {
  if (grids.y.qmin != 0 || grids.y.qmax != 255)
    run<FusedSum<CodeBounds::any>>(a, b, y, n, grids);
  else
    run<FusedSum<CodeBounds::bytes>>(a, b, y, n, grids);
}

void add_integers(const std::uint8_t* a, const std::uint8_t* b, std::uint8_t* y, std::int64_t n,
                  const BinaryGrids& grids) {
  if (grids.y.qmin != 0 || grids.y.qmax != 255)
    run<IntegerSum<CodeBounds::any>>(a, b, y, n, grids);
  else
    run<IntegerSum<CodeBounds::bytes>>(a, b, y, n, grids);
}

void binary(CodeBinary kind, const std::uint8_t* a, const std::uint8_t* b, std::uint8_t* y, std::int64_t n,
            const BinaryGrids& grids) noexcept {
  switch (kind) {
    case CodeBinary::add:
      if (grids.sum.form == QuickSum::Form::integers) return add_integers(a, b, y, n, grids);
      if (grids.sum.form == QuickSum::Form::reals) return add_fused(a, b, y, n, grids);
      return run<Operator<CodeBinary::add>>(a, b, y, n, grids);
    case CodeBinary::sub:
      return run<Operator<CodeBinary::sub>>(a, b, y, n, grids);
    case CodeBinary::mul:
      return run<Operator<CodeBinary::mul>>(a, b, y, n, grids);
  }
}

constexpr int kAllCodes = 256;

/// Calls row(a, expected codes for every b) for each code a until it returns false. Returns whether all calls returned
/// true.
template <class Row>
bool for_all_pairs(const BinaryGrids& grids, Row row) {
  std::uint8_t a[kAllCodes], b[kAllCodes], expected[kAllCodes];
  for (int i = 0; i < kAllCodes; ++i) b[i] = static_cast<std::uint8_t>(i);
  for (int code = 0; code < kAllCodes; ++code) {
    std::memset(a, code, kAllCodes);
    run<Operator<CodeBinary::add>>(a, b, expected, kAllCodes, grids);
    if (!row(a, b, expected)) return false;
  }
  return true;
}

/// Finds the term for which the factors give the defined code for every pair.
bool find_term(BinaryGrids& grids) {
  QuickSum& sum = grids.sum;
  // The interval of terms for which every pair's sum gives its defined code. Sums that saturate bound it on one side
  // only.
  std::int64_t least = -(std::int64_t{1} << 40), most = -least;
  const bool is_found = for_all_pairs(grids, [&](const std::uint8_t* a, const std::uint8_t* b, const std::uint8_t* y) {
    for (int i = 0; i < kAllCodes; ++i) {
      const std::int64_t products = std::int64_t{sum.a} * (a[i] - 128) + std::int64_t{sum.b} * (b[i] - 128);
      const std::int64_t begin = (std::int64_t{y[i]} << sum.shift) - products;
      const std::int64_t last = begin + (std::int64_t{1} << sum.shift) - 1;
      if (y[i] > grids.y.qmin && begin > least) least = begin;
      if (y[i] < grids.y.qmax && last < most) most = last;
    }
    return least <= most;
  });
  if (!is_found) return false;
  const std::int64_t term = (least + most) >> 1;
  sum.term = static_cast<std::int32_t>(term);
  // No sum may exceed int32. Products lie between those of the extreme codes.
  const std::int64_t low = std::int64_t{-128} * (std::int64_t{sum.a} + sum.b) + term;
  const std::int64_t high = std::int64_t{127} * (std::int64_t{sum.a} + sum.b) + term;
  return low >= -(std::int64_t{1} << 31) && high < (std::int64_t{1} << 31);
}

bool find_integers(BinaryGrids& grids) {
  const double a = static_cast<double>(grids.a.scale) / grids.y.scale;
  const double b = static_cast<double>(grids.b.scale) / grids.y.scale;
  if (!(a < 256 && b < 256)) return false;
  // The scaled factors must fit 23 bits, and the sums 31 bits.
  int shift = 22;
  const auto one = [&] { return static_cast<double>(1 << shift); };
  while (shift > 0 && ((a + b) * kAllCodes * one() > 0x1p30 || a * one() > 0x1p22 || b * one() > 0x1p22)) --shift;
  const int nearest_a = static_cast<int>(a * one() + 0.5), nearest_b = static_cast<int>(b * one() + 0.5);
  for (int distance : {0, 1, 2})
    for (int of_a = -distance; of_a <= distance; ++of_a)
      for (int of_b = -distance; of_b <= distance; ++of_b) {
        if (of_a != distance && of_a != -distance && of_b != distance && of_b != -distance) continue;  // tried already
        if (nearest_a + of_a < 0 || nearest_b + of_b < 0) continue;
        grids.sum = {QuickSum::Form::integers, nearest_a + of_a, nearest_b + of_b, 0, shift};
        if (find_term(grids)) return true;
      }
  return false;
}

/// Moves x by `units` in the last place.
float moved(float x, int units) {
  std::int32_t bits;
  std::memcpy(&bits, &x, sizeof bits);
  bits += units;
  std::memcpy(&x, &bits, sizeof x);
  return x;
}

void find_quick_sum(BinaryGrids& grids) noexcept {
  if (find_integers(grids)) return;
  const double a = static_cast<double>(grids.a.scale) / grids.y.scale;
  const double b = static_cast<double>(grids.b.scale) / grids.y.scale;
  const auto factor_a = static_cast<float>(a), factor_b = static_cast<float>(b);
  const auto term = static_cast<float>(-a * grids.a.zero_point - b * grids.b.zero_point);
  for (int of_term : {0, 1, -1, 2, -2, 3, -3})
    for (int of_a : {0, 1, -1})
      for (int of_b : {0, 1, -1}) {
        grids.sum = {.form = QuickSum::Form::reals,
                     .real_a = moved(factor_a, of_a),
                     .real_b = moved(factor_b, of_b),
                     .real_term = moved(term, of_term)};
        const bool is_exact =
            for_all_pairs(grids, [&](const std::uint8_t* xa, const std::uint8_t* xb, const std::uint8_t* expected) {
              std::uint8_t y[kAllCodes];
              add_fused(xa, xb, y, kAllCodes, grids);
              return std::memcmp(y, expected, kAllCodes) == 0;
            });
        if (is_exact) return;
      }
  grids.sum = {};
}

}  // namespace

void (*const kAvx512Binary)(CodeBinary, const std::uint8_t*, const std::uint8_t*, std::uint8_t*, std::int64_t,
                            const BinaryGrids&) noexcept = binary;
void (*const kAvx512FindQuickSum)(BinaryGrids&) noexcept = find_quick_sum;

}  // namespace bitfold

#else

namespace bitfold {
void (*const kAvx512Binary)(CodeBinary, const std::uint8_t*, const std::uint8_t*, std::uint8_t*, std::int64_t,
                            const BinaryGrids&) noexcept = nullptr;
void (*const kAvx512FindQuickSum)(BinaryGrids&) noexcept = nullptr;
}  // namespace bitfold

#endif
