// Where an integer convolution finds its images and leaves its outputs.
#pragma once

#include <cstdint>
#include <limits>

#include "kernels/conv_output.h"

namespace bitfold {

/// Bytes after an input image that must be readable; their values do not matter.
constexpr std::int64_t kOverread = 64;

/// Elements from one image, row and pixel to the next. Channels of a pixel are adjacent.
struct ImageStrides {
  std::int64_t image = 0, row = 0, pixel = 0;
};

/// An image without its border. `height` 0: there is none, the border is where images usually have it.
struct BareImage {
  std::int64_t height = 0, width = 0;
  std::int64_t pad_top = 0, pad_left = 0;
};

/// Over which images a filter runs. The pixel stride of x must be the filter's in_channels.
struct ConvImages {
  std::int64_t batch = 1, out_height = 1, out_width = 1;
  std::int64_t stride_h = 1, stride_w = 1;
  ImageStrides x;         ///< Of the padded input, whose first pixel is the first tap of the first output pixel. Images
                          ///< that are made in one place, one after the other, are 0 apart.
  ImageStrides y;         ///< Of the output, in its elements: it may itself be the inside of a padded image.
  ImageStrides residual;  ///< Where one is added.
  /// Rows of the padded input before `content_begin` and from `content_end` on hold padding only, the code `padding`:
  /// kernel rows over them need not be multiplied. The default says nothing about padding.
  std::int64_t content_begin = 0, content_end = std::numeric_limits<std::int64_t>::max();
  std::uint8_t padding = 0;
  /// Where `image` > 0: pixels of x are dealt out by the strides, (h, w) to pixel (h / stride_h, w / stride_w) of image
  /// (h % stride_h, w % stride_w) of rows x columns such (see image_form.h). Strides of x are those within one of them.
  struct Split {
    std::int64_t rows = 1, columns = 1;
    std::int64_t image = 0;  ///< Elements from one of them to the next, row by row.
  } split;
  /// Of depthwise filters only: x is the image alone, and so are its strides; taps outside it count as `padding`.
  BareImage bare;

  /// Elements of x from one output row, and pixel, to the next.
  std::int64_t row_step() const { return x.row * (split.image > 0 ? 1 : stride_h); }
  std::int64_t pixel_step() const { return x.pixel * (split.image > 0 ? 1 : stride_w); }
};

/// Rows [row, row + count) of one image of outputs, of which the channels [channel_begin, channel_end) of each group.
/// They are all but in products of one group.
struct OutputPart {
  std::int64_t image = 0, row = 0, count = 0, channel_begin = 0, channel_end = 0;
};

inline std::int64_t element_bytes(AccumulatorOutput kind) { return kind == AccumulatorOutput::code ? 1 : 4; }

}  // namespace bitfold
