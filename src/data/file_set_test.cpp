// Text files that list samples, and single files.
#include <fmt/format.h>

#include "base/file.h"
#include "bitfold/data.h"
#include "data/audio_testing.h"
#include "data/image_testing.h"
#include "error_testing.h"
#include "testing.h"

namespace bitfold {
namespace {

using testing::expect_error;
using testing::plain_image;
using testing::png;
using testing::TemporaryFolder;

const std::vector<InputSpec> kImages{{"x", DataType::float32, {kDynamic, 3, 2, 2}}};

class Lists : public ::testing::Test {
 protected:
  void SetUp() override {
    std::filesystem::create_directory(folder_ / "images");
    for (int i = 0; i < 3; ++i)
      save("images/" + std::to_string(i) + ".png", png(plain_image(2, 2, static_cast<std::uint8_t>(i))));
  }
  void save(const std::string& name, const std::string& contents) const {
    write_file((folder_ / name).string(), contents);
  }
  std::string list() const { return (folder_ / "list.txt").string(); }
  Dataset open(const std::string& text, const std::vector<InputSpec>& inputs = kImages) const {
    save("list.txt", text);
    return open_dataset(list(), inputs, {.preprocess = {.scale = 1.0F}});
  }
  void expect_refused(const std::string& text, const std::string& part) const {
    expect_error([&] { open(text).source->next(9); }, part);
  }
  static std::vector<float> pixels(Dataset& dataset) {
    std::vector<float> values;
    while (const auto batch = dataset.source->next(2))
      for (std::int64_t i = 0; i < batch->sample_count; ++i)
        values.push_back(batch->inputs[0].data<float>()[static_cast<std::size_t>(12 * i)]);
    return values;
  }

  TemporaryFolder folder_;
};

TEST_F(Lists, name_images_relative_to_the_list_in_any_order) {
  Dataset dataset = open("images/2.png\r\n\r\nimages/0.png\r\nimages/2.png");
  EXPECT_FALSE(dataset.source->has_labels());
  EXPECT_EQ(pixels(dataset), (std::vector<float>{2, 0, 2}));
  ASSERT_EQ(dataset.files.size(), 3U);
  EXPECT_EQ(dataset.files[1], (folder_ / "images/0.png").string());
  Dataset absolute = open("\xef\xbb\xbf" + (folder_ / "images/1.png").string() + "\n");
  EXPECT_EQ(pixels(absolute), std::vector<float>{1});
}

TEST_F(Lists, may_have_class_indices) {
  Dataset dataset = open("images/2.png 5\nimages/0.png\t0\n");
  EXPECT_EQ(dataset.source->next(9)->labels, (std::vector<std::int64_t>{5, 0}));
  expect_refused("images/2.png 5\nimages/0.png\n", "list.txt' line 2: 'images/0.png' has no class index, unlike");
}

TEST_F(Lists, may_name_arrays_that_are_whole_samples) {
  for (const std::int64_t length : {3, 5})
    save_npy((folder_ / fmt::format("{}.npy", length)).string(), {{"", Tensor(DataType::float32, {1, length})}});
  const std::vector<InputSpec> inputs{{"x", DataType::float32, {kDynamic, kDynamic}}};
  save("list.txt", "5.npy\n3.npy\n");
  Dataset dataset = open_dataset(list(), inputs);
  EXPECT_TRUE(dataset.source->has_whole_samples());
  const auto batch = dataset.source->next(9);
  EXPECT_EQ(batch->runs[0][0].shape(), (Shape{1, 5}));
  EXPECT_EQ(batch->runs[1][0].shape(), (Shape{1, 3}));
  expect_refused("5.npy 1\n", "line 1: array files hold their labels themselves");
}

TEST_F(Lists, may_name_audio_files) {
  save("a.wav", testing::wav({1, 2, 3, 4}, 8000));
  Dataset dataset = open("a.wav\n", {{"x", DataType::float32, {kDynamic, 2}}});
  EXPECT_EQ(dataset.source->next(9)->inputs[0].shape(), (Shape{2, 2}));
}

TEST_F(Lists, bad_lines_are_named) {
  expect_refused("images/0.png\nimages/9.png\n", "list.txt' line 2: file 'images/9.png' cannot be read: No such file");
  expect_refused("images/0.png\nimages\n", "line 2: file 'images' cannot be read: it is not a regular file");
  save("a.wav", "x");
  expect_refused("images/0.png\na.wav\n", "line 2: 'a.wav' is not among the images that the list began with");
  expect_refused("images/0.png\nlist.txt\n", "line 2: 'list.txt' is not a sample");
  expect_refused("\n \n", "lists no samples");
  expect_refused(std::string("text\0", 5), "list.txt': is not data of a known form");
  expect_refused("", "list.txt': is not data of a known form");
}

TEST_F(Lists, one_image_is_a_dataset) {
  Dataset dataset = open_dataset((folder_ / "images/2.png").string(), kImages, {.preprocess = {.scale = 1.0F}});
  EXPECT_EQ(dataset.source->sample_count(), 1);
  EXPECT_EQ(pixels(dataset), std::vector<float>{2});
  save("broken.jpg", "x");
  expect_error([&] { open_dataset((folder_ / "broken.jpg").string(), kImages, {.strict = true}).source->next(1); },
               "broken.jpg': is neither JPEG nor PNG");
}

}  // namespace
}  // namespace bitfold
