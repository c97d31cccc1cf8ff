#include "data/preprocess.h"

#include <algorithm>
#include <cmath>
#include <type_traits>

#include "base/check.h"

namespace bitfold {
namespace {

bool is_image_channels(std::int64_t dim) { return dim == 1 || dim == 3; }

// ITU-R 601 luma, in the 8-bit fixed point of Pillow's convert("L").
std::uint8_t luma(std::uint8_t r, std::uint8_t g, std::uint8_t b) {
  return static_cast<std::uint8_t>((r * 19595U + g * 38470U + b * 7471U + 0x8000U) >> 16);
}
float luma(float r, float g, float b) { return 0.299F * r + 0.587F * g + 0.114F * b; }

std::vector<double> per_channel(const std::vector<float>& values, std::int64_t channels, double absent,
                                const char* flag) {
  if (values.empty()) return std::vector<double>(static_cast<std::size_t>(channels), absent);
  check(values.size() == 1 || static_cast<std::int64_t>(values.size()) == channels,
        "--{} has {} numbers; the input has {} channels", flag, values.size(), channels);
  std::vector<double> result(values.begin(), values.end());
  result.resize(static_cast<std::size_t>(channels), result[0]);
  for (const double value : result) check(std::isfinite(value), "--{}: {} is not a finite number", flag, value);
  return result;
}

void check_combination(const Preprocess& p) {
  const bool resizes = p.resize_short || p.resize_exact || p.resize_height || p.resize_width;
  check(!p.fit || !resizes, "--fit resizes images itself; leave out --resize");
  check(!p.fit || !p.pad, "--fit fills the border itself; leave out --pad");
  check(!p.crop || !(p.fit || p.pad), "--crop cannot be combined with {}", p.fit ? "--fit" : "--pad");
  check(!p.align || p.fit, "--align needs --fit");
  check(p.fill.empty() || p.fit || p.pad, "--fill needs --fit or --pad");
}

std::int64_t rounded_up(std::int64_t dividend, std::int64_t divisor) { return (dividend + divisor - 1) / divisor; }

// The nearest whole number, a half upwards, but at least one pixel.
std::int64_t rounded(std::int64_t dividend, std::int64_t divisor) {
  return std::max<std::int64_t>(1, (2 * dividend + divisor) / (2 * divisor));
}

}  // namespace

double default_scale(const Preprocess& preprocess) {
  const auto counts_in_levels = [](const std::vector<float>& numbers) {
    return std::any_of(numbers.begin(), numbers.end(), [](float number) { return number > 1; });
  };
  // 1/255 as a double, so that 8-bit pixels become the floats nearest to pixel / 255.
  return counts_in_levels(preprocess.mean) || counts_in_levels(preprocess.std) ? 1 : 1.0 / 255;
}

std::string describe_default_scale(const Preprocess& preprocess) {
  if (default_scale(preprocess) == 1) return "not scaled, because --mean or --std is above 1 (--scale overrides this)";
  return "scaled by 1/255 (--scale overrides this)";
}

Preprocessor::Preprocessor(const InputSpec& input, const Preprocess& options, std::int64_t source_channels,
                           bool source_is_uint8)
    : input_name_(input.name), input_shape_(input.shape), options_(options) {
  check_combination(options);
  const auto known = [&](std::size_t axis) -> std::optional<std::int64_t> {
    if (input.shape[axis] == kDynamic) return std::nullopt;
    return input.shape[axis];
  };
  const std::size_t rank = input.shape.size();
  check(rank >= 2 && rank <= 4, "input '{}' of shape {} does not accept images; give the data as .npy or .npz",
        input.name, to_string(input.shape));
  if (rank == 4) {
    // The channel axis is the one with size 1 or 3; the first axis if both qualify or the model leaves them open.
    const bool last = is_image_channels(input.shape[3]) && !is_image_channels(input.shape[1]);
    layout_ = last ? InputLayout::nhwc : InputLayout::nchw;
    channels_ = known(last ? 3 : 1).value_or(source_channels);
    height_ = known(last ? 1 : 2);
    width_ = known(last ? 2 : 3);
  } else if (rank == 3) {
    layout_ = InputLayout::nhw;
    channels_ = 1;
    height_ = known(1);
    width_ = known(2);
  } else {
    layout_ = InputLayout::flat;
    channels_ = options.channels == Channels::gray ? 1 : source_channels;
  }
  order_ = options.channels.value_or(channels_ == 1 ? Channels::gray : Channels::rgb);
  check(channels_ != 1 || order_ == Channels::gray,
        "--channels rgb or bgr: input '{}' of shape {} has 1 channel; use gray", input.name, to_string(input.shape));
  check(channels_ == source_channels || (is_image_channels(channels_) && is_image_channels(source_channels)),
        "input '{}' of shape {} expects {} channels, but the data has {}", input.name, to_string(input.shape),
        channels_, source_channels);
  check(channels_ == source_channels || source_channels == 1 || order_ == Channels::gray,
        "input '{}' expects {} channels, but the data has {}", input.name, channels_, source_channels);
  check(is_image_channels(channels_) || !options.channels,
        "--channels: input '{}' has {} channels; the flag applies to 1 or 3", input.name, channels_);

  scale_ = options.scale ? *options.scale : source_is_uint8 ? default_scale(options) : 1;
  check(std::isfinite(scale_) && scale_ != 0, "--scale: {} is not a finite number other than 0", scale_);
  mean_ = per_channel(options.mean, channels_, 0, "mean");
  std_ = per_channel(options.std, channels_, 1, "std");
  for (const double std : std_) check(std > 0, "--std: {} is not above 0", std);
  const std::vector<double> fill = per_channel(options.fill, channels_, 114, "fill");
  for (std::size_t c = 0; c < fill.size(); ++c) {
    const bool is_zero = options.fill.empty() && options.pad;
    border_.push_back(is_zero ? 0.0F : static_cast<float>((fill[c] * scale_ - mean_[c]) / std_[c]));
  }
  if (!source_is_uint8) return;
  table_.resize(mean_.size());
  for (std::size_t c = 0; c < table_.size(); ++c)
    for (std::size_t v = 0; v < 256; ++v)
      table_[c][v] = static_cast<float>((static_cast<double>(v) * scale_ - mean_[c]) / std_[c]);
}

ImageSize Preprocessor::resized(std::int64_t width, std::int64_t height) const {
  if (options_.resize_exact) return *options_.resize_exact;
  if (options_.fit) {
    const auto [fit_width, fit_height] = *options_.fit;
    // Compares fit_width / width with fit_height / height.
    if (fit_width * height <= fit_height * width) return {fit_width, rounded(height * fit_width, width)};
    return {rounded(width * fit_height, height), fit_height};
  }
  if (options_.resize_height) {
    const std::int64_t by_ratio = rounded_up(*options_.resize_height * width, height);
    return {std::min(by_ratio, options_.pad.value_or(by_ratio)), *options_.resize_height};
  }
  if (options_.resize_width) return {*options_.resize_width, rounded_up(*options_.resize_width * height, width)};
  if (!options_.resize_short) return {width, height};
  // The long side is truncated to whole pixels, as in torchvision.
  const std::int64_t side = *options_.resize_short;
  return width <= height ? ImageSize{side, side * height / width} : ImageSize{side * width / height, side};
}

Placement Preprocessor::placement(std::int64_t width, std::int64_t height) const {
  const ImageSize image = resized(width, height);
  Placement place{image, image};
  if (options_.fit) place.canvas = *options_.fit;
  if (options_.pad) place.canvas.width = *options_.pad;
  if (options_.crop) place.canvas = *options_.crop;
  if (options_.crop || (options_.fit && options_.align != Align::top_left)) {
    place.left = (place.canvas.width - image.width) / 2;
    place.top = (place.canvas.height - image.height) / 2;
  }
  return place;
}

Shape Preprocessor::sample_shape(std::int64_t width, std::int64_t height, const std::string& where) const {
  const Placement place = placement(width, height);
  const auto [image, size] = std::pair(place.image, place.canvas);
  check(image.width > 0 && image.height > 0 && image.width <= kMaxPixels / image.height &&
            size.width <= kMaxPixels / size.height,
        "{}: {}x{} pixels would be resized to {}x{}; the result must have 1 to {} million pixels", where, width, height,
        image.width, image.height, kMaxPixels / 1'000'000);
  check(!options_.crop || (size.width <= image.width && size.height <= image.height),
        "{}: a crop of {}x{} does not fit into {}x{} pixels (width x height); use --resize first", where, size.width,
        size.height, image.width, image.height);
  check(!options_.pad || image.width <= size.width,
        "{}: has {}x{} pixels (width x height), which --pad {} cannot hold; use --resize x{} to shrink it", where,
        image.width, image.height, size.width, image.height);
  const bool fits = layout_ == InputLayout::flat
                        ? input_shape_[1] == kDynamic || input_shape_[1] == size.width * size.height * channels_
                        : width_.value_or(size.width) == size.width && height_.value_or(size.height) == size.height;
  if (!fits && layout_ != InputLayout::flat) {
    const std::int64_t w = width_.value_or(size.width), h = height_.value_or(size.height);
    fail(
        "{}: has {}x{} pixels (width x height), input '{}' of shape {} expects {}x{}; use --resize {}x{} or --crop "
        "{}x{}",
        where, size.width, size.height, input_name_, to_string(input_shape_), w, h, w, h, w, h);
  }
  check(fits, "{}: {}x{} pixels of {} channels do not fill input '{}' of shape {}; use --resize or --channels", where,
        size.width, size.height, channels_, input_name_, to_string(input_shape_));
  switch (layout_) {
    case InputLayout::nchw:
      return {channels_, size.height, size.width};
    case InputLayout::nhwc:
      return {size.height, size.width, channels_};
    case InputLayout::nhw:
      return {size.height, size.width};
    case InputLayout::flat:
      return {size.width * size.height * channels_};
  }
  return {};
}

bool Preprocessor::has_one_shape() const {
  if (options_.resize_exact || options_.fit || options_.crop || (options_.resize_height && options_.pad)) return true;
  // The number of elements of a flat input is its shape.
  return layout_ == InputLayout::flat ? input_shape_[1] != kDynamic : width_ && height_;
}

void Preprocessor::run(const std::uint8_t* pixels, const PixelLayout& layout, float* out) const {
  const Placement place = placement(layout.width, layout.height);
  if (place.image.width == layout.width && place.image.height == layout.height)
    return place_and_scale(pixels, layout, place, out);
  Image image{layout.width, layout.height, layout.channels, {}};
  image.pixels.reserve(static_cast<std::size_t>(layout.width * layout.height * layout.channels));
  for (std::int64_t y = 0; y < layout.height; ++y)
    for (std::int64_t x = 0; x < layout.width; ++x)
      for (std::int64_t c = 0; c < layout.channels; ++c)
        image.pixels.push_back(pixels[y * layout.stride_y + x * layout.stride_x + c * layout.stride_c]);
  image = resize_image(image, place.image);
  place_and_scale(image.pixels.data(), PixelLayout::interleaved(image.width, image.height, image.channels), place, out);
}

void Preprocessor::run(const float* pixels, const PixelLayout& layout, float* out) const {
  place_and_scale(pixels, layout, placement(layout.width, layout.height), out);
}

template <class T>
void Preprocessor::place_and_scale(const T* pixels, const PixelLayout& from, const Placement& place, float* out) const {
  const ImageSize size = place.canvas;
  const PixelLayout to = layout_ == InputLayout::nhwc ? PixelLayout::interleaved(size.width, size.height, channels_)
                                                      : PixelLayout::planar(size.width, size.height, channels_);
  const bool to_gray = order_ == Channels::gray && from.channels == 3;
  // A pixel of the canvas at (x, y) is the image's at (x - left, y - top); a crop has negative offsets.
  const std::int64_t x_end = place.left + from.width, y_end = place.top + from.height;
  for (std::int64_t c = 0; c < channels_; ++c) {
    const auto channel = static_cast<std::size_t>(c);
    const std::int64_t source = from.channels == 1 ? 0 : order_ == Channels::bgr ? channels_ - 1 - c : c;
    for (std::int64_t y = 0; y < size.height; ++y) {
      for (std::int64_t x = 0; x < size.width; ++x) {
        float& result = out[y * to.stride_y + x * to.stride_x + c * to.stride_c];
        if (x < place.left || x >= x_end || y < place.top || y >= y_end) {
          result = border_[channel];
          continue;
        }
        const T* pixel = pixels + (y - place.top) * from.stride_y + (x - place.left) * from.stride_x;
        const T value =
            to_gray ? luma(pixel[0], pixel[from.stride_c], pixel[2 * from.stride_c]) : pixel[source * from.stride_c];
        if constexpr (std::is_same_v<T, std::uint8_t>)
          result = table_[channel][value];
        else
          result = static_cast<float>((static_cast<double>(value) * scale_ - mean_[channel]) / std_[channel]);
      }
    }
  }
}

}  // namespace bitfold
