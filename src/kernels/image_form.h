// How the image lies in memory that a convolution on tiles reads.
//
// A product of two tiles takes 16 pixels and 64 bytes of a window, and as long where there are fewer. Two forms of a
// padded image fill tiles better where an image of plain rows would not; both are made by the copy that pads.
//
// Folded: an image of few channels. `folded_rows` rows, which must divide the vertical stride, become one, pixel by
// pixel. A 7x7 window of 3 channels is then 4 runs of 42 bytes instead of 7 of 21:
//
//        row 0   a0 a1 a2 ...
//        row 1   b0 b1 b2 ...        ->        row 0   a0 b0 a1 b1 a2 b2 ...
//
// So the filter is another one, of more channels and fewer rows; rows that its last one lacks are zeros.
//
// Split: a layer with strides and short rows. Pixels are dealt out by the strides to stride_h * stride_w images, of
// which each tap of the kernel reads one, without strides. Rows of 7 pixels come to lie 8 apart instead of 32, and a
// tile takes two of them; images that no tap reads are left out.
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

/// A pure function of its arguments. `images` are plain ones, `width` pixels with their padding wide.
ImageForm best_image_form(const ConvFilter& filter, const ConvImages& images, std::int64_t width, Isa cap);

/// The filter over folded images.
ConvFilter folded(const ConvFilter& filter, std::int64_t rows);

/// An image and what is around it. A form holds the rows that are read, which may be fewer or more than an image and
/// its padding have.
struct PaddedImage {
  std::int64_t height = 0, width = 0, channels = 0;  ///< Of the image itself.
  std::int64_t top = 0, left = 0, padded_width = 0;
};

/// Padded images in that form, one after the other. Strides and sizes of x are made here; those of y, and the strides
/// of the convolution, are taken from `images`, plain ones.
ConvImages formed(const ConvFilter& filter, const ConvImages& images, const PaddedImage& image, const ImageForm& form);

/// Makes one padded image in some form.
class ImageFormer {
 public:
  ImageFormer() = default;
  /// The same arguments as formed().
  ImageFormer(const ConvFilter& filter, const ConvImages& images, const PaddedImage& image, const ImageForm& form);

  std::int64_t image_bytes() const { return image_.height * image_.width * image_.channels; }  ///< Of the bare image.
  std::int64_t formed_bytes() const { return formed_.x.image; }
  /// Rows of the form, as its convolution counts them.
  std::int64_t rows() const { return rows_; }
  /// Rows [begin, end) of the form; x and y are the images' first pixels.
  void make(const std::uint8_t* x, std::uint8_t* y, std::uint8_t padding, std::int64_t begin,
            std::int64_t end) const noexcept;

 private:
  void make_split_row(const std::uint8_t* row, std::uint8_t* y, std::uint8_t padding, std::int64_t h) const noexcept;

  PaddedImage image_;
  ImageForm form_;
  ConvImages formed_;
  std::int64_t stride_h_ = 1, stride_w_ = 1;
  std::int64_t rows_ = 0;
};

}  // namespace bitfold
