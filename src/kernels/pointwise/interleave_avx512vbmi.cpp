// Interleaves the pixels of two rows; vpermi2b selects 64 bytes out of 128.
#include "kernels/pointwise/intrinsics.h"

#if defined(__AVX512VBMI__) && defined(__AVX512BW__)

#include <immintrin.h>

namespace bitfold {
namespace {

__mmask64 first_bytes(std::int64_t count) { return ~std::uint64_t{0} >> (64 - count); }  // count is 1 .. 64

void interleave(const std::uint8_t* a, const std::uint8_t* b, std::uint8_t* y, std::int64_t channels,
                std::int64_t pixels) noexcept {
  const std::int64_t pair = 2 * channels, step = 64 / pair;
  alignas(64) std::uint8_t order[64] = {};
  std::uint8_t* next = order;
  for (std::int64_t p = 0; p < step * channels; p += channels)
    for (std::int64_t row = 0; row < 128; row += 64)
      for (std::int64_t c = 0; c < channels; ++c) *next++ = static_cast<std::uint8_t>(row + p + c);
  const __m512i picked = _mm512_load_si512(order);
  std::int64_t p = 0;
  // Whole vectors while enough of the row is left; each store overwrites the excess bytes of the one before.
  for (; (pixels - p) * channels >= 64; p += step)
    _mm512_storeu_si512(y + p * pair, _mm512_permutex2var_epi8(_mm512_loadu_si512(a + p * channels), picked,
                                                               _mm512_loadu_si512(b + p * channels)));
  for (; p < pixels; p += step) {
    const std::int64_t count = pixels - p < step ? pixels - p : step;
    const __mmask64 half = first_bytes(count * channels);
    const __m512i rows = _mm512_permutex2var_epi8(_mm512_maskz_loadu_epi8(half, a + p * channels), picked,
                                                  _mm512_maskz_loadu_epi8(half, b + p * channels));
    _mm512_mask_storeu_epi8(y + p * pair, first_bytes(count * pair), rows);
  }
}

}  // namespace

void (*const kVbmiInterleave)(const std::uint8_t*, const std::uint8_t*, std::uint8_t*, std::int64_t,
                              std::int64_t) noexcept = interleave;

}  // namespace bitfold

#else

namespace bitfold {
void (*const kVbmiInterleave)(const std::uint8_t*, const std::uint8_t*, std::uint8_t*, std::int64_t,
                              std::int64_t) noexcept = nullptr;
}

#endif
