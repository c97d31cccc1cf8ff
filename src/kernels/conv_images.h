// The layout in memory of the images that an integer convolution reads and writes.
#pragma once

#include <cstdint>
#include <limits>

#include "kernels/conv_output.h"

namespace bitfold {

/// Bytes after an input image that must be readable; their values do not matter.
constexpr std::int64_t kOverread = 64;

/// Strides in elements. Channels of a pixel are adjacent.
struct ImageStrides {
  std::int64_t image = 0, row = 0, pixel = 0;
};

/// The size of an image stored without its border. `height` 0: the image is stored with its border.
struct UnpaddedImage {
  std::int64_t height = 0, width = 0;
  std::int64_t pad_top = 0, pad_left = 0;
};

/// The images a filter runs over. The pixel stride of x must be the filter's in_channels.
struct ConvImages {
  std::int64_t batch = 1, out_height = 1, out_width = 1;
  std::int64_t stride_h = 1, stride_w = 1;
  /// Strides of the padded input. x points at the first tap of the first output pixel. `image` is 0 when every image is
  /// packed into the same scratch memory in turn.
  ImageStrides x;
  ImageStrides y;         ///< Strides of the output, in its elements. The output may be the interior of a padded image.
  ImageStrides residual;  ///< Used only if a residual is added.
  /// Rows of the padded input before `content_begin` and from `content_end` on contain only the code `padding`, so that
  /// kernel rows over them need not be multiplied. By default no row is known to be padding.
  std::int64_t content_begin = 0, content_end = std::numeric_limits<std::int64_t>::max();
  std::uint8_t padding = 0;
  /// Set if `image` > 0: the pixels of x are divided by the strides into rows x columns images. Pixel (h, w) becomes
  /// pixel (h / stride_h, w / stride_w) of image (h % stride_h, w % stride_w); see image_form.h. The strides of x are
  /// those within one such image.
  struct Split {
    std::int64_t rows = 1, columns = 1;
    std::int64_t image = 0;  ///< Elements from one of these images to the next, in row-major order.
  } split;
  /// For depthwise filters only: x and its strides describe the image without its border; taps outside it read
  /// `padding`.
  UnpaddedImage unpadded;

  /// Elements of x from one output row, or one output pixel, to the next.
  std::int64_t row_step() const { return x.row * (split.image > 0 ? 1 : stride_h); }
  std::int64_t pixel_step() const { return x.pixel * (split.image > 0 ? 1 : stride_w); }
};

/// Rows [row, row + count) of one output image, restricted to the channels [channel_begin, channel_end) of each group.
/// Only products with one group may leave channels out.
struct OutputPart {
  std::int64_t image = 0, row = 0, count = 0, channel_begin = 0, channel_end = 0;
};

inline std::int64_t element_bytes(AccumulatorOutput kind) { return kind == AccumulatorOutput::code ? 1 : 4; }

}  // namespace bitfold
