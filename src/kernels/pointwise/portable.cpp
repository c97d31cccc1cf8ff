#include "kernels/pointwise/portable.h"

#include <algorithm>
#include <cstring>

namespace bitfold {
namespace {

using namespace pointwise_element;

void lookup(const std::uint8_t* x, std::uint8_t* y, std::int64_t n, const std::uint8_t* table) noexcept {
  // Eight codes per load and store: to the compiler, a store of bytes might alias the table.
  std::int64_t i = 0;
  for (; i + 8 <= n; i += 8) {
    std::uint64_t codes, found = 0;
    std::memcpy(&codes, x + i, sizeof codes);
    for (int b = 0; b < 64; b += 8) found |= std::uint64_t{table[codes >> b & 0xFF]} << b;
    std::memcpy(y + i, &found, sizeof found);
  }
  for (; i < n; ++i) y[i] = table[x[i]];
}

void binary_codes(CodeBinary kind, const std::uint8_t* a, const std::uint8_t* b, std::uint8_t* y, std::int64_t n,
                  const BinaryGrids& grids) noexcept {
  for (std::int64_t i = 0; i < n; ++i) y[i] = binary(kind, a[i], b[i], grids);
}

void max_pool(const std::uint8_t* x, std::uint8_t* y, const PoolShape& s, std::int64_t begin,
              std::int64_t end) noexcept {
  for (std::int64_t row = begin; row < end; ++row)
    for (std::int64_t column = 0; column < s.out_width; ++column) {
      std::uint8_t* to = y + (row * s.out_width + column) * s.channels;
      std::fill_n(to, s.channels, std::uint8_t{0});
      for_taps(x, s, row, column, [&](const std::uint8_t* from) {
        for (std::int64_t c = 0; c < s.channels; ++c) to[c] = std::max(to[c], from[c]);
      });
    }
}

void average_pool(const std::uint8_t* x, std::uint8_t* y, const PoolShape& s, const AveragePool& pool,
                  std::int64_t begin, std::int64_t end) noexcept {
  constexpr std::int64_t kChunk = 64;  // sums kept on the stack
  for (std::int64_t row = begin; row < end; ++row)
    for (std::int64_t column = 0; column < s.out_width; ++column)
      for (std::int64_t c0 = 0; c0 < s.channels; c0 += kChunk) {
        const std::int64_t count = std::min(kChunk, s.channels - c0);
        std::int32_t sums[kChunk] = {};
        const std::int64_t inside = for_taps(x, s, row, column, [&](const std::uint8_t* from) {
          for (std::int64_t c = 0; c < count; ++c) sums[c] += from[c0 + c];
        });
        const Averaging how(s, pool, inside);
        std::uint8_t* to = y + (row * s.out_width + column) * s.channels + c0;
        for (std::int64_t c = 0; c < count; ++c) to[c] = average(sums[c], how, pool.y);
      }
}

}  // namespace

const PointwiseKernels kPortablePointwiseKernels{
    .name = "portable",
    .isa = Isa::portable,
    .lookup = lookup,
    .binary = binary_codes,
    .find_quick_sum = nullptr,
    .max_pool = max_pool,
    .average_pool = average_pool,
};

}  // namespace bitfold
