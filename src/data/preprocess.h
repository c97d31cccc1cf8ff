// Converts one sample's pixels to the network's input, as described by Preprocess for one graph input.
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <vector>

#include "bitfold/data.h"
#include "data/image.h"

namespace bitfold {

/// Whether a step needs images.
inline bool asks_for_geometry(const Preprocess& p) { return p.resize_short || p.resize_exact || p.crop || p.channels; }
inline bool asks_for_anything(const Preprocess& p) {
  return asks_for_geometry(p) || p.scale || !p.mean.empty() || !p.std.empty();
}

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

/// out = (pixel * scale - mean[c]) / std[c], from 8-bit or float pixels, after resize, crop and channels.
class Preprocessor {
 public:
  /// `source_channels` and `source_is_uint8` describe the data. Throws Error if `options` contradict each other or the
  /// input.
  Preprocessor(const InputSpec& input, const Preprocess& options, std::int64_t source_channels, bool source_is_uint8);

  /// The input shape of one sample, without the first dimension, for a source image of that size. Throws Error naming
  /// `where` if the resized and cropped image does not fit the input.
  Shape sample_shape(std::int64_t width, std::int64_t height, const std::string& where) const;
  /// Writes one sample of sample_shape().
  void run(const std::uint8_t* pixels, const PixelLayout& layout, float* out) const;
  void run(const float* pixels, const PixelLayout& layout, float* out) const;

  InputLayout layout() const { return layout_; }
  std::int64_t channels() const { return channels_; }
  bool resizes() const { return options_.resize_short || options_.resize_exact; }

 private:
  ImageSize resized(std::int64_t width, std::int64_t height) const;
  template <class T>
  void crop_and_scale(const T* pixels, const PixelLayout& layout, float* out) const;

  std::string input_name_;
  Shape input_shape_;
  Preprocess options_;
  InputLayout layout_ = InputLayout::nchw;
  std::int64_t channels_ = 0;                   // channels of the input
  std::optional<std::int64_t> width_, height_;  // size of the input, if known
  Channels order_ = Channels::rgb;
  double scale_ = 1;
  std::vector<double> mean_, std_;             // one per channel
  std::vector<std::array<float, 256>> table_;  // per channel, for 8-bit pixels
};

}  // namespace bitfold
