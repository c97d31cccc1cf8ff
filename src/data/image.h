// Photographs in memory: decoding JPEG and PNG, and resizing.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "bitfold/data.h"

namespace bitfold {

/// 8-bit pixels, row by row, channels interleaved: pixels[(y * width + x) * channels + c]. Grey (1 channel) or RGB (3).
struct Image {
  std::int64_t width = 0, height = 0, channels = 0;
  std::vector<std::uint8_t> pixels;
};

/// Larger images are rejected: 100 million pixels, 300 MB decoded.
inline constexpr std::int64_t kMaxPixels = 100'000'000;

/// Decodes JPEG or PNG, independent of the extension. Transparency is dropped. Throws Error naming the image if it is
/// neither, is damaged (even if a decoder could guess the rest), or is larger than the maximum. JPEG is decoded by
/// libjpeg, which gives the same pixels as Pillow, OpenCV and PyTorch; stb_image's differ by up to 3 levels, which
/// changed one in 400 classifications.
Image decode_image(std::span<const std::byte> bytes, const std::string& name);

/// The size of a JPEG or PNG image, from its header. Throws Error like decode_image().
ImageSize image_size(std::span<const std::byte> bytes, const std::string& name);

/// Bilinear resizing with half-pixel centres. An output pixel is a triangle-weighted mean of the input around its
/// centre; the half width of the triangle is 1 input pixel when enlarging and width_in / width_out when shrinking
/// (antialiased). First horizontal, then vertical, rounding to 8 bits after each, as in Pillow's BILINEAR. The same
/// size is returned unchanged.
Image resize_image(const Image& image, ImageSize size);

}  // namespace bitfold
