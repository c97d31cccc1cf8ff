// Transforms kernels, and decides when the Winograd form is faster.
#include "kernels/winograd/winograd.h"

#include <algorithm>
#include <cstdlib>

#include "kernels/sizes.h"

namespace bitfold {
namespace {

/// 24 G, except its last row, which is 6 G: the output transform multiplies it by the remaining 4.
constexpr int kKernelTransform[kWinogradSide][3] = {{6, 0, 0}, {-4, -4, -4}, {-4, 4, -4},
                                                    {1, 2, 4}, {1, -2, 4},   {0, 0, 6}};

}  // namespace

const WinogradKernel* select_winograd_kernel(Isa cap) { return cap == Isa::avx2 ? kAvx2Winograd : nullptr; }

std::int64_t winograd_depth(std::int64_t in_channels) { return std::max<std::int64_t>(4, in_channels); }

std::int64_t winograd_input_stride(std::int64_t in_channels) {
  constexpr std::int64_t kLine = 32;  // elements
  return divide_up(kWinogradMaxTiles * winograd_depth(in_channels), kLine) * kLine + kLine;
}

std::size_t winograd_scratch_bytes(std::int64_t in_channels) {
  const auto elements = static_cast<std::size_t>(kWinogradElements);
  return elements * static_cast<std::size_t>(winograd_input_stride(in_channels)) * sizeof(std::int16_t) +
         elements * static_cast<std::size_t>(kWinogradProductStride) * sizeof(std::int32_t);
}

std::int64_t winograd_weight_count(std::int64_t in_channels, std::int64_t out_channels) {
  return kWinogradElements * divide_up(out_channels, kBlockChannels) * winograd_depth(in_channels) * kBlockChannels;
}

void pack_winograd_weights(const std::int8_t* weights, std::int64_t in_channels, std::int64_t out_channels,
                           std::int16_t* packed) {
  const std::int64_t blocks = divide_up(out_channels, kBlockChannels);
  for (std::int64_t m = 0; m < out_channels; ++m)
    for (std::int64_t k = 0; k < in_channels; ++k) {
      int rows[kWinogradSide][3];  // G g
      for (std::int64_t i = 0; i < kWinogradSide; ++i)
        for (std::int64_t j = 0; j < 3; ++j) {
          rows[i][j] = 0;
          for (std::int64_t r = 0; r < 3; ++r)
            rows[i][j] += kKernelTransform[i][r] * weights[((m * 3 + r) * 3 + j) * in_channels + k];
        }
      for (std::int64_t i = 0; i < kWinogradSide; ++i)
        for (std::int64_t j = 0; j < kWinogradSide; ++j) {
          int element = 0;
          for (std::int64_t r = 0; r < 3; ++r) element += rows[i][r] * kKernelTransform[j][r];
          const std::int64_t matrix = (i * kWinogradSide + j) * blocks + m / kBlockChannels;
          packed[(matrix * winograd_depth(in_channels) + k / 2 * 2) * kBlockChannels + m % kBlockChannels * 2 + k % 2] =
              static_cast<std::int16_t>(element);
        }
    }
}

WinogradRange winograd_range(const std::int8_t* weights, const std::int32_t* bias, std::int64_t in_channels,
                             std::int64_t out_channels) {
  WinogradRange range = WinogradRange::small;
  const std::int64_t depth = 9 * in_channels;
  for (std::int64_t m = 0; m < out_channels; ++m) {
    std::int64_t positive = 0, negative = 0;
    for (std::int64_t k = 0; k < depth; ++k) {
      const int w = weights[m * depth + k];
      (w > 0 ? positive : negative) += std::abs(w);
    }
    const std::int64_t most = 255 * std::max(positive, negative);
    if (most >= std::int64_t{1} << 25) return WinogradRange::too_large;
    if (9 * (most + (bias == nullptr ? 0 : std::abs(std::int64_t{bias[m]}))) >= std::int64_t{1} << 24)
      range = WinogradRange::large;
  }
  return range;
}

bool winograd_pays(std::int64_t in_channels, std::int64_t out_channels, std::int64_t out_height,
                   std::int64_t out_width) {
  // The input transform supports images of 3 or 4 channels, or whole vectors and pairs of channels.
  const bool is_image = in_channels == 3 || in_channels == 4;
  if ((!is_image && (in_channels < 16 || in_channels % 2 != 0)) || out_channels < kBlockChannels) return false;
  // The cost of a tile's transforms per channel, in multiplications of int16 pairs.
  constexpr std::int64_t kInputCost = 100, kOutputCost = 220;
  const std::int64_t tiles = divide_up(out_height, kWinogradTile) * divide_up(out_width, kWinogradTile);
  const std::int64_t channels = divide_up(out_channels, kBlockChannels) * kBlockChannels;
  const std::int64_t cost = tiles * (kWinogradElements * winograd_depth(in_channels) * channels +
                                     kInputCost * in_channels + kOutputCost * channels);
  return cost < out_height * out_width * 9 * in_channels * channels;
}

}  // namespace bitfold
