// The conversions with Google Highway, compiled once per instruction set, and the choice among them.
//
// Each loop handles a vector of N floats at a time. What is left over is done by one more vector that ends at the last
// element and overlaps the one before (conversions are pure, so doing an element twice changes nothing), or, where
// there is not even one vector, element by element in plain C++.
//
// SSE is not offered: a CPU without AVX2 runs the portable kernels, which Highway's scalar target stands for here.
#ifdef BITFOLD_PORTABLE
#define HWY_COMPILE_ONLY_SCALAR
#else
#define HWY_DISABLED_TARGETS (HWY_SSSE3 | HWY_SSE4)
#endif
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/convert/simd.cpp"
#include <hwy/foreach_target.h>  // must come before highway.h
#include <hwy/highway.h>

#include "kernels/convert/portable.h"

HWY_BEFORE_NAMESPACE();
namespace bitfold {
namespace HWY_NAMESPACE {

#if HWY_TARGET == HWY_SCALAR || HWY_TARGET == HWY_EMU128

const ConvertKernels* kernels_of_target() { return &kPortableConvertKernels; }

#else

namespace hn = hwy::HWY_NAMESPACE;

const hn::ScalableTag<float> kFloats;
const hn::RebindToSigned<decltype(kFloats)> kInts;
using FloatVector = hn::Vec<decltype(kFloats)>;

// Calls block(i) for i = 0, N, 2N, ... and an overlapping last one; single(i) for each element when n < N.
template <class Block, class Single>
HWY_INLINE void for_blocks(std::int64_t n, std::int64_t block_size, Block block, Single single) {
  if (n < block_size) {
    for (std::int64_t i = 0; i < n; ++i) single(i);
    return;
  }
  std::int64_t i = 0;
  for (; i + block_size <= n; i += block_size) block(i);
  if (i < n) block(n - block_size);
}

HWY_INLINE std::int64_t lanes() { return static_cast<std::int64_t>(hn::Lanes(kFloats)); }

template <class Code>
void quantize(const float* x, Code* codes, std::int64_t n, const ByteGrid& grid) noexcept {
  const convert_element::Bounds bounds(grid);
  const auto scale = hn::Set(kFloats, grid.scale), low = hn::Set(kFloats, bounds.low),
             high = hn::Set(kFloats, bounds.high);
  const auto zero_point = hn::Set(kInts, grid.zero_point);
  const hn::Rebind<Code, decltype(kFloats)> bytes;
  for_blocks(
      n, lanes(),
      [&](std::int64_t i) {
        auto steps = hn::Div(hn::LoadU(kFloats, x + i), scale);
        steps = hn::IfThenElse(hn::Gt(steps, low), steps, low);  // NaN becomes low on every CPU, where Max would differ
        steps = hn::Min(steps, high);
        const auto code = hn::Add(hn::NearestInt(steps), zero_point);
        hn::StoreU(hn::DemoteTo(bytes, code), bytes, codes + i);
      },
      [&](std::int64_t i) { codes[i] = convert_element::quantize<Code>(x[i], grid, bounds); });
}

template <class Code>
void dequantize(const Code* codes, float* x, std::int64_t n, const ByteGrid& grid) noexcept {
  const auto scale = hn::Set(kFloats, grid.scale);
  const auto zero_point = hn::Set(kInts, grid.zero_point);
  const hn::Rebind<Code, decltype(kFloats)> bytes;
  for_blocks(
      n, lanes(),
      [&](std::int64_t i) {
        const auto steps = hn::Sub(hn::PromoteTo(kInts, hn::LoadU(bytes, codes + i)), zero_point);
        hn::StoreU(hn::Mul(hn::ConvertTo(kFloats, steps), scale), kFloats, x + i);
      },
      [&](std::int64_t i) { x[i] = convert_element::dequantize(codes[i], grid); });
}

void min_max(const float* x, std::int64_t n, float* min, float* max) noexcept {
  if (n < lanes()) return kPortableConvertKernels.min_max(x, n, min, max);
  auto low = hn::LoadU(kFloats, x), high = low;
  for_blocks(
      n, lanes(),
      [&](std::int64_t i) {
        const auto v = hn::LoadU(kFloats, x + i);
        low = hn::Min(low, v);
        high = hn::Max(high, v);
      },
      [](std::int64_t) {});
  *min = hn::GetLane(hn::MinOfLanes(kFloats, low)) + 0.0F;  // -0 to 0, see convert.h
  *max = hn::GetLane(hn::MaxOfLanes(kFloats, high)) + 0.0F;
}

std::int64_t find_non_finite(const float* x, std::int64_t n) noexcept {
  const auto exponent = hn::Set(kInts, 0x7F800000);
  std::int64_t i = 0;
  for (; i + lanes() <= n; i += lanes()) {
    const auto bits = hn::BitCast(kInts, hn::LoadU(kFloats, x + i));
    const auto bad = hn::Eq(hn::And(bits, exponent), exponent);
    if (!hn::AllFalse(kInts, bad)) return i + hn::FindFirstTrue(kInts, bad);
  }
  return i + kPortableConvertKernels.find_non_finite(x + i, n - i);
}

// A tile of at most kRows channels times kPixels pixels, as u8 codes channel by channel: small enough for the
// first-level cache together with its source and destination.
constexpr std::int64_t kRows = 16, kPixels = 256;

const hn::ScalableTag<std::uint8_t> kBytes;

// tile [rows][kPixels] -> nhwc [count][stride]
void interleave(const std::uint8_t* tile, std::int64_t rows, std::int64_t count, std::uint8_t* nhwc,
                std::int64_t stride) {
  std::int64_t p = 0;
  const auto step = static_cast<std::int64_t>(hn::Lanes(kBytes));
  if (rows == 3 && stride == 3)
    for (; p + step <= count; p += step)
      hn::StoreInterleaved3(hn::LoadU(kBytes, tile + p), hn::LoadU(kBytes, tile + kPixels + p),
                            hn::LoadU(kBytes, tile + 2 * kPixels + p), kBytes, nhwc + 3 * p);
  for (; p < count; ++p)
    for (std::int64_t c = 0; c < rows; ++c) nhwc[p * stride + c] = tile[c * kPixels + p];
}

constexpr int kSquare = 16;
static_assert(kRows == kSquare);

// 16 pixels of 16 channels -> 16 channels of 16 pixels, of which the last `rows` are stored.
HWY_INLINE void transpose_square(const std::uint8_t* nhwc, std::int64_t stride, std::uint8_t* tile, std::int64_t rows) {
  const hn::FixedTag<std::uint8_t, kSquare> square;
  hn::Vec<decltype(square)> a[kSquare], b[kSquare];
  for (int p = 0; p < kSquare; ++p) a[p] = hn::LoadU(square, nhwc + p * stride);
  // Each round moves a bit of the pixel's number in among those of the channel's; after four they have changed places.
  for (int round = 0; round < 4; ++round) {
    for (int i = 0; i < kSquare / 2; ++i) {
      b[2 * i] = hn::InterleaveLower(square, a[i], a[i + kSquare / 2]);
      b[2 * i + 1] = hn::InterleaveUpper(square, a[i], a[i + kSquare / 2]);
    }
    for (int i = 0; i < kSquare; ++i) a[i] = b[i];
  }
  for (std::int64_t r = 0; r < rows; ++r) hn::StoreU(a[kSquare - rows + r], square, tile + r * kPixels);
}

// `before`: as many channels of each pixel lie before those that are wanted.
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
      transpose_square(nhwc + p * stride + rows - kSquare, stride, tile + p, rows);
  for (; p < count; ++p)
    for (std::int64_t c = 0; c < rows; ++c) tile[c * kPixels + p] = nhwc[p * stride + c];
}

// Both layouts are one run of elements: nothing to transpose.
bool is_contiguous(const PixelLayout& layout) {
  return layout.pixels == 1 || (layout.channels == 1 && layout.pixel_stride == 1);
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
  HWY_ALIGN std::uint8_t tile[kRows * kPixels];
  for_tiles(layout, [&](std::int64_t c, std::int64_t rows, std::int64_t p, std::int64_t count) {
    for (std::int64_t r = 0; r < rows; ++r)
      quantize(nchw + (c + r) * layout.pixels + p, tile + r * kPixels, count, grid);
    interleave(tile, rows, count, nhwc + p * layout.pixel_stride + c, layout.pixel_stride);
  });
}

void dequantize_nhwc_to_nchw(const std::uint8_t* nhwc, float* nchw, const PixelLayout& layout,
                             const ByteGrid& grid) noexcept {
  if (is_contiguous(layout)) return dequantize(nhwc, nchw, layout.channels * layout.pixels, grid);
  HWY_ALIGN std::uint8_t tile[kRows * kPixels];
  for_tiles(layout, [&](std::int64_t c, std::int64_t rows, std::int64_t p, std::int64_t count) {
    deinterleave(nhwc + p * layout.pixel_stride + c, layout.pixel_stride, tile, rows, count, c);
    for (std::int64_t r = 0; r < rows; ++r)
      dequantize(tile + r * kPixels, nchw + (c + r) * layout.pixels + p, count, grid);
  });
}

const hn::ScalableTag<std::uint16_t> kPairs;  // two codes each, the first in the low byte
const hn::Rebind<std::uint8_t, decltype(kPairs)> kPairBytes;

void pack_4bit(const std::uint8_t* codes, std::uint8_t* packed, std::int64_t n) noexcept {
  const hn::RebindToSigned<decltype(kPairs)> signed_pairs;
  for_blocks(
      n / 2, static_cast<std::int64_t>(hn::Lanes(kPairs)),
      [&](std::int64_t i) {
        const auto pair = hn::BitCast(kPairs, hn::LoadU(kBytes, codes + 2 * i));
        const auto low = hn::And(pair, hn::Set(kPairs, 0x0F));
        const auto high = hn::And(hn::ShiftRight<4>(pair), hn::Set(kPairs, 0xF0));
        hn::StoreU(hn::DemoteTo(kPairBytes, hn::BitCast(signed_pairs, hn::Or(low, high))), kPairBytes, packed + i);
      },
      [&](std::int64_t i) { packed[i] = convert_element::pack_4bit(codes[2 * i], codes[2 * i + 1]); });
  if (n % 2 != 0) packed[n / 2] = convert_element::pack_4bit(codes[n - 1], 0);
}

template <class Code>
void unpack_4bit(const std::uint8_t* packed, Code* codes, std::int64_t n) noexcept {
  constexpr bool kSigned = static_cast<Code>(-1) < 0;
  for_blocks(
      n / 2, static_cast<std::int64_t>(hn::Lanes(kPairs)),
      [&](std::int64_t i) {
        const auto both = hn::PromoteTo(kPairs, hn::LoadU(kPairBytes, packed + i));
        const auto low = hn::And(both, hn::Set(kPairs, 0x0F));
        const auto high = hn::ShiftLeft<4>(hn::And(both, hn::Set(kPairs, 0xF0)));
        auto code = hn::BitCast(kBytes, hn::Or(low, high));
        const auto sign = hn::Set(kBytes, 8);
        if (kSigned) code = hn::Sub(hn::Xor(code, sign), sign);
        hn::StoreU(code, kBytes, reinterpret_cast<std::uint8_t*>(codes) + 2 * i);
      },
      [&](std::int64_t i) {
        codes[2 * i] = convert_element::unpack_4bit<Code>(packed, 2 * i);
        codes[2 * i + 1] = convert_element::unpack_4bit<Code>(packed, 2 * i + 1);
      });
  if (n % 2 != 0) codes[n - 1] = convert_element::unpack_4bit<Code>(packed, n - 1);
}

const ConvertKernels* kernels_of_target() {
  static const ConvertKernels kernels{
      .name = HWY_TARGET == HWY_AVX2 ? "avx2" : "avx512",
      .isa = HWY_TARGET == HWY_AVX2 ? Isa::avx2 : Isa::avx512vnni,
      .quantize_u8 = quantize<std::uint8_t>,
      .quantize_s8 = quantize<std::int8_t>,
      .dequantize_u8 = dequantize<std::uint8_t>,
      .dequantize_s8 = dequantize<std::int8_t>,
      .quantize_nchw_to_nhwc = quantize_nchw_to_nhwc,
      .dequantize_nhwc_to_nchw = dequantize_nhwc_to_nchw,
      .min_max = min_max,
      .find_non_finite = find_non_finite,
      .pack_4bit = pack_4bit,
      .unpack_u4 = unpack_4bit<std::uint8_t>,
      .unpack_s4 = unpack_4bit<std::int8_t>,
  };
  return &kernels;
}

#endif

}  // namespace HWY_NAMESPACE
}  // namespace bitfold
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace bitfold {

HWY_EXPORT(kernels_of_target);

const ConvertKernels& convert_kernels(Isa cap) {
  std::int64_t allowed = 0;
  if (cap >= Isa::avx2) allowed |= HWY_AVX2;
  if (cap >= Isa::avx512vnni) allowed |= HWY_AVX3;
  allowed &= hwy::SupportedTargets() & HWY_TARGETS;
  if (allowed == 0) return kPortableConvertKernels;
  hwy::ChosenTarget target;  // HWY_DYNAMIC_DISPATCH would read a global one, and the cap is the caller's
  target.Update(allowed);
  return *HWY_DISPATCH_TABLE(kernels_of_target)[target.GetIndex()]();
}

}  // namespace bitfold
#endif
