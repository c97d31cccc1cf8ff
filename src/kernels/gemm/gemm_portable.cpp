// The matrix product in plain C++. The other kernels must give the same bytes.
#include "kernels/accumulator.h"
#include "kernels/gemm/gemm.h"

namespace bitfold {
namespace {

void run(const GemmTask& t) noexcept {
  for (std::int64_t p = 0; p < t.pixel_count; ++p) {
    std::int32_t sums[kBlockChannels];
    for (int c = 0; c < kBlockChannels; ++c) sums[c] = t.bias[c];
    const std::int8_t* w = t.weights;
    for (std::int64_t r = 0; r < t.run_count; ++r) {
      const std::uint8_t* x = t.x + p * t.pixel_stride + t.run_offsets[r];
      for (std::int64_t g = 0; g < t.group_count; ++g, x += kGroupBytes, w += kGroupWeights)
        for (int c = 0; c < kBlockChannels; ++c)
          sums[c] += x[0] * w[4 * c] + x[1] * w[4 * c + 1] + x[2] * w[4 * c + 2] + x[3] * w[4 * c + 3];
    }
    for (std::int64_t c = 0; c < t.channel_count; ++c)
      store_accumulator(sums[c], t.multipliers[c], *t.output, t.y, p * t.y_stride + c);
  }
}

constexpr GemmKernel kKernels[] = {{"portable 1x16", Isa::portable, 1, 16, run}};

}  // namespace

const GemmTable kPortableGemm{kKernels, 1};

}  // namespace bitfold
