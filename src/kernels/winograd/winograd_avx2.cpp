// F(4x4, 3x3) with AVX2: transforms 16 input channels or 8 output channels at a time, multiplies pairs of int16 with
// vpmaddwd, and holds 4 tiles times 16 channels in 8 registers.
#include "kernels/winograd/winograd.h"

#if defined(__AVX2__)

#include "kernels/avx2.h"

namespace bitfold {
namespace {

constexpr int kSide = kWinogradSide, kTile = kWinogradTile, kElements = kWinogradElements;
constexpr std::int64_t kMaxTiles = kWinogradMaxTiles, kBlock = kBlockChannels;
constexpr int kMaxRows = 4;
constexpr int kInverseOf9 = 0x38E38E39;  // modulo 2^32
constexpr int kShift = 6;                // 576 = 9 << 6
constexpr std::int64_t kNarrow = 4;      // channels, the last of which may be missing

struct Tile {
  std::int64_t row, column;  // the position of the tile's first output
};

/// B' times six rows or columns of int16, with the instructions of one vector width.
template <class Vector, class Add, class Sub, class Shift>
BITFOLD_INLINE void transform_input(const Vector (&d)[kSide], Vector (&v)[kSide], Add add, Sub sub, Shift times_4) {
  const Vector p = sub(d[4], times_4(d[2])), q = sub(d[3], times_4(d[1]));  // d4 - 4 d2, d3 - 4 d1
  const Vector r = sub(d[4], d[2]), s = sub(d[3], d[1]), t = add(s, s);
  v[0] = add(sub(times_4(d[0]), d[2]), p);  // 4 d0 - 5 d2 + d4
  v[1] = add(p, q);
  v[2] = sub(p, q);
  v[3] = add(r, t);
  v[4] = sub(r, t);
  v[5] = sub(sub(d[5], d[3]), add(t, t));  // 4 d1 - 5 d3 + d5
}
BITFOLD_INLINE void transform_input(const __m256i (&d)[kSide], __m256i (&v)[kSide]) {
  transform_input(
      d, v, [](__m256i a, __m256i b) BITFOLD_INLINE_LAMBDA { return _mm256_add_epi16(a, b); },
      [](__m256i a, __m256i b) BITFOLD_INLINE_LAMBDA { return _mm256_sub_epi16(a, b); },
      [](__m256i a) BITFOLD_INLINE_LAMBDA { return _mm256_slli_epi16(a, 2); });
}
BITFOLD_INLINE void transform_input(const __m128i (&d)[kSide], __m128i (&v)[kSide]) {
  transform_input(
      d, v, [](__m128i a, __m128i b) BITFOLD_INLINE_LAMBDA { return _mm_add_epi16(a, b); },
      [](__m128i a, __m128i b) BITFOLD_INLINE_LAMBDA { return _mm_sub_epi16(a, b); },
      [](__m128i a) BITFOLD_INLINE_LAMBDA { return _mm_slli_epi16(a, 2); });
}

/// A' times six rows or columns; the last one still lacks a factor of 4.
BITFOLD_INLINE void transform_output(const __m256i (&m)[kSide], __m256i (&y)[kTile]) {
  const __m256i a = _mm256_add_epi32(m[1], m[2]), b = _mm256_sub_epi32(m[1], m[2]);
  const __m256i c = _mm256_add_epi32(m[3], m[4]), d = _mm256_sub_epi32(m[3], m[4]);
  const __m256i d2 = _mm256_add_epi32(d, d);
  y[0] = _mm256_add_epi32(m[0], _mm256_add_epi32(a, c));
  y[1] = _mm256_add_epi32(b, d2);
  y[2] = _mm256_add_epi32(a, _mm256_slli_epi32(c, 2));
  y[3] = _mm256_add_epi32(b, _mm256_slli_epi32(_mm256_add_epi32(d2, m[5]), 2));
}

/// Byte offsets from an image's first pixel to a tile's rows, and from a row's start to the tile's columns.
struct TileOffsets {
  std::int64_t rows[kSide], columns[kSide];

  // Outputs past the edge of the image are discarded, so their inputs only have to be readable.
  BITFOLD_INLINE TileOffsets(const WinogradTask& t, const Tile& tile) {
    for (std::int64_t i = 0; i < kSide; ++i) {
      const std::int64_t row = tile.row + i, column = tile.column + i;
      rows[i] = (row < t.out_height + 1 ? row : t.out_height + 1) * t.x_row;
      columns[i] = (column < t.out_width + 1 ? column : t.out_width + 1) * t.in_channels;
    }
  }
};

/// Transforms one tile of 3 or 4 channels into row `index` of the 36 matrices.
void read_narrow_tile(const WinogradTask& t, const Tile& tile, std::int64_t index, std::int16_t* v) noexcept {
  // The rows are transformed first, six adjacent pixels in two overlapping vectors of bytes.
  const TileOffsets offsets(t, tile);
  const std::int64_t bytes = kSide * t.in_channels, second = bytes - 16;
  const bool is_inside = tile.column + kSide <= t.out_width + 2;
  __m256i d[2][kSide];
  unroll<kSide>([&](auto i) BITFOLD_INLINE_LAMBDA {
    const std::uint8_t* x = t.x + offsets.rows[i] + offsets.columns[0];
    std::uint8_t pixels[kSide * kNarrow] = {};
    if (!is_inside) {
      for (std::int64_t j = 0; j < kSide; ++j)
        for (std::int64_t c = 0; c < t.in_channels; ++c)
          pixels[j * t.in_channels + c] = t.x[offsets.rows[i] + offsets.columns[j] + c];
      x = pixels;
    }
    d[0][i] = _mm256_cvtepu8_epi16(_mm_loadu_si128(reinterpret_cast<const __m128i*>(x)));
    d[1][i] = _mm256_cvtepu8_epi16(_mm_loadu_si128(reinterpret_cast<const __m128i*>(x + second)));
  });
  std::int16_t rows[kSide][kSide * kNarrow + kNarrow];
  unroll<2>([&](auto part) BITFOLD_INLINE_LAMBDA {
    __m256i transformed[kSide];
    transform_input(d[part], transformed);
    unroll<kSide>([&](auto i) BITFOLD_INLINE_LAMBDA {
      _mm256_storeu_si256(reinterpret_cast<__m256i*>(rows[i] + part * second), transformed[i]);
    });
  });
  for (int i = 0; i < kSide; ++i) {
    __m128i pixels[kSide], row[kSide];
    unroll<kSide>([&](auto j) BITFOLD_INLINE_LAMBDA {
      pixels[j] = _mm_loadl_epi64(reinterpret_cast<const __m128i*>(rows[i] + j * t.in_channels));
    });
    transform_input(pixels, row);
    std::int16_t* to = v + i * kSide * t.input_stride + index * kNarrow;
    unroll<kSide>([&](auto j) BITFOLD_INLINE_LAMBDA {
      _mm_storel_epi64(reinterpret_cast<__m128i*>(to + j * t.input_stride), row[j]);
    });
  }
}

/// Transforms one tile into row `index` of the 36 matrices.
void read_tile(const WinogradTask& t, const Tile& tile, std::int64_t index, std::int16_t* v) noexcept {
  const TileOffsets offsets(t, tile);
  for (std::int64_t channel = 0; channel < t.in_channels; channel += kBlock) {
    // The last vector overlaps the one before if the channels do not fill whole vectors.
    const std::int64_t c = channel + kBlock <= t.in_channels ? channel : t.in_channels - kBlock;
    __m256i rows[kSide][kSide];
    for (int i = 0; i < kSide; ++i) {
      const std::uint8_t* x = t.x + offsets.rows[i] + c;
      __m256i d[kSide];
      unroll<kSide>([&](auto j) BITFOLD_INLINE_LAMBDA {
        d[j] = _mm256_cvtepu8_epi16(_mm_loadu_si128(reinterpret_cast<const __m128i*>(x + offsets.columns[j])));
      });
      transform_input(d, rows[i]);
    }
    std::int16_t* to = v + index * t.in_channels + c;
    const std::int64_t matrix = t.input_stride;
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
  for (; tile + kMaxRows <= tiles; tile += kMaxRows)
    multiply_rows<kMaxRows>(v + tile * in_channels, w, in_channels, products + tile * kBlock);
  v += tile * in_channels;
  products += tile * kBlock;
  if (tiles - tile == 3) multiply_rows<3>(v, w, in_channels, products);
  if (tiles - tile == 2) multiply_rows<2>(v, w, in_channels, products);
  if (tiles - tile == 1) multiply_rows<1>(v, w, in_channels, products);
}

/// Converts 576 times the sum to the sum.
BITFOLD_INLINE __m256i exact_sums(__m256i y) {
  return _mm256_srai_epi32(_mm256_mullo_epi32(y, _mm256_set1_epi32(kInverseOf9)), kShift);
}

/// Converts 576 times the sums of eight channels to codes.
template <bool kSumsAreSmall>
struct Requantize {
  __m256 multiplier, negative_gain;
  __m256i bias, bias_9;
  CodeRange range;

  BITFOLD_INLINE Requantize(const WinogradTask& t, std::int64_t channel)
      : multiplier(_mm256_loadu_ps(t.multipliers + channel)),
        negative_gain(_mm256_set1_ps(t.output->negative_gain)),
        bias(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(t.bias + channel))),
        bias_9(_mm256_add_epi32(bias, _mm256_slli_epi32(bias, 3))),
        range(*t.output) {}

  BITFOLD_INLINE __m256i steps(__m256i y) const {
    __m256 sums;
    if constexpr (kSumsAreSmall) {
      const __m256i sums_9 = _mm256_add_epi32(_mm256_srai_epi32(y, kShift), bias_9);
      sums = _mm256_mul_ps(_mm256_cvtepi32_ps(sums_9), _mm256_set1_ps(1.0F / 9));
    } else {
      sums = _mm256_cvtepi32_ps(_mm256_add_epi32(exact_sums(y), bias));
    }
    return _mm256_cvtps_epi32(leaky_steps(_mm256_mul_ps(sums, multiplier), negative_gain));
  }

  /// Converts four pixels of eight channels, and stores the first `count` of them.
  BITFOLD_INLINE void operator()(const __m256i (&y)[kTile], std::uint8_t* to, std::int64_t stride,
                                 std::int64_t count) const {
    // Each half holds four channels of four pixels.
    const __m256i codes =
        range(_mm256_packs_epi32(steps(y[0]), steps(y[1])), _mm256_packs_epi32(steps(y[2]), steps(y[3])));
    const __m128i even = _mm256_castsi256_si128(codes), odd = _mm256_extracti128_si256(codes, 1);
    const __m128i pixels[2] = {_mm_unpacklo_epi32(even, odd), _mm_unpackhi_epi32(even, odd)};
    unroll<kTile>([&](auto i) BITFOLD_INLINE_LAMBDA {
      if (i >= count) return;
      if constexpr (i % 2 == 0)
        _mm_storel_epi64(reinterpret_cast<__m128i*>(to + i * stride), pixels[i / 2]);
      else
        _mm_storel_epi64(reinterpret_cast<__m128i*>(to + i * stride), _mm_unpackhi_epi64(pixels[i / 2], pixels[i / 2]));
    });
  }
};

/// Writes eight channels, from `channel` on, of one tile whose products are kWinogradProductStride apart.
template <bool kSumsAreSmall>
void write_tile(const WinogradTask& t, const Tile& tile, const std::int32_t* products, std::int64_t channel) noexcept {
  const std::int64_t channels = t.out_channels - channel;
  if (channels <= 0) return;
  __m256i columns[kSide][kTile];
  for (int i = 0; i < kSide; ++i) {
    __m256i m[kSide];
    unroll<kSide>([&](auto j) BITFOLD_INLINE_LAMBDA {
      m[j] = _mm256_load_si256(reinterpret_cast<const __m256i*>(products + (i * kSide + j) * kWinogradProductStride));
    });
    transform_output(m, columns[i]);
  }
  const bool is_code = t.output->kind == AccumulatorOutput::code && t.steps_fit && channels >= 8;
  const Requantize<kSumsAreSmall> requantize(t, channel);
  const std::int64_t height = t.out_height - tile.row, width = t.out_width - tile.column;
  const std::int64_t y_row = t.y_row, y_pixel = t.y_pixel;
  std::int64_t at = tile.row * y_row + tile.column * y_pixel + channel;
  for (int j = 0; j < kTile && j < width; ++j, at += y_pixel) {
    __m256i m[kSide], y[kTile];
    unroll<kSide>([&](auto i) BITFOLD_INLINE_LAMBDA { m[i] = columns[i][j]; });
    transform_output(m, y);
    if (is_code) {
      requantize(y, static_cast<std::uint8_t*>(t.y) + at, y_row, height);
      continue;
    }
    for (int i = 0; i < kTile && i < height; ++i)
      store(_mm256_add_epi32(exact_sums(y[i]), requantize.bias), t.multipliers + channel, *t.output, t.y,
            at + i * y_row, channels);
  }
}

void run(const WinogradTask& t) noexcept {
  auto* v = reinterpret_cast<std::int16_t*>(t.scratch);
  const std::int64_t depth = t.depth, input_stride = t.input_stride;
  auto* products = reinterpret_cast<std::int32_t*>(v + kElements * input_stride);
  const auto read = t.in_channels <= kNarrow ? read_narrow_tile : read_tile;
  const auto write = t.range == WinogradRange::small ? write_tile<true> : write_tile<false>;
  const std::int64_t tiles_wide = (t.out_width + kTile - 1) / kTile;
  const std::int64_t blocks = (t.out_channels + kBlock - 1) / kBlock;
  const std::int64_t begin = t.tile_row_begin * tiles_wide, end = t.tile_row_end * tiles_wide;
  for (std::int64_t first = begin; first < end; first += kMaxTiles) {
    const std::int64_t tiles = first + kMaxTiles < end ? kMaxTiles : end - first;
    Tile at[kMaxTiles];
    for (std::int64_t i = 0; i < tiles; ++i) {
      at[i] = {(first + i) / tiles_wide * kTile, (first + i) % tiles_wide * kTile};
      read(t, at[i], i, v);
    }
    for (std::int64_t block = 0; block < blocks; ++block) {
      for (std::int64_t e = 0; e < kElements; ++e)
        multiply(v + e * input_stride, t.weights + (e * blocks + block) * depth * kBlock, depth, tiles,
                 products + e * kWinogradProductStride);
      for (std::int64_t i = 0; i < tiles; ++i)
        for (std::int64_t half = 0; half < 2; ++half)
          write(t, at[i], products + i * kBlock + half * 8, block * kBlock + half * 8);
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
