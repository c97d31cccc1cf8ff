#include <cmath>
#include <functional>
#include <limits>

#include "base/file.h"
#include "bitfold/data.h"
#include "bitfold/error.h"
#include "bitfold/reals.h"
#include "error_testing.h"
#include "testing.h"

namespace bitfold {
namespace {

using testing::expect_error;
using testing::TemporaryFolder;

template <class T>
Tensor filled(DataType dtype, Shape shape, T value) {
  Tensor tensor(dtype, std::move(shape));
  for (T& x : tensor.mutable_data<T>()) x = value;
  return tensor;
}

Tensor floats(Shape shape, float value = 1) { return filled<float>(DataType::float32, std::move(shape), value); }

// A sequence of open length, a state whose first dimension is not the batch, and a single number.
const std::vector<InputSpec> kSequence{{"input", DataType::float32, {kDynamic, kDynamic}},
                                       {"state", DataType::float32, {2, kDynamic, 3}},
                                       {"rate", DataType::int64, {}}};

std::vector<NamedTensor> sequence(std::int64_t length) {
  return {{"input", floats({1, length})},
          {"rate", filled<std::int64_t>(DataType::int64, {}, 16000)},
          {"state", floats({2, 1, 3})}};
}

class SampleFolder : public ::testing::Test {
 protected:
  void save(const std::string& name, const std::vector<NamedTensor>& arrays) const {
    save_npy((folder_ / name).string(), arrays);
  }
  Dataset open(const std::vector<InputSpec>& inputs, const DatasetOptions& options = {}) const {
    return open_dataset(folder_.path().string(), inputs, options);
  }
  void expect_refused(const std::vector<InputSpec>& inputs, const std::string& part) const {
    expect_error([&] { open(inputs).source->next(10); }, part);
  }

  TemporaryFolder folder_;
};

TEST_F(SampleFolder, gives_each_file_as_it_is_in_the_order_of_names) {
  save("10.npz", sequence(7));
  save("02.npz", sequence(4));
  save("a.npz", sequence(5));
  write_file((folder_ / "README.md").string(), "text");
  Dataset dataset = open(kSequence);
  EXPECT_TRUE(dataset.source->has_whole_samples());
  EXPECT_FALSE(dataset.source->has_labels());
  EXPECT_EQ(dataset.source->sample_count(), 3);
  for (int pass = 0; pass < 2; ++pass) {
    const auto batch = dataset.source->next(2);
    EXPECT_EQ(batch->sample_count, 2);
    EXPECT_TRUE(batch->inputs.empty());
    ASSERT_EQ(batch->runs.size(), 2U);
    ASSERT_EQ(batch->runs[0].size(), 3U);
    EXPECT_EQ(batch->runs[0][0].shape(), (Shape{1, 4}));
    EXPECT_EQ(batch->runs[0][1].shape(), (Shape{2, 1, 3}));
    EXPECT_EQ(batch->runs[0][2], filled<std::int64_t>(DataType::int64, {}, 16000));
    EXPECT_EQ(batch->runs[1][0].shape(), (Shape{1, 7}));
    EXPECT_EQ(dataset.source->next(2)->runs[0][0].shape(), (Shape{1, 5}));
    EXPECT_FALSE(dataset.source->next(2));
    dataset.source->rewind();
  }
  EXPECT_EQ(open(kSequence, {.limit = 2}).source->next(10)->sample_count, 2);
}

TEST_F(SampleFolder, feeds_a_lone_input_from_an_array_of_any_name) {
  save("a.npz", {{"anything", floats({1, 4})}});
  const std::vector<InputSpec> one{{"x", DataType::float32, {kDynamic, 4}}};
  Dataset dataset = open(one);
  EXPECT_EQ(dataset.notes.size(), 1U);
  EXPECT_EQ(dataset.source->next(1)->runs[0][0], floats({1, 4}));
}

TEST_F(SampleFolder, may_consist_of_npy_files_for_one_input) {
  save("a.npy", {{"", floats({1, 4})}});
  save("b.npy", {{"", floats({1, 6})}});
  const std::vector<InputSpec> one{{"x", DataType::float32, {kDynamic, kDynamic}}};
  EXPECT_EQ(open(one).source->next(5)->runs[1][0].shape(), (Shape{1, 6}));
  expect_refused(kSequence, "a.npy': lacks the array 'input', which the network reads");
}

TEST_F(SampleFolder, gives_every_type_as_the_network_reads_it) {
  std::vector<InputSpec> inputs;
  std::vector<NamedTensor> arrays;
  for (const DataType type :
       {DataType::int64, DataType::int32, DataType::boolean, DataType::uint8, DataType::float64}) {
    inputs.push_back({std::string(to_string(type)), type, {1, 2}});
    arrays.push_back({std::string(to_string(type)), Tensor(type, {1, 2})});
  }
  // Reals are converted.
  for (const DataType type : {DataType::float16, DataType::bfloat16}) {
    inputs.push_back({std::string(to_string(type)), type, {1, 2}});
    arrays.push_back({std::string(to_string(type)), floats({1, 2}, 1.5F)});
  }
  inputs.push_back({"from double", DataType::float32, {1, 2}});
  arrays.push_back({"from double", filled<double>(DataType::float64, {1, 2}, 2.5)});
  // Types that NumPy lacks are stored as their bits.
  inputs.push_back({"bits", DataType::bfloat16, {1, 2}});
  arrays.push_back({"bits", convert_reals(floats({1, 2}, -3), DataType::bfloat16)});
  inputs.push_back({"nibbles", DataType::int4, {3}});
  arrays.push_back({"nibbles", from_stored(filled<std::int8_t>(DataType::int8, {3}, -5), DataType::int4)});
  inputs.push_back({"small", DataType::float8e5m2, {3}});
  arrays.push_back({"small", from_stored(filled<std::uint8_t>(DataType::uint8, {3}, 60), DataType::float8e5m2)});
  save("a.npz", arrays);
  const auto batch = open(inputs).source->next(1);
  const std::vector<Tensor>& run = batch->runs.at(0);
  ASSERT_EQ(run.size(), inputs.size());
  for (std::size_t i = 0; i < run.size(); ++i) EXPECT_EQ(run[i].dtype(), inputs[i].dtype) << inputs[i].name;
  EXPECT_EQ(run[5], convert_reals(floats({1, 2}, 1.5F), DataType::float16));
  EXPECT_EQ(run[7], floats({1, 2}, 2.5F));
  for (const std::size_t i : {std::size_t{8}, std::size_t{9}, std::size_t{10}})
    EXPECT_EQ(run[i], arrays[i].tensor) << inputs[i].name;
}

TEST_F(SampleFolder, an_input_without_declared_shape_takes_any) {
  save("a.npz", {{"x", floats({2, 3, 4})}});
  const std::vector<InputSpec> any{{.name = "x", .shape = {}, .has_shape = false}};
  EXPECT_EQ(open(any).source->next(1)->runs[0][0].shape(), (Shape{2, 3, 4}));
  expect_error([&] { open_dataset((folder_ / "a.npz").string(), any); },
               "input 'x' has no shape in the model file, so data cannot be matched to it");
}

TEST_F(SampleFolder, joins_the_arrays_of_sequences_and_optionals) {
  const InputSpec list{.name = "list", .dtype = DataType::sequence, .has_shape = false, .item = DataType::float32};
  const InputSpec mask{.name = "mask", .dtype = DataType::optional, .has_shape = false, .item = DataType::int64};
  save("a.npz", {{"list_1", floats({2})}, {"list_0", filled<double>(DataType::float64, {1}, 3)}});
  save("b.npz", {{"mask", filled<std::int64_t>(DataType::int64, {}, 7)}});
  Dataset dataset = open({list, mask});
  const auto batch = dataset.source->next(2);
  EXPECT_EQ(batch->runs[0][0], Tensor::container(DataType::sequence, {floats({1}, 3), floats({2})}));
  EXPECT_EQ(batch->runs[0][1], Tensor::container(DataType::optional, {}));
  EXPECT_EQ(batch->runs[1][0], Tensor::container(DataType::sequence, {}));
  EXPECT_EQ(batch->runs[1][1].items()[0], filled<std::int64_t>(DataType::int64, {}, 7));
  save("a.npz", {{"list_0", floats({2})}, {"list_2", floats({2})}});
  expect_refused({list, mask}, "a.npz': has the array 'list_2' but lacks 'list_1' of the sequence 'list'");
}

TEST_F(SampleFolder, reads_labels) {
  const std::vector<InputSpec> one{{"x", DataType::float32, {kDynamic, 4}}};
  save("a.npz", {{"x", floats({1, 4})}, {"y", filled<std::int64_t>(DataType::int64, {}, 7)}});
  save("b.npz", {{"x", floats({1, 4})}, {"y", filled<std::int32_t>(DataType::int32, {1}, 3)}});
  Dataset dataset = open(one);
  EXPECT_TRUE(dataset.source->has_labels());
  EXPECT_EQ(dataset.source->next(5)->labels, (std::vector<std::int64_t>{7, 3}));
  save("c.npz", {{"x", floats({1, 4})}});
  expect_refused(one, "c.npz': has no label, but the first sample has one");
  save("c.npz", {{"x", floats({1, 4})}, {"y", filled<std::int64_t>(DataType::int64, {2}, 1)}});
  expect_refused(one, "c.npz': array 'y': has shape 2; expected one class index");
}

TEST_F(SampleFolder, names_missing_and_unused_arrays) {
  save("a.npz", {{"input", floats({1, 4})}, {"stat", floats({2, 1, 3})}});
  expect_refused(
      kSequence,
      "a.npz': lacks the array 'state', which the network reads; it contains 'input' (float32 1x4), 'stat' "
      "(float32 2x1x3); the inputs are 'input' (float32 ?x?), 'state' (float32 2x?x3), 'rate' (int64 scalar)");
  auto arrays = sequence(4);
  arrays.push_back({"output", floats({1})});
  save("a.npz", arrays);
  const Dataset dataset = open(kSequence);
  ASSERT_EQ(dataset.notes.size(), 1U);
  EXPECT_NE(dataset.notes[0].find("array 'output' is not used"), std::string::npos) << dataset.notes[0];
}

TEST_F(SampleFolder, names_the_expected_shape_and_type) {
  save("a.npz", sequence(4));
  auto other = sequence(4);
  other[2].tensor = floats({1, 1, 3});
  save("b.npz", other);
  open(kSequence);  // the first file is read at once, others when their turn comes
  expect_refused(kSequence, "b.npz': array 'state': is float32 1x1x3; input 'state' expects float32 2x?x3");
  other[2].tensor = floats({2, 1});
  save("b.npz", other);
  expect_refused(kSequence, "b.npz': array 'state': is float32 2x1; input 'state' expects float32 2x?x3");
  other = sequence(4);
  other[1].tensor = filled<std::int32_t>(DataType::int32, {}, 8000);
  save("b.npz", other);
  expect_refused(kSequence, "b.npz': array 'rate': is int32 scalar; input 'rate' expects int64 scalar");
  other = sequence(4);
  other[0].tensor = filled<std::uint8_t>(DataType::uint8, {1, 4}, 8);
  save("b.npz", other);
  expect_refused(kSequence, "b.npz': array 'input': is uint8 1x4; input 'input' expects float32 ?x?");
}

TEST_F(SampleFolder, refuses_nan_but_not_infinities) {
  const std::vector<InputSpec> one{{"x", DataType::float32, {kDynamic, 4}}};
  save("a.npz", {{"x", floats({1, 4}, -std::numeric_limits<float>::infinity())}});
  EXPECT_TRUE(std::isinf(open(one).source->next(1)->runs[0][0].data<float>()[3]));
  Tensor x = floats({1, 4});
  x.mutable_data<float>()[2] = std::nanf("");
  save("b.npz", {{"x", x}});
  expect_refused(one, "b.npz': the array for input 'x' contains nan at element 2");
}

TEST_F(SampleFolder, refuses_other_forms_of_data_in_the_same_folder) {
  const std::vector<InputSpec> one{{"x", DataType::float32, {kDynamic, 4}}};
  save("a.npz", {{"x", floats({1, 4})}});
  const auto refused_with = [&](const std::string& name, const std::string& part) {
    std::filesystem::create_directories((folder_ / name).parent_path());
    write_file((folder_ / name).string(), "x");
    expect_refused(one, part);
    std::filesystem::remove(folder_ / name);
  };
  refused_with("b.JPG", "contains array files such as 'a.npz' and images; give each form a folder of its own");
  refused_with("cats/b.png", "contains array files such as 'a.npz' and images");
  refused_with("labels.txt", "contains array files such as 'a.npz' and a list of images, labels.txt");
  refused_with("t10k-images-idx3-ubyte", "contains array files such as 'a.npz' and IDX files");
  refused_with("b.npy", "contains both .npz and .npy files");
  expect_error(
      [&] { open(one, {.preprocess = {.scale = 2.0F}}); },
      "the samples are arrays in exactly the form that the network takes; leave out the flags that change samples");
}

TEST_F(SampleFolder, names_a_damaged_file) {
  save("a.npz", sequence(4));
  write_file((folder_ / "b.npz").string(), "");
  expect_refused(kSequence, "b.npz': the file is empty");
  write_file((folder_ / "b.npz").string(), "PK\3\4 and nothing else that an archive needs");
  expect_refused(kSequence, "b.npz'");
  write_file((folder_ / "b.npz").string(), "text");
  expect_refused(kSequence, "b.npz': neither an .npy array nor an .npz archive");
}

}  // namespace
}  // namespace bitfold
