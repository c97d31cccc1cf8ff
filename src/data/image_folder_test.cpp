#include <fmt/format.h>
#include <sys/stat.h>

#include <algorithm>
#include <functional>

#include "base/file.h"
#include "bitfold/data.h"
#include "bitfold/error.h"
#include "data/image.h"
#include "data/image_testing.h"
#include "error_testing.h"
#include "testing.h"

namespace bitfold {
namespace {

using testing::expect_error;
using testing::jpeg;
using testing::plain_image;
using testing::png;
using testing::TemporaryFolder;

Image decode(const std::string& file) { return decode_image(std::as_bytes(std::span(file)), "a.jpg"); }

void put(const TemporaryFolder& folder, const std::string& name, const std::string& contents) {
  std::filesystem::create_directories((folder / name).parent_path());
  write_file((folder / name).string(), contents);
}

Dataset open(const TemporaryFolder& folder, const DatasetOptions& options = {}) {
  return open_dataset(folder.path().string(), {{"input", DataType::float32, {kDynamic, 3, 4, 4}}}, options);
}

std::vector<std::int64_t> labels(const TemporaryFolder& folder) { return open(folder).source->next(100)->labels; }

TEST(DecodeImage, reads_png_exactly) {
  for (const std::int64_t channels : {1, 3}) {
    Image image = plain_image(5, 3, 0, channels);
    for (std::size_t i = 0; i < image.pixels.size(); ++i) image.pixels[i] = static_cast<std::uint8_t>(5 * i);
    const Image read = decode(png(image));
    EXPECT_EQ(read.width, 5);
    EXPECT_EQ(read.channels, channels);
    EXPECT_EQ(read.pixels, image.pixels);
  }
}

TEST(DecodeImage, drops_transparency) {
  EXPECT_EQ(decode(png(plain_image(2, 2, 9, 4))).pixels, plain_image(2, 2, 9).pixels);
}

TEST(DecodeImage, refuses_damaged_files_by_name) {
  const std::string good_png = png(plain_image(9, 9, 77)), good_jpeg = jpeg(plain_image(64, 64, 77));
  EXPECT_EQ(decode(good_jpeg).width, 64);
  for (const std::string& file : {good_png, good_jpeg}) {
    for (std::size_t size = 0; size + 1 < file.size(); size += 7)
      expect_error([&] { decode(file.substr(0, size)); }, "'a.jpg'");
  }
  std::string flipped = good_png;
  flipped[flipped.size() / 2] ^= 1;
  expect_error([&] { decode(flipped); }, "checksum is wrong");
  expect_error([&] { decode("GIF89a, say"); }, "neither JPEG nor PNG");
}

TEST(DecodeImage, survives_any_single_damaged_byte_of_a_jpeg) {
  const std::string file = jpeg(plain_image(16, 16, 200));
  for (std::size_t at = 2; at < file.size(); ++at) {
    std::string damaged = file;
    damaged[at] = static_cast<char>(~damaged[at]);
    try {
      decode(damaged);
    } catch (const Error&) {
    }
  }
}

TEST(DecodeImage, refuses_enormous_images) {
  // The size in the frame header is the one that is checked.
  const Image small = plain_image(1, 1, 0, 1);
  std::string file = jpeg(small);
  const std::size_t frame = file.find("\xff\xc0");
  ASSERT_NE(frame, std::string::npos);
  for (const std::size_t at : {frame + 5, frame + 7}) {
    file[at] = static_cast<char>(13000 >> 8);
    file[at + 1] = static_cast<char>(13000 & 255);
  }
  expect_error([&] { decode(file); }, "13000x13000 pixels; at most 100 million");
}

TEST(ResizeImage, keeps_an_image_of_the_right_size) {
  const Image image = plain_image(3, 2, 5);
  EXPECT_EQ(resize_image(image, {3, 2}).pixels, image.pixels);
}

TEST(ResizeImage, interpolates_between_half_pixel_centres) {
  // Enlarging 2 to 4: centres at 0.25, 0.75, 1.25, 1.75 of the input, whose own centres are at 0.5 and 1.5.
  const Image row{2, 1, 1, {0, 100}};
  EXPECT_EQ(resize_image(row, {4, 1}).pixels, (std::vector<std::uint8_t>{0, 25, 75, 100}));
  const Image column{1, 2, 1, {0, 100}};
  EXPECT_EQ(resize_image(column, {1, 4}).pixels, (std::vector<std::uint8_t>{0, 25, 75, 100}));
}

TEST(ResizeImage, averages_when_shrinking) {
  // Shrinking 4 to 2: a triangle of half width 2 around 1 and 3, with weights 1/4, 3/4, 3/4, 1/4 inside the image.
  const Image row{4, 1, 1, {0, 70, 140, 210}};
  EXPECT_EQ(resize_image(row, {2, 1}).pixels, (std::vector<std::uint8_t>{50, 160}));
}

TEST(ImageFolder, reads_labels_in_their_order) {
  TemporaryFolder folder;
  put(folder, "a.png", png(plain_image(4, 4, 255)));
  put(folder, "b c.jpg", jpeg(plain_image(4, 4, 0)));
  put(folder, "unlisted.png", png(plain_image(4, 4, 0)));
  put(folder, "labels.txt", "b c.jpg 7\r\n\na.png\t3\n");
  Dataset dataset = open(folder);
  EXPECT_EQ(dataset.source->sample_count(), 2);
  const auto batch = dataset.source->next(10);
  EXPECT_EQ(batch->labels, (std::vector<std::int64_t>{7, 3}));
  EXPECT_EQ(batch->inputs[0].data<float>()[0], 0);
  EXPECT_EQ(batch->inputs[0].data<float>()[48], 1);
  bool noted = false;
  for (const auto& note : dataset.notes) noted |= note.find("1 images are not in labels.txt") != std::string::npos;
  EXPECT_TRUE(noted);
}

TEST(ImageFolder, reports_bad_lines_of_labels) {
  TemporaryFolder folder;
  put(folder, "a.png", png(plain_image(4, 4, 255)));
  const auto with = [&](const std::string& text) {
    put(folder, "labels.txt", text);
    open(folder);
  };
  expect_error([&] { with("a.png 1\nb.png 2\n"); }, "labels.txt' line 2: file 'b.png' cannot be read");
  expect_error([&] { with("\na.png one\n"); }, "line 2: expected a file name and a class index, found 'a.png one'");
  expect_error([&] { with("a.png -1\n"); }, "line 1: expected a file name and a class index");
  expect_error([&] { with("a.png\n"); }, "line 1: expected a file name and a class index");
  expect_error([&] { with("a.png 1\na.png 2\n"); }, "line 2: 'a.png' is already listed on line 1");
  expect_error([&] { with("\n"); }, "lists no images");
}

TEST(ImageFolder, treats_subfolders_as_classes_and_alternates_between_them) {
  TemporaryFolder folder;
  for (const std::string name : {"dog/1.png", "dog/2.png", "cat/1.png", "emu/x.PNG", "emu/y.png"})
    put(folder, name, png(plain_image(4, 4, 1)));
  EXPECT_EQ(labels(folder), (std::vector<std::int64_t>{0, 1, 2, 1, 2}));
}

bool has_note(const Dataset& dataset, const std::string& part) {
  return std::any_of(dataset.notes.begin(), dataset.notes.end(),
                     [&](const std::string& note) { return note.find(part) != std::string::npos; });
}

TEST(ImageFolder, skips_and_names_unreadable_links_and_pipes) {
  TemporaryFolder folder;
  put(folder, "good.png", png(plain_image(4, 4, 1)));
  std::filesystem::create_symlink("loop.png", folder / "loop.png");
  std::filesystem::create_symlink("nowhere", folder / "dangling.jpg");
  std::filesystem::create_symlink("self", folder / "self");
  std::filesystem::create_symlink("images-idx3", folder / "images-idx3");
  ASSERT_EQ(::mkfifo((folder / "pipe.png").c_str(), 0600), 0);
  const Dataset dataset = open(folder);
  EXPECT_EQ(dataset.source->sample_count(), 1);
  EXPECT_TRUE(has_note(dataset, "loop.png' is left out: Too many levels of symbolic links"));
  EXPECT_TRUE(has_note(dataset, "dangling.jpg' is left out: No such file or directory"));
  EXPECT_TRUE(has_note(dataset, "pipe.png' is left out: it is not a regular file"));
}

TEST(ImageFolder, reports_labels_that_cannot_be_read) {
  TemporaryFolder folder;
  put(folder, "a.png", png(plain_image(4, 4, 1)));
  std::filesystem::create_symlink("loop.png", folder / "loop.png");
  put(folder, "labels.txt", "a.png 1\nloop.png 2\n");
  expect_error([&] { open(folder); }, "line 2: file 'loop.png' cannot be read: Too many");
  std::filesystem::remove(folder / "labels.txt");
  std::filesystem::create_symlink("labels.txt", folder / "labels.txt");
  expect_error([&] { open(folder); }, "labels.txt': Too many levels of symbolic links");
}

TEST(ImageFolder, reads_unlabelled_images) {
  TemporaryFolder folder;
  put(folder, "a.png", png(plain_image(4, 4, 1)));
  Dataset dataset = open(folder);
  EXPECT_FALSE(dataset.source->has_labels());
  EXPECT_TRUE(dataset.source->next(1)->labels.empty());
}

TEST(ImageFolder, skips_a_damaged_image_by_name_or_fails_when_strict) {
  TemporaryFolder folder;
  put(folder, "a.jpg", jpeg(plain_image(4, 4, 1)).substr(0, 300));
  put(folder, "b.png", png(plain_image(4, 4, 1)));
  put(folder, "labels.txt", "a.jpg 1\nb.png 2\n");
  std::string warning;
  Dataset dataset = open(folder, {.warn = [&](const std::string& text) { warning += text; }});
  const auto batch = dataset.source->next(1);
  EXPECT_NE(warning.find("skipped"), std::string::npos);
  EXPECT_NE(warning.find("a.jpg"), std::string::npos);
  EXPECT_EQ(batch->labels, std::vector<std::int64_t>{2});
  EXPECT_EQ(dataset.source->sample_count(), 1);
  EXPECT_FALSE(dataset.source->next(1));
  dataset.source->rewind();
  EXPECT_EQ(dataset.source->next(5)->sample_count, 1);
  expect_error([&] { open(folder, {.strict = true}).source->next(2); }, "a.jpg");
}

TEST(ImageFolder, fails_when_no_image_can_be_read) {
  TemporaryFolder folder;
  put(folder, "a.jpg", "nonsense");
  Dataset dataset = open(folder);
  ::testing::internal::CaptureStderr();
  expect_error([&] { dataset.source->next(1); }, "none of its 1 images can be read");
  ::testing::internal::GetCapturedStderr();
  TemporaryFolder empty;
  expect_error([&] { open(empty); }, "it is empty");
}

TEST(ImageFolder, suggests_flags_that_make_an_image_fit) {
  TemporaryFolder folder;
  put(folder, "a.png", png(plain_image(8, 6, 1)));
  expect_error([&] { open(folder).source->next(1); },
               "a.png': has 8x6 pixels (width x height), input 'input' of shape ?x3x4x4 expects 4x4; use --resize 4x4");
  const Preprocess preprocess{.resize_short = 4, .crop = ImageSize{4, 4}};
  EXPECT_EQ(open(folder, {.preprocess = preprocess}).source->next(1)->inputs[0].shape(), (Shape{1, 3, 4, 4}));
}

TEST(ImageFolder, gives_each_image_its_own_size_if_the_input_leaves_it_open) {
  TemporaryFolder folder;
  // Sizes of 8x6 twice, 6x8 three times, of which one is damaged, and 8x6.
  const std::vector<std::pair<int, int>> sizes{{8, 6}, {8, 6}, {6, 8}, {6, 8}, {6, 8}, {8, 6}};
  for (std::size_t i = 0; i < sizes.size(); ++i)
    put(folder, fmt::format("{}.png", i),
        png(plain_image(sizes[i].first, sizes[i].second, static_cast<std::uint8_t>(i))));
  std::string damaged = png(plain_image(6, 8, 3));
  damaged[damaged.size() - 20] ^= 1;
  put(folder, "3.png", damaged);
  std::vector<std::string> warnings;
  DatasetOptions options{.preprocess = {.scale = 1.0F}};
  options.warn = [&](const std::string& text) { warnings.push_back(text); };
  Dataset dataset =
      open_dataset(folder.path().string(), {{"input", DataType::float32, {kDynamic, 3, kDynamic, kDynamic}}}, options);
  for (int pass = 0; pass < 2; ++pass) {
    std::vector<Shape> shapes;
    std::vector<float> firsts;
    while (const auto batch = dataset.source->next(4)) {
      shapes.push_back(batch->inputs[0].shape());
      const std::span<const float> pixels = batch->inputs[0].data<float>();
      for (std::int64_t i = 0; i < batch->sample_count; ++i)
        firsts.push_back(pixels[static_cast<std::size_t>(i * 3 * 48)]);
    }
    EXPECT_EQ(shapes, (std::vector<Shape>{{2, 3, 6, 8}, {2, 3, 8, 6}, {1, 3, 6, 8}}));
    EXPECT_EQ(firsts, (std::vector<float>{0, 1, 2, 4, 5}));
    dataset.source->rewind();
  }
  ASSERT_EQ(warnings.size(), 1U);
  EXPECT_NE(warnings[0].find("3.png': damaged"), std::string::npos) << warnings[0];
  EXPECT_EQ(dataset.source->sample_count(), 5);
}

TEST(ImageFolder, refuses_inputs_that_do_not_accept_images) {
  TemporaryFolder folder;
  put(folder, "a.png", png(plain_image(4, 4, 1)));
  const std::string path = folder.path().string();
  expect_error([&] { open_dataset(path, {{"a", DataType::int64, {1, 3, 4, 4}}}); }, "input 'a' expects int64");
  expect_error([&] { open_dataset(path, {{"a", DataType::float32, {1, 8, 4, 4}}}); }, "expects 8 channels");
  expect_error([&] { open_dataset(path, {{"a", {}, {1, 3, 4, 4}}, {"b", {}, {1, 3, 4, 4}}}); }, "the network has 2");
}

}  // namespace
}  // namespace bitfold
