// Every kernel on every instruction set gives the defined bytes, over shapes around its tile sizes and codes that
// maximize the sums.
#include "kernels/integer_conv.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <random>
#include <string>
#include <vector>

#include "bitfold/affine.h"
#include "kernels/guarded_buffer.h"
#include "kernels/integer_conv_cases.h"

namespace bitfold {
namespace {

using testing::all_cases;
using testing::Case;
using testing::Codes;
using testing::Data;
using testing::depthwise_cases;
using testing::product_cases;
using testing::window_cases;

/// A thread's scratch memory, aligned as a convolution requires.
class Scratch {
 public:
  explicit Scratch(std::size_t bytes) : bytes_(bytes + 64) {}
  std::byte* data() const {
    const auto address = reinterpret_cast<std::uintptr_t>(bytes_.data());
    return const_cast<std::byte*>(bytes_.data()) + (64 - address % 64) % 64;
  }

 private:
  std::vector<std::byte> bytes_;
};

/// Runs in two halves with input and output ending at unmapped pages; returns y including its gaps.
template <class T>
std::vector<T> run(const Case& c, const Data& d, const ConvOutput& output, Isa isa,
                   const std::vector<std::uint8_t>& residual = {}) {
  const FilterForm form = best_filter_form(c.filter, d.w.data(), images_of(c), isa);
  const IntegerConv conv(packed(c, d, form), images_of(c), output, isa);
  const Scratch scratch(conv.scratch_bytes());
  const testing::GuardedBuffer<std::uint8_t> x(d.x);
  testing::GuardedBuffer<T> y(c.y_count() - c.y_gap);
  const std::int64_t half = conv.unit_count() / 2;
  const std::uint8_t* other = residual.empty() ? nullptr : residual.data();
  conv.run(x.data(), y.data(), other, 0, half, scratch.data());
  conv.run(x.data(), y.data(), other, half, conv.unit_count(), scratch.data());
  std::vector<T> out(y.data(), y.data() + (c.y_count() - c.y_gap));
  out.resize(static_cast<std::size_t>(c.y_count()));
  return out;
}

/// finish(accumulator, channel) for every output, zeros in the gaps.
template <class T, class Finish>
std::vector<T> expected(const Case& c, const Data& d, Finish finish) {
  const auto sums = accumulators(c, d);
  std::vector<T> y(static_cast<std::size_t>(c.y_count()));
  const auto channels = static_cast<std::size_t>(c.filter.out_channels);
  for (std::size_t i = 0; i < sums.size(); ++i)
    y[i / channels * static_cast<std::size_t>(c.y_pixel()) + i % channels] = finish(sums[i], i % channels);
  return y;
}

class IntegerConvTest : public ::testing::TestWithParam<Isa> {
 protected:
  void SetUp() override {
    if (GetParam() > detected_isa()) GTEST_SKIP() << "this CPU has no " << to_string(GetParam());
  }
};

INSTANTIATE_TEST_SUITE_P(Isa, IntegerConvTest, ::testing::Values(Isa::portable, Isa::avx2, Isa::avx512vnni, Isa::amx),
                         [](const auto& test) { return std::string(to_string(test.param)); });

TEST_P(IntegerConvTest, accumulators_equal_the_definition) {
  for (const Case& c : all_cases())
    for (Codes codes : {Codes::random, Codes::extreme}) {
      const Data d = make_data(c, codes);
      ConvOutput output{.kind = AccumulatorOutput::int32};
      const auto want = expected<std::int32_t>(c, d, [](std::int32_t sum, std::size_t) { return sum; });
      ASSERT_EQ(run<std::int32_t>(c, d, output, GetParam()), want) << c.text();
    }
}

TEST(BestFilterForm, is_winograd_only_on_avx2_and_only_if_exact) {
  const auto form = [](std::int64_t channels, std::int8_t weight, std::int64_t stride, Isa cap) {
    const Case c{
        {.out_channels = 16, .in_channels = channels, .kernel_h = 3, .kernel_w = 3}, 1, 34, 34, stride, stride};
    const std::vector<std::int8_t> weights(static_cast<std::size_t>(16 * c.filter.depth()), weight);
    return best_filter_form(c.filter, weights.data(), images_of(c), cap);
  };
  EXPECT_EQ(form(64, 1, 1, Isa::portable), FilterForm::direct);
  EXPECT_EQ(form(64, 1, 1, Isa::avx512vnni), FilterForm::direct);
  if (detected_isa() < Isa::avx2) GTEST_SKIP() << "this CPU has no avx2";
  EXPECT_EQ(form(64, 1, 1, Isa::avx2), FilterForm::winograd);
  EXPECT_EQ(form(64, 1, 2, Isa::avx2), FilterForm::direct);
  EXPECT_EQ(form(8, 1, 1, Isa::avx2), FilterForm::direct);
  EXPECT_EQ(form(3, 1, 1, Isa::avx2), FilterForm::winograd);
  // 255 * 127 * 9 * 114 < 2^25 <= 255 * 127 * 9 * 116
  EXPECT_EQ(form(114, -127, 1, Isa::avx2), FilterForm::winograd);
  EXPECT_EQ(form(116, -127, 1, Isa::avx2), FilterForm::direct);
}

TEST(IntegerConv, runs_on_tiles_where_there_are_enough_products) {
  if (detected_isa() < Isa::amx) GTEST_SKIP() << "this CPU has no amx";
  const auto kernel = [](const Case& c) {
    const Data d = make_data(c, Codes::random);
    return IntegerConv(packed(c, d), images_of(c), {}, Isa::amx).kernel_name();
  };
  EXPECT_EQ(kernel({{.out_channels = 136, .in_channels = 64, .kernel_h = 3, .kernel_w = 3}, 1, 9, 10}),
            "gemm.amx 32x32");
  EXPECT_EQ(kernel({{.out_channels = 300, .in_channels = 96}, 1, 5, 10}), "gemm.amx 32x32");
  EXPECT_EQ(kernel({{.out_channels = 300, .in_channels = 96}, 1, 1, 1}).substr(0, 15), "gemm.avx512vnni");
}

TEST_P(IntegerConvTest, reals_equal_the_definition) {
  std::vector<Case> cases = window_cases();
  for (const Case& c : depthwise_cases()) cases.push_back(c);
  for (const Case& c : cases) {
    const Data d = make_data(c, Codes::random);
    const ConvOutput output{.kind = AccumulatorOutput::float32};
    const auto want = expected<float>(
        c, d, [&](std::int32_t sum, std::size_t m) { return static_cast<float>(sum) * d.multipliers[m]; });
    ASSERT_EQ(run<float>(c, d, output, GetParam()), want) << c.text();
  }
}

TEST_P(IntegerConvTest, codes_equal_the_normative_requantization) {
  for (const Case& c : all_cases())
    for (const ConvOutput& output :
         {ConvOutput{.zero_point = 0}, ConvOutput{.zero_point = 131, .qmin = 3, .qmax = 250}}) {
      const Data d = make_data(c, Codes::random);
      const auto want = expected<std::uint8_t>(c, d, [&](std::int32_t sum, std::size_t m) {
        return static_cast<std::uint8_t>(
            requantize(sum, d.multipliers[m], output.zero_point, output.qmin, output.qmax));
      });
      ASSERT_EQ(run<std::uint8_t>(c, d, output, GetParam()), want) << c.text();
    }
}

TEST_P(IntegerConvTest, fused_leaky_relu_rounds_once) {
  for (const Case& c : all_cases())
    for (const float gain : {0.0F, 0.1F, 0.3F}) {
      const ConvOutput output{.zero_point = 20, .qmin = 1, .qmax = 250, .negative_gain = gain};
      const Data d = make_data(c, Codes::random);
      const auto want = expected<std::uint8_t>(c, d, [&](std::int32_t sum, std::size_t m) {
        const float steps = static_cast<float>(sum) * d.multipliers[m], leaky = sum < 0 ? steps * gain : steps;
        return static_cast<std::uint8_t>(std::nearbyint(std::clamp(leaky, -19.0F, 230.0F)) + 20);
      });
      ASSERT_EQ(run<std::uint8_t>(c, d, output, GetParam()), want) << c.text();
    }
}

TEST_P(IntegerConvTest, codes_saturate_if_steps_exceed_int32) {
  auto cases = window_cases();
  for (std::int64_t channels : {20, 32, 64})
    for (std::int64_t kernel : {3, 5})
      cases.push_back({{channels, channels, channels, kernel, kernel}, 1, kernel + 2, kernel + 6});
  for (const Case& c : cases) {
    Data d = make_data(c, Codes::random);
    for (std::size_t m = 0; m < d.multipliers.size(); ++m) d.multipliers[m] = m % 2 == 0 ? 1e9F : 3e38F;
    const ConvOutput output{.zero_point = 131, .qmin = 3, .qmax = 250};
    const auto want = expected<std::uint8_t>(c, d, [&](std::int32_t sum, std::size_t m) {
      return static_cast<std::uint8_t>(requantize(sum, d.multipliers[m], output.zero_point, output.qmin, output.qmax));
    });
    ASSERT_EQ(run<std::uint8_t>(c, d, output, GetParam()), want) << c.text();
  }
}

TEST_P(IntegerConvTest, the_largest_accumulators_saturate_just_below_multiplier_one) {
  const float below_one = std::nextafter(1.0F, 0.0F);
  const Case c{{.out_channels = 2, .in_channels = 1}, 1, 5, 1};
  Data d{std::vector<std::uint8_t>(5 + kOverread, 0), {1, 1}, {2147483392, -2147483648}, {below_one, below_one}};
  const auto y = run<std::uint8_t>(c, d, {.zero_point = 7, .qmin = 2, .qmax = 240}, GetParam());
  for (std::size_t i = 0; i < y.size(); ++i) ASSERT_EQ(y[i], i % 2 == 0 ? 240 : 2) << i;
}

TEST_P(IntegerConvTest, skipping_rows_of_padding_keeps_the_result) {
  for (const Case& c : window_cases())
    for (std::uint8_t padding : {0, 113})
      for (std::int64_t top : {0, 1, 3})
        for (std::int64_t bottom : {0, 2}) {
          Data d = make_data(c, Codes::random);
          ConvImages images = images_of(c);
          images.content_begin = std::min(top, c.in_height - 1);
          images.content_end = std::max(images.content_begin + 1, c.in_height - bottom);
          images.padding = padding;
          for (std::int64_t n = 0; n < c.batch; ++n)
            for (std::int64_t h = 0; h < c.in_height; ++h)
              if (h < images.content_begin || h >= images.content_end)
                std::fill_n(d.x.begin() + n * images.x.image + h * images.x.row, images.x.row, padding);
          const ConvOutput output{.kind = AccumulatorOutput::int32};
          const IntegerConv conv(packed(c, d), images, output, GetParam());
          std::vector<std::int32_t> y(static_cast<std::size_t>(c.y_count()));
          const Scratch scratch(conv.scratch_bytes());
          conv.run(d.x.data(), y.data(), nullptr, 0, conv.unit_count(), scratch.data());
          const auto want = expected<std::int32_t>(c, d, [](std::int32_t sum, std::size_t) { return sum; });
          ASSERT_EQ(y, want) << c.text() << " top " << top << " bottom " << bottom;
        }
}

/// The image of `padded` without its border, followed by the bytes that may be read past the end.
std::vector<std::uint8_t> without_border(const Case& c, const std::vector<std::uint8_t>& padded,
                                         const UnpaddedImage& unpadded) {
  std::vector<std::uint8_t> inside;
  const std::int64_t pixel = c.filter.in_channels;
  for (std::int64_t n = 0; n < c.batch; ++n)
    for (std::int64_t h = 0; h < unpadded.height; ++h) {
      const auto row =
          padded.begin() + (((n * c.in_height + unpadded.pad_top + h) * c.in_width) + unpadded.pad_left) * pixel;
      inside.insert(inside.end(), row, row + unpadded.width * pixel);
    }
  inside.resize(inside.size() + kOverread);
  return inside;
}

TEST_P(IntegerConvTest, depthwise_accepts_images_without_a_border) {
  for (const Case& c : depthwise_cases())
    for (const auto& [top, left, bottom, right] : {std::array{0, 0, 0, 0}, {1, 1, 1, 1}, {0, 0, 1, 1}, {2, 3, 1, 2}}) {
      const UnpaddedImage unpadded{c.in_height - top - bottom, c.in_width - left - right, top, left};
      if (unpadded.height < 1 || unpadded.width < 1) continue;
      Data d = make_data(c, Codes::random);
      constexpr std::uint8_t kPadding = 113;
      const auto inside = without_border(c, d.x, unpadded);
      std::fill(d.x.begin(), d.x.end(), kPadding);
      for (std::int64_t n = 0; n < c.batch; ++n)
        for (std::int64_t h = 0; h < unpadded.height; ++h)
          std::copy_n(inside.begin() + (n * unpadded.height + h) * unpadded.width * c.filter.in_channels,
                      unpadded.width * c.filter.in_channels,
                      d.x.begin() + ((n * c.in_height + top + h) * c.in_width + left) * c.filter.in_channels);
      ConvImages images = images_of(c);
      images.padding = kPadding;
      images.unpadded = unpadded;
      const std::int64_t row = unpadded.width * c.filter.in_channels;
      images.x = {unpadded.height * row, row, c.filter.in_channels};
      const testing::GuardedBuffer<std::uint8_t> x(inside);
      for (const auto& output :
           {ConvOutput{}, ConvOutput{.qmax = 100}, ConvOutput{.zero_point = 131, .qmin = 3, .qmax = 250}}) {
        const IntegerConv conv(packed(c, d), images, output, GetParam());
        testing::GuardedBuffer<std::uint8_t> y(c.y_count() - c.y_gap);
        const std::int64_t half = conv.unit_count() / 2;  // in two parts, as threads do
        conv.run(x.data(), y.data(), nullptr, 0, half, nullptr);
        conv.run(x.data(), y.data(), nullptr, half, conv.unit_count(), nullptr);
        std::vector<std::uint8_t> got(y.data(), y.data() + (c.y_count() - c.y_gap));
        got.resize(static_cast<std::size_t>(c.y_count()));
        const auto want = expected<std::uint8_t>(c, d, [&](std::int32_t sum, std::size_t m) {
          return static_cast<std::uint8_t>(
              requantize(sum, d.multipliers[m], output.zero_point, output.qmin, output.qmax));
        });
        ASSERT_EQ(got, want) << c.text() << " border " << top << " " << left << " " << bottom << " " << right;
      }
    }
}

TEST_P(IntegerConvTest, dividing_by_channels_equals_dividing_by_rows) {
  std::vector<Case> cases = product_cases();
  for (const Case& c : window_cases()) cases.push_back(c);
  cases.push_back({{.out_channels = 200, .in_channels = 40}, 2, 5, 9, 1, 1, 3});
  for (const Case& c : cases) {
    const Data d = make_data(c, Codes::random);
    std::vector<std::uint8_t> residual(static_cast<std::size_t>(c.y_count()));
    std::mt19937 random(3);
    for (auto& r : residual) r = static_cast<std::uint8_t>(random());
    const ConvOutput output{.zero_point = 120,
                            .has_residual = true,
                            .add = {{0.02F, 120, 0, 255}, {0.05F, 77, 0, 255}, {0.043F, 101, 101, 255}}};
    const IntegerConv conv(packed(c, d), images_of(c), output, GetParam());
    const Scratch scratch(conv.scratch_bytes());
    const std::int64_t units = conv.channel_unit_count();
    ASSERT_EQ(units > 0, c.filter.groups == 1);
    if (units == 0) continue;
    std::vector<std::uint8_t> y(residual.size()), want(residual.size());
    conv.run(d.x.data(), want.data(), residual.data(), 0, conv.unit_count(), scratch.data());
    for (std::int64_t image = c.batch; image-- > 0;)
      for (std::int64_t unit = units; unit-- > 0;)
        conv.run_channels(d.x.data(), y.data(), residual.data(), image, unit, unit + 1, scratch.data());
    ASSERT_EQ(y, want) << c.text();
  }
}

TEST_P(IntegerConvTest, ties_round_to_the_even_code) {
  // One channel with weight 1 and multiplier 0.5: accumulator q becomes q / 2.
  const Case c{{.out_channels = 1, .in_channels = 1}, 1, 256, 1};
  Data d{std::vector<std::uint8_t>(256 + kOverread), {1}, {-128}, {0.5F}};
  for (std::size_t i = 0; i < 256; ++i) d.x[i] = static_cast<std::uint8_t>(i);
  const auto y = run<std::uint8_t>(c, d, {.zero_point = 100}, GetParam());
  for (int i = 0; i < 256; ++i) {
    const int twice = i - 128, down = (twice - (twice & 1)) / 2;
    const int want = (twice & 1) == 0 ? down : down % 2 == 0 ? down : down + 1;
    ASSERT_EQ(y[static_cast<std::size_t>(i)], 100 + want) << twice << " / 2";
  }
}

TEST_P(IntegerConvTest, applies_the_table_before_the_residual) {
  for (const Case& c : window_cases()) {
    const Data d = make_data(c, Codes::random);
    ConvOutput output{.zero_point = 120, .has_table = true, .has_residual = true};
    for (int q = 0; q < 256; ++q) output.table[q] = static_cast<std::uint8_t>(q < 120 ? 120 - (120 - q) / 10 : q);
    output.add = {{0.02F, 120, 0, 255}, {0.05F, 77, 0, 255}, {0.043F, 101, 101, 255}};
    std::vector<std::uint8_t> residual(static_cast<std::size_t>(c.y_count()));
    std::mt19937 random(3);
    for (auto& r : residual) r = static_cast<std::uint8_t>(random());
    const auto plain = run<std::uint8_t>(c, d, {.zero_point = 120}, Isa::portable);
    auto want = plain;
    for (std::size_t i = 0; i < want.size(); ++i) {
      if (static_cast<std::int64_t>(i) % c.y_pixel() >= c.filter.out_channels) continue;
      const float a = static_cast<float>(output.table[plain[i]] - 120) * 0.02F;
      const float b = static_cast<float>(residual[i] - 77) * 0.05F;
      const Tensor sum =
          quantize(Tensor::from<float>({1}, std::vector<float>{a + b}), {.scale = {0.043F}, .zero_point = {101}});
      want[i] = std::max<std::uint8_t>(101, sum.data<std::uint8_t>()[0]);
    }
    ASSERT_EQ(run<std::uint8_t>(c, d, output, GetParam(), residual), want) << c.text();
  }
}

}  // namespace
}  // namespace bitfold
