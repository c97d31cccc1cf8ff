#include <sys/stat.h>
#include <zlib.h>

#include <cmath>
#include <cstring>
#include <functional>
#include <limits>

#include "base/file.h"
#include "bitfold/data.h"
#include "bitfold/error.h"
#include "data/idx.h"
#include "error_testing.h"
#include "testing.h"

namespace bitfold {
namespace {

using testing::expect_error;
using testing::TemporaryFolder;

const std::vector<InputSpec> kSmall{{"input", DataType::float32, {kDynamic, 3, 2, 2}}};

std::string save(const TemporaryFolder& folder, const std::vector<NamedTensor>& arrays) {
  std::string path = (folder / "data.npz").string();
  save_npy(path, arrays);
  return path;
}

Tensor bytes_tensor(Shape shape, int first = 0) {
  Tensor tensor(DataType::uint8, std::move(shape));
  for (auto& value : tensor.mutable_data<std::uint8_t>()) value = static_cast<std::uint8_t>(first++);
  return tensor;
}

std::vector<float> values(const Tensor& tensor) { return {tensor.data<float>().begin(), tensor.data<float>().end()}; }

bool has_note(const Dataset& dataset, const std::string& part) {
  for (const auto& note : dataset.notes)
    if (note.find(part) != std::string::npos) return true;
  return false;
}

std::string idx_file(int dims, const std::vector<std::uint32_t>& shape, const std::string& elements) {
  std::string file{'\0', '\0', '\x08', static_cast<char>(dims)};
  for (const std::uint32_t dim : shape)
    for (int shift = 24; shift >= 0; shift -= 8) file += static_cast<char>(dim >> shift);
  return file + elements;
}

void write_gzipped(const std::string& path, const std::string& contents) {
  gzFile file = ::gzopen(path.c_str(), "wb");
  ::gzwrite(file, contents.data(), static_cast<unsigned>(contents.size()));
  ::gzclose(file);
}

TEST(Arrays, transpose_nhwc_pixels_and_scale_them) {
  TemporaryFolder folder;
  const std::string path = save(folder, {{"x", bytes_tensor({2, 2, 2, 3})}, {"y", bytes_tensor({2})}});
  Dataset dataset = open_dataset(path, kSmall, {.preprocess = {.scale = 1.0F}});
  EXPECT_TRUE(has_note(dataset, "NHWC and transposed"));
  EXPECT_TRUE(dataset.source->has_labels());
  const auto batch = dataset.source->next(1);
  EXPECT_EQ(batch->inputs[0].shape(), (Shape{1, 3, 2, 2}));
  EXPECT_EQ(values(batch->inputs[0]), (std::vector<float>{0, 3, 6, 9, 1, 4, 7, 10, 2, 5, 8, 11}));
  EXPECT_EQ(batch->labels, std::vector<std::int64_t>{0});
  EXPECT_EQ(dataset.source->next(5)->sample_count, 1);
  EXPECT_FALSE(dataset.source->next(5));
  dataset.source->rewind();
  EXPECT_EQ(dataset.source->next(5)->sample_count, 2);
}

TEST(Arrays, subtract_the_mean_after_the_scale) {
  TemporaryFolder folder;
  Tensor pixels(DataType::uint8, {1, 2, 2, 3});
  for (auto& value : pixels.mutable_data<std::uint8_t>()) value = 51;
  const Preprocess preprocess{.mean = {0.1F, 0.2F, 0.3F}, .std = {0.5F}};
  Dataset dataset = open_dataset(save(folder, {{"x", pixels}}), kSmall, {.preprocess = preprocess});
  EXPECT_TRUE(has_note(dataset, "1/255"));
  const auto result = values(dataset.source->next(1)->inputs[0]);
  EXPECT_FLOAT_EQ(result[0], (0.2F - 0.1F) / 0.5F);
  EXPECT_NEAR(result[4], 0, 1e-7);
  EXPECT_FLOAT_EQ(result[8], (0.2F - 0.3F) / 0.5F);
}

TEST(Arrays, crop_the_centre_and_reorder_channels) {
  TemporaryFolder folder;
  const std::string path = save(folder, {{"x", bytes_tensor({1, 4, 4, 3})}});
  const Preprocess preprocess{.crop = ImageSize{2, 2}, .scale = 1.0F, .channels = Channels::bgr};
  const auto result = values(open_dataset(path, kSmall, {.preprocess = preprocess}).source->next(1)->inputs[0]);
  EXPECT_EQ(result, (std::vector<float>{17, 20, 29, 32, 16, 19, 28, 31, 15, 18, 27, 30}));
}

TEST(Arrays, feed_nhwc_inputs_unchanged) {
  TemporaryFolder folder;
  const std::string path = save(folder, {{"x", bytes_tensor({1, 2, 2, 3})}});
  const std::vector<InputSpec> nhwc{{"input", DataType::float32, {kDynamic, 2, 2, 3}}};
  const Tensor result = open_dataset(path, nhwc, {.preprocess = {.scale = 1.0F}}).source->next(1)->inputs[0];
  EXPECT_EQ(result.shape(), (Shape{1, 2, 2, 3}));
  EXPECT_EQ(values(result), (std::vector<float>{0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11}));
}

TEST(Arrays, repeat_grey_and_turn_colour_to_grey) {
  TemporaryFolder folder;
  const std::string grey = save(folder, {{"x", bytes_tensor({1, 2, 2})}});
  EXPECT_EQ(values(open_dataset(grey, kSmall, {.preprocess = {.scale = 1.0F}}).source->next(1)->inputs[0]),
            (std::vector<float>{0, 1, 2, 3, 0, 1, 2, 3, 0, 1, 2, 3}));
  const std::vector<InputSpec> one{{"input", DataType::float32, {kDynamic, 1, 1, 1}}};
  const Tensor red = Tensor::from<std::uint8_t>({1, 1, 1, 3}, std::vector<std::uint8_t>{255, 0, 0});
  const std::string colour = save(folder, {{"x", red}});
  EXPECT_EQ(values(open_dataset(colour, one, {.preprocess = {.scale = 1.0F}}).source->next(1)->inputs[0])[0], 76);
}

TEST(Arrays, treat_floats_as_preprocessed) {
  TemporaryFolder folder;
  const Tensor x = Tensor::from<float>({1, 3, 2, 2}, std::vector<float>{1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12});
  Dataset dataset = open_dataset(save(folder, {{"input", x}, {"output", x}}), kSmall);
  EXPECT_TRUE(has_note(dataset, "preprocessed already"));
  EXPECT_TRUE(has_note(dataset, "'output' is not used"));
  EXPECT_EQ(dataset.source->next(4)->inputs[0], x);
}

TEST(Arrays, feed_several_inputs_by_name) {
  TemporaryFolder folder;
  const std::vector<InputSpec> inputs{{"ids", DataType::int64, {kDynamic, 2}},
                                      {"mask", DataType::float32, {kDynamic, 2}}};
  const Tensor ids = Tensor::from<std::int64_t>({1, 2}, std::vector<std::int64_t>{7, 8});
  const Tensor mask = Tensor::from<float>({1, 2}, std::vector<float>{0, 1});
  const auto batch = open_dataset(save(folder, {{"mask", mask}, {"ids", ids}}), inputs).source->next(1);
  EXPECT_EQ(batch->inputs[0], ids);
  EXPECT_EQ(batch->inputs[1], mask);
  expect_error(
      [&] {
        open_dataset(save(folder, {{"ids", ids}}), inputs);
      },
      "the network's inputs are 'ids' (int64 ?x2), 'mask'");
}

TEST(Arrays, scale_arrays_that_are_not_images) {
  TemporaryFolder folder;
  const std::vector<InputSpec> inputs{{"input", DataType::float32, {kDynamic, 4}}};
  const std::string path = save(folder, {{"x", bytes_tensor({2, 4})}});
  EXPECT_EQ(values(open_dataset(path, inputs, {.preprocess = {.scale = 2.0F}}).source->next(2)->inputs[0]),
            (std::vector<float>{0, 2, 4, 6, 8, 10, 12, 14}));
}

TEST(Arrays, treat_an_array_without_a_batch_as_one_sample) {
  TemporaryFolder folder;
  const Tensor x = Tensor::from<float>({3, 2, 2}, std::vector<float>{1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12});
  Dataset dataset = open_dataset(save(folder, {{"x", x}}), kSmall);
  EXPECT_TRUE(has_note(dataset, "one sample"));
  const auto batch = dataset.source->next(4);
  EXPECT_EQ(batch->sample_count, 1);
  EXPECT_EQ(batch->inputs[0].shape(), (Shape{1, 3, 2, 2}));
  EXPECT_EQ(values(batch->inputs[0]), values(x));
}

TEST(Arrays, refuse_arrays_that_do_not_fit_the_input) {
  TemporaryFolder folder;
  const auto open = [&](const Tensor& x, const Preprocess& preprocess = {}) {
    open_dataset(save(folder, {{"x", x}}), kSmall, {.preprocess = preprocess}).source->next(1);
  };
  expect_error([&] { open(bytes_tensor({1, 4, 4, 3})); }, "expects 2x2; use --resize 2x2 or --crop 2x2");
  expect_error([&] { open(bytes_tensor({1, 4, 4, 3}), {.crop = ImageSize{5, 5}}); }, "a crop of 5x5 does not fit");
  expect_error([&] { open(bytes_tensor({1, 7})); }, "has shape 1x7, input 'input' expects ?x3x2x2");
  expect_error([&] { open(bytes_tensor({0, 2, 2, 3})); }, "no samples");
  expect_error(
      [&] {
        open(Tensor(DataType::int64, {1, 3, 2, 2}));
      },
      "has element type int64, input 'input' expects float32");
  expect_error([&] { open(bytes_tensor({1, 2, 2, 3}), {.mean = {1, 2}}); }, "--mean has 2 numbers; the input has 3");
  expect_error([&] { open(Tensor(DataType::float32, {1, 2, 2, 3}), {.resize_short = 4}); }, "--resize needs uint8");
  const auto labelled = [&](const Tensor& y) {
    open_dataset(save(folder, {{"x", bytes_tensor({2, 2, 2, 3})}, {"y", y}}), kSmall);
  };
  expect_error([&] { labelled(bytes_tensor({3})); }, "2 samples but 3 labels");
  expect_error([&] { labelled(Tensor(DataType::float32, {2})); }, "labels have type float32");
  expect_error([&] { open_dataset((folder / "none").string(), kSmall); }, "no such file");
}

TEST(Arrays, name_the_place_of_a_nan) {
  TemporaryFolder folder;
  Tensor x(DataType::float32, {2, 3, 2, 2});
  x.mutable_data<float>()[12 + 4 + 3] = std::numeric_limits<float>::quiet_NaN();
  Dataset dataset = open_dataset(save(folder, {{"x", x}}), kSmall);
  dataset.source->next(1);
  expect_error([&] { dataset.source->next(1); }, "array 'x': contains nan at [1,1,1,1]");
}

TEST(Arrays, keep_infinite_elements) {
  TemporaryFolder folder;
  Tensor x(DataType::float32, {1, 3, 2, 2});
  x.mutable_data<float>()[7] = -std::numeric_limits<float>::infinity();
  Dataset dataset = open_dataset(save(folder, {{"x", x}}), kSmall);
  EXPECT_EQ(dataset.source->next(1)->inputs[0], x);
}

TEST(Arrays, pipes_and_devices_are_refused_without_waiting) {
  TemporaryFolder folder;
  const std::string pipe = (folder / "pipe.npy").string();
  ASSERT_EQ(::mkfifo(pipe.c_str(), 0600), 0);
  expect_error([&] { open_dataset(pipe, kSmall); }, "pipe.npy': is a pipe or a device");
  expect_error([&] { open_dataset("/dev/zero", kSmall); }, "'/dev/zero': is a pipe or a device");
  std::filesystem::create_symlink("loop", folder / "loop");
  expect_error([&] { open_dataset((folder / "loop").string(), kSmall); }, "loop': Too many levels of symbolic links");
}

TEST(Arrays, stop_at_the_limit) {
  TemporaryFolder folder;
  Dataset dataset = open_dataset(save(folder, {{"x", bytes_tensor({5, 2, 2, 3})}}), kSmall, {.limit = 3});
  EXPECT_EQ(dataset.source->sample_count(), 3);
  EXPECT_EQ(dataset.source->next(10)->sample_count, 3);
  EXPECT_FALSE(dataset.source->next(10));
}

TEST(Idx, reads_plain_and_gzipped_under_their_usual_names) {
  const std::string images = idx_file(3, {2, 2, 2}, std::string("\0\1\2\3\4\5\6\7", 8));
  const std::string labels = idx_file(1, {2}, std::string("\5\6", 2));
  const std::vector<std::pair<std::string, std::string>> names{
      {"train-images-idx3-ubyte", "train-labels-idx1-ubyte"},
      {"t10k-images.idx3-ubyte.gz", "t10k-labels.idx1-ubyte.gz"},
      {"images-idx3-ubyte.gz", "labels-idx1-ubyte"}};
  for (const auto& [images_name, labels_name] : names) {
    TemporaryFolder folder;
    for (const auto& [name, contents] : {std::pair{images_name, images}, std::pair{labels_name, labels}}) {
      if (name.ends_with(".gz"))
        write_gzipped((folder / name).string(), contents);
      else
        write_file((folder / name).string(), contents);
    }
    Dataset dataset = open_dataset(folder.path().string(), kSmall, {.preprocess = {.scale = 1.0F}});
    const auto batch = dataset.source->next(2);
    EXPECT_EQ(batch->labels, (std::vector<std::int64_t>{5, 6})) << images_name;
    EXPECT_EQ(batch->inputs[0].data<float>()[23], 7) << images_name;
  }
}

TEST(Idx, rows_are_read_in_any_order_and_equal_the_whole_file) {
  TemporaryFolder folder;
  std::string pixels;
  for (int i = 0; i < 300'000; ++i) pixels += static_cast<char>(i * 7 % 251);
  const std::string plain = (folder / "plain").string(), gzipped = (folder / "gzipped").string();
  write_file(plain, idx_file(3, {3000, 10, 10}, pixels));
  write_gzipped(gzipped, idx_file(3, {3000, 10, 10}, pixels));
  for (const std::string& path : {plain, gzipped}) {
    const auto reader = open_idx(path);
    EXPECT_EQ(reader->shape(), (Shape{3000, 10, 10}));
    for (const std::int64_t first : {0, 40, 2900, 7}) {
      const Tensor rows = reader->read(first, 100);
      EXPECT_EQ(std::memcmp(rows.bytes(), &pixels[static_cast<std::size_t>(first) * 100], 10'000), 0) << first;
    }
  }
}

TEST(Idx, a_damaged_end_is_found_when_the_last_row_is_read) {
  TemporaryFolder folder;
  const std::string path = (folder / "a.gz").string();
  write_gzipped(path, idx_file(3, {2, 2, 2}, std::string(9, 'x')));
  const auto reader = open_idx(path);
  EXPECT_EQ(reader->read(0, 1).size(), 4);
  expect_error([&] { reader->read(1, 1); }, "a.gz': has extra bytes after uint8 elements of shape 2x2x2");
}

TEST(Idx, reports_mismatched_files) {
  TemporaryFolder folder;
  const std::string path = folder.path().string();
  const std::string images = (folder / "a-images-idx3-ubyte").string(),
                    labels = (folder / "a-labels-idx1-ubyte").string();
  write_file(images, idx_file(3, {2, 2, 2}, std::string(8, 'x')));
  EXPECT_FALSE(open_dataset(path, kSmall).source->has_labels());
  write_file(labels, idx_file(1, {3}, "123"));
  expect_error([&] { open_dataset(path, kSmall); }, "3 labels for 2 images");
  write_file((folder / "b-images-idx3-ubyte.gz").string(), "");
  expect_error([&] { open_dataset(path, kSmall); }, "several sets of IDX images");
  expect_error([&] { open_dataset(images, kSmall); }, "3 labels for 2 images");
  write_file(images, idx_file(3, {2, 2, 2}, std::string(7, 'x')));
  expect_error([&] { open_dataset(images, kSmall); }, "truncated");
}

TEST(ParseIdx, survives_any_truncation_and_false_size) {
  const auto parse = [](const std::string& file) { return parse_idx(std::as_bytes(std::span(file)), "a"); };
  const std::string file = idx_file(3, {2, 2, 2}, std::string(8, 'x'));
  EXPECT_EQ(parse(file).shape(), (Shape{2, 2, 2}));
  for (std::size_t size = 0; size < file.size(); ++size)
    expect_error([&] { parse(file.substr(0, size)); }, "'a': truncated");
  expect_error([&] { parse(file + "x"); }, "'a': has extra bytes");
  expect_error(
      [&] {
        parse(idx_file(3, {0xffffffff, 0xffffffff, 0xffffffff}, ""));
      },
      "more than its 16 bytes can hold");
  expect_error([&] { parse(idx_file(3, {0xffffffff, 0, 0xffffffff}, "x")); }, "more than its 17 bytes can hold");
  TemporaryFolder folder;
  const std::string path = (folder / "a.gz").string();
  write_gzipped(path, file);
  const auto bytes = read_file(path);
  EXPECT_EQ(parse_idx(bytes, "a").shape(), (Shape{2, 2, 2}));
  for (std::size_t size = 0; size < bytes.size(); ++size)
    expect_error([&] { parse_idx(std::span(bytes).first(size), "a"); }, "'a': ");
}

// The real data, preprocessed as documented, equals the inputs of the float networks.
void expect_golden(const std::string& data, const std::string& golden, const Preprocess& preprocess) {
  const auto arrays = load_npy((testing::data_folder() / "data/golden" / golden).string());
  const Tensor& wanted = arrays[0].tensor;
  Shape shape = wanted.shape();
  shape[0] = kDynamic;
  Dataset dataset = open_dataset((testing::data_folder() / "data" / data).string(),
                                 {{"input", DataType::float32, shape}}, {.preprocess = preprocess});
  const auto batch = dataset.source->next(wanted.dim(0));
  ASSERT_EQ(batch->inputs[0].shape(), wanted.shape());
  const auto a = batch->inputs[0].data<float>(), b = wanted.data<float>();
  float most = 0;
  for (std::size_t i = 0; i < a.size(); ++i) most = std::max(most, std::abs(a[i] - b[i]));
  EXPECT_LE(most, 1e-6F);
}

TEST(RealData, mnist_equals_the_golden_input) {
  BITFOLD_NEEDS_DATA();
  expect_golden("mnist/test", "lenet.npz", {.mean = {0.1307F}, .std = {0.3081F}});
}

TEST(RealData, cifar10_equals_the_golden_input) {
  BITFOLD_NEEDS_DATA();
  expect_golden("cifar10/val.npz", "resnet20-cifar10.npz",
                {.mean = {0.485F, 0.456F, 0.406F}, .std = {0.229F, 0.224F, 0.225F}});
}

TEST(RealData, imagenet_equals_the_golden_input) {
  BITFOLD_NEEDS_DATA();
  expect_golden("imagenet/val", "darknet-tiny.npz", {.crop = ImageSize{224, 224}});
}

TEST(RealData, faces_resized_equal_the_golden_input) {
  BITFOLD_NEEDS_DATA();
  expect_golden("faces", "ultraface-rfb-320.npz",
                {.resize_exact = ImageSize{320, 240}, .scale = 1.0F / 128, .mean = {127.0F / 128}});
}

}  // namespace
}  // namespace bitfold
