#include <gtest/gtest.h>

#include <fstream>
#include <sstream>

#include "base/file.h"
#include "bitfold/calibrate.h"
#include "bitfold/error.h"
#include "testing.h"

namespace bitfold {
namespace {

class CalibrationFile : public ::testing::Test {
 protected:
  CalibrationFile() {
    calibration_.sample_count = 2;
    calibration_.values["x"].add(std::vector<float>{0.1F, -0.7F, 0.1F});
    calibration_.values["a \"quoted\" name"].add(std::vector<float>{0});
    calibration_.values["huge"].add(std::vector<float>{3e38F, -1e-40F});
    for (const float x : {3e38F, -1e-40F, 7.0F, -0.1F})
      calibration_.values["samples"].add_sample(std::vector<float>{x, x / 3});
    path_ = (folder_ / "calibration.json").string();
  }
  std::string saved_text() {
    save_calibration(calibration_, path_);
    std::stringstream text;
    text << std::ifstream(path_).rdbuf();
    return text.str();
  }
  // The error message for a saved file in which `from` was replaced by `to`.
  std::string complaint(const std::string& from, const std::string& to) {
    std::string text = saved_text();
    const auto place = text.find(from);
    EXPECT_NE(place, std::string::npos) << text;
    write_file(path_, std::string_view(text.replace(place, from.size(), to)));
    try {
      load_calibration(path_);
    } catch (const Error& error) {
      return error.what();
    }
    return "none";
  }
  bitfold::testing::TemporaryFolder folder_;
  Calibration calibration_;
  std::string path_;
};

TEST_F(CalibrationFile, keeps_how_the_network_was_prepared) {
  EXPECT_EQ(saved_text().find("prepared"), std::string::npos);
  calibration_.prepared = {.equalization = Equalization::noise, .smooth = 0.5};
  save_calibration(calibration_, path_);
  EXPECT_EQ(load_calibration(path_), calibration_);
  EXPECT_NE(complaint("noise", "auto").find("prepared.equalization is auto"), std::string::npos);
  EXPECT_NE(complaint("noise", "loud").find("equalization is 'loud'"), std::string::npos);
  EXPECT_NE(complaint("0.5", "1.5").find("smooth is 1.5"), std::string::npos);
}

TEST_F(CalibrationFile, is_restored_from_its_file) {
  save_calibration(calibration_, path_);
  EXPECT_EQ(load_calibration(path_), calibration_);
}

TEST_F(CalibrationFile, truncated_anywhere_is_an_error_that_names_the_file) {
  const std::string text = saved_text();
  for (std::size_t sixteenth = 0; sixteenth < 16; ++sixteenth) {
    write_file(path_, std::string_view(text).substr(0, text.size() * sixteenth / 16));
    try {
      load_calibration(path_);
      ADD_FAILURE() << sixteenth;
    } catch (const Error& error) {
      EXPECT_NE(std::string(error.what()).find(path_), std::string::npos) << error.what();
    }
  }
}

TEST_F(CalibrationFile, contradictions_are_named_by_key) {
  const auto mentions = [](const std::string& text, const char* word) { return text.find(word) != std::string::npos; };
  EXPECT_TRUE(mentions(complaint("bitfold calibration", "something"), "format"));
  EXPECT_TRUE(mentions(complaint("\"version\":1", "\"version\":7"), "version is 7"));
  EXPECT_TRUE(mentions(complaint("\"sample_count\":2", "\"sample_count\":-2"), "sample_count"));
  EXPECT_TRUE(mentions(complaint("\"count\":3", "\"count\":4"), "values.x.bins add up to 3"));
  EXPECT_TRUE(mentions(complaint("\"count\":3", "\"count\":2"), "values.x.bins add up to more than count"));
  EXPECT_TRUE(mentions(complaint("\"min\":-0.69", "\"min\":-0.09"), "values.x"));
  EXPECT_TRUE(mentions(complaint("\"min\":-0.69", "\"min\":1e99, \"z\":-0.69"), "values.x.min"));
  EXPECT_TRUE(mentions(complaint("\"bins\":[1", "\"bins\":[\"1\""), "bins[0]"));
  EXPECT_TRUE(mentions(complaint("\"first_bin\"", "\"last_bin\""), "first_bin is missing"));
}

TEST_F(CalibrationFile, without_sample_extremes_loads_but_refuses_moving_average) {
  EXPECT_EQ(complaint(",\"samples\":4,", ",\"then\":4,"), "none");
  const ValueStatistics loaded = load_calibration(path_).values.at("samples");
  EXPECT_EQ(loaded.sample_count, 0);
  EXPECT_THROW(observe(loaded, Observer::moving_average, {}), Error);
  EXPECT_EQ(observe(loaded, Observer::min_max, {}).max, 3e38F);
}

TEST_F(CalibrationFile, sums_of_samples_extremes_are_checked) {
  const auto mentions = [](const std::string& text, const char* word) { return text.find(word) != std::string::npos; };
  EXPECT_TRUE(mentions(complaint("\"samples\":4", "\"samples\":0"), "values.samples.samples is 0"));
  EXPECT_TRUE(mentions(complaint("\"samples\":4", "\"samples\":9"), "values.samples.samples is 9"));
  EXPECT_TRUE(mentions(complaint("\"sample_maxima\":[", "\"maxima\":["), "sample_maxima is missing"));
  EXPECT_TRUE(mentions(complaint("\"sample_maxima\":[", "\"sample_maxima\":[\"x\","), "not an array of numbers"));
  EXPECT_TRUE(mentions(complaint("\"sample_maxima\":[", "\"sample_maxima\":[1e-300,"), "not an exact sum of floats"));
  EXPECT_TRUE(mentions(complaint("\"sample_minima\":[", "\"sample_minima\":[-3e38,"), "not between min and max"));
}

TEST_F(CalibrationFile, names_that_are_not_text_are_refused) {
  calibration_.values["\xff\xfe"] = {};
  EXPECT_THROW(save_calibration(calibration_, path_), Error);
  EXPECT_FALSE(std::filesystem::exists(path_));
}

TEST(Calibration, merging_equals_calibrating_on_both) {
  Calibration first, second, both;
  for (auto* c : {&first, &both}) c->values["x"].add(std::vector<float>{1, 2, 3});
  for (auto* c : {&second, &both}) c->values["x"].add(std::vector<float>{-1000, 0.001F});
  for (auto* c : {&second, &both}) c->values["y"].add(std::vector<float>{5});
  first.sample_count = 3;
  second.sample_count = 2;
  both.sample_count = 5;
  Calibration merged = first;
  merged.merge(second);
  EXPECT_EQ(merged, both);
  second.merge(first);
  EXPECT_EQ(second, both);
}

}  // namespace
}  // namespace bitfold
