#include "kernels/image_form.h"

#include <algorithm>
#include <cassert>
#include <cstring>
#include <limits>

#include "kernels/gemm/gemm.h"
#include "kernels/pointwise/intrinsics.h"
#include "kernels/sizes.h"

namespace bitfold {
namespace {

constexpr std::int64_t kMaxFoldedRows = 8;

/// The size of the product for a filter whose kernel rows are runs.
GemmSize size_of(const ConvFilter& f, const ConvImages& images) {
  return {.pixel_count = images.out_width,
          .channel_count = f.out_channels,
          .run_count = f.kernel_h,
          .group_count = divide_up(f.kernel_w * f.in_channels, kGroupBytes),
          .row_count = images.out_height};
}

/// Products of tiles for 16 pixels and 16 channels.
std::int64_t products(const GemmSize& size) {
  return size.run_count * (size.group_count / amx_chunk_groups(size.group_count));
}

std::int64_t best_fold(const ConvFilter& filter, const ConvImages& images, Isa cap) {
  if (filter.dilation_h != 1 || filter.dilation_w != 1) return 1;
  // Not worth packing if vector kernels take about the same time.
  if (select_gemm_kernel(size_of(filter, images), cap).isa != Isa::amx) return 1;
  std::int64_t best = 1, least = products(size_of(filter, images));
  for (std::int64_t rows = 2; rows <= std::min({images.stride_h, filter.kernel_h, kMaxFoldedRows}); ++rows) {
    if (images.stride_h % rows != 0) continue;
    const GemmSize size = size_of(folded(filter, rows), images);
    if (products(size) >= least) continue;
    best = rows;
    least = products(size);
  }
  return best;
}

/// Whether a tile covers several rows of split images but not of plain ones.
bool splitting_pays(const ConvFilter& f, const ConvImages& images, std::int64_t width, Isa cap) {
  if (images.stride_h == 1 && images.stride_w == 1) return false;
  if (f.in_channels % kGroupBytes != 0 || images.out_height < 2 || 2 * images.out_width > kTilePixels) return false;
  const auto takes_rows = [&](std::int64_t pitch) { return pitch + images.out_width <= kTilePixels; };
  const bool is_whole = width * images.stride_h % images.stride_w == 0;
  if (is_whole && takes_rows(width * images.stride_h / images.stride_w)) return false;
  return takes_rows(divide_up(width, images.stride_w)) && select_gemm_kernel(size_of(f, images), cap).isa == Isa::amx;
}

/// Pixel p of row r goes to (p * count + r) * channels.
void interleave(const std::uint8_t* const* rows, std::int64_t count, std::int64_t channels, std::int64_t width,
                std::uint8_t* to) {
  if (count == 2 && kVbmiInterleave != nullptr && has_vbmi() && channels <= 16)
    return kVbmiInterleave(rows[0], rows[1], to, channels, width);
  for (std::int64_t r = 0; r < count; ++r)
    for (std::int64_t p = 0; p < width; ++p)
      for (std::int64_t c = 0; c < channels; ++c) to[(p * count + r) * channels + c] = rows[r][p * channels + c];
}

}  // namespace

ImageForm best_image_form(const ConvFilter& filter, const ConvImages& images, std::int64_t width, Isa cap) {
  if (cap < Isa::amx || filter.groups != 1 || images.unpadded.height != 0) return {};
  if (splitting_pays(filter, images, width, cap)) return {.is_split = true};
  return {.folded_rows = best_fold(filter, images, cap)};
}

ConvFilter folded(const ConvFilter& filter, std::int64_t rows) {
  ConvFilter out = filter;
  out.kernel_h = divide_up(filter.kernel_h, rows);
  out.in_channels *= rows;
  return out;
}

ConvImages packed_images(const ConvFilter& filter, const ConvImages& images, const PaddedImage& image,
                         const ImageForm& form) {
  assert(form.folded_rows == 1 || (!form.is_split && images.stride_h % form.folded_rows == 0));
  ConvImages out = images;
  out.content_begin = image.top / form.folded_rows;
  out.content_end = divide_up(image.top + image.height, form.folded_rows);
  const std::int64_t rows =
      (images.out_height - 1) * images.stride_h + window_extent(filter.kernel_h, filter.dilation_h);
  if (form.is_split) {
    out.x.pixel = image.channels;
    out.x.row = divide_up(image.padded_width, images.stride_w) * out.x.pixel;
    out.split.image = divide_up(rows, images.stride_h) * out.x.row;
    out.split.columns = std::min(images.stride_w, window_extent(filter.kernel_w, filter.dilation_w));
    out.split.rows = std::min(images.stride_h, window_extent(filter.kernel_h, filter.dilation_h));
    out.x.image = out.split.rows * out.split.columns * out.split.image;
    return out;
  }
  out.stride_h = images.stride_h / form.folded_rows;
  out.x.pixel = image.channels * form.folded_rows;
  out.x.row = image.padded_width * out.x.pixel;
  out.x.image = divide_up(rows, form.folded_rows) * out.x.row;
  return out;
}

ImagePacker::ImagePacker(const ConvFilter& filter, const ConvImages& images, const PaddedImage& image,
                         const ImageForm& form)
    : image_(image),
      form_(form),
      packed_(packed_images(filter, images, image, form)),
      stride_h_(images.stride_h),
      stride_w_(images.stride_w) {
  rows_ = form.is_split ? packed_.split.image / packed_.x.row * stride_h_ : packed_.x.image / packed_.x.row;
}

void ImagePacker::pack(const std::uint8_t* x, std::uint8_t* y, std::uint8_t padding, std::int64_t begin,
                       std::int64_t end) const noexcept {
  const std::int64_t count = form_.folded_rows, row_bytes = image_.width * image_.channels;
  const auto left = static_cast<std::size_t>(image_.left * packed_.x.pixel);
  const auto content = static_cast<std::size_t>(image_.width * packed_.x.pixel);
  const auto all = static_cast<std::size_t>(packed_.x.row);
  const auto source = [&](std::int64_t h) -> const std::uint8_t* {
    return h < image_.top || h >= image_.top + image_.height ? nullptr : x + (h - image_.top) * row_bytes;
  };
  for (std::int64_t row = begin; row < end; ++row) {
    if (form_.is_split) {
      pack_split_row(source(row), y, padding, row);
      continue;
    }
    std::uint8_t* to = y + row * packed_.x.row;
    const std::uint8_t* rows[kMaxFoldedRows] = {};
    std::int64_t present = 0;
    for (std::int64_t r = 0; r < count; ++r) {
      rows[r] = source(row * count + r);
      present += rows[r] != nullptr ? 1 : 0;
    }
    if (present < count) std::memset(to, padding, all);
    if (present == 0) continue;
    std::memset(to, padding, left);
    std::memset(to + left + content, padding, all - left - content);
    if (count == 1)
      std::memcpy(to + left, rows[0], content);
    else if (present == count)
      interleave(rows, count, image_.channels, image_.width, to + left);
    else
      for (std::int64_t r = 0; r < count; ++r)
        for (std::int64_t i = 0; rows[r] != nullptr && i < row_bytes; ++i)
          to[left + (i / image_.channels * count + r) * image_.channels + i % image_.channels] = rows[r][i];
  }
}

/// `row` points into the image; null for a row of padding.
void ImagePacker::pack_split_row(const std::uint8_t* row, std::uint8_t* y, std::uint8_t padding,
                                 std::int64_t h) const noexcept {
  const ConvImages::Split& split = packed_.split;
  if (h % stride_h_ >= split.rows) return;
  const auto pixel = static_cast<std::size_t>(image_.channels);
  for (std::int64_t column = 0; column < split.columns; ++column) {
    std::uint8_t* to = y + (h % stride_h_ * split.columns + column) * split.image + h / stride_h_ * packed_.x.row;
    for (std::int64_t w = column - image_.left; w < image_.padded_width - image_.left; w += stride_w_) {
      if (row == nullptr || w < 0 || w >= image_.width)
        std::memset(to, padding, pixel);
      else
        std::memcpy(to, row + w * image_.channels, pixel);
      to += pixel;
    }
  }
}

}  // namespace bitfold
