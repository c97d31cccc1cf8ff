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

/// More pixels than this are refused: 100 million, 300 MB decoded.
inline constexpr std::int64_t kMostPixels = 100'000'000;

/// Decodes JPEG or PNG, whatever the name's ending. Transparency is dropped. Throws Error naming the image when it is
/// neither, damaged (also where a decoder could guess the rest), or larger than kMostPixels.
/// JPEG goes through libjpeg, whose pixels are those of Pillow, OpenCV and PyTorch; stb_image's differ by up to 3
/// levels, which moved one in 400 classifications.
Image decode_image(std::span<const std::byte> bytes, const std::string& name);

/// Bilinear with half-pixel centres: an output pixel is a triangle-weighted mean of the input around its centre; the
/// triangle's half width is 1 input pixel when enlarging, width_in / width_out when shrinking (antialiased).
/// Horizontal, then vertical, rounding to 8 bits after each: Pillow's BILINEAR. The same size is returned unchanged.
Image resize_image(const Image& image, ImageSize size);

}  // namespace bitfold
