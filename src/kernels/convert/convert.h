// Conversion between reals and 8-bit codes, and between the layouts of the graph's interface and of the engine.
//
//   quantize     q = clamp(round_half_even(x / scale) + zero_point, qmin, qmax)       docs/internals/arithmetic.md (3)
//   dequantize   x = float(q - zero_point) * scale                                                                 (1)
//
//   NCHW, one image: element (c, p) at [c * plane + p]         floats, at the graph's inputs and outputs
//   NHWC, one image: element (p, c) at [p * pixel_stride + c]  codes, inside the engine
//
// All instruction sets give the same bytes (invariants 3 and 8): quotients equal those of true divisions, and no step
// of the definitions is fused. Inputs and outputs must not overlap. All pointers may be unaligned.
#pragma once

#include <cstdint>

#include "bitfold/cpu.h"

namespace bitfold {

/// A grid of at most 8 bits for a whole tensor. scale is positive and finite, qmin <= zero_point <= qmax. Both bounds
/// are in [0, 255] for unsigned codes and in [-128, 127] for signed codes.
struct ByteGrid {
  float scale = 1;
  std::int32_t zero_point = 0;
  std::int32_t qmin = 0, qmax = 255;
};

/// One image, or a subset of its channels or pixels.
struct PixelLayout {
  std::int64_t channels = 1;
  std::int64_t pixels = 1;  ///< height * width
  /// Codes from one pixel to the next; at least `channels`. Codes in the gap stay unchanged.
  std::int64_t pixel_stride = 1;
  std::int64_t plane = 0;  ///< Reals from one channel to the next; 0 means `pixels`.
};

inline std::int64_t plane_of(const PixelLayout& layout) { return layout.plane > 0 ? layout.plane : layout.pixels; }

/// A tensor with a grid per index of one axis: element (o, c, i) at [(o * channels + c) * inner + i] is on grid c.
struct ChannelLayout {
  std::int64_t outer = 1, channels = 1, inner = 1;
};

/// Bins of a histogram: bin b counts the reals in [(b - kHistogramBins / 2) * width, ... + width).
inline constexpr int kHistogramBins = 4096;

struct ConvertKernels {
  const char* name;  ///< The instruction set: "portable", "avx2", "avx512".
  Isa isa;           ///< The instruction set that the CPU must support.

  /// Converts n reals to n codes. Infinities saturate; NaN becomes qmin (callers check with find_non_finite first).
  void (*quantize_u8)(const float* x, std::uint8_t* codes, std::int64_t n, const ByteGrid& grid) noexcept;
  void (*quantize_s8)(const float* x, std::int8_t* codes, std::int64_t n, const ByteGrid& grid) noexcept;
  void (*dequantize_u8)(const std::uint8_t* codes, float* x, std::int64_t n, const ByteGrid& grid) noexcept;
  void (*dequantize_s8)(const std::int8_t* codes, float* x, std::int64_t n, const ByteGrid& grid) noexcept;

  /// The same with a grid per channel. All grids have codes of the same type.
  void (*quantize_channels_u8)(const float* x, std::uint8_t* codes, const ChannelLayout& layout,
                               const ByteGrid* grids) noexcept;
  void (*quantize_channels_s8)(const float* x, std::int8_t* codes, const ChannelLayout& layout,
                               const ByteGrid* grids) noexcept;
  void (*dequantize_channels_u8)(const std::uint8_t* codes, float* x, const ChannelLayout& layout,
                                 const ByteGrid* grids) noexcept;
  void (*dequantize_channels_s8)(const std::int8_t* codes, float* x, const ChannelLayout& layout,
                                 const ByteGrid* grids) noexcept;

  /// One image from the graph's layout to the engine's, and back.
  void (*quantize_nchw_to_nhwc)(const float* nchw, std::uint8_t* nhwc, const PixelLayout& layout,
                                const ByteGrid& grid) noexcept;
  void (*dequantize_nhwc_to_nchw)(const std::uint8_t* nhwc, float* nchw, const PixelLayout& layout,
                                  const ByteGrid& grid) noexcept;

  /// Extremes of finite numbers; both 0 if n = 0, and never -0.
  void (*min_max)(const float* x, std::int64_t n, float* min, float* max) noexcept;
  /// The extremes of each channel.
  void (*min_max_channels)(const float* x, const ChannelLayout& layout, float* min, float* max) noexcept;
  /// Counts reals into kHistogramBins bins, up to the first real that has no bin or is not finite. Returns its index,
  /// or n if there is none. Updates `min` and `max` with the extremes of the counted reals. `width` is a power of two
  /// from 2^-126 to 2^126.
  std::int64_t (*count_bins)(const float* x, std::int64_t n, float width, std::int64_t* counts, float* min,
                             float* max) noexcept;
  /// The index of the first NaN or infinity, or n if there is none.
  std::int64_t (*find_non_finite)(const float* x, std::int64_t n) noexcept;

  /// float32 to float16 and back, as float_to_float16() and float16_to_float() (numeric/reals.h).
  void (*narrow_half)(const float* x, std::uint16_t* halves, std::int64_t n) noexcept;
  void (*widen_half)(const std::uint16_t* halves, float* x, std::int64_t n) noexcept;

  /// Packs n 4-bit codes, one per byte, into (n + 1) / 2 bytes, low nibble first, and unpacks them. Packing accepts
  /// signed and unsigned codes, because it drops the upper four bits. If n is odd, the last nibble is 0.
  void (*pack_4bit)(const std::uint8_t* codes, std::uint8_t* packed, std::int64_t n) noexcept;
  void (*unpack_u4)(const std::uint8_t* packed, std::uint8_t* codes, std::int64_t n) noexcept;
  void (*unpack_s4)(const std::uint8_t* packed, std::int8_t* codes, std::int64_t n) noexcept;
};

/// The fastest kernels that `cap` allows. As with isa_cap(), `cap` must not exceed what the CPU supports.
const ConvertKernels& convert_kernels(Isa cap);

}  // namespace bitfold
