// Float convolutions with NCHW input and output, few input channels and a horizontal stride of 1.
//
// A vector holds adjacent pixels of one output row, so that neither side needs a change of layout:
//
//   y[c][row][w .. w + N) = f( bias[c] + sum over (k, i, j) of
//                              weight[c][k][i][j] * x[k][row * s + i * d][w + j * d' ...] )
//
// where f is an activation. A tile is two such vectors times up to `max_channels` output channels, in registers: each
// step loads two vectors of pixels and multiplies them by one weight of each channel. At the end of a row the last
// vector overlaps the one before it. If the network is a single such convolution, converting the layout on either side
// would take longer than the products. In other networks channels-last convolutions are as fast (onednn/prepared.h).
#pragma once

#include <cstdint>

#include "bitfold/cpu.h"

namespace bitfold {

/// One image, whose input is already padded.
struct PlanarConv {
  std::int64_t in_channels = 1, out_channels = 1, kernel_h = 1, kernel_w = 1;
  std::int64_t stride_h = 1, dilation_h = 1, dilation_w = 1;
  std::int64_t x_row = 0, x_plane = 0;  ///< Elements from one input row to the next, and from one plane to the next.
  std::int64_t out_height = 1, out_width = 1;
  float low = 0, high = 0;   ///< y = clamp(sum, low, high), with infinities for missing bounds; or, if leaky,
  float negative_slope = 0;  ///< y = sum < 0 ? negative_slope * sum : sum, up to high.
  bool is_leaky = false;

  std::int64_t depth() const { return in_channels * kernel_h * kernel_w; }
};

struct PlanarConvKernel {
  const char* name;
  std::int64_t lanes;         ///< Minimum width of the output.
  std::int64_t max_channels;  ///< Maximum output channels of a tile.
  /// Computes output rows [begin, end). `weights` are packed by pack_planar_weights(); `bias` has one entry per output
  /// channel. Accesses nothing outside the image.
  void (*run)(const PlanarConv& conv, const float* x, const float* weights, const float* bias, float* y,
              std::int64_t begin, std::int64_t end) noexcept;
};

/// The fastest kernel that `cap` allows; `cap` must not exceed what the CPU supports.
const PlanarConvKernel& planar_conv_kernel(Isa cap);

/// Divides output channels into `count` tiles of nearly equal size; returns where tile `index` begins.
inline std::int64_t planar_tile_begin(std::int64_t out_channels, std::int64_t count, std::int64_t index) {
  return out_channels * index / count;
}
inline std::int64_t planar_tile_count(std::int64_t out_channels, std::int64_t max_channels) {
  return (out_channels + max_channels - 1) / max_channels;
}

/// weights [out_channels][depth] -> [tile][depth][channels of the tile], with the same number of floats.
void pack_planar_weights(const PlanarConv& conv, const PlanarConvKernel& kernel, const float* weights, float* packed);

}  // namespace bitfold
