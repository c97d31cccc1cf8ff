// Conversion between the layouts of the graph's interface and of the engine, tile by tile. Included once per
// instruction set, inside its namespace (see simd.cpp).

// A tile of at most kRows channels times kPixels pixels, as u8 codes channel by channel. It fits the first-level cache
// together with its source and destination.
constexpr std::int64_t kRows = 16, kPixels = 256;

const hn::ScalableTag<std::uint8_t> kBytes;

constexpr int kSquare = 16;
static_assert(kRows == kSquare);

// Transposes 16 rows of 16 bytes and stores the first `count` columns.
HWY_INLINE void transpose_square(const std::uint8_t* rows, std::int64_t row_stride, std::uint8_t* columns,
                                 std::int64_t column_stride, std::int64_t count) {
  const hn::FixedTag<std::uint8_t, kSquare> square;
  hn::Vec<decltype(square)> a[kSquare], b[kSquare];
  for (int r = 0; r < kSquare; ++r) a[r] = hn::LoadU(square, rows + r * row_stride);
  // Each round moves one bit of the row index into the column index; after four rounds they are exchanged.
  for (int round = 0; round < 4; ++round) {
    for (int i = 0; i < kSquare / 2; ++i) {
      b[2 * i] = hn::InterleaveLower(square, a[i], a[i + kSquare / 2]);
      b[2 * i + 1] = hn::InterleaveUpper(square, a[i], a[i + kSquare / 2]);
    }
    for (int i = 0; i < kSquare; ++i) a[i] = b[i];
  }
  for (std::int64_t c = 0; c < count; ++c) hn::StoreU(a[kSquare - count + c], square, columns + c * column_stride);
}

// tile [rows][kPixels] -> nhwc [count][stride]
void interleave(const std::uint8_t* tile, std::int64_t rows, std::int64_t count, std::uint8_t* nhwc,
                std::int64_t stride) {
  std::int64_t p = 0;
  const auto step = static_cast<std::int64_t>(hn::Lanes(kBytes));
  if (rows == 3 && stride == 3)
    for (; p + step <= count; p += step)
      hn::StoreInterleaved3(hn::LoadU(kBytes, tile + p), hn::LoadU(kBytes, tile + kPixels + p),
                            hn::LoadU(kBytes, tile + 2 * kPixels + p), kBytes, nhwc + 3 * p);
  if (rows == kSquare)
    for (; p + kSquare <= count; p += kSquare) transpose_square(tile + p, kPixels, nhwc + p * stride, stride, kSquare);
  for (; p < count; ++p)
    for (std::int64_t c = 0; c < rows; ++c) nhwc[p * stride + c] = tile[c * kPixels + p];
}

// `before` is the number of channels of each pixel that precede the wanted ones.
void deinterleave(const std::uint8_t* nhwc, std::int64_t stride, std::uint8_t* tile, std::int64_t rows,
                  std::int64_t count, std::int64_t before) {
  std::int64_t p = 0;
  const auto step = static_cast<std::int64_t>(hn::Lanes(kBytes));
  if (rows == 3 && stride == 3)
    for (; p + step <= count; p += step) {
      hn::Vec<decltype(kBytes)> a, b, c;
      hn::LoadInterleaved3(kBytes, nhwc + 3 * p, a, b, c);
      hn::StoreU(a, kBytes, tile + p);
      hn::StoreU(b, kBytes, tile + kPixels + p);
      hn::StoreU(c, kBytes, tile + 2 * kPixels + p);
    }
  if (rows + before >= kSquare)
    for (; p + kSquare <= count; p += kSquare)
      transpose_square(nhwc + p * stride + rows - kSquare, stride, tile + p, kPixels, rows);
  for (; p < count; ++p)
    for (std::int64_t c = 0; c < rows; ++c) tile[c * kPixels + p] = nhwc[p * stride + c];
}

// Whether both layouts are the same contiguous run, so that nothing needs to be transposed.
bool is_contiguous(const PixelLayout& layout) {
  if (layout.channels == 1) return layout.pixels == 1 || layout.pixel_stride == 1;
  return layout.pixels == 1 && plane_of(layout) == 1;
}

// Calls tile(first channel, channels, first pixel, pixels) for every tile of an image.
template <class Tile>
HWY_INLINE void for_tiles(const PixelLayout& layout, Tile tile) {
  for (std::int64_t p = 0; p < layout.pixels; p += kPixels)
    for (std::int64_t c = 0; c < layout.channels; c += kRows)
      tile(c, HWY_MIN(kRows, layout.channels - c), p, HWY_MIN(kPixels, layout.pixels - p));
}

void quantize_nchw_to_nhwc(const float* nchw, std::uint8_t* nhwc, const PixelLayout& layout,
                           const ByteGrid& grid) noexcept {
  if (is_contiguous(layout)) return quantize(nchw, nhwc, layout.channels * layout.pixels, grid);
  const std::int64_t plane = plane_of(layout);
  // Only a small piece of each plane is read at a time, too little for the hardware prefetchers. An image comes from
  // main memory and is prefetched; a tensor with more planes is an inner value of the network, which is still in a
  // cache.
  const std::int64_t ahead = layout.channels <= 4 ? kPixels : 0;
  HWY_ALIGN std::uint8_t tile[kRows * kPixels];
  for_tiles(layout, [&](std::int64_t c, std::int64_t rows, std::int64_t p, std::int64_t count) {
    for (std::int64_t r = 0; r < rows; ++r) {
      const float* from = nchw + (c + r) * plane + p;
      for (std::int64_t next = 0; next < ahead; next += 16) hwy::Prefetch(from + kPixels + next);
      quantize(from, tile + r * kPixels, count, grid);
    }
    interleave(tile, rows, count, nhwc + p * layout.pixel_stride + c, layout.pixel_stride);
  });
}

void dequantize_nhwc_to_nchw(const std::uint8_t* nhwc, float* nchw, const PixelLayout& layout,
                             const ByteGrid& grid) noexcept {
  if (is_contiguous(layout)) return dequantize(nhwc, nchw, layout.channels * layout.pixels, grid);
  const std::int64_t plane = plane_of(layout);
  HWY_ALIGN std::uint8_t tile[kRows * kPixels];
  for_tiles(layout, [&](std::int64_t c, std::int64_t rows, std::int64_t p, std::int64_t count) {
    deinterleave(nhwc + p * layout.pixel_stride + c, layout.pixel_stride, tile, rows, count, c);
    for (std::int64_t r = 0; r < rows; ++r) dequantize(tile + r * kPixels, nchw + (c + r) * plane + p, count, grid);
  });
}
