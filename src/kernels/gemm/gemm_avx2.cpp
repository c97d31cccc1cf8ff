// The matrix product with AVX2: 4 pixels times 16 channels, 8 accumulators of 8 channels, in 16 registers.
#include "kernels/gemm/gemm.h"

#if defined(__AVX2__)

#include "kernels/avx2.h"

namespace bitfold {
namespace {

constexpr int kMostRows = 4, kHalves = 2, kHalfChannels = 8;

BITFOLD_INLINE Split broadcast_group(const std::uint8_t* x) {
  std::int32_t group;
  std::memcpy(&group, x, sizeof group);
  const __m256i bytes = _mm256_set1_epi32(group);
  return {_mm256_and_si256(bytes, _mm256_set1_epi16(0xFF)), _mm256_srli_epi16(bytes, 8)};
}

template <int kRows>
void run_tile(const GemmTask& t, std::int64_t pixel) noexcept {
  __m256i sums[kRows][kHalves];
  unroll<kHalves>([&](auto h) BITFOLD_INLINE_LAMBDA {
    const __m256i bias = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(t.bias + h * kHalfChannels));
    unroll<kRows>([&](auto p) BITFOLD_INLINE_LAMBDA { sums[p][h] = bias; });
  });
  const std::int64_t stride = t.pixel_stride;
  const std::int8_t* w = t.weights;
  for (std::int64_t r = 0; r < t.run_count; ++r) {
    const std::uint8_t* x = t.x + pixel * stride + t.run_offsets[r];
    for (std::int64_t g = 0; g < t.group_count; ++g, x += kGroupBytes, w += kGroupWeights) {
      const Split weights[kHalves] = {split_weights(w), split_weights(w + kGroupWeights / 2)};
      unroll<kRows>([&](auto p) BITFOLD_INLINE_LAMBDA {
        const Split group = broadcast_group(x + p * stride);
        unroll<kHalves>([&](auto h) BITFOLD_INLINE_LAMBDA { multiply_add(sums[p][h], group, weights[h]); });
      });
    }
  }
  unroll<kRows>([&](auto p) BITFOLD_INLINE_LAMBDA {
    unroll<kHalves>([&](auto h) BITFOLD_INLINE_LAMBDA {
      store(sums[p][h], t.multipliers + h * kHalfChannels, *t.output, t.y, (pixel + p) * t.y_stride + h * kHalfChannels,
            t.channel_count - h * kHalfChannels);
    });
  });
}

using RunTile = void (*)(const GemmTask&, std::int64_t) noexcept;
constexpr RunTile kTiles[] = {run_tile<1>, run_tile<2>, run_tile<3>, run_tile<4>};  // [rows - 1]

void run(const GemmTask& t) noexcept {
  const std::int64_t tiles = (t.pixel_count + kMostRows - 1) / kMostRows;
  for (std::int64_t i = 0, pixel = 0; i < tiles; ++i) {
    const std::int64_t rows = (t.pixel_count - pixel) / (tiles - i);
    kTiles[rows - 1](t, pixel);
    pixel += rows;
  }
}

constexpr GemmKernel kKernels[] = {{"avx2 4x16", Isa::avx2, kMostRows, 16, run}};

}  // namespace

const GemmTable kAvx2Gemm{kKernels, 1};

}  // namespace bitfold

#else

namespace bitfold {
const GemmTable kAvx2Gemm{nullptr, 0};
}

#endif
