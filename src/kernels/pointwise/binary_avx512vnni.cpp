// Sums, differences and products of codes with AVX-512, 64 at a time.
//
// The definition divides by the output's scale, and a division takes as long as all the rest. The product with the
// scale's reciprocal has two roundings more: it is off by less than 2^-22 of itself, so by less than 2^-13 where it
// matters, below 512 steps. Unless the product is that close to halfway between two steps, both round to the same one.
// Where any of 64 is, they are divided. Scales that are powers of two apart make ties, and divisions, common.
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

template <CodeBinary kKind>
void run(const std::uint8_t* a, const std::uint8_t* b, std::uint8_t* y, std::int64_t n, const BinaryGrids& grids) {
  const Operator<kKind> op(grids);
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

void binary(CodeBinary kind, const std::uint8_t* a, const std::uint8_t* b, std::uint8_t* y, std::int64_t n,
            const BinaryGrids& grids) noexcept {
  switch (kind) {
    case CodeBinary::add:
      return run<CodeBinary::add>(a, b, y, n, grids);
    case CodeBinary::sub:
      return run<CodeBinary::sub>(a, b, y, n, grids);
    case CodeBinary::mul:
      return run<CodeBinary::mul>(a, b, y, n, grids);
  }
}

}  // namespace

void (*const kAvx512Binary)(CodeBinary, const std::uint8_t*, const std::uint8_t*, std::uint8_t*, std::int64_t,
                            const BinaryGrids&) noexcept = binary;

}  // namespace bitfold

#else

namespace bitfold {
void (*const kAvx512Binary)(CodeBinary, const std::uint8_t*, const std::uint8_t*, std::uint8_t*, std::int64_t,
                            const BinaryGrids&) noexcept = nullptr;
}

#endif
