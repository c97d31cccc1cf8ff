#include "kernels/convert/portable.h"

#include <algorithm>

#include "numeric/reals.h"

namespace bitfold {
namespace {

using convert_element::Bounds;

template <class Code>
void quantize(const float* x, Code* codes, std::int64_t n, const ByteGrid& grid) noexcept {
  const Bounds bounds(grid);
  for (std::int64_t i = 0; i < n; ++i) codes[i] = convert_element::quantize<Code>(x[i], grid, bounds);
}

template <class Code>
void dequantize(const Code* codes, float* x, std::int64_t n, const ByteGrid& grid) noexcept {
  for (std::int64_t i = 0; i < n; ++i) x[i] = convert_element::dequantize(codes[i], grid);
}

// Calls run(start, channel) for each channel's run of elements.
template <class Run>
void for_runs(const ChannelLayout& layout, Run run) {
  for (std::int64_t o = 0; o < layout.outer; ++o)
    for (std::int64_t c = 0; c < layout.channels; ++c) run((o * layout.channels + c) * layout.inner, c);
}

template <class Code>
void quantize_channels(const float* x, Code* codes, const ChannelLayout& layout, const ByteGrid* grids) noexcept {
  for_runs(layout, [&](std::int64_t at, std::int64_t c) { quantize(x + at, codes + at, layout.inner, grids[c]); });
}

template <class Code>
void dequantize_channels(const Code* codes, float* x, const ChannelLayout& layout, const ByteGrid* grids) noexcept {
  for_runs(layout, [&](std::int64_t at, std::int64_t c) { dequantize(codes + at, x + at, layout.inner, grids[c]); });
}

void quantize_nchw_to_nhwc(const float* nchw, std::uint8_t* nhwc, const PixelLayout& layout,
                           const ByteGrid& grid) noexcept {
  const Bounds bounds(grid);
  for (std::int64_t p = 0; p < layout.pixels; ++p)
    for (std::int64_t c = 0; c < layout.channels; ++c)
      nhwc[p * layout.pixel_stride + c] =
          convert_element::quantize<std::uint8_t>(nchw[c * plane_of(layout) + p], grid, bounds);
}

void dequantize_nhwc_to_nchw(const std::uint8_t* nhwc, float* nchw, const PixelLayout& layout,
                             const ByteGrid& grid) noexcept {
  for (std::int64_t c = 0; c < layout.channels; ++c)
    for (std::int64_t p = 0; p < layout.pixels; ++p)
      nchw[c * plane_of(layout) + p] = convert_element::dequantize(nhwc[p * layout.pixel_stride + c], grid);
}

void min_max(const float* x, std::int64_t n, float* min, float* max) noexcept {
  float low = n > 0 ? x[0] : 0, high = low;
  for (std::int64_t i = 1; i < n; ++i) {
    low = x[i] < low ? x[i] : low;
    high = x[i] > high ? x[i] : high;
  }
  *min = low + 0.0F;  // turns -0 into 0, so that the result does not depend on the order of comparisons
  *max = high + 0.0F;
}

void min_max_channels(const float* x, const ChannelLayout& layout, float* min, float* max) noexcept {
  if (layout.outer == 0 || layout.inner == 0) {
    std::fill_n(min, layout.channels, 0.0F);
    std::fill_n(max, layout.channels, 0.0F);
  }
  for_runs(layout, [&](std::int64_t at, std::int64_t c) {
    float low, high;
    if (layout.inner == 0) return;
    min_max(x + at, layout.inner, &low, &high);
    min[c] = at < layout.channels * layout.inner ? low : std::min(min[c], low);
    max[c] = at < layout.channels * layout.inner ? high : std::max(max[c], high);
  });
}

std::int64_t count_bins(const float* x, std::int64_t n, float width, std::int64_t* counts, float* min,
                        float* max) noexcept {
  const float inverse = 1 / width, first = -kHistogramBins / 2 * width;  // the last bin ends at -first
  float low = *min, high = *max;
  std::int64_t done = 0;
  for (; done < n && x[done] >= first && x[done] < -first && convert_element::is_finite(x[done]); ++done) {
    ++counts[convert_element::bin(x[done], width, inverse)];
    low = x[done] < low ? x[done] : low;
    high = x[done] > high ? x[done] : high;
  }
  *min = low + 0.0F;  // as in min_max
  *max = high + 0.0F;
  return done;
}

std::int64_t find_non_finite(const float* x, std::int64_t n) noexcept {
  for (std::int64_t i = 0; i < n; ++i)
    if (!convert_element::is_finite(x[i])) return i;
  return n;
}

void narrow_half(const float* x, std::uint16_t* halves, std::int64_t n) noexcept {
  for (std::int64_t i = 0; i < n; ++i) halves[i] = float_to_float16(x[i]);
}

void widen_half(const std::uint16_t* halves, float* x, std::int64_t n) noexcept {
  for (std::int64_t i = 0; i < n; ++i) x[i] = float16_to_float(halves[i]);
}

void pack_4bit(const std::uint8_t* codes, std::uint8_t* packed, std::int64_t n) noexcept {
  for (std::int64_t i = 0; i + 1 < n; i += 2) packed[i / 2] = convert_element::pack_4bit(codes[i], codes[i + 1]);
  if (n % 2 != 0) packed[n / 2] = convert_element::pack_4bit(codes[n - 1], 0);
}

template <class Code>
void unpack_4bit(const std::uint8_t* packed, Code* codes, std::int64_t n) noexcept {
  for (std::int64_t i = 0; i < n; ++i) codes[i] = convert_element::unpack_4bit<Code>(packed, i);
}

}  // namespace

const ConvertKernels kPortableConvertKernels{
    .name = "portable",
    .isa = Isa::portable,
    .quantize_u8 = quantize<std::uint8_t>,
    .quantize_s8 = quantize<std::int8_t>,
    .dequantize_u8 = dequantize<std::uint8_t>,
    .dequantize_s8 = dequantize<std::int8_t>,
    .quantize_channels_u8 = quantize_channels<std::uint8_t>,
    .quantize_channels_s8 = quantize_channels<std::int8_t>,
    .dequantize_channels_u8 = dequantize_channels<std::uint8_t>,
    .dequantize_channels_s8 = dequantize_channels<std::int8_t>,
    .quantize_nchw_to_nhwc = quantize_nchw_to_nhwc,
    .dequantize_nhwc_to_nchw = dequantize_nhwc_to_nchw,
    .min_max = min_max,
    .min_max_channels = min_max_channels,
    .count_bins = count_bins,
    .find_non_finite = find_non_finite,
    .narrow_half = narrow_half,
    .widen_half = widen_half,
    .pack_4bit = pack_4bit,
    .unpack_u4 = unpack_4bit<std::uint8_t>,
    .unpack_s4 = unpack_4bit<std::int8_t>,
};

}  // namespace bitfold
