// y = table[x] for 64 codes at a time. vpermi2b selects among 128 bytes by the lower seven bits of each code, once for
// each half of the table, and the eighth bit selects the half. CPUs without VBMI look codes up one by one.
#include "kernels/pointwise/intrinsics.h"

#if defined(__AVX512VBMI__) && defined(__AVX512BW__)

#include <immintrin.h>

namespace bitfold {
namespace {

void lookup(const std::uint8_t* x, std::uint8_t* y, std::int64_t n, const std::uint8_t* table) noexcept {
  const __m512i t0 = _mm512_loadu_si512(table), t1 = _mm512_loadu_si512(table + 64);
  const __m512i t2 = _mm512_loadu_si512(table + 128), t3 = _mm512_loadu_si512(table + 192);
  const auto pick = [&](__m512i codes) __attribute__((always_inline)) {
    const __m512i low = _mm512_permutex2var_epi8(t0, codes, t1), high = _mm512_permutex2var_epi8(t2, codes, t3);
    return _mm512_mask_mov_epi8(low, _mm512_movepi8_mask(codes), high);
  };
  std::int64_t i = 0;
  for (; i + 64 <= n; i += 64) _mm512_storeu_si512(y + i, pick(_mm512_loadu_si512(x + i)));
  if (i == n) return;
  const __mmask64 rest = ~std::uint64_t{0} >> (64 - (n - i));
  _mm512_mask_storeu_epi8(y + i, rest, pick(_mm512_maskz_loadu_epi8(rest, x + i)));
}

}  // namespace

void (*const kVbmiLookup)(const std::uint8_t*, std::uint8_t*, std::int64_t, const std::uint8_t*) noexcept = lookup;

}  // namespace bitfold

#else

namespace bitfold {
void (*const kVbmiLookup)(const std::uint8_t*, std::uint8_t*, std::int64_t, const std::uint8_t*) noexcept = nullptr;
}

#endif
