// Moving between reals and 8-bit codes, and between the layouts of the graph's edges and of the engine.
//
//   quantize     q = clamp(round_half_even(x / scale) + zero_point, qmin, qmax)       docs/quantization.md (3)
//   dequantize   x = float(q - zero_point) * scale                                                       (1)
//
//   NCHW, one image: element (c, p) at [c * plane + p]         floats, at the edges of a graph
//   NHWC, one image: element (p, c) at [p * pixel_stride + c]  codes, inside the engine
//
// Every level of instruction set gives the same bytes (invariants 3 and 8): quotients are those of true divisions, and
// no step of the definitions is fused. Inputs and outputs must not overlap. All pointers may be unaligned.
#pragma once

#include <cstdint>

#include "bitfold/cpu.h"

namespace bitfold {

/// A grid of at most 8 bits for a whole tensor. scale > 0 and finite, qmin <= zero_point <= qmax; both bounds within
/// [0, 255] for unsigned and [-128, 127] for signed codes.
struct ByteGrid {
  float scale = 1;
  std::int32_t zero_point = 0;
  std::int32_t qmin = 0, qmax = 255;
};

/// One image, or some of its channels or pixels.
struct PixelLayout {
  std::int64_t channels = 1;
  std::int64_t pixels = 1;        ///< height * width
  std::int64_t pixel_stride = 1;  ///< Codes from one pixel to the next, >= channels; those between are left alone.
  std::int64_t plane = 0;         ///< Reals from one channel to the next; 0: as many as pixels.
};

inline std::int64_t plane_of(const PixelLayout& layout) { return layout.plane > 0 ? layout.plane : layout.pixels; }

/// A tensor with a grid for each index of one axis: element (o, c, i) at [(o * channels + c) * inner + i] on grid c.
struct ChannelLayout {
  std::int64_t outer = 1, channels = 1, inner = 1;
};

/// Of a histogram: bin b counts the reals of [(b - kHistogramBins / 2) * width, ... + width).
inline constexpr int kHistogramBins = 4096;

struct ConvertKernels {
  const char* name;  ///< Of the instruction set: "portable", "avx2", "avx512"
  Isa isa;           ///< What a CPU must have to run them.

  /// n reals to n codes. Infinities saturate; NaN becomes qmin (find_non_finite tells beforehand).
  void (*quantize_u8)(const float* x, std::uint8_t* codes, std::int64_t n, const ByteGrid& grid) noexcept;
  void (*quantize_s8)(const float* x, std::int8_t* codes, std::int64_t n, const ByteGrid& grid) noexcept;
  void (*dequantize_u8)(const std::uint8_t* codes, float* x, std::int64_t n, const ByteGrid& grid) noexcept;
  void (*dequantize_s8)(const std::int8_t* codes, float* x, std::int64_t n, const ByteGrid& grid) noexcept;

  /// The same with a grid per channel; the grids may differ in all but the type of code.
  void (*quantize_channels_u8)(const float* x, std::uint8_t* codes, const ChannelLayout& layout,
                               const ByteGrid* grids) noexcept;
  void (*quantize_channels_s8)(const float* x, std::int8_t* codes, const ChannelLayout& layout,
                               const ByteGrid* grids) noexcept;
  void (*dequantize_channels_u8)(const std::uint8_t* codes, float* x, const ChannelLayout& layout,
                                 const ByteGrid* grids) noexcept;
  void (*dequantize_channels_s8)(const std::int8_t* codes, float* x, const ChannelLayout& layout,
                                 const ByteGrid* grids) noexcept;

  /// One image into the engine, and one out of it.
  void (*quantize_nchw_to_nhwc)(const float* nchw, std::uint8_t* nhwc, const PixelLayout& layout,
                                const ByteGrid& grid) noexcept;
  void (*dequantize_nhwc_to_nchw)(const std::uint8_t* nhwc, float* nchw, const PixelLayout& layout,
                                  const ByteGrid& grid) noexcept;

  /// Of finite numbers; both 0 for n = 0, and never -0.
  void (*min_max)(const float* x, std::int64_t n, float* min, float* max) noexcept;
  /// Of each channel.
  void (*min_max_channels)(const float* x, const ChannelLayout& layout, float* min, float* max) noexcept;
  /// Counts reals into their bins, kHistogramBins of them, up to the first that has none or is not finite; returns its
  /// index, n when there is none. `min` and `max` are lowered and raised to the extremes of what was counted. `width`
  /// is a power of two from 2^-126 to 2^126.
  std::int64_t (*count_bins)(const float* x, std::int64_t n, float width, std::int64_t* counts, float* min,
                             float* max) noexcept;
  /// The index of the first NaN or infinity; n when there is none.
  std::int64_t (*find_non_finite)(const float* x, std::int64_t n) noexcept;

  /// n codes of 4 bits, one per byte, to (n + 1) / 2 bytes, low nibble first, and back. Packing serves both signs and
  /// drops the upper four bits; the last nibble of an odd n is 0.
  void (*pack_4bit)(const std::uint8_t* codes, std::uint8_t* packed, std::int64_t n) noexcept;
  void (*unpack_u4)(const std::uint8_t* packed, std::uint8_t* codes, std::int64_t n) noexcept;
  void (*unpack_s4)(const std::uint8_t* packed, std::int8_t* codes, std::int64_t n) noexcept;
};

/// The fastest kernels that `cap` allows; as with isa_cap(), the cap must not exceed what the CPU has.
const ConvertKernels& convert_kernels(Isa cap);

}  // namespace bitfold
