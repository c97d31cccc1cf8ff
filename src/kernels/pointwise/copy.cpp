// Copies of bytes without computation.
#include <cstring>

#include "kernels/pointwise/pointwise.h"

namespace bitfold {

void copy_nd(const std::uint8_t* from, std::uint8_t* to, const CopyShape& shape) noexcept {
  const auto run_bytes = static_cast<std::size_t>(shape.run_bytes);
  if (shape.rank == 0) {
    std::memcpy(to, from, run_bytes);
    return;
  }
  std::int64_t index[kMaxCopyRank] = {};
  for (int d = 0; d < shape.rank; ++d)
    if (shape.count[d] <= 0) return;
  const int last = shape.rank - 1;
  for (;;) {
    for (std::int64_t i = 0; i < shape.count[last]; ++i)
      std::memcpy(to + i * shape.to_stride[last], from + i * shape.from_stride[last], run_bytes);
    int d = last - 1;
    for (; d >= 0; --d) {
      from += shape.from_stride[d];
      to += shape.to_stride[d];
      if (++index[d] < shape.count[d]) break;
      from -= shape.count[d] * shape.from_stride[d];
      to -= shape.count[d] * shape.to_stride[d];
      index[d] = 0;
    }
    if (d < 0) return;
  }
}

void resize_nearest(const std::uint8_t* x, std::uint8_t* y, std::int64_t in_width, std::int64_t pixel_bytes,
                    const std::int32_t* row_index, std::int64_t out_height, const std::int32_t* column_index,
                    std::int64_t out_width) noexcept {
  const std::int64_t out_row = out_width * pixel_bytes;
  for (std::int64_t i = 0; i < out_height; ++i, y += out_row) {
    if (i > 0 && row_index[i] == row_index[i - 1]) {
      std::memcpy(y, y - out_row, static_cast<std::size_t>(out_row));
      continue;
    }
    const std::uint8_t* from = x + row_index[i] * in_width * pixel_bytes;
    for (std::int64_t j = 0; j < out_width; ++j)
      std::memcpy(y + j * pixel_bytes, from + column_index[j] * pixel_bytes, static_cast<std::size_t>(pixel_bytes));
  }
}

}  // namespace bitfold
