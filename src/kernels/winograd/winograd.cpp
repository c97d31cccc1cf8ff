// Transforming kernels, and when the transform pays.
#include "kernels/winograd/winograd.h"

#include <cstdlib>

namespace bitfold {
namespace {

constexpr std::int64_t kBlock = 16;

std::int64_t divide_up(std::int64_t a, std::int64_t b) { return (a + b - 1) / b; }

/// 24 G, but for its last row, 6 G: the transform of outputs multiplies by the 4 that is left.
constexpr int kKernelTransform[kWinogradSide][3] = {{6, 0, 0}, {-4, -4, -4}, {-4, 4, -4},
                                                    {1, 2, 4}, {1, -2, 4},   {0, 0, 6}};

}  // namespace

const WinogradKernel* select_winograd_kernel(Isa cap) { return cap == Isa::avx2 ? kAvx2Winograd : nullptr; }

std::size_t winograd_scratch_bytes(std::int64_t in_channels) {
  // Transformed inputs of some tiles, and the products of one block of output channels.
  const std::int64_t inputs = kWinogradElements * kWinogradMostTiles * in_channels * std::int64_t{sizeof(std::int16_t)};
  const std::int64_t products = kWinogradElements * kWinogradMostTiles * kBlock * std::int64_t{sizeof(std::int32_t)};
  return static_cast<std::size_t>(divide_up(inputs, 64) * 64 + products);
}

std::int64_t winograd_weight_count(std::int64_t in_channels, std::int64_t out_channels) {
  return kWinogradElements * divide_up(out_channels, kBlock) * in_channels * kBlock;
}

void pack_winograd_weights(const std::int8_t* weights, std::int64_t in_channels, std::int64_t out_channels,
                           std::int16_t* packed) {
  const std::int64_t blocks = divide_up(out_channels, kBlock);
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
          const std::int64_t matrix = (i * kWinogradSide + j) * blocks + m / kBlock;
          packed[(matrix * in_channels + k / 2 * 2) * kBlock + m % kBlock * 2 + k % 2] =
              static_cast<std::int16_t>(element);
        }
    }
}

bool fits_winograd(const std::int8_t* weights, std::int64_t in_channels, std::int64_t out_channels) {
  const std::int64_t depth = 9 * in_channels;
  for (std::int64_t m = 0; m < out_channels; ++m) {
    std::int64_t magnitude = 0;
    for (std::int64_t k = 0; k < depth; ++k) magnitude += std::abs(int{weights[m * depth + k]});
    if (magnitude * 255 >= std::int64_t{1} << 25) return false;
  }
  return true;
}

bool winograd_pays(std::int64_t in_channels, std::int64_t out_channels, std::int64_t out_height,
                   std::int64_t out_width) {
  if (in_channels < kWinogradLeastChannels || in_channels % 2 != 0 || out_channels < kBlock) return false;
  // In multiplications of int16 pairs: the transforms of a tile cost as much as some of them per channel.
  constexpr std::int64_t kInputCost = 100, kOutputCost = 220;
  const std::int64_t tiles = divide_up(out_height, kWinogradTile) * divide_up(out_width, kWinogradTile);
  const std::int64_t channels = divide_up(out_channels, kBlock) * kBlock;
  const std::int64_t cost =
      tiles * (kWinogradElements * in_channels * channels + kInputCost * in_channels + kOutputCost * channels);
  return cost < out_height * out_width * 9 * in_channels * channels;
}

}  // namespace bitfold
