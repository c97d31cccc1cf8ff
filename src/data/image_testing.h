// Image files for tests.
#pragma once

#include <string>
#include <vector>

#include "data/image.h"

#define STB_IMAGE_WRITE_IMPLEMENTATION
#define STB_IMAGE_WRITE_STATIC
#define STBI_WRITE_NO_STDIO
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wmissing-field-initializers"
#pragma GCC diagnostic ignored "-Wunused-function"
#include <stb/stb_image_write.h>
#pragma GCC diagnostic pop

namespace bitfold::testing {

inline Image plain_image(std::int64_t width, std::int64_t height, std::uint8_t value, std::int64_t channels = 3) {
  return {width, height, channels,
          std::vector<std::uint8_t>(static_cast<std::size_t>(width * height * channels), value)};
}

inline void append(void* context, void* data, int size) {
  static_cast<std::string*>(context)->append(static_cast<const char*>(data), static_cast<std::size_t>(size));
}

inline std::string png(const Image& image) {
  std::string file;
  stbi_write_png_to_func(append, &file, static_cast<int>(image.width), static_cast<int>(image.height),
                         static_cast<int>(image.channels), image.pixels.data(), 0);
  return file;
}

inline std::string jpeg(const Image& image) {
  std::string file;
  stbi_write_jpg_to_func(append, &file, static_cast<int>(image.width), static_cast<int>(image.height),
                         static_cast<int>(image.channels), image.pixels.data(), 95);
  return file;
}

}  // namespace bitfold::testing
