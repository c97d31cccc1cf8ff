// Depthwise convolution in plain C++: what the other kernels must equal.
#include "kernels/accumulator.h"
#include "kernels/depthwise/depthwise.h"

namespace bitfold {
namespace {

constexpr std::int64_t kBlock = 16, kRows = 4;

void run(const DepthwiseTask& t) noexcept {
  const std::int64_t row_groups = (t.kernel_h + kRows - 1) / kRows;
  const std::int64_t block_weights = t.kernel_w * row_groups * kBlock * kRows;
  for (std::int64_t p = 0; p < t.pixel_count; ++p)
    for (std::int64_t c = 0; c < t.channels; ++c) {
      const std::uint8_t* x = t.x + p * t.stride * t.channels + c;
      const std::int8_t* w = t.weights + c / kBlock * block_weights + c % kBlock * kRows;
      std::int32_t sum = t.bias[c];
      for (std::int64_t j = 0; j < t.kernel_w; ++j)
        for (std::int64_t i = 0; i < t.kernel_h; ++i)
          sum += x[i * t.tap_row_bytes + j * t.dilation * t.channels] *
                 w[(j * row_groups + i / kRows) * kBlock * kRows + i % kRows];
      store_accumulator(sum, t.multipliers[c], *t.output, t.y, p * t.y_stride + c);
    }
}

}  // namespace

const DepthwiseKernel kPortableDepthwise{"portable", Isa::portable, run};

}  // namespace bitfold
