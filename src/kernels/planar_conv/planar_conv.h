// Float convolutions from planes to planes: NCHW in and out, of few input channels and a horizontal stride of 1.
//
// A vector holds adjacent pixels of one output row, so that neither side changes its layout on the way:
//
//   y[c][row][w .. w + N) = f( bias[c] + sum over (k, i, j) of weight[c][k][i][j] * x[k][row * s + i * d][w + j * d'
//   ...] )
//
// f an activation. A tile is two such vectors times up to `most_channels` output channels, in registers: each step
// loads two vectors of pixels and multiplies them by one weight of each channel. At a row's end, the last vector
// overlaps the one before it. For a network that is one such block, a change of layout on either side would take longer
// than the products do; in others, channels-last convolutions read as fast (onednn/prepared.h).
#pragma once

#include <cstdint>

#include "bitfold/cpu.h"

namespace bitfold {

/// One image whose input is already padded.
struct PlanarConv {
  std::int64_t in_channels = 1, out_channels = 1, kernel_h = 1, kernel_w = 1;
  std::int64_t stride_h = 1, dilation_h = 1, dilation_w = 1;
  std::int64_t x_row = 0, x_plane = 0;  ///< Elements from one input row, and from one plane, to the next.
  std::int64_t out_height = 1, out_width = 1;
  float low = 0, high = 0;   ///< y = clamp(sum, low, high), infinities where there is no bound; or, where it is leaky,
  float negative_slope = 0;  ///< y = sum < 0 ? negative_slope * sum : sum, up to high.
  bool is_leaky = false;

  std::int64_t depth() const { return in_channels * kernel_h * kernel_w; }
};

struct PlanarConvKernel {
  const char* name;
  std::int64_t lanes;          ///< The output must be at least as wide.
  std::int64_t most_channels;  ///< Of a tile.
  /// Output rows [begin, end). `weights` as pack_planar_weights() left them, `bias` one number per output channel.
  /// Nothing is read or written outside the image.
  void (*run)(const PlanarConv& conv, const float* x, const float* weights, const float* bias, float* y,
              std::int64_t begin, std::int64_t end) noexcept;
};

/// The fastest that `cap` allows, which must not exceed what the CPU has.
const PlanarConvKernel& planar_conv_kernel(Isa cap);

/// Tiles of output channels, all of nearly one size: where tile `index` of `count` begins.
inline std::int64_t planar_tile_begin(std::int64_t out_channels, std::int64_t count, std::int64_t index) {
  return out_channels * index / count;
}
inline std::int64_t planar_tile_count(std::int64_t out_channels, std::int64_t most_channels) {
  return (out_channels + most_channels - 1) / most_channels;
}

/// weights [out_channels][depth] -> [tile][depth][channels of the tile], as many floats.
void pack_planar_weights(const PlanarConv& conv, const PlanarConvKernel& kernel, const float* weights, float* packed);

}  // namespace bitfold
