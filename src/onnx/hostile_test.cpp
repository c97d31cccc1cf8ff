// Bad files are rejected with an Error that names file, node and value. They never cause a crash or a wrong graph.
#include <gtest/gtest.h>

#include <filesystem>
#include <functional>

#include "base/file.h"
#include "bitfold/error.h"
#include "onnx/attributes.h"
#include "onnx/model_builder.h"
#include "testing.h"

namespace bitfold {
namespace {

using testing::floats;
using testing::ModelBuilder;

void expect_error(const std::function<void()>& action, const std::vector<std::string>& words) {
  try {
    action();
    FAIL() << "no Error";
  } catch (const Error& error) {
    for (const std::string& word : words)
      EXPECT_NE(std::string(error.what()).find(word), std::string::npos) << "'" << word << "' not in: " << error.what();
  }
}
void expect_refused(const ModelBuilder& builder, std::vector<std::string> words) {
  words.insert(words.begin(), "test.onnx");
  expect_error([&] { builder.load(); }, words);
}
void expect_bytes_refused(const std::string& bytes, const std::vector<std::string>& words) {
  expect_error([&] { parse_onnx(std::as_bytes(std::span(bytes)), "test.onnx"); }, words);
}

TEST(BadFile, missing_is_refused) {
  expect_error([] { load_onnx("/nowhere/model.onnx"); }, {"/nowhere/model.onnx", "No such file"});
}
TEST(BadFile, empty_is_refused) { expect_bytes_refused("", {"test.onnx", "empty"}); }
TEST(BadFile, not_a_protobuf_is_refused) {
  expect_bytes_refused("this is not a model\n", {"test.onnx", "not an ONNX model"});
}
TEST(BadFile, without_ir_version_is_refused) {
  ModelBuilder b;
  b.model.clear_ir_version();
  expect_refused(b, {"IR version"});
}
TEST(BadFile, without_opset_is_refused) {
  ModelBuilder b;
  b.model.clear_opset_import();
  expect_refused(b, {"operator set"});
}
TEST(BadFile, without_graph_is_refused) {
  ModelBuilder b;
  b.model.clear_graph();
  expect_refused(b, {"no graph"});
}
TEST(BadFile, opset_outside_the_supported_range_is_refused) {
  expect_refused(ModelBuilder(0), {"opset 0"});
  expect_refused(ModelBuilder(99), {"opset 99"});
}

TEST(BadFile, truncated_at_multiples_of_a_sixteenth_is_refused) {
  BITFOLD_NEEDS_DATA();
  const std::string path = (testing::data_folder() / "models" / "lenet-bn.onnx").string();
  const auto bytes = read_file(path);
  for (std::size_t i = 0; i < 16; ++i) {
    SCOPED_TRACE(i);
    const auto cut = std::span(bytes).first(bytes.size() * i / 16);
    expect_error([&] { parse_onnx(cut, path); }, {path});
  }
}

TEST(BadGraph, cycle_is_refused) {
  ModelBuilder b;
  b.input("x", {2}).output("a");
  b.node("Add", "first", {"x", "b"}, {"a"});
  b.node("Relu", "second", {"a"}, {"b"});
  expect_refused(b, {"[Add 'first']", "cycle"});
}
TEST(BadGraph, input_that_nothing_produces_is_refused) {
  ModelBuilder b;
  b.input("x", {2}).output("y");
  b.node("Add", "sum", {"x", "ghost"}, {"y"});
  expect_refused(b, {"[Add 'sum']", "'ghost'", "nothing produces"});
}
TEST(BadGraph, output_that_nothing_produces_is_refused) {
  ModelBuilder b;
  b.input("x", {2}).output("ghost");
  expect_refused(b, {"'ghost'", "nothing produces"});
}
TEST(BadGraph, two_producers_of_one_name_are_refused) {
  ModelBuilder b;
  b.input("x", {2}).output("y");
  b.node("Relu", "first", {"x"}, {"y"});
  b.node("Exp", "second", {"x"}, {"y"});
  expect_refused(b, {"[Exp 'second']", "'y'", "[Relu 'first']"});
}
TEST(BadGraph, node_that_produces_an_input_or_initializer_is_refused) {
  ModelBuilder b;
  b.input("x", {2}).output("x");
  b.node("Relu", "relu", {"x"}, {"x"});
  expect_refused(b, {"[Relu 'relu']", "'x'"});
}
TEST(BadGraph, two_initializers_of_one_name_are_refused) {
  ModelBuilder b;
  b.constant("w", floats({1}, {1})).constant("w", floats({1}, {2})).output("w");
  expect_refused(b, {"'w'"});
}
TEST(BadGraph, too_few_inputs_are_refused) {
  ModelBuilder b;
  b.input("x", {1, 1, 4, 4}).output("y");
  set_integers(b.node("Conv", "conv", {"x"}, {"y"}), "kernel_shape", {3, 3});
  expect_refused(b, {"[Conv 'conv']", "inputs"});
}
TEST(BadGraph, convolution_with_mismatched_channels_is_refused) {
  ModelBuilder b;
  b.input("x", {1, 32, 8, 8}).constant("w", Tensor(DataType::float32, {4, 64, 3, 3})).output("y");
  b.node("Conv", "layer2.0.conv1", {"x", "w"}, {"y"});
  expect_refused(b, {"[Conv 'layer2.0.conv1']", "64", "32"});
}
TEST(BadGraph, operator_set_that_is_not_imported_is_refused) {
  ModelBuilder b;
  b.input("x", {2}).output("y");
  b.node("Frob", "frob", {"x"}, {"y"}).set_domain("acme");
  expect_refused(b, {"[Frob 'frob']", "acme"});
}
TEST(BadGraph, batch_norm_in_training_mode_is_refused) {
  ModelBuilder b;
  b.input("x", {1, 2, 3, 3}).constant("p", floats({2}, {1, 1})).output("y");
  set_integer(b.node("BatchNormalization", "bn", {"x", "p", "p", "p", "p"}, {"y"}), "training_mode", 1);
  expect_refused(b, {"[BatchNormalization 'bn']", "training"});
}
TEST(BadGraph, attribute_of_the_wrong_type_is_refused) {
  ModelBuilder b;
  b.input("x", {2, 2}).output("y");
  set_word(b.node("Flatten", "flat", {"x"}, {"y"}), "axis", "one");
  expect_refused(b, {"[Flatten 'flat']", "'axis'", "INT"});
}
TEST(BadGraph, strides_of_zero_are_refused) {
  ModelBuilder b;
  b.input("x", {1, 1, 8, 8}).output("y");
  onnx::NodeProto& pool = b.node("MaxPool", "pool", {"x"}, {"y"});
  set_integers(pool, "kernel_shape", {2, 2});
  set_integers(pool, "strides", {0, 2});
  expect_refused(b, {"[MaxPool 'pool']", "strides", "0"});
}

TEST(BadTensor, raw_data_of_the_wrong_size_is_refused) {
  ModelBuilder b;
  b.constant("w", floats({4}, {1, 2, 3, 4})).output("w");
  b.graph().mutable_initializer(0)->set_dims(0, 5);
  expect_refused(b, {"'w'", "20 bytes", "16"});
}
TEST(BadTensor, bytes_other_than_0_and_1_are_true) {
  ModelBuilder b;
  auto& raw = *b.output("raw").graph().add_initializer();
  raw.set_name("raw");
  raw.set_data_type(onnx::TensorProto::BOOL);
  raw.add_dims(3);
  raw.set_raw_data(std::string("\xd2\0\1", 3));
  auto& typed = *b.output("typed").graph().add_initializer();
  typed.set_name("typed");
  typed.set_data_type(onnx::TensorProto::BOOL);
  typed.add_dims(3);
  for (int value : {256, 0, 1}) typed.add_int32_data(value);
  const Graph g = b.load();
  for (const char* name : {"raw", "typed"}) {
    const std::byte* bytes = g.value(g.find(name)).constant->bytes();
    EXPECT_EQ(std::vector<int>({int(bytes[0]), int(bytes[1]), int(bytes[2])}), std::vector<int>({1, 0, 1})) << name;
  }
}
TEST(BadTensor, typed_data_of_the_wrong_size_is_refused) {
  ModelBuilder b;
  auto& tensor = *b.output("w").graph().add_initializer();
  tensor.set_name("w");
  tensor.set_data_type(onnx::TensorProto::FLOAT);
  tensor.add_dims(3);
  tensor.add_float_data(1);
  expect_refused(b, {"'w'", "3 elements", "1"});
}
TEST(BadTensor, negative_dimension_is_refused) {
  ModelBuilder b;
  b.constant("w", floats({4}, {1, 2, 3, 4})).output("w");
  b.graph().mutable_initializer(0)->set_dims(0, -4);
  expect_refused(b, {"'w'", "-4"});
}
TEST(BadTensor, enormous_dimension_without_its_bytes_is_refused) {
  for (int shift : {40, 62}) {
    ModelBuilder b;
    b.constant("w", floats({4}, {1, 2, 3, 4})).output("w");
    b.graph().mutable_initializer(0)->set_dims(0, std::int64_t{1} << shift);
    expect_refused(b, {"'w'"});
  }
}
TEST(BadTensor, graph_input_with_a_negative_or_enormous_dimension_is_refused) {
  for (std::int64_t dim : {std::int64_t{-3}, std::int64_t{1} << 62}) {
    ModelBuilder b;
    b.input("x", {2, dim}).output("y");
    b.node("Relu", "relu", {"x"}, {"y"});
    expect_refused(b, {"'x'"});
  }
}
TEST(BadTensor, element_type_that_is_not_supported_is_refused) {
  ModelBuilder b;
  b.constant("w", floats({1}, {1})).output("w");
  b.graph().mutable_initializer(0)->set_data_type(onnx::TensorProto::COMPLEX64);
  expect_refused(b, {"'w'", "14"});
}

TEST(BadGrid, scale_that_is_not_positive_is_refused) {
  for (float scale : {0.0F, -1.0F, std::numeric_limits<float>::infinity(), std::numeric_limits<float>::quiet_NaN()}) {
    ModelBuilder b;
    b.input("x", {2}).constant("s", floats({}, {scale})).output("y");
    b.node("QuantizeLinear", "q", {"x", "s"}, {"c"});
    b.node("DequantizeLinear", "dq", {"c", "s"}, {"y"});
    expect_refused(b, {"'q'", "scale"});
  }
}
TEST(BadGrid, scales_that_do_not_fit_the_channels_are_refused) {
  ModelBuilder b;
  b.constant("w", Tensor(DataType::int8, {2, 3})).constant("s", floats({2}, {1, 1})).output("y");
  set_integer(b.node("DequantizeLinear", "dq", {"w", "s"}, {"y"}), "axis", 1);
  expect_refused(b, {"[DequantizeLinear 'dq']", "2 scales", "3 channels"});
}

ModelBuilder blocked(const Shape& scale, std::int64_t block_size, std::int64_t axis) {
  ModelBuilder b;
  b.constant("w", Tensor(DataType::int4, {4, 6}))
      .constant("s", Tensor::from(scale, std::vector<float>(static_cast<std::size_t>(element_count(scale)), 1.0F)));
  auto& node = b.output("y").node("DequantizeLinear", "dq", {"w", "s"}, {"y"});
  set_integer(node, "axis", axis);
  set_integer(node, "block_size", block_size);
  return b;
}
TEST(BadGrid, blocks_that_do_not_fit_are_refused) {
  blocked({4, 3}, 2, 1).load();
  expect_refused(blocked({4, 2}, 2, 1), {"[DequantizeLinear 'dq']", "scales of shape 4x2", "blocks of 2", "need 4x3"});
  expect_refused(blocked({4}, 2, 1), {"[DequantizeLinear 'dq']", "scales of shape 4;", "need 4x3"});
  expect_refused(blocked({4, 3}, 2, 2), {"[DequantizeLinear 'dq']", "axis 2 does not exist in a tensor of rank 2"});
  expect_refused(blocked({4, 3}, -2, 1),
                 {"[DequantizeLinear 'dq']", "attribute 'block_size' has the invalid value -2"});
  ModelBuilder b = blocked({4, 3}, 2, 1);
  b.constant("z", Tensor(DataType::int4, {12})).graph().mutable_node(0)->add_input("z");
  expect_refused(b, {"[DequantizeLinear 'dq']", "zero_points of shape 12", "scales of shape 4x3"});
}

// External data -------------------------------------------------------------------------------------------------------

ModelBuilder external(const std::string& location, const std::string& offset, const std::string& length) {
  ModelBuilder b;
  b.constant("w", floats({4}, {1, 2, 3, 4})).output("w");
  auto& tensor = *b.graph().mutable_initializer(0);
  tensor.clear_raw_data();
  tensor.set_data_location(onnx::TensorProto::EXTERNAL);
  const auto put = [&](const char* key, const std::string& value) {
    auto& entry = *tensor.add_external_data();
    entry.set_key(key);
    entry.set_value(value);
  };
  put("location", location);
  if (!offset.empty()) put("offset", offset);
  if (!length.empty()) put("length", length);
  return b;
}

class ExternalData : public ::testing::Test {
 protected:
  void SetUp() override {
    std::filesystem::create_directory(folder_ / "model");
    write_file((folder_ / "secret").string(), std::string(64, 's'));
    const std::vector<float> values{0, 1, 2, 3, 4};
    write_file(inside("weights"), std::as_bytes(std::span(values)));
    std::filesystem::create_symlink(folder_ / "secret", inside("link"));
  }
  std::string inside(const std::string& name) const { return (folder_ / "model" / name).string(); }
  std::string model_folder() const { return (folder_ / "model").string(); }
  void expect_refused_there(const ModelBuilder& b, const std::vector<std::string>& words) {
    expect_error([&] { b.load(model_folder()); }, words);
  }
  testing::TemporaryFolder folder_;
};

TEST_F(ExternalData, reads_from_its_offset) {
  const Graph graph = external("weights", "4", "16").load(model_folder());
  EXPECT_EQ(*graph.value(graph.find("w")).constant, floats({4}, {1, 2, 3, 4}));
}
TEST_F(ExternalData, outside_the_folder_is_refused) {
  expect_refused_there(external("../secret", "", ""), {"test.onnx", "'w'", "outside"});
  expect_refused_there(external((folder_ / "secret").string(), "", ""), {"'w'", "absolute"});
  expect_refused_there(external("link", "", ""), {"'w'", "outside"});
  expect_refused_there(external("", "", ""), {"'w'", "names no file"});
  expect_refused_there(external(".", "", ""), {"'w'", "not a file"});
}
TEST_F(ExternalData, too_short_or_missing_is_refused) {
  expect_refused_there(external("weights", "8", ""), {"'w'", "20 bytes"});
  expect_refused_there(external("weights", "18446744073709551615", ""), {"'w'"});
  expect_refused_there(external("weights", "minus", ""), {"'w'", "not a number"});
  expect_refused_there(external("weights", "0", "8"), {"'w'", "length"});
  expect_refused_there(external("nothing", "", ""), {"'w'", "not a file"});
}

// Writing -------------------------------------------------------------------------------------------------------------

Graph large_graph() {
  Graph g;
  g.mark_output(g.add_constant("w", Tensor(DataType::float32, {1 << 20})));
  return g;
}

TEST(Saving, to_an_unwritable_path_names_the_path) {
  testing::TemporaryFolder folder;
  const std::string path = (folder / "no").string() + "/such/model.onnx";
  expect_error([&] { save_onnx(large_graph(), path); }, {path});
  EXPECT_TRUE(std::filesystem::is_empty(folder.path()));
}
TEST(Saving, to_a_full_device_is_an_error) {
  expect_error([] { save_onnx(large_graph(), "/dev/full"); }, {"/dev/full", "space"});
}

TEST(Saving, a_graph_without_an_onnx_form_leaves_the_old_file) {
  testing::TemporaryFolder folder;
  const std::string path = (folder / "model.onnx").string();
  write_file(path, "old");
  Graph g;
  const ValueId x = g.add_input("x", DataType::float32, {2});
  const ValueId y = g.add(Unary{UnaryKind::relu}, "relu", {x}, "y");
  g.value(y).quant = QuantParams{.scale = {1}, .zero_point = {0}, .bits = 32, .is_signed = true};
  g.mark_output(y);
  expect_error([&] { save_onnx(g, path); }, {path, "'y'", "32 bits"});
  EXPECT_EQ(read_file(path).size(), 3u);
}

}  // namespace
}  // namespace bitfold
