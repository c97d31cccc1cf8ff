// Depthwise convolution in plain C++. The other kernels must give the same bytes.
#include "kernels/accumulator.h"
#include "kernels/depthwise/depthwise.h"

namespace bitfold {
namespace {

constexpr std::int64_t kBlock = 16, kRows = 4;

void run(const DepthwiseTask& t) noexcept {
  const std::int64_t row_groups = (t.kernel_h + kRows - 1) / kRows;
  const std::int64_t block_weights = t.kernel_w * row_groups * kBlock * kRows;
  for (std::int64_t r = t.row_begin; r < t.row_end; ++r)
    for (std::int64_t p = 0; p < t.out_width; ++p)
      for (std::int64_t c = 0; c < t.channels; ++c) {
        const std::int8_t* w = t.weights + c / kBlock * block_weights + c % kBlock * kRows;
        std::int32_t sum = t.bias[c];
        for (std::int64_t j = 0; j < t.kernel_w; ++j)
          for (std::int64_t i = 0; i < t.kernel_h; ++i) {
            const std::int64_t row = r * t.stride_h - t.pad_top + i * t.dilation_h;
            const std::int64_t column = p * t.stride_w - t.pad_left + j * t.dilation_w;
            const bool is_inside = row >= 0 && row < t.in_height && column >= 0 && column < t.in_width;
            const int x = is_inside ? t.x[row * t.x_row + column * t.channels + c] : t.padding;
            sum += x * w[(j * row_groups + i / kRows) * kBlock * kRows + i % kRows];
          }
        store_accumulator(sum, t.multipliers[c], *t.output, t.y, r * t.y_row + p * t.y_stride + c);
      }
}

}  // namespace

const DepthwiseKernel kPortableDepthwise{"portable", Isa::portable, run};

}  // namespace bitfold
