// Converts one sample's pixels to the network's input, as described by Preprocess for one graph input.
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <vector>

#include "bitfold/data.h"
#include "data/image.h"

namespace bitfold {

/// Whether images are resized, which needs uint8 pixels.
inline bool asks_to_resize(const Preprocess& p) {
  return p.resize_short || p.resize_exact || p.resize_height || p.resize_width || p.fit;
}
/// Whether a step needs images.
inline bool asks_for_geometry(const Preprocess& p) {
  return asks_to_resize(p) || p.align || p.crop || p.pad || !p.fill.empty() || p.channels;
}
inline bool asks_for_anything(const Preprocess& p) {
  return asks_for_geometry(p) || p.scale || !p.mean.empty() || !p.std.empty();
}

/// "scaled by 1/255 (--scale overrides this)": what default_scale() chose.
std::string describe_default_scale(const Preprocess& preprocess);

/// The layout of one image: element (y, x, c) at y * stride_y + x * stride_x + c * stride_c.
struct PixelLayout {
  std::int64_t width = 0, height = 0, channels = 0;
  std::int64_t stride_y = 0, stride_x = 0, stride_c = 0;

  static PixelLayout interleaved(std::int64_t width, std::int64_t height, std::int64_t channels) {
    return {width, height, channels, width * channels, channels, 1};
  }
  static PixelLayout planar(std::int64_t width, std::int64_t height, std::int64_t channels) {
    return {width, height, channels, width, 1, width * height};
  }
};

/// How the dimensions of an input represent an image.
enum class InputLayout { nchw, nhwc, nhw, flat };

/// Where the image lies on the canvas that feeds the input. Without `fit` and `pad` they are the same.
struct Placement {
  ImageSize image;  // after resizing
  ImageSize canvas;
  std::int64_t left = 0, top = 0;
};

/// out = (pixel * scale - mean[c]) / std[c], from 8-bit or float pixels, after the steps that move pixels.
class Preprocessor {
 public:
  /// `source_channels` and `source_is_uint8` describe the data. Throws Error if `options` contradict each other or the
  /// input.
  Preprocessor(const InputSpec& input, const Preprocess& options, std::int64_t source_channels, bool source_is_uint8);

  /// The input shape of one sample, without the first dimension, for a source image of that size. Throws Error naming
  /// `where` if the resized and cropped image does not fit the input.
  Shape sample_shape(std::int64_t width, std::int64_t height, const std::string& where) const;
  /// Whether all images that fit give samples of the same shape.
  bool has_one_shape() const;
  /// Writes one sample of sample_shape().
  void run(const std::uint8_t* pixels, const PixelLayout& layout, float* out) const;
  void run(const float* pixels, const PixelLayout& layout, float* out) const;

  InputLayout layout() const { return layout_; }
  std::int64_t channels() const { return channels_; }

 private:
  ImageSize resized(std::int64_t width, std::int64_t height) const;
  Placement placement(std::int64_t width, std::int64_t height) const;
  template <class T>
  void place_and_scale(const T* pixels, const PixelLayout& layout, const Placement& place, float* out) const;

  std::string input_name_;
  Shape input_shape_;
  Preprocess options_;
  InputLayout layout_ = InputLayout::nchw;
  std::int64_t channels_ = 0;                   // channels of the input
  std::optional<std::int64_t> width_, height_;  // size of the input, if known
  Channels order_ = Channels::rgb;
  double scale_ = 1;
  std::vector<double> mean_, std_;             // one per channel
  std::vector<float> border_;                  // per channel, as the input sees it
  std::vector<std::array<float, 256>> table_;  // per channel, for 8-bit pixels
};

}  // namespace bitfold
