#include "data/preprocess.h"

#include "bitfold/error.h"
#include "data/image_testing.h"
#include "error_testing.h"
#include "testing.h"

namespace bitfold {
namespace {

using testing::expect_error;
using testing::plain_image;

constexpr std::int64_t kAny = kDynamic;

Preprocess settings(const std::vector<std::pair<const char*, const char*>>& flags) {
  Preprocess preprocess;
  for (const auto& [key, text] : flags) set_preprocess(preprocess, key, text);
  return preprocess;
}

/// The first channel of the sample, as rows.
std::vector<std::vector<float>> first_channel(const Preprocess& preprocess, const Image& image,
                                              const Shape& input = {kAny, 3, kAny, kAny}) {
  const Preprocessor preprocessor({"x", DataType::float32, input}, preprocess, image.channels, true);
  const Shape shape = preprocessor.sample_shape(image.width, image.height, "image");
  std::vector<float> sample(static_cast<std::size_t>(element_count(shape)));
  preprocessor.run(image.pixels.data(), PixelLayout::interleaved(image.width, image.height, image.channels),
                   sample.data());
  std::vector<std::vector<float>> rows;
  for (std::int64_t y = 0; y < shape[1]; ++y)
    rows.emplace_back(sample.begin() + y * shape[2], sample.begin() + (y + 1) * shape[2]);
  return rows;
}

using Rows = std::vector<std::vector<float>>;

TEST(Fit, centres_the_image_and_puts_the_odd_pixel_at_the_right_and_bottom) {
  // 8x2 pixels fit into 5x4 with the factor 5/8: 5x1.25, rounded to 5x1. Of the 3 rows left, 1 is above and 2 below.
  const auto preprocess = settings({{"fit", "5x4"}, {"fill", "7"}, {"scale", "1"}});
  EXPECT_EQ(first_channel(preprocess, plain_image(8, 2, 9)),
            (Rows{{7, 7, 7, 7, 7}, {9, 9, 9, 9, 9}, {7, 7, 7, 7, 7}, {7, 7, 7, 7, 7}}));
  // Upwards too: 1x2 pixels become 2x4, with 1 column at the left and 2 at the right.
  EXPECT_EQ(first_channel(preprocess, plain_image(1, 2, 9)), (Rows(4, {7, 9, 9, 7, 7})));
}

TEST(Fit, may_place_the_image_at_the_top_left) {
  const auto preprocess = settings({{"fit", "4"}, {"align", "top_left"}, {"fill", "7"}, {"scale", "1"}});
  EXPECT_EQ(first_channel(preprocess, plain_image(2, 4, 9)), (Rows(4, {9, 9, 7, 7})));
}

TEST(Fit, rounds_sides_to_the_nearest_pixel_but_keeps_one) {
  const auto rows = [](const char* fit, std::int64_t width, std::int64_t height) {
    std::size_t filled = 0;
    for (const auto& row :
         first_channel(settings({{"fit", fit}, {"fill", "0"}, {"scale", "1"}}), plain_image(width, height, 9)))
      filled += row[0] == 9;
    return filled;
  };
  EXPECT_EQ(rows("8", 16, 5), 3U);   // 2.5
  EXPECT_EQ(rows("8", 32, 9), 2U);   // 2.25
  EXPECT_EQ(rows("8", 400, 4), 1U);  // 0.08
}

TEST(Fit, fills_with_114_in_the_units_of_pixels) {
  const auto rows = first_channel(settings({{"fit", "2"}, {"normalize", "tf"}}), plain_image(2, 1, 255));
  EXPECT_EQ(rows, (Rows{{1, 1}, {(114 - 127.5F) / 127.5F, (114 - 127.5F) / 127.5F}}));
}

TEST(Fit, fills_each_channel_of_the_input) {
  const auto preprocess = settings({{"fit", "2"}, {"fill", "1,2,3"}, {"channels", "bgr"}, {"scale", "1"}});
  const Preprocessor preprocessor({"x", DataType::float32, {1, 2, 2, 3}}, preprocess, 3, true);
  std::vector<float> sample(12);
  preprocessor.run(plain_image(2, 1, 9).pixels.data(), PixelLayout::interleaved(2, 1, 3), sample.data());
  EXPECT_EQ(sample, (std::vector<float>{9, 9, 9, 9, 9, 9, 1, 2, 3, 1, 2, 3}));
}

TEST(Pad, fills_at_the_right_with_zeros_of_the_input) {
  // 4x2 pixels at height 4 are 8x4.
  const auto rows =
      first_channel(settings({{"resize", "x4"}, {"pad", "10"}, {"normalize", "tf"}}), plain_image(4, 2, 255));
  EXPECT_EQ(rows, (Rows(4, {1, 1, 1, 1, 1, 1, 1, 1, 0, 0})));
}

TEST(Pad, shrinks_a_wider_image_only_with_a_given_height) {
  EXPECT_EQ(first_channel(settings({{"resize", "x2"}, {"pad", "3"}, {"scale", "1"}}), plain_image(8, 2, 9)),
            (Rows(2, {9, 9, 9})));
  expect_error(
      [] {
        first_channel(settings({{"pad", "3"}}), plain_image(8, 2, 9));
      },
      "image: has 8x2 pixels (width x height), which --pad 3 cannot hold; use --resize x2 to shrink it");
}

TEST(Resize, keeps_the_aspect_ratio_of_the_other_side_rounded_up) {
  const auto size = [](const char* resize) {
    const auto rows = first_channel(settings({{"resize", resize}}), plain_image(7, 3, 1));
    return std::pair(rows[0].size(), rows.size());
  };
  EXPECT_EQ(size("x4"), (std::pair<std::size_t, std::size_t>(10, 4)));  // 9.33
  EXPECT_EQ(size("4x"), (std::pair<std::size_t, std::size_t>(4, 2)));   // 1.71
}

TEST(Crop, cuts_the_odd_pixel_at_the_right) {
  Image image = plain_image(5, 1, 0, 1);
  for (std::size_t x = 0; x < 5; ++x) image.pixels[x] = static_cast<std::uint8_t>(x);
  EXPECT_EQ(first_channel(settings({{"crop", "2x1"}, {"scale", "1"}}), image, {kAny, 1, kAny, kAny}), (Rows{{1, 2}}));
}

TEST(Preprocessor, refuses_steps_that_contradict_each_other) {
  const auto expect_refused = [](const std::vector<std::pair<const char*, const char*>>& flags, const char* part) {
    expect_error([&] { first_channel(settings(flags), plain_image(2, 2, 1)); }, part);
  };
  expect_refused({{"fit", "4"}, {"resize", "4"}}, "leave out --resize");
  expect_refused({{"fit", "4"}, {"pad", "4"}}, "leave out --pad");
  expect_refused({{"fit", "4"}, {"crop", "4"}}, "--crop cannot be combined with --fit");
  expect_refused({{"pad", "4"}, {"crop", "4"}}, "--crop cannot be combined with --pad");
  expect_refused({{"align", "center"}}, "--align needs --fit");
  expect_refused({{"fill", "3"}}, "--fill needs --fit or --pad");
  expect_refused({{"fit", "4"}, {"fill", "1,2"}}, "--fill has 2 numbers; the input has 3 channels");
}

TEST(DefaultScale, is_1_if_the_mean_counts_pixel_levels) {
  const auto value = [](const std::vector<std::pair<const char*, const char*>>& flags) {
    return first_channel(settings(flags), plain_image(1, 1, 255))[0][0];
  };
  EXPECT_EQ(value({}), 1);
  EXPECT_EQ(value({{"mean", "127.5"}, {"std", "127.5"}}), 1);
  EXPECT_EQ(value({{"mean", "127"}}), 128);
  EXPECT_EQ(value({{"std", "255"}}), 1);
  EXPECT_EQ(value({{"mean", "0.5"}, {"std", "0.5"}}), 1);
  EXPECT_FLOAT_EQ(value({{"mean", "1"}, {"scale", "1/127.5"}}), 1);
}

TEST(Normalize, has_the_formula_of_each_preset) {
  const auto value = [](const char* preset) {
    Image image = plain_image(1, 1, 0);
    image.pixels = {51, 102, 204};
    return first_channel(settings({{"normalize", preset}}), image)[0][0];
  };
  EXPECT_FLOAT_EQ(value("unit"), 0.2F);
  EXPECT_FLOAT_EQ(value("tf"), -0.6F);
  EXPECT_FLOAT_EQ(value("imagenet"), (0.2F - 0.485F) / 0.229F);
  EXPECT_FLOAT_EQ(value("clip"), (0.2F - 0.48145466F) / 0.26862954F);
  EXPECT_FLOAT_EQ(value("caffe"), 204 - 103.939F);
  EXPECT_FLOAT_EQ(value("none"), 51);
  for (const NormalizationPreset& preset : normalization_presets()) value(std::string(preset.word).c_str());
  expect_error([&] { value("imagnet"); }, "normalize: 'imagnet' is unknown; it must be one of unit, tf, imagenet");
}

}  // namespace
}  // namespace bitfold
