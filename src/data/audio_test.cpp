#include "data/audio.h"

#include <cmath>

#include "base/file.h"
#include "bitfold/data.h"
#include "data/audio_testing.h"
#include "error_testing.h"
#include "testing.h"

namespace bitfold {
namespace {

using testing::expect_error;
using testing::sine;
using testing::TemporaryFolder;
using testing::wav;

class Audio : public ::testing::Test {
 protected:
  void save(const std::string& name, const std::string& contents) const {
    std::filesystem::create_directories((folder_ / name).parent_path());
    write_file((folder_ / name).string(), contents);
  }
  /// 1000, 1001, 1002, ... as 16-bit samples.
  void save_ramp(const std::string& name, std::size_t count, std::uint32_t rate = 8000) const {
    std::vector<std::int16_t> samples;
    for (std::size_t i = 0; i < count; ++i) samples.push_back(static_cast<std::int16_t>(1000 + i));
    save(name, wav(samples, rate));
  }
  Dataset open(const Shape& shape, DatasetOptions options = {}) const {
    options.warn = [this](const std::string& text) { warnings_.push_back(text); };
    return open_dataset(folder_.path().string(), {{"x", DataType::float32, shape}}, options);
  }
  void expect_refused(const Shape& shape, const DatasetOptions& options, const std::string& part) const {
    expect_error([&] { open(shape, options).source->next(10); }, part);
  }
  /// The first sample of each window, in the units of save_ramp().
  static std::vector<float> starts(BatchSource& source) {
    std::vector<float> firsts;
    while (const auto batch = source.next(3)) {
      const Tensor& x = batch->inputs[0];
      const std::int64_t size = x.size() / batch->sample_count;
      for (std::int64_t i = 0; i < batch->sample_count; ++i)
        firsts.push_back(x.data<float>()[static_cast<std::size_t>(i * size)] * 32768);
    }
    return firsts;
  }

  TemporaryFolder folder_;
  mutable std::vector<std::string> warnings_;
};

TEST_F(Audio, windows_have_the_length_of_the_input) {
  save_ramp("a.wav", 10);
  save_ramp("b.WAV", 4);
  Dataset dataset = open({kDynamic, 4});
  EXPECT_EQ(dataset.source->sample_count(), 3);  // the last 2 samples of a.wav are left out
  EXPECT_EQ(dataset.source->next(2)->inputs[0].shape(), (Shape{2, 4}));
  dataset.source->rewind();
  EXPECT_EQ(starts(*dataset.source), (std::vector<float>{1000, 1004, 1000}));
  ASSERT_EQ(dataset.files.size(), 3U);
  EXPECT_TRUE(dataset.files[1].ends_with("a.wav") && dataset.files[2].ends_with("b.WAV"));
  EXPECT_NE(dataset.notes.back().find("8000 Hz, windows of 4 samples, one every 4"), std::string::npos);
  EXPECT_EQ(starts(*open({kDynamic, 4}, {.audio = {.hop = 3}}).source), (std::vector<float>{1000, 1003, 1006, 1000}));
  // A limit spreads over all windows.
  const DatasetOptions two{.audio = {.hop = 3}, .limit = 2};
  EXPECT_EQ(starts(*open({kDynamic, 4}, two).source), (std::vector<float>{1000, 1006}));
  EXPECT_EQ(starts(*open({1, kDynamic}, {.audio = {.window = 5}, .limit = 2}).source),
            (std::vector<float>{1000, 1005}));
}

TEST_F(Audio, a_file_shorter_than_the_window_is_padded_with_zeros) {
  save_ramp("a.wav", 2);
  const auto batch = open({1, 4}).source->next(1);
  const auto x = batch->inputs[0].data<float>();
  EXPECT_EQ(std::vector<float>(x.begin(), x.end()), (std::vector<float>{1000 / 32768.0F, 1001 / 32768.0F, 0, 0}));
}

TEST_F(Audio, the_input_decides_the_layout) {
  save_ramp("a.wav", 6);
  EXPECT_EQ(open({kDynamic, 1, 3}).source->next(9)->inputs[0].shape(), (Shape{2, 1, 3}));
  EXPECT_EQ(open({kDynamic, 3, 1}).source->next(9)->inputs[0].shape(), (Shape{2, 3, 1}));
  Dataset whole = open({3});
  EXPECT_TRUE(whole.source->has_whole_samples());
  const auto batch = whole.source->next(9);
  ASSERT_EQ(batch->runs.size(), 2U);
  EXPECT_EQ(batch->runs[1][0].shape(), Shape{3});
  EXPECT_EQ(batch->runs[1][0].data<float>()[0] * 32768, 1003);
  expect_refused({1, 3, kDynamic}, {}, "input 'x' of shape 1x3x? does not accept waveforms");
  expect_refused({1, 3, 257}, {}, "input 'x' of shape 1x3x257 does not accept waveforms");
}

TEST_F(Audio, files_of_different_lengths_are_batches_of_their_own) {
  save_ramp("a.wav", 5);
  save_ramp("b.wav", 5);
  save_ramp("c.wav", 7);
  Dataset dataset = open({kDynamic, kDynamic});
  EXPECT_EQ(dataset.source->next(8)->inputs[0].shape(), (Shape{2, 5}));
  EXPECT_EQ(dataset.source->next(8)->inputs[0].shape(), (Shape{1, 7}));
  EXPECT_FALSE(dataset.source->next(8));
}

TEST_F(Audio, channels_are_averaged) {
  save("a.wav", wav({100, 300, -200, 0}, 8000, 2));
  const auto x = open({1, kDynamic}).source->next(1)->inputs[0];
  EXPECT_EQ(x.shape(), (Shape{1, 2}));
  EXPECT_EQ(x.data<float>()[0], 200 / 32768.0F);
  EXPECT_EQ(x.data<float>()[1], -100 / 32768.0F);
}

TEST_F(Audio, resampling_keeps_a_sine) {
  save("a.wav", wav(sine(4800, 440, 48000), 48000));
  const auto x = open({1, kDynamic}, {.audio = {.sample_rate = 16000}}).source->next(1)->inputs[0];
  ASSERT_EQ(x.shape(), (Shape{1, 1600}));
  // Without the ends, where the filter lacks neighbours.
  for (std::size_t i = 100; i < 1500; ++i)
    ASSERT_NEAR(x.data<float>()[i], 0.5 * std::sin(2 * M_PI * 440 * static_cast<double>(i) / 16000), 2e-3) << i;
}

TEST_F(Audio, scale_and_mean_apply_to_every_sample) {
  save_ramp("a.wav", 3);
  const DatasetOptions options{.preprocess = {.scale = 32768.0F, .mean = {1000}, .std = {2}}};
  const auto x = open({1, kDynamic}, options).source->next(1)->inputs[0];
  EXPECT_EQ(x.data<float>()[2], 1);
  expect_refused({1, kDynamic}, {.preprocess = {.crop = ImageSize{2, 2}}}, "audio has no pixels");
  expect_refused({1, kDynamic}, {.preprocess = {.mean = {1, 2}}}, "give --mean and --std one number");
}

TEST_F(Audio, folders_are_classes) {
  save_ramp("no/a.wav", 4);
  save_ramp("yes/a.wav", 4);
  Dataset dataset = open({kDynamic, 2});
  ASSERT_TRUE(dataset.source->has_labels());
  EXPECT_EQ(dataset.source->next(9)->labels, (std::vector<std::int64_t>{0, 0, 1, 1}));
}

TEST_F(Audio, bad_files_are_named) {
  save_ramp("a.wav", 4);
  save("b.wav", "RIFF, but nothing else");
  save("c.wav", wav({}, 8000));
  Dataset dataset = open({kDynamic, 4});
  EXPECT_EQ(dataset.source->sample_count(), 1);
  ASSERT_EQ(warnings_.size(), 2U);
  EXPECT_NE(warnings_[0].find("skipped '" + (folder_ / "b.wav").string() + "': cannot be read as audio: "),
            std::string::npos)
      << warnings_[0];
  EXPECT_NE(warnings_[1].find("c.wav': contains no samples"), std::string::npos) << warnings_[1];
  expect_refused({kDynamic, 4}, {.strict = true}, "b.wav': cannot be read as audio");
  std::filesystem::remove(folder_ / "a.wav");
  expect_refused({kDynamic, 4}, {}, "none of its 2 audio files can be read");
}

TEST_F(Audio, any_damaged_byte_or_end_of_a_header_is_survived) {
  const std::string good = wav({1, 2, 3, 4}, 8000);
  const auto read = [&](const std::string& file) {
    save("a.wav", file);
    const std::string path = (folder_ / "a.wav").string();
    try {
      return static_cast<std::int64_t>(read_audio(path, audio_info(path).rate).size());
    } catch (const Error& error) {
      EXPECT_NE(std::string(error.what()).find("a.wav'"), std::string::npos) << error.what();
      return std::int64_t{0};
    }
  };
  EXPECT_EQ(read(good), 4);
  for (std::size_t i = 0; i < 44; ++i) {
    for (const char value : {'\0', '\1', '\x7f', '\xff'}) {
      std::string damaged = good;
      damaged[i] = value;
      EXPECT_LE(read(damaged), 8) << i;
    }
    EXPECT_EQ(read(good.substr(0, i)), 0) << i;
  }
}

TEST_F(Audio, rates_and_lengths_that_do_not_agree_are_refused) {
  save_ramp("a.wav", 4, 8000);
  save_ramp("b.wav", 4, 16000);
  expect_refused({kDynamic, 4}, {},
                 "b.wav': has 16000 Hz, files before it have 8000 Hz; give the network's rate with --sample-rate");
  std::filesystem::remove(folder_ / "b.wav");
  expect_refused({1, 4}, {.audio = {.window = 5}}, "--window is 5, but input 'x' of shape 1x4 expects 4 samples");
  expect_refused({1, kDynamic}, {.audio = {.hop = 5}}, "--hop needs --window");
  expect_refused({1, kDynamic}, {.audio = {.window = 0}}, "--window is 0; it must be from 1 to");
  expect_refused({1, kDynamic}, {.audio = {.sample_rate = 10'000'000}},
                 "a.wav': cannot be resampled from 8000 Hz to 10000000 Hz");
  expect_error(
      [&] {
        open_dataset(folder_.path().string(), {{"x", DataType::float32, {1, 4}}, {"rate", DataType::int64, {1}}});
      },
      "the network has 2; use a folder of .npz files");
}

TEST_F(Audio, does_not_share_a_folder_with_images) {
  save_ramp("a.wav", 4);
  save("b.png", "x");
  expect_refused({1, 4}, {}, "contains both images and audio files; give each form a folder of its own");
}

}  // namespace
}  // namespace bitfold
