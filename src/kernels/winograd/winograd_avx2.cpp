// F(4x4, 3x3) with AVX2: transforms 16 input channels or 8 output channels at a time, multiplies pairs of int16 by
// vpmaddwd, 4 tiles times 16 channels in 8 registers.
#include "kernels/winograd/winograd.h"

#if defined(__AVX2__)

#include "kernels/avx2.h"

namespace bitfold {
namespace {

constexpr int kSide = kWinogradSide, kTile = kWinogradTile, kElements = kWinogradElements;
constexpr std::int64_t kMostTiles = kWinogradMostTiles, kBlock = 16;
constexpr int kMostRows = 4;
constexpr int kInverseOf9 = 0x38E38E39;  // modulo 2^32
constexpr int kShift = 6;                // 576 = 9 << 6

struct Tile {
  std::int64_t row, column;  // of its first output
};

/// B' of six rows or columns.
BITFOLD_INLINE void transform_input(const __m256i (&d)[kSide], __m256i (&v)[kSide]) {
  const __m256i p = _mm256_sub_epi16(d[4], _mm256_slli_epi16(d[2], 2));  // d4 - 4 d2
  const __m256i q = _mm256_sub_epi16(d[3], _mm256_slli_epi16(d[1], 2));  // d3 - 4 d1
  const __m256i r = _mm256_sub_epi16(d[4], d[2]), s = _mm256_sub_epi16(d[3], d[1]);
  const __m256i t = _mm256_add_epi16(s, s);
  v[0] = _mm256_add_epi16(_mm256_sub_epi16(_mm256_slli_epi16(d[0], 2), d[2]), p);  // 4 d0 - 5 d2 + d4
  v[1] = _mm256_add_epi16(p, q);
  v[2] = _mm256_sub_epi16(p, q);
  v[3] = _mm256_add_epi16(r, t);
  v[4] = _mm256_sub_epi16(r, t);
  v[5] = _mm256_sub_epi16(_mm256_sub_epi16(d[5], d[3]), _mm256_add_epi16(t, t));  // 4 d1 - 5 d3 + d5
}

/// A' of six rows or columns, the last of which still lacks a factor of 4.
BITFOLD_INLINE void transform_output(const __m256i (&m)[kSide], __m256i (&y)[kTile]) {
  const __m256i a = _mm256_add_epi32(m[1], m[2]), b = _mm256_sub_epi32(m[1], m[2]);
  const __m256i c = _mm256_add_epi32(m[3], m[4]), d = _mm256_sub_epi32(m[3], m[4]);
  const __m256i d2 = _mm256_add_epi32(d, d);
  y[0] = _mm256_add_epi32(m[0], _mm256_add_epi32(a, c));
  y[1] = _mm256_add_epi32(b, d2);
  y[2] = _mm256_add_epi32(a, _mm256_slli_epi32(c, 2));
  y[3] = _mm256_add_epi32(b, _mm256_slli_epi32(_mm256_add_epi32(d2, m[5]), 2));
}

/// One tile into row `index` of the 36 matrices [kMostTiles][in_channels].
void read_tile(const WinogradTask& t, const Tile& tile, std::int64_t index, std::int16_t* v) noexcept {
  // Outputs beyond the image's edge are thrown away: what they read is of no account, as long as it can be read.
  std::int64_t offsets[2][kSide];
  for (std::int64_t i = 0; i < kSide; ++i) {
    const std::int64_t row = tile.row + i, column = tile.column + i;
    offsets[0][i] = (row < t.out_height + 1 ? row : t.out_height + 1) * t.x_row;
    offsets[1][i] = (column < t.out_width + 1 ? column : t.out_width + 1) * t.in_channels;
  }
  for (std::int64_t channel = 0; channel < t.in_channels; channel += kBlock) {
    // The last vector overlaps the one before where the channels fill no whole vector.
    const std::int64_t c = channel + kBlock <= t.in_channels ? channel : t.in_channels - kBlock;
    __m256i rows[kSide][kSide];
    for (int i = 0; i < kSide; ++i) {
      const std::uint8_t* x = t.x + offsets[0][i] + c;
      __m256i d[kSide];
      unroll<kSide>([&](auto j) BITFOLD_INLINE_LAMBDA {
        d[j] = _mm256_cvtepu8_epi16(_mm_loadu_si128(reinterpret_cast<const __m128i*>(x + offsets[1][j])));
      });
      transform_input(d, rows[i]);
    }
    std::int16_t* to = v + index * t.in_channels + c;
    const std::int64_t matrix = kMostTiles * t.in_channels;
    for (int j = 0; j < kSide; ++j) {
      __m256i d[kSide], column[kSide];
      unroll<kSide>([&](auto i) BITFOLD_INLINE_LAMBDA { d[i] = rows[i][j]; });
      transform_input(d, column);
      unroll<kSide>([&](auto i) BITFOLD_INLINE_LAMBDA {
        _mm256_storeu_si256(reinterpret_cast<__m256i*>(to + (i * kSide + j) * matrix), column[i]);
      });
    }
  }
}

/// products[tile][16] = v[tile][in_channels] times w[in_channels][16], modulo 2^32.
template <int kRows>
BITFOLD_INLINE void multiply_rows(const std::int16_t* v, const std::int16_t* w, std::int64_t in_channels,
                                  std::int32_t* products) {
  __m256i sums[kRows][2];
  unroll<kRows>([&](auto r) BITFOLD_INLINE_LAMBDA { sums[r][0] = sums[r][1] = _mm256_setzero_si256(); });
  for (std::int64_t c = 0; c < in_channels; c += 2, w += 2 * kBlock) {
    const __m256i w0 = _mm256_load_si256(reinterpret_cast<const __m256i*>(w));
    const __m256i w1 = _mm256_load_si256(reinterpret_cast<const __m256i*>(w + kBlock));
    unroll<kRows>([&](auto r) BITFOLD_INLINE_LAMBDA {
      std::int32_t pair;
      std::memcpy(&pair, v + r * in_channels + c, sizeof pair);
      const __m256i x = _mm256_set1_epi32(pair);
      sums[r][0] = _mm256_add_epi32(sums[r][0], _mm256_madd_epi16(x, w0));
      sums[r][1] = _mm256_add_epi32(sums[r][1], _mm256_madd_epi16(x, w1));
    });
  }
  unroll<kRows>([&](auto r) BITFOLD_INLINE_LAMBDA {
    _mm256_store_si256(reinterpret_cast<__m256i*>(products + r * kBlock), sums[r][0]);
    _mm256_store_si256(reinterpret_cast<__m256i*>(products + r * kBlock + 8), sums[r][1]);
  });
}

void multiply(const std::int16_t* v, const std::int16_t* w, std::int64_t in_channels, std::int64_t tiles,
              std::int32_t* products) noexcept {
  std::int64_t tile = 0;
  for (; tile + kMostRows <= tiles; tile += kMostRows)
    multiply_rows<kMostRows>(v + tile * in_channels, w, in_channels, products + tile * kBlock);
  v += tile * in_channels;
  products += tile * kBlock;
  if (tiles - tile == 3) multiply_rows<3>(v, w, in_channels, products);
  if (tiles - tile == 2) multiply_rows<2>(v, w, in_channels, products);
  if (tiles - tile == 1) multiply_rows<1>(v, w, in_channels, products);
}

/// Eight channels from `channel` on of one tile, whose products lie kMostTiles * kBlock apart.
void write_tile(const WinogradTask& t, const Tile& tile, const std::int32_t* products, std::int64_t channel) noexcept {
  __m256i columns[kSide][kTile];
  for (int i = 0; i < kSide; ++i) {
    __m256i m[kSide];
    unroll<kSide>([&](auto j) BITFOLD_INLINE_LAMBDA {
      m[j] = _mm256_load_si256(reinterpret_cast<const __m256i*>(products + (i * kSide + j) * kMostTiles * kBlock));
    });
    transform_output(m, columns[i]);
  }
  const __m256i bias = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(t.bias + channel));
  const __m256i inverse = _mm256_set1_epi32(kInverseOf9);
  const std::int64_t height = t.out_height - tile.row, width = t.out_width - tile.column;
  for (int j = 0; j < kTile && j < width; ++j) {
    __m256i m[kSide], y[kTile];
    unroll<kSide>([&](auto i) BITFOLD_INLINE_LAMBDA { m[i] = columns[i][j]; });
    transform_output(m, y);
    for (int i = 0; i < kTile && i < height; ++i) {
      const __m256i exact = _mm256_srai_epi32(_mm256_mullo_epi32(y[i], inverse), kShift);
      store(_mm256_add_epi32(exact, bias), t.multipliers + channel, *t.output, t.y,
            (tile.row + i) * t.y_row + (tile.column + j) * t.y_pixel + channel, t.out_channels - channel);
    }
  }
}

void run(const WinogradTask& t) noexcept {
  auto* v = reinterpret_cast<std::int16_t*>(t.scratch);
  const std::int64_t v_bytes = (kElements * kMostTiles * t.in_channels * 2 + 63) / 64 * 64;
  auto* products = reinterpret_cast<std::int32_t*>(t.scratch + v_bytes);
  const std::int64_t tiles_wide = (t.out_width + kTile - 1) / kTile;
  const std::int64_t blocks = (t.out_channels + kBlock - 1) / kBlock, block_weights = t.in_channels * kBlock;
  const std::int64_t begin = t.tile_row_begin * tiles_wide, end = t.tile_row_end * tiles_wide;
  for (std::int64_t first = begin; first < end; first += kMostTiles) {
    const std::int64_t tiles = first + kMostTiles < end ? kMostTiles : end - first;
    const auto tile_at = [&](std::int64_t i) {
      return Tile{(first + i) / tiles_wide * kTile, (first + i) % tiles_wide * kTile};
    };
    for (std::int64_t i = 0; i < tiles; ++i) read_tile(t, tile_at(i), i, v);
    for (std::int64_t block = 0; block < blocks; ++block) {
      for (std::int64_t e = 0; e < kElements; ++e)
        multiply(v + e * kMostTiles * t.in_channels, t.weights + (e * blocks + block) * block_weights, t.in_channels,
                 tiles, products + e * kMostTiles * kBlock);
      for (std::int64_t i = 0; i < tiles; ++i)
        for (std::int64_t half = 0; half < 2; ++half)
          write_tile(t, tile_at(i), products + i * kBlock + half * 8, block * kBlock + half * 8);
    }
  }
}

constexpr WinogradKernel kKernel{"avx2 4x4", Isa::avx2, run};

}  // namespace

const WinogradKernel* const kAvx2Winograd = &kKernel;

}  // namespace bitfold

#else

namespace bitfold {
const WinogradKernel* const kAvx2Winograd = nullptr;
}

#endif
