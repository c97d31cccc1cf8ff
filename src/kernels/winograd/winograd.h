// 3x3 convolutions of stride 1 with four times fewer multiplications, exactly.
//
// Winograd's minimal filtering F(4x4, 3x3) (Lavin and Gray 2016, "Fast Algorithms for Convolutional Neural Networks",
// sections 3 and 4.1) computes a tile of 4x4 outputs from 6x6 inputs d and a kernel g as
//
//   Y = A' [ (G g G') . (B' d B) ] A             . multiplies element by element: 36 products instead of 144
//
// with the points 0, 1, -1, 2, -2 and infinity. G contains quarters, sixths and twenty-fourths. Multiplied by 24 it
// contains integers, and everything is exact, where the floating-point form loses digits:
//
//   input   |B' d B|  <= 10 * 10 * 255            fits int16
//   kernel  |24 G g G' 24| <= 12 * 12 * 128       fits int16
//   sums    576 Y, in int32 modulo 2^32           sums may wrap, as long as 64 Y does not
//
// 576 = 9 * 64. Multiplying by the inverse of 9 modulo 2^32 gives 64 Y modulo 2^32, and an arithmetic shift then gives
// Y if |Y| < 2^25, which winograd_range() checks. So the result equals the direct convolution bit for bit.
//
// If also 9 |Y + bias| < 2^24, that multiplication is not needed: 9 (Y + bias) is exact in float. Its product with
// float(1/9), whose relative error is 2^-27, is off by less than half a unit in the last place of Y + bias, which is
// itself a float, so the product rounds to it.
//
// This is faster if the instruction set multiplies int16 as fast as int8 (AVX2 uses vpmaddwd for both). With vpdpbusd,
// int8 products are twice as fast as int16 products, and the direct form is faster.
//
// Packed kernels are int16: the elements of the transform one after the other, each as a matrix of channel pairs.
//
//        [element 0 .. 35][block of 16 output channels][pair of input channels]
//                [channel 0: k0 k1][channel 1: k0 k1] ... [channel 15: k0 k1]                            64 bytes
#pragma once

#include <cstdint>

#include "bitfold/cpu.h"
#include "kernels/conv_output.h"

namespace bitfold {

constexpr std::int64_t kWinogradTile = 4;                  ///< Outputs per side of a tile.
constexpr std::int64_t kWinogradSide = kWinogradTile + 2;  ///< Inputs per side of a tile.
constexpr std::int64_t kWinogradElements = kWinogradSide * kWinogradSide;
constexpr std::int64_t kWinogradMaxTiles = 16;  ///< Tiles transformed together.

/// Bounds of the sums of a layer over all inputs.
enum class WinogradRange {
  small,     ///< 9 |Y + bias| < 2^24
  large,     ///< |Y| < 2^25
  too_large  ///< |Y| may be larger: this form would give wrong results.
};

/// Rows of tiles of one image.
struct WinogradTask {
  const std::uint8_t* x = nullptr;           ///< The padded image, (out_height + 2) x (out_width + 2) pixels.
  std::int64_t x_row = 0, in_channels = 0;   ///< Bytes from one row to the next, and from one pixel to the next.
  std::int64_t depth = 0, input_stride = 0;  ///< winograd_depth() and winograd_input_stride() of in_channels.
  std::int64_t out_height = 0, out_width = 0, out_channels = 0;
  std::int64_t tile_row_begin = 0, tile_row_end = 0;
  const std::int16_t* weights = nullptr;
  const std::int32_t* bias = nullptr;  ///< 16 per block, as are the multipliers.
  const float* multipliers = nullptr;
  WinogradRange range = WinogradRange::large;
  bool steps_fit = false;               ///< Every multiplier is below 1, so that sum * multiplier stays within int32.
  void* y = nullptr;                    ///< The image's first output.
  std::int64_t y_row = 0, y_pixel = 0;  ///< Elements.
  const ConvOutput* output = nullptr;
  std::byte* scratch = nullptr;  ///< winograd_scratch_bytes(), aligned to 64.
};

struct WinogradKernel {
  const char* name;
  Isa isa;
  void (*run)(const WinogradTask& task) noexcept;
};

/// Null if the direct form is faster on this instruction set.
const WinogradKernel* select_winograd_kernel(Isa cap);
extern const WinogradKernel* const kAvx2Winograd;  ///< Null if the compiler does not target AVX2.

/// Channels of the transformed input: all, or 4 if there are fewer.
std::int64_t winograd_depth(std::int64_t in_channels);
// Scratch memory holds two arrays of 36 matrices: transformed inputs [tile][channel] as int16, and products
// [tile][channel of a block] as int32. One extra cache line separates consecutive matrices: at a distance of a power of
// two, all elements of a tile would map to a few sets of the cache.
std::int64_t winograd_input_stride(std::int64_t in_channels);
constexpr std::int64_t kWinogradProductStride = kWinogradMaxTiles * kBlockChannels + 16;
/// Bytes of scratch memory per thread.
std::size_t winograd_scratch_bytes(std::int64_t in_channels);
/// Number of int16 elements of the packed kernels.
std::int64_t winograd_weight_count(std::int64_t in_channels, std::int64_t out_channels);
/// Packs `weights` [out_channels][3][3][in_channels] into `packed`, which must be zeroed.
void pack_winograd_weights(const std::int8_t* weights, std::int64_t in_channels, std::int64_t out_channels,
                           std::int16_t* packed);
/// The range for codes 0 .. 255. Null `bias` means zeros.
WinogradRange winograd_range(const std::int8_t* weights, const std::int32_t* bias, std::int64_t in_channels,
                             std::int64_t out_channels);
/// Whether this is faster than the direct form, including edges of tiles and transforms.
bool winograd_pays(std::int64_t in_channels, std::int64_t out_channels, std::int64_t out_height,
                   std::int64_t out_width);

}  // namespace bitfold
