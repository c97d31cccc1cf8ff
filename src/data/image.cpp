#include "data/image.h"

#include <csetjmp>
#include <cstdio>
// jpeglib.h requires stdio.h before it.
#include <jpeglib.h>
#define STBI_NO_STDIO
#include <stb/stb_image.h>
#include <zlib.h>

#include <algorithm>
#include <cmath>
#include <memory>

#include "base/check.h"

namespace bitfold {
namespace {

void check_size(std::int64_t width, std::int64_t height, const std::string& name) {
  check(width > 0 && height > 0, "'{}': the image has no pixels", name);
  check(width <= kMaxPixels / height, "'{}': has {}x{} pixels; at most {} million are supported", name, width, height,
        kMaxPixels / 1'000'000);
}

// stb_image does not check the checksums of PNG chunks (length, type, contents, checksum; big-endian).
void check_png_chunks(std::span<const std::byte> bytes, const std::string& name) {
  const auto word = [&](std::size_t at) {
    std::uint32_t value = 0;
    for (std::size_t i = 0; i < 4; ++i) value = value << 8 | std::to_integer<std::uint32_t>(bytes[at + i]);
    return value;
  };
  constexpr std::uint32_t kEnd = 0x49454e44;  // "IEND"
  for (std::size_t at = 8;;) {
    check(bytes.size() >= at + 12, "'{}': damaged: truncated", name);
    const std::size_t length = word(at);
    check(length <= bytes.size() - at - 12, "'{}': damaged: truncated", name);
    const auto* chunk = reinterpret_cast<const Bytef*>(bytes.data() + at + 4);
    check(::crc32_z(0, chunk, length + 4) == word(at + 8 + length), "'{}': damaged: a checksum is wrong", name);
    if (word(at + 4) == kEnd) return;
    at += length + 12;
  }
}

// Without pixels.
Image read_png_header(std::span<const std::byte> bytes, const std::string& name) {
  int width = 0, height = 0, channels = 0;
  if (stbi_info_from_memory(reinterpret_cast<const stbi_uc*>(bytes.data()), static_cast<int>(bytes.size()), &width,
                            &height, &channels) == 0)
    fail("'{}': cannot be decoded: {}", name, stbi_failure_reason());
  check_size(width, height, name);
  return {width, height, channels, {}};
}

Image decode_png(std::span<const std::byte> bytes, const std::string& name) {
  const auto* data = reinterpret_cast<const stbi_uc*>(bytes.data());
  const int size = static_cast<int>(bytes.size());
  int width = 0, height = 0, channels = static_cast<int>(read_png_header(bytes, name).channels);
  // 2 and 4 channels are grey and RGB with transparency.
  const int wanted = channels <= 2 ? 1 : 3;
  const std::unique_ptr<stbi_uc, decltype(&stbi_image_free)> pixels(
      stbi_load_from_memory(data, size, &width, &height, &channels, wanted), &stbi_image_free);
  if (pixels == nullptr) fail("'{}': cannot be decoded: {}", name, stbi_failure_reason());
  Image image{width, height, wanted, {}};
  image.pixels.assign(pixels.get(), pixels.get() + image.width * image.height * wanted);
  return image;
}

// libjpeg reports errors through callbacks, which leave by longjmp, so no object with a destructor may be alive across
// its calls.
struct JpegErrors {
  jpeg_error_mgr manager;
  std::jmp_buf escape;
  char message[JMSG_LENGTH_MAX];
};

void leave(j_common_ptr jpeg) {
  auto* errors = reinterpret_cast<JpegErrors*>(jpeg->err);
  jpeg->err->format_message(jpeg, errors->message);
  std::longjmp(errors->escape, 1);
}

// A warning means damaged data that libjpeg replaces by guesses.
void leave_on_warning(j_common_ptr jpeg, int level) {
  if (level < 0) leave(jpeg);
}

// A progressive file may repeat scans without end, and each takes as long as the whole image.
void limit_scans(j_common_ptr jpeg) {
  constexpr int kMaxScans = 500;
  if (!jpeg->is_decompressor || reinterpret_cast<j_decompress_ptr>(jpeg)->input_scan_number <= kMaxScans) return;
  auto* errors = reinterpret_cast<JpegErrors*>(jpeg->err);
  std::snprintf(errors->message, sizeof errors->message, "more than %d scans", kMaxScans);
  std::longjmp(errors->escape, 1);
}

enum class JpegResult { decoded, damaged, too_large };

enum class JpegPart { header, all };

// Leaves 4 channels (CMYK) if the file has them; `inverted` means that they count light instead of ink.
JpegResult decode_with_libjpeg(std::span<const std::byte> bytes, JpegPart part, Image& image, bool& inverted,
                               JpegErrors& errors) {
  jpeg_decompress_struct jpeg{};
  jpeg.err = jpeg_std_error(&errors.manager);
  errors.manager.error_exit = leave;
  errors.manager.emit_message = leave_on_warning;
  jpeg_progress_mgr progress{};
  progress.progress_monitor = limit_scans;
  // After a jump only `jpeg` is used, which is changed only through its address.
  if (setjmp(errors.escape) != 0) {
    jpeg_destroy_decompress(&jpeg);
    return JpegResult::damaged;
  }
  jpeg_create_decompress(&jpeg);
  jpeg.progress = &progress;
  jpeg_mem_src(&jpeg, reinterpret_cast<const unsigned char*>(bytes.data()), bytes.size());
  jpeg_read_header(&jpeg, TRUE);
  image.width = jpeg.image_width;
  image.height = jpeg.image_height;
  JpegResult result = JpegResult::decoded;
  if (image.width == 0 || image.height == 0 || image.width > kMaxPixels / image.height) {
    result = JpegResult::too_large;
  } else if (part == JpegPart::all) {
    const bool gray = jpeg.jpeg_color_space == JCS_GRAYSCALE;
    const bool cmyk = jpeg.jpeg_color_space == JCS_CMYK || jpeg.jpeg_color_space == JCS_YCCK;
    jpeg.out_color_space = gray ? JCS_GRAYSCALE : cmyk ? JCS_CMYK : JCS_RGB;
    image.channels = gray ? 1 : cmyk ? 4 : 3;
    inverted = cmyk && jpeg.saw_Adobe_marker;
    jpeg_start_decompress(&jpeg);
    const auto row_bytes = static_cast<std::size_t>(image.width * image.channels);
    image.pixels.resize(row_bytes * static_cast<std::size_t>(image.height));
    while (jpeg.output_scanline < jpeg.output_height) {
      JSAMPROW row = image.pixels.data() + row_bytes * jpeg.output_scanline;
      jpeg_read_scanlines(&jpeg, &row, 1);
    }
    jpeg_finish_decompress(&jpeg);
  }
  jpeg_destroy_decompress(&jpeg);
  return result;
}

// The light that passes both the colour's ink and the black: r = (255 - c) (255 - k) / 255.
void cmyk_to_rgb(Image& image, bool inverted) {
  const std::uint32_t flip = inverted ? 0 : 255;
  std::uint8_t* out = image.pixels.data();
  for (const std::uint8_t* in = out; in != image.pixels.data() + image.pixels.size(); in += 4) {
    const std::uint32_t white = in[3] ^ flip;
    for (int c = 0; c < 3; ++c) *out++ = static_cast<std::uint8_t>(((in[c] ^ flip) * white + 127) / 255);
  }
  image.channels = 3;
  image.pixels.resize(static_cast<std::size_t>(image.width * image.height * 3));
}

// The weights of one output pixel, in fixed point with kWeightBits fractional bits, over input [first, first + count).
struct FilterWindow {
  std::int64_t first = 0;
  std::vector<std::int32_t> weights;
};
constexpr int kWeightBits = 22;  // 8 bits of pixel and a sign leave 23 of 32

std::vector<FilterWindow> make_windows(std::int64_t from, std::int64_t to) {
  const double ratio = static_cast<double>(from) / static_cast<double>(to);
  const double half_width = std::max(ratio, 1.0);
  std::vector<FilterWindow> windows(static_cast<std::size_t>(to));
  std::vector<double> weights;
  for (std::int64_t i = 0; i < to; ++i) {
    const double center = (static_cast<double>(i) + 0.5) * ratio;
    const auto first = std::max<std::int64_t>(0, static_cast<std::int64_t>(std::floor(center - half_width + 0.5)));
    const auto end = std::min<std::int64_t>(from, static_cast<std::int64_t>(std::floor(center + half_width + 0.5)));
    weights.clear();
    double sum = 0;
    for (std::int64_t j = first; j < end; ++j) {
      const double distance = std::abs(static_cast<double>(j) + 0.5 - center) / half_width;
      weights.push_back(std::max(0.0, 1 - distance));
      sum += weights.back();
    }
    FilterWindow& window = windows[static_cast<std::size_t>(i)];
    window.first = first;
    for (const double weight : weights)
      window.weights.push_back(static_cast<std::int32_t>(std::floor(weight / sum * (1 << kWeightBits) + 0.5)));
  }
  return windows;
}

// Resizes along one axis: `lines` of `from` pixels become `to` pixels. The `step` values of a pixel are adjacent, and
// the next pixel is `step` values further. Horizontally step = channels; vertically a whole row is one "pixel".
void resize_lines(const std::uint8_t* in, std::uint8_t* out, std::int64_t lines, std::int64_t from, std::int64_t step,
                  const std::vector<FilterWindow>& windows) {
  for (std::int64_t line = 0; line < lines; ++line, in += from * step) {
    for (const FilterWindow& window : windows) {
      const std::uint8_t* source = in + window.first * step;
      for (std::int64_t k = 0; k < step; ++k) {
        std::int32_t sum = 1 << (kWeightBits - 1);
        const std::uint8_t* pixel = source + k;
        for (const std::int32_t weight : window.weights) {
          sum += *pixel * weight;
          pixel += step;
        }
        *out++ = static_cast<std::uint8_t>(std::clamp(sum >> kWeightBits, 0, 255));
      }
    }
  }
}

// Whether it is PNG or JPEG.
bool is_png(std::span<const std::byte> bytes, const std::string& name) {
  const auto is = [&](int at, int value) { return std::to_integer<int>(bytes[static_cast<std::size_t>(at)]) == value; };
  check(bytes.size() >= 4 && bytes.size() <= std::size_t{1} << 30,
        "'{}': is neither JPEG nor PNG: it has only {} bytes", name, bytes.size());
  const bool is_jpeg = is(0, 0xff) && is(1, 0xd8), is_png = is(0, 0x89) && is(1, 'P') && is(2, 'N') && is(3, 'G');
  check(is_jpeg || is_png, "'{}': is neither JPEG nor PNG", name);
  return is_png;
}

Image decode_jpeg(std::span<const std::byte> bytes, JpegPart part, const std::string& name) {
  Image image;
  bool inverted = false;
  const auto errors = std::make_unique<JpegErrors>();
  const JpegResult result = decode_with_libjpeg(bytes, part, image, inverted, *errors);
  if (result == JpegResult::too_large) check_size(image.width, image.height, name);
  check(result == JpegResult::decoded, "'{}': damaged: {}", name, errors->message);
  if (image.channels == 4) cmyk_to_rgb(image, inverted);
  return image;
}

}  // namespace

Image decode_image(std::span<const std::byte> bytes, const std::string& name) {
  if (is_png(bytes, name)) {
    check_png_chunks(bytes, name);
    return decode_png(bytes, name);
  }
  return decode_jpeg(bytes, JpegPart::all, name);
}

ImageSize image_size(std::span<const std::byte> bytes, const std::string& name) {
  const Image image = is_png(bytes, name) ? read_png_header(bytes, name) : decode_jpeg(bytes, JpegPart::header, name);
  return {image.width, image.height};
}

Image resize_image(const Image& image, ImageSize size) {
  if (size.width == image.width && size.height == image.height) return image;
  Image wide{size.width, image.height, image.channels, {}};
  if (size.width == image.width) {
    wide.pixels = image.pixels;
  } else {
    wide.pixels.resize(static_cast<std::size_t>(size.width * image.height * image.channels));
    resize_lines(image.pixels.data(), wide.pixels.data(), image.height, image.width, image.channels,
                 make_windows(image.width, size.width));
  }
  if (size.height == image.height) return wide;
  Image result{size.width, size.height, image.channels, {}};
  result.pixels.resize(static_cast<std::size_t>(size.width * size.height * image.channels));
  resize_lines(wide.pixels.data(), result.pixels.data(), 1, image.height, size.width * image.channels,
               make_windows(image.height, size.height));
  return result;
}

}  // namespace bitfold
