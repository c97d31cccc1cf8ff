// Sums, differences and products of codes with AVX-512, 64 at a time.
//
// The definition divides by the output's scale, and a division takes as long as all the rest. The product with the
// scale's reciprocal has two roundings more: it is off by less than 2^-22 of itself, so by less than 2^-13 where it
// matters, below 512 steps. Unless the product is that close to halfway between two steps, both round to the same one.
// Where any of 64 is, they are divided. Scales that are powers of two apart make ties, and divisions, common.
//
// A sum of two codes on given grids is a function of 65536 pairs only. Two fused multiply-adds with factors over the
// output's scale take half the time of the above, and their error matters only for the few pairs whose sum lies next to
// halfway between two steps: often for none, else mostly for none once a factor or the term is moved by a unit or two
// in its last place. So all pairs are tried, beforehand.
#include "kernels/pointwise/intrinsics.h"

#if defined(__AVX512VNNI__) && defined(__AVX512BW__) && defined(__AVX512DQ__)

#include <cstring>

#include "kernels/avx512.h"

namespace bitfold {
namespace {

constexpr int kCodes = 64, kLanes = 16, kQuarters = kCodes / kLanes;
constexpr float kSafe = 0.5F - 0x1p-12F;   // twice the bound above
constexpr float kMostScale = 0x1p118F;     // beyond, reals or sums of them overflow, or the reciprocal is subnormal
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
        has_reciprocal(grids.a.scale < kMostScale && grids.b.scale < kMostScale && grids.y.scale < kMostScale) {}

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
        // The maximum returns its second operand for NaN: the lowest code, as in the definition.
        steps[q] = requantizer.round(_mm512_max_ps(_mm512_div_ps(reals[q], scale), low));
      });
    _mm512_storeu_si512(y, requantizer.codes(steps[0], steps[1], steps[2], steps[3]));
  }
};

/// The sum as FusedSum has it.
template <CodeBounds kBounds>
struct FusedOperator {
  __m512 a, b, term;
  Requantizer<true, kBounds> requantizer;

  explicit FusedOperator(const BinaryGrids& grids)
      : a(_mm512_set1_ps(grids.sum.a)),
        b(_mm512_set1_ps(grids.sum.b)),
        term(_mm512_set1_ps(grids.sum.term)),
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
    run<FusedOperator<CodeBounds::any>>(a, b, y, n, grids);
  else if (grids.y.zero_point != 0)
    run<FusedOperator<CodeBounds::bytes>>(a, b, y, n, grids);
  else
    run<FusedOperator<CodeBounds::bytes_from_zero>>(a, b, y, n, grids);
}

void binary(CodeBinary kind, const std::uint8_t* a, const std::uint8_t* b, std::uint8_t* y, std::int64_t n,
            const BinaryGrids& grids) noexcept {
  switch (kind) {
    case CodeBinary::add:
      if (grids.sum.is_exact) return add_fused(a, b, y, n, grids);
      return run<Operator<CodeBinary::add>>(a, b, y, n, grids);
    case CodeBinary::sub:
      return run<Operator<CodeBinary::sub>>(a, b, y, n, grids);
    case CodeBinary::mul:
      return run<Operator<CodeBinary::mul>>(a, b, y, n, grids);
  }
}

bool is_exact_for_all_pairs(const BinaryGrids& grids) {
  constexpr int kCount = 256;
  std::uint8_t a[kCount], b[kCount], expected[kCount], y[kCount];
  for (int i = 0; i < kCount; ++i) b[i] = static_cast<std::uint8_t>(i);
  for (int code = 0; code < kCount; ++code) {
    std::memset(a, code, kCount);
    run<Operator<CodeBinary::add>>(a, b, expected, kCount, grids);
    add_fused(a, b, y, kCount, grids);
    if (std::memcmp(y, expected, kCount) != 0) return false;
  }
  return true;
}

/// `units` further in the last place.
float moved(float x, int units) {
  std::int32_t bits;
  std::memcpy(&bits, &x, sizeof bits);
  bits += units;
  std::memcpy(&x, &bits, sizeof x);
  return x;
}

void find_fused_sum(BinaryGrids& grids) noexcept {
  const double a = static_cast<double>(grids.a.scale) / grids.y.scale;
  const double b = static_cast<double>(grids.b.scale) / grids.y.scale;
  const auto factor_a = static_cast<float>(a), factor_b = static_cast<float>(b);
  const auto term = static_cast<float>(-a * grids.a.zero_point - b * grids.b.zero_point);
  for (int of_term : {0, 1, -1, 2, -2, 3, -3})
    for (int of_a : {0, 1, -1})
      for (int of_b : {0, 1, -1}) {
        grids.sum = {true, moved(factor_a, of_a), moved(factor_b, of_b), moved(term, of_term)};
        if (is_exact_for_all_pairs(grids)) return;
      }
  grids.sum = {};
}

}  // namespace

void (*const kAvx512Binary)(CodeBinary, const std::uint8_t*, const std::uint8_t*, std::uint8_t*, std::int64_t,
                            const BinaryGrids&) noexcept = binary;
void (*const kAvx512FindFusedSum)(BinaryGrids&) noexcept = find_fused_sum;

}  // namespace bitfold

#else

namespace bitfold {
void (*const kAvx512Binary)(CodeBinary, const std::uint8_t*, const std::uint8_t*, std::uint8_t*, std::int64_t,
                            const BinaryGrids&) noexcept = nullptr;
void (*const kAvx512FindFusedSum)(BinaryGrids&) noexcept = nullptr;
}  // namespace bitfold

#endif
