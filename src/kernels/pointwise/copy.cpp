// Bytes moved without computing.
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

namespace {

/// Calls inside(row's first inner byte, row) for every row of the image, and fills all around it.
template <class Inside>
void for_padded_rows(std::uint8_t* y, const PadShape& s, std::uint8_t value, Inside inside) {
  const std::int64_t row = (s.left + s.width + s.right) * s.pixel_bytes, first = s.left * s.pixel_bytes;
  const std::int64_t between = (s.left + s.right) * s.pixel_bytes, content = s.width * s.pixel_bytes;
  if (s.height == 0) {
    std::memset(y, value, static_cast<std::size_t>((s.top + s.bottom) * row));
    return;
  }
  // The right border of a row and the left one of the next lie side by side.
  std::memset(y, value, static_cast<std::size_t>(s.top * row + first));
  std::uint8_t* to = y + s.top * row + first;
  for (std::int64_t h = 0; h < s.height; ++h, to += row) {
    inside(to, h);
    if (h + 1 < s.height) std::memset(to + content, value, static_cast<std::size_t>(between));
  }
  std::memset(to - row + content, value, static_cast<std::size_t>(s.right * s.pixel_bytes + s.bottom * row));
}

}  // namespace

void pad_rows(const std::uint8_t* x, std::uint8_t* y, const PadShape& s, std::uint8_t value, std::int64_t begin,
              std::int64_t end) noexcept {
  const auto content = static_cast<std::size_t>(s.width * s.pixel_bytes);
  const auto left = static_cast<std::size_t>(s.left * s.pixel_bytes);
  const auto right = static_cast<std::size_t>(s.right * s.pixel_bytes);
  const std::size_t row = left + content + right;
  std::uint8_t* to = y + static_cast<std::size_t>(begin) * row;
  for (std::int64_t h = begin - s.top; h < end - s.top; ++h, to += row) {
    if (h < 0 || h >= s.height) {
      std::memset(to, value, row);
      continue;
    }
    std::memset(to, value, left);
    std::memcpy(to + left, x + static_cast<std::size_t>(h) * content, content);
    std::memset(to + left + content, value, right);
  }
}

void pad_image(const std::uint8_t* x, std::uint8_t* y, const PadShape& s, std::uint8_t value) noexcept {
  pad_rows(x, y, s, value, 0, s.padded_height());
}

void fill_border(std::uint8_t* y, const PadShape& s, std::uint8_t value) noexcept {
  for_padded_rows(y, s, value, [](std::uint8_t*, std::int64_t) {});
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
