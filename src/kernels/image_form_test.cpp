// Convolutions over images in every form give the defined accumulators, for many sizes, strides and borders.
#include "kernels/image_form.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <random>
#include <string>
#include <vector>

#include "kernels/guarded_buffer.h"

namespace bitfold {
namespace {

constexpr std::uint8_t kPadding = 113;

struct Case {
  ConvFilter filter;
  std::int64_t height, width, stride_h, stride_w;
  std::int64_t top, left, bottom, right;
  std::int64_t batch = 1;

  std::int64_t padded_width() const { return left + width + right; }
  std::int64_t out_height() const {
    return (top + height + bottom - (filter.kernel_h - 1) * filter.dilation_h - 1) / stride_h + 1;
  }
  std::int64_t out_width() const {
    return (padded_width() - (filter.kernel_w - 1) * filter.dilation_w - 1) / stride_w + 1;
  }
  PaddedImage image() const { return {height, width, filter.in_channels, top, left, padded_width()}; }
  ConvImages images() const {
    const std::int64_t y_row = out_width() * filter.out_channels, x_row = width * filter.in_channels;
    return {.batch = batch,
            .out_height = out_height(),
            .out_width = out_width(),
            .stride_h = stride_h,
            .stride_w = stride_w,
            .x = {height * x_row, x_row, filter.in_channels},
            .y = {out_height() * y_row, y_row, filter.out_channels},
            .padding = kPadding};
  }
  std::string text(const ImageForm& form) const {
    std::string s = form.is_split ? "split " : "folded " + std::to_string(form.folded_rows) + " ";
    for (std::int64_t v : {filter.out_channels, filter.in_channels, filter.kernel_h, filter.kernel_w, filter.dilation_h,
                           filter.dilation_w, height, width, stride_h, stride_w, top, left, bottom, right})
      s += std::to_string(v) + " ";
    return s;
  }
};

template <class T>
std::vector<T> random_bytes(std::int64_t count, unsigned seed) {
  std::mt19937 random(seed);
  std::vector<T> out(static_cast<std::size_t>(count));
  for (auto& v : out) v = static_cast<T>(random());
  return out;
}

std::vector<std::int32_t> definition(const Case& c, const std::vector<std::uint8_t>& x,
                                     const std::vector<std::int8_t>& weights) {
  const ConvFilter& f = c.filter;
  std::vector<std::int32_t> y;
  for (std::int64_t n = 0; n < c.batch; ++n)
    for (std::int64_t h = 0; h < c.out_height(); ++h)
      for (std::int64_t w = 0; w < c.out_width(); ++w) {
        const std::int8_t* weight = weights.data();
        for (std::int64_t m = 0; m < f.out_channels; ++m) {
          std::int32_t sum = 0;
          for (std::int64_t i = 0; i < f.kernel_h; ++i)
            for (std::int64_t j = 0; j < f.kernel_w; ++j)
              for (std::int64_t k = 0; k < f.in_channels; ++k) {
                const std::int64_t row = h * c.stride_h + i * f.dilation_h - c.top;
                const std::int64_t column = w * c.stride_w + j * f.dilation_w - c.left;
                const bool is_inside = row >= 0 && row < c.height && column >= 0 && column < c.width;
                const auto at = static_cast<std::size_t>(((n * c.height + row) * c.width + column) * f.in_channels + k);
                sum += (is_inside ? x[at] : kPadding) * *weight++;
              }
          y.push_back(sum);
        }
      }
  return y;
}

/// [out][kernel_h][kernel_w][channels] -> [out][folded kernel_h][kernel_w][rows][channels]
std::vector<std::int8_t> folded_weights(const ConvFilter& f, const std::vector<std::int8_t>& weights,
                                        std::int64_t rows) {
  const ConvFilter to = folded(f, rows);
  std::vector<std::int8_t> out;
  for (std::int64_t m = 0; m < f.out_channels; ++m)
    for (std::int64_t i = 0; i < to.kernel_h; ++i)
      for (std::int64_t j = 0; j < f.kernel_w; ++j)
        for (std::int64_t row = i * rows; row < (i + 1) * rows; ++row)
          for (std::int64_t k = 0; k < f.in_channels; ++k) {
            const std::int64_t from = ((m * f.kernel_h + row) * f.kernel_w + j) * f.in_channels + k;
            out.push_back(row < f.kernel_h ? weights[static_cast<std::size_t>(from)] : std::int8_t{0});
          }
  return out;
}

void expect_definition(const Case& c, const ImageForm& form, Isa isa) {
  const auto x = random_bytes<std::uint8_t>(c.batch * c.height * c.width * c.filter.in_channels, 1);
  const auto weights = random_bytes<std::int8_t>(c.filter.out_channels * c.filter.depth(), 2);
  const ImagePacker packer(c.filter, c.images(), c.image(), form);
  testing::GuardedBuffer<std::uint8_t> formed_x(c.batch * packer.packed_bytes());
  const testing::GuardedBuffer<std::uint8_t> source(x);
  for (std::int64_t n = 0; n < c.batch; ++n)
    for (std::int64_t row = packer.rows(); row-- > 0;)  // row by row, as threads pack them
      packer.pack(source.data() + n * packer.image_bytes(), formed_x.data() + n * packer.packed_bytes(), kPadding, row,
                  row + 1);
  std::vector<std::uint8_t> readable(formed_x.data(), formed_x.data() + c.batch * packer.packed_bytes());
  readable.resize(readable.size() + kOverread);
  const auto packed = std::make_shared<const PackedFilter>(
      folded(c.filter, form.folded_rows), folded_weights(c.filter, weights, form.folded_rows).data(), nullptr, nullptr);
  const IntegerConv conv(packed, packed_images(c.filter, c.images(), c.image(), form),
                         {.kind = AccumulatorOutput::int32}, isa);
  EXPECT_LE(conv.rows_read(conv.units_per_image()), packer.rows());
  const auto want = definition(c, x, weights);
  std::vector<std::int32_t> y(want.size());
  std::vector<std::byte> memory(conv.scratch_bytes() + 64);
  std::byte* scratch = memory.data() + (64 - reinterpret_cast<std::uintptr_t>(memory.data()) % 64) % 64;
  const std::int64_t half = conv.unit_count() / 2;
  conv.run(readable.data(), y.data(), nullptr, 0, half, scratch);
  conv.run(readable.data(), y.data(), nullptr, half, conv.unit_count(), scratch);
  ASSERT_EQ(y, want) << c.text(form) << to_string(isa);
}

std::vector<Case> cases() {
  std::vector<Case> all;
  for (std::int64_t kernel : {1, 2, 3, 5, 7})
    for (std::int64_t stride : {1, 2, 3, 4})
      for (std::int64_t channels : {1, 3, 4, 8})
        for (std::int64_t size : {7, 14}) {
          const ConvFilter f{.out_channels = 20, .in_channels = channels, .kernel_h = kernel, .kernel_w = kernel};
          const std::int64_t pad = kernel / 2;
          all.push_back({f, size, size + 3, stride, stride, pad, pad, pad, pad, 2});
          all.push_back({f, size + 1, size, stride, stride, 0, kernel - 1, kernel - 1, 0});
        }
  const auto filter = [](std::int64_t out, std::int64_t in, std::int64_t h, std::int64_t w, std::int64_t dilation) {
    return ConvFilter{out, in, 1, h, w, dilation, dilation};
  };
  all.push_back({filter(9, 4, 3, 3, 2), 14, 15, 2, 2, 2, 2, 2, 2});
  all.push_back({filter(9, 4, 3, 2, 3), 14, 15, 2, 3, 2, 0, 2, 1});
  all.push_back({filter(9, 3, 4, 2, 1), 14, 15, 2, 1, 2, 0, 1, 1});
  // Large enough for tiles; rows of 7 pixels share tiles.
  all.push_back({filter(64, 3, 7, 7, 1), 40, 43, 2, 2, 3, 3, 3, 3});
  all.push_back({filter(256, 64, 3, 3, 1), 14, 14, 2, 2, 1, 1, 1, 1, 2});
  all.push_back({filter(256, 64, 3, 3, 1), 14, 14, 2, 2, 0, 0, 1, 1});
  all.push_back({filter(256, 64, 1, 1, 1), 14, 14, 2, 2, 0, 0, 0, 0, 2});
  all.push_back({filter(256, 68, 1, 1, 1), 13, 11, 2, 2, 0, 0, 0, 0});
  return all;
}

TEST(ImageForm, every_form_gives_the_defined_accumulators) {
  for (Isa isa : {Isa::portable, Isa::avx2, Isa::avx512vnni, Isa::amx}) {
    if (isa > detected_isa()) continue;
    for (const Case& c : cases()) {
      expect_definition(c, {}, isa);
      if (c.filter.in_channels % 4 == 0) expect_definition(c, {.is_split = true}, isa);
      for (std::int64_t rows = 2; rows <= c.stride_h; ++rows)
        if (c.stride_h % rows == 0 && c.filter.dilation_h == 1) expect_definition(c, {.folded_rows = rows}, isa);
    }
  }
}

TEST(ImageForm, is_plain_unless_tiles_are_faster) {
  const auto form = [](const Case& c, Isa isa) { return best_image_form(c.filter, c.images(), c.padded_width(), isa); };
  const Case stem{{64, 3, 1, 7, 7}, 224, 224, 2, 2, 3, 3, 3, 3},
      short_rows{{512, 512, 1, 3, 3}, 14, 14, 2, 2, 1, 1, 1, 1};
  const Case pointwise{{2048, 1024, 1}, 14, 14, 2, 2, 0, 0, 0, 0};
  const Case longer_rows{{512, 256, 1}, 56, 56, 2, 2, 0, 0, 0, 0},
      no_stride{{512, 512, 1, 3, 3}, 7, 7, 1, 1, 1, 1, 1, 1};
  const Case few_products{{32, 3, 1, 3, 3}, 224, 224, 2, 2, 1, 1, 1, 1};
  for (const Case& c : {stem, short_rows, pointwise, longer_rows, no_stride})
    EXPECT_TRUE(form(c, Isa::avx512vnni).is_plain()) << c.text({});
  if (detected_isa() < Isa::amx) GTEST_SKIP() << "this CPU has no amx";
  EXPECT_EQ(form(stem, Isa::amx).folded_rows, 2);
  EXPECT_TRUE(form(short_rows, Isa::amx).is_split);
  EXPECT_TRUE(form(pointwise, Isa::amx).is_split);
  EXPECT_TRUE(form(few_products, Isa::amx).is_plain());
  EXPECT_TRUE(form(longer_rows, Isa::amx).is_plain());
  EXPECT_TRUE(form(no_stride, Isa::amx).is_plain());
}

}  // namespace
}  // namespace bitfold
