#include "base/file.h"
#include "bitfold/data.h"
#include "bitfold/error.h"
#include "testing.h"

namespace bitfold {
namespace {

std::string load_error(const std::string& toml) {
  testing::TemporaryFolder folder;
  const std::string path = (folder / "p.toml").string();
  write_file(path, toml);
  try {
    load_preprocess(path);
  } catch (const Error& error) {
    return error.what();
  }
  return "(nothing was thrown)";
}

void expect_error(const std::string& toml, const std::string& part) {
  const std::string text = load_error(toml);
  EXPECT_NE(text.find(part), std::string::npos) << text;
}

TEST(LoadPreprocess, reads_every_key) {
  testing::TemporaryFolder folder;
  const std::string path = (folder / "p.toml").string();
  write_file(path, "resize = 256\ncrop = 224\nscale = '1/128'\nmean = [0.5, 0.25, 1]\nstd = 0.5\nchannels = 'bgr'\n");
  const Preprocess preprocess = load_preprocess(path);
  EXPECT_EQ(preprocess.resize_short, 256);
  EXPECT_FALSE(preprocess.resize_exact);
  EXPECT_EQ(preprocess.crop->height, 224);
  EXPECT_EQ(preprocess.scale, 1.0F / 128);
  EXPECT_EQ(preprocess.mean, (std::vector<float>{0.5F, 0.25F, 1}));
  EXPECT_EQ(preprocess.std, std::vector<float>{0.5F});
  EXPECT_EQ(preprocess.channels, Channels::bgr);
}

TEST(LoadPreprocess, applies_a_preset_before_the_other_keys) {
  testing::TemporaryFolder folder;
  const std::string path = (folder / "p.toml").string();
  write_file(path, "fit = '640x480'\nalign = 'top_left'\nfill = 0\nmean = 3\nnormalize = 'tf'\n");
  const Preprocess preprocess = load_preprocess(path);
  EXPECT_EQ(preprocess.fit->height, 480);
  EXPECT_EQ(preprocess.align, Align::top_left);
  EXPECT_EQ(preprocess.fill, std::vector<float>{0});
  EXPECT_EQ(preprocess.mean, std::vector<float>{3});
  EXPECT_EQ(preprocess.std, std::vector<float>{127.5F});
}

TEST(LoadPreprocess, names_file_line_and_key) {
  expect_error("resize = 256\n\nresise = 3\n", "p.toml' line 3: unknown key 'resise'");
  expect_error("resise = 3\n", "did you mean 'resize'?");
  expect_error("crop = 'wide'\n", "line 1: crop: 'wide' is neither");
  expect_error("crop = true\n", "line 1: crop: expected a number, a text or a list");
  expect_error("mean = [1, [2]]\n", "line 1: mean: expected a number, a text or a list");
  expect_error("std = [1, 0]\n", "std: 0 is not above 0");
  expect_error("channels = 'cmyk'\n", "must be rgb, bgr or gray");
  expect_error("scale = '1/0'\n", "scale: '1/0'");
  expect_error("[input]\ncrop = 2\n", "unknown key 'input'");
  expect_error("resize = \n", "p.toml' line 1");
}

TEST(SetPreprocess, reads_every_kind_of_resize_and_uses_the_last) {
  Preprocess preprocess;
  set_preprocess(preprocess, "resize", "320x240");
  EXPECT_EQ(preprocess.resize_exact->width, 320);
  EXPECT_EQ(preprocess.resize_exact->height, 240);
  set_preprocess(preprocess, "resize", "256");
  EXPECT_EQ(preprocess.resize_short, 256);
  EXPECT_FALSE(preprocess.resize_exact);
  EXPECT_FALSE(preprocess.resize_exact);
  set_preprocess(preprocess, "resize", "x48");
  EXPECT_EQ(preprocess.resize_height, 48);
  EXPECT_FALSE(preprocess.resize_short);
  set_preprocess(preprocess, "resize", "320x");
  EXPECT_EQ(preprocess.resize_width, 320);
  EXPECT_FALSE(preprocess.resize_height);
  for (const char* text : {"", "0", "-4", "x", "xx3", "3xx", "x3x", "3x4x5", "2.5", "99999999"}) try {
      set_preprocess(preprocess, "resize", text);
      ADD_FAILURE() << "'" << text << "' was accepted";
    } catch (const Error& error) {
      EXPECT_EQ(std::string(error.what()).find("resize: '" + std::string(text) + "' is neither"), 0u) << error.what();
    }
}

}  // namespace
}  // namespace bitfold
