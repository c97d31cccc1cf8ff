// The layout of the padded image that a convolution on AMX tiles reads.
//
// A product of two tiles takes the time of 16 pixels and 64 bytes of depth even if fewer are used. Two forms of a
// padded image fill tiles better than plain rows. The copy that adds the padding also produces the form.
//
// Folded, for an image of few channels: `folded_rows` rows, which must divide the vertical stride, are interleaved
// pixel by pixel into one. A 7x7 window of 3 channels is then 4 runs of 42 bytes instead of 7 of 21:
//
//        row 0   a0 a1 a2 ...
//        row 1   b0 b1 b2 ...        ->        row 0   a0 b0 a1 b1 a2 b2 ...
//
// The filter is folded likewise: it has more channels and fewer rows. Missing rows at its end are zeros.
//
// Split, for a layer with strides and short rows: pixels are distributed by the strides to stride_h * stride_w images.
// Each tap of the kernel reads one of these images without strides. Rows of 7 pixels then lie 8 apart instead of 32,
// and a tile covers two of them. Images that no tap reads are left out.
//
//        0 1 0 1        0 0   1 1
//        2 3 2 3   ->   0 0   1 1   2 2   3 3
//        0 1 0 1                    2 2   3 3
//        2 3 2 3
#pragma once

#include <cstdint>

#include "kernels/integer_conv.h"

namespace bitfold {

struct ImageForm {
  std::int64_t folded_rows = 1;
  bool is_split = false;

  bool is_plain() const { return folded_rows == 1 && !is_split; }
};

/// A pure function of its arguments. `images` describes plain images; `width` is the padded width in pixels.
ImageForm best_image_form(const ConvFilter& filter, const ConvImages& images, std::int64_t width, Isa cap);

/// The filter for folded images.
ConvFilter folded(const ConvFilter& filter, std::int64_t rows);

/// An image and its border. A form holds the rows that are read, which may be fewer or more than those of the padded
/// image.
struct PaddedImage {
  std::int64_t height = 0, width = 0, channels = 0;  ///< Size without the border.
  std::int64_t top = 0, left = 0, padded_width = 0;
};

/// The layout of padded images in that form, stored one after the other. The strides and sizes of x are computed; those
/// of y, and the strides of the convolution, are taken from `images`, which describes plain images.
ConvImages packed_images(const ConvFilter& filter, const ConvImages& images, const PaddedImage& image,
                         const ImageForm& form);

/// Pads images and packs them in a form.
class ImagePacker {
 public:
  ImagePacker() = default;
  /// The same arguments as packed_images().
  ImagePacker(const ConvFilter& filter, const ConvImages& images, const PaddedImage& image, const ImageForm& form);

  /// Bytes of the image without its border.
  std::int64_t image_bytes() const { return image_.height * image_.width * image_.channels; }
  std::int64_t packed_bytes() const { return packed_.x.image; }
  /// Rows of the packed image, as its convolution counts them.
  std::int64_t rows() const { return rows_; }
  /// Packs rows [begin, end) of the packed image; x and y point at the images' first pixels.
  void pack(const std::uint8_t* x, std::uint8_t* y, std::uint8_t padding, std::int64_t begin,
            std::int64_t end) const noexcept;

 private:
  void pack_split_row(const std::uint8_t* row, std::uint8_t* y, std::uint8_t padding, std::int64_t h) const noexcept;

  PaddedImage image_;
  ImageForm form_;
  ConvImages packed_;
  std::int64_t stride_h_ = 1, stride_w_ = 1;
  std::int64_t rows_ = 0;
};

}  // namespace bitfold
