// Integer convolutions for tests: shapes around the kernels' tile sizes, operands, and the defined results.
#pragma once

#include <cstdint>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include "kernels/integer_conv.h"

namespace bitfold::testing {

enum class Codes { random, extreme };

struct Case {
  ConvFilter filter;
  std::int64_t batch = 1, in_height = 1, in_width = 1;  // padding included
  std::int64_t stride_h = 1, stride_w = 1;
  std::int64_t y_gap = 0;  // elements between pixels that must stay unchanged

  std::int64_t out_height() const { return (in_height - (filter.kernel_h - 1) * filter.dilation_h - 1) / stride_h + 1; }
  std::int64_t out_width() const { return (in_width - (filter.kernel_w - 1) * filter.dilation_w - 1) / stride_w + 1; }
  std::int64_t y_pixel() const { return filter.out_channels + y_gap; }
  std::int64_t y_count() const { return batch * out_height() * out_width() * y_pixel(); }
  std::string text() const {
    const ConvFilter& f = filter;
    std::string s;
    for (std::int64_t v : {f.out_channels, f.in_channels, f.groups, f.kernel_h, f.kernel_w, f.dilation_h, f.dilation_w,
                           batch, in_height, in_width, stride_h, stride_w, y_gap})
      s += std::to_string(v) + " ";
    return s;
  }
};

inline ConvImages images_of(const Case& c) {
  const std::int64_t x_row = c.in_width * c.filter.in_channels, y_row = c.out_width() * c.y_pixel();
  return {.batch = c.batch,
          .out_height = c.out_height(),
          .out_width = c.out_width(),
          .stride_h = c.stride_h,
          .stride_w = c.stride_w,
          .x = {c.in_height * x_row, x_row, c.filter.in_channels},
          .y = {c.out_height() * y_row, y_row, c.y_pixel()},
          .residual = {c.out_height() * y_row, y_row, c.y_pixel()}};
}

struct Data {
  std::vector<std::uint8_t> x;  // includes the bytes that may be read past the end
  std::vector<std::int8_t> w;
  std::vector<std::int32_t> bias;
  std::vector<float> multipliers;
};

inline Data make_data(const Case& c, Codes codes) {
  std::mt19937 random(7);
  Data d;
  d.x.resize(static_cast<std::size_t>(c.batch * c.in_height * c.in_width * c.filter.in_channels + kOverread));
  d.w.resize(static_cast<std::size_t>(c.filter.out_channels * c.filter.depth()));
  // Sums of two products of 255 * -127 exceed int16, where vpmaddubsw would saturate.
  for (auto& v : d.x) v = static_cast<std::uint8_t>(codes == Codes::random ? random() % 256 : 255);
  for (auto& v : d.w)
    v = static_cast<std::int8_t>(codes == Codes::random ? static_cast<int>(random() % 256) - 128 : -127);
  for (std::int64_t m = 0; m < c.filter.out_channels; ++m) {
    d.bias.push_back(static_cast<std::int32_t>(random() % 20001) - 10000);
    // The last powers of two place many results exactly halfway between two codes.
    const float spread = 200.0F / (128.0F * 60.0F * static_cast<float>(c.filter.depth()));
    d.multipliers.push_back(m % 3 == 0 ? 0.0078125F : m % 3 == 1 ? spread : 0.5F);
  }
  return d;
}

inline std::vector<std::int32_t> accumulators(const Case& c, const Data& d) {
  const ConvFilter& f = c.filter;
  const std::int64_t in_group = f.in_channels / f.groups, out_group = f.out_channels / f.groups;
  std::vector<std::int32_t> out;
  for (std::int64_t n = 0; n < c.batch; ++n)
    for (std::int64_t h = 0; h < c.out_height(); ++h)
      for (std::int64_t w = 0; w < c.out_width(); ++w)
        for (std::int64_t m = 0; m < f.out_channels; ++m) {
          std::int32_t sum = d.bias[static_cast<std::size_t>(m)];
          for (std::int64_t i = 0; i < f.kernel_h; ++i)
            for (std::int64_t j = 0; j < f.kernel_w; ++j)
              for (std::int64_t k = 0; k < in_group; ++k) {
                const std::int64_t row = h * c.stride_h + i * f.dilation_h, column = w * c.stride_w + j * f.dilation_w;
                const std::int64_t at =
                    ((n * c.in_height + row) * c.in_width + column) * f.in_channels + m / out_group * in_group + k;
                const std::int64_t weight = ((m * f.kernel_h + i) * f.kernel_w + j) * in_group + k;
                sum += d.x[static_cast<std::size_t>(at)] * d.w[static_cast<std::size_t>(weight)];
              }
          out.push_back(sum);
        }
  return out;
}

inline std::shared_ptr<const PackedFilter> packed(const Case& c, const Data& d, FilterForm form = FilterForm::direct) {
  return std::make_shared<const PackedFilter>(c.filter, d.w.data(), d.bias.data(), d.multipliers.data(), form);
}

inline std::vector<Case> product_cases() {
  std::vector<Case> cases;
  // Matrix products: pixels and channels around every tile size, depths around groups of 4 and unrolled steps.
  for (std::int64_t pixels : {1, 2, 3, 4, 5, 6, 7, 8, 12, 13, 14, 15, 24, 28, 29, 57})
    for (std::int64_t channels : {1, 15, 16, 17, 31, 32, 33, 48, 63, 64, 65, 100, 128})
      cases.push_back({{.out_channels = channels, .in_channels = 13}, 1, pixels, 1});
  for (std::int64_t depth : {1, 2, 3, 4, 5, 7, 8, 15, 16, 17, 31, 32, 33, 64, 255})
    for (std::int64_t channels : {5, 16, 33, 64}) {
      cases.push_back({{.out_channels = channels, .in_channels = depth}, 1, 1, 1});
      cases.push_back({{.out_channels = channels, .in_channels = depth}, 2, 3, 5});
    }
  return cases;
}

inline std::vector<Case> window_cases() {
  std::vector<Case> cases;
  for (std::int64_t in : {1, 3, 4, 8, 16})
    for (std::int64_t out : {1, 16, 20, 40, 64})
      for (std::int64_t stride : {1, 2})
        cases.push_back(
            {{.out_channels = out, .in_channels = in, .kernel_h = 3, .kernel_w = 3}, 2, 6, 17, stride, stride});
  cases.push_back({{.out_channels = 20, .in_channels = 3, .kernel_h = 5, .kernel_w = 5}, 1, 12, 34});
  cases.push_back({{.out_channels = 9, .in_channels = 6, .kernel_h = 1, .kernel_w = 3, .dilation_w = 2}, 1, 4, 19});
  cases.push_back(
      {{.out_channels = 9, .in_channels = 6, .kernel_h = 3, .kernel_w = 2, .dilation_h = 2}, 1, 9, 19, 2, 3});
  cases.push_back({{.out_channels = 12, .in_channels = 6, .groups = 3, .kernel_h = 3, .kernel_w = 3}, 2, 5, 9});
  cases.push_back({{.out_channels = 66, .in_channels = 34, .groups = 2, .kernel_h = 3, .kernel_w = 3}, 1, 5, 20, 2, 1});
  cases.push_back({{.out_channels = 8, .in_channels = 4, .groups = 4, .kernel_h = 3, .kernel_w = 3}, 1, 5, 20});
  cases.push_back({{.out_channels = 20, .in_channels = 8, .kernel_h = 3, .kernel_w = 3}, 1, 5, 9, 1, 1, 5});
  cases.push_back({{.out_channels = 33, .in_channels = 8}, 2, 5, 9, 1, 1, 7});
  cases.push_back({{.out_channels = 33, .in_channels = 8}, 2, 7, 9, 2, 2});
  // Large enough for AMX tiles: rows of more than one tile, and of half a tile; gaps between pixels.
  for (std::int64_t width : {10, 21})
    cases.push_back({{.out_channels = 136, .in_channels = 64, .kernel_h = 3, .kernel_w = 3}, 2, 9, width, 1, 1, 8});
  cases.push_back(
      {{.out_channels = 40, .in_channels = 128, .groups = 2, .kernel_h = 3, .kernel_w = 3}, 1, 9, 21, 2, 1});
  cases.push_back({{.out_channels = 300, .in_channels = 96}, 2, 5, 10});
  return cases;
}

inline std::vector<Case> depthwise_cases() {
  std::vector<Case> cases;
  for (std::int64_t channels : {2, 8, 15, 16, 17, 31, 32, 33, 64, 100, 112, 144})
    for (std::int64_t kernel : {1, 2, 3, 4, 5, 7})
      for (std::int64_t stride : {1, 2, 3}) {
        const ConvFilter f{channels, channels, channels, kernel, kernel};
        for (std::int64_t width : {kernel, kernel + 1, kernel + 4, kernel + 11})
          cases.push_back({f, 2, kernel + 3, width, stride, stride});
      }
  cases.push_back({{20, 20, 20, 3, 3, 2, 2}, 1, 9, 21});
  cases.push_back({{20, 20, 20, 3, 3, 1, 3}, 1, 9, 21, 2, 2});
  cases.push_back({{20, 20, 20, 3, 5}, 1, 9, 21, 1, 2});
  cases.push_back({{20, 20, 20, 3, 3}, 1, 9, 21, 1, 1, 3});
  for (std::int64_t kernel : {3, 5})
    for (std::int64_t stride : {1, 2}) cases.push_back({{40, 40, 40, kernel, kernel}, 1, 9, 21, stride, 3 - stride, 5});
  return cases;
}

/// 3x3, stride 1, enough channels: sizes around the tiles of the Winograd form, channels around its vectors.
inline std::vector<Case> tiled_cases() {
  std::vector<Case> cases;
  for (std::int64_t height : {3, 6, 7, 8, 9, 10, 15})
    for (std::int64_t width : {3, 6, 9, 10, 18})
      for (std::int64_t in : {3, 4, 16})
        cases.push_back({{.out_channels = 16, .in_channels = in, .kernel_h = 3, .kernel_w = 3}, 2, height, width});
  for (std::int64_t in : {16, 18, 24, 30, 32, 48, 64})
    for (std::int64_t out : {16, 17, 24, 31, 32, 64})
      cases.push_back({{.out_channels = out, .in_channels = in, .kernel_h = 3, .kernel_w = 3}, 1, 10, 11});
  cases.push_back({{.out_channels = 40, .in_channels = 16, .kernel_h = 3, .kernel_w = 3}, 2, 38, 39});
  cases.push_back({{.out_channels = 20, .in_channels = 32, .kernel_h = 3, .kernel_w = 3}, 1, 10, 14, 1, 1, 5});
  // Enough channels for the transformed sums to wrap modulo 2^32.
  cases.push_back({{.out_channels = 16, .in_channels = 100, .kernel_h = 3, .kernel_w = 3}, 1, 14, 14});
  return cases;
}

inline std::vector<Case> all_cases() {
  std::vector<Case> all = product_cases();
  for (const auto& more : {window_cases(), depthwise_cases(), tiled_cases()})
    all.insert(all.end(), more.begin(), more.end());
  return all;
}

}  // namespace bitfold::testing
