// Weights that are kept out of protobuf while a model is read and written.
#include "onnx/initializer_data.h"

#include <gtest/gtest.h>

#include <filesystem>

#include "base/file.h"
#include "bitfold/error.h"
#include "bitfold/onnx.h"
#include "onnx/model_builder.h"
#include "testing.h"

namespace bitfold {
namespace {

using testing::ModelBuilder;

Tensor counting(std::int64_t n) {
  Tensor t(DataType::float32, {n});
  for (std::int64_t i = 0; i < n; ++i) t.mutable_data<float>()[static_cast<std::size_t>(i)] = static_cast<float>(i);
  return t;
}

ModelBuilder model_with_constants(const std::vector<std::int64_t>& sizes) {
  ModelBuilder b;
  b.input("x", {1});
  for (std::size_t i = 0; i < sizes.size(); ++i) {
    const std::string n = std::to_string(i);
    b.constant("c" + n, counting(sizes[i])).output("y" + n);
    b.node("Add", "add" + n, {"x", "c" + n}, {"y" + n});
  }
  return b;
}

std::span<const std::byte> bytes_of(const std::string& text) { return std::as_bytes(std::span(text)); }

TEST(InitializerData, large_tensors_stay_in_the_file_and_come_back_byte_for_byte) {
  const std::string bytes = model_with_constants({3, 1000, 0, 256, 5000, 255}).model.SerializeAsString();
  onnx::ModelProto model;
  const auto data = parse_model(bytes_of(bytes), model);
  ASSERT_TRUE(data.has_value());
  ASSERT_EQ(data->initializers.size(), 6U);
  for (std::size_t i : {0U, 2U, 5U}) EXPECT_EQ(data->initializers[i].data(), nullptr) << i;
  EXPECT_EQ(data->initializers[1].size(), 4000U);
  EXPECT_EQ(data->initializers[3].size(), 1024U);
  EXPECT_EQ(data->initializers[4].size(), 20000U);
  EXPECT_LT(model.ByteSizeLong(), 3000U);

  std::string written;
  int large_count = 0;
  serialize_model(
      model, data->initializers,
      [&](std::span<const std::byte> part) { written.append(reinterpret_cast<const char*>(part.data()), part.size()); },
      [&](std::span<const std::byte>) { ++large_count; });
  EXPECT_EQ(written, bytes);
  EXPECT_EQ(large_count, 3);
  EXPECT_EQ(serialized_bytes(model, data->initializers), bytes.size());
}

TEST(InitializerData, the_last_of_several_raw_data_fields_counts) {
  onnx::TensorProto large = write_tensor("c", counting(500)), small = write_tensor("c", counting(2));
  for (const bool is_large_last : {true, false}) {
    ModelBuilder b;
    b.input("x", {1}).output("y");
    b.node("Add", "add", {"x", "c"}, {"y"});
    onnx::ModelProto outer = b.model;
    const onnx::TensorProto& last = is_large_last ? large : small;
    onnx::TensorProto first = is_large_last ? small : large;
    first.clear_dims();
    const std::string tensor = first.SerializeAsString() + last.SerializeAsString();
    std::string graph = outer.graph().SerializeAsString();
    const auto varint = [](std::size_t n) {
      std::string text;
      for (; n >= 128; n /= 128) text += static_cast<char>(n % 128 + 128);
      return text + static_cast<char>(n);
    };
    graph += "\x2a" + varint(tensor.size()) + tensor;  // field 5, the initializer
    outer.clear_graph();
    const std::string bytes = outer.SerializeAsString() + "\x3a" + varint(graph.size()) + graph;  // field 7
    const Graph g = parse_onnx(bytes_of(bytes), "test.onnx");
    EXPECT_EQ(*g.value(g.find("c")).constant, counting(is_large_last ? 500 : 2));
  }
}

onnx::TensorProto with_float_data(const Tensor& tensor) {
  onnx::TensorProto proto = write_tensor_header("", tensor);
  for (const float v : tensor.data<float>()) proto.add_float_data(v);
  return proto;
}

/// y = x + constant, where a Constant node holds the tensor.
ModelBuilder model_with_constant_node(const onnx::TensorProto& tensor, const std::string& domain = "") {
  ModelBuilder b;
  b.input("x", {1}).output("y");
  onnx::NodeProto& node = b.node("Constant", "constant", {}, {"c"});
  node.set_domain(domain);
  onnx::AttributeProto& attribute = *node.add_attribute();
  attribute.set_name("value");
  attribute.set_type(onnx::AttributeProto::TENSOR);
  *attribute.mutable_t() = tensor;
  b.node("Add", "add", {"x", "c"}, {"y"});
  return b;
}

TEST(DetachedData, constant_nodes_and_float_data_stay_in_the_file) {
  for (const auto& tensor : {write_tensor("", counting(500)), with_float_data(counting(500))}) {
    const ModelBuilder b = model_with_constant_node(tensor, "ai.onnx");
    const std::string bytes = b.model.SerializeAsString();
    onnx::ModelProto model;
    const auto data = parse_model(bytes_of(bytes), model);
    ASSERT_TRUE(data.has_value());
    ASSERT_EQ(data->constants.size(), 2U);
    EXPECT_EQ(data->constants[0].size(), 2000U);
    EXPECT_EQ(data->constants[1].data(), nullptr);
    EXPECT_LT(model.ByteSizeLong(), 300U);
    const Graph graph = b.load();
    EXPECT_EQ(*graph.value(graph.find("c")).constant, counting(500));
  }
}

TEST(DetachedData, float_data_of_an_initializer_stays_in_the_file) {
  ModelBuilder b;
  b.input("x", {1}).output("y");
  *b.graph().add_initializer() = with_float_data(counting(500));
  b.graph().mutable_initializer(0)->set_name("c");
  b.node("Add", "add", {"x", "c"}, {"y"});
  const std::string bytes = b.model.SerializeAsString();
  onnx::ModelProto model;
  const auto data = parse_model(bytes_of(bytes), model);
  ASSERT_TRUE(data.has_value());
  EXPECT_EQ(data->initializers[0].size(), 2000U);
  const Graph graph = b.load();
  EXPECT_EQ(*graph.value(graph.find("c")).constant, counting(500));
}

TEST(DetachedData, a_large_constant_node_of_a_file_is_borrowed) {
  const testing::TemporaryFolder folder;
  const std::string path = (folder / "model.onnx").string();
  bool was_borrowed = false;
  for (std::size_t padding = 0; padding < 4; ++padding) {  // data is aligned in a file only by chance
    ModelBuilder b = model_with_constant_node(write_tensor("", counting(500)));
    b.model.set_producer_name(std::string(padding, 'p'));
    write_file(path, b.model.SerializeAsString());
    const Graph graph = load_onnx(path);
    EXPECT_EQ(*graph.value(graph.find("c")).constant, counting(500));
    was_borrowed |= graph.value(graph.find("c")).constant->is_borrowed();
  }
  EXPECT_TRUE(was_borrowed);
}

TEST(DetachedData, nodes_called_constant_of_other_domains_keep_their_elements) {
  ModelBuilder b = model_with_constant_node(write_tensor("", counting(500)), "com.example");
  auto& opset = *b.model.add_opset_import();
  opset.set_domain("com.example");
  opset.set_version(1);
  const std::string bytes = b.model.SerializeAsString();
  onnx::ModelProto model;
  const auto data = parse_model(bytes_of(bytes), model);
  ASSERT_TRUE(data.has_value());
  EXPECT_EQ(data->constants[0].data(), nullptr);
  EXPECT_EQ(model.graph().node(0).attribute(0).t().raw_data().size(), 2000U);
}

TEST(DetachedData, a_constant_that_the_model_defines_keeps_its_elements) {
  ModelBuilder b = model_with_constant_node(write_tensor("", counting(500)));
  onnx::FunctionProto& function = *b.model.add_functions();
  function.set_name("Constant");
  const std::string bytes = b.model.SerializeAsString();
  onnx::ModelProto model;
  const auto data = parse_model(bytes_of(bytes), model);
  ASSERT_TRUE(data.has_value());
  EXPECT_EQ(data->constants[0].data(), nullptr);
}

TEST(InitializerData, bytes_that_are_not_a_model_are_refused) {
  const std::string bytes = model_with_constants({1000}).model.SerializeAsString();
  onnx::ModelProto model;
  for (std::size_t cut = 1; cut < 200; cut += 7)
    EXPECT_FALSE(parse_model(bytes_of(bytes).first(bytes.size() - cut), model)) << cut;
}

TEST(LoadedGraph, borrows_constants_from_the_file_and_outlives_it) {
  const testing::TemporaryFolder folder;
  const std::string path = (folder / "model.onnx").string();
  const ModelBuilder b = model_with_constants({4096, 5});
  write_file(path, b.model.SerializeAsString());
  const Graph loaded = load_onnx(path);
  // Raw data is aligned in a file only by chance.
  Graph expected = b.load();
  EXPECT_EQ(print_graph(loaded), print_graph(expected));
  save_onnx(loaded, path, {.external_above_bytes = 64});
  const Graph external = load_onnx(path);
  EXPECT_TRUE(external.value(external.find("c0")).constant->is_borrowed());
  EXPECT_FALSE(external.value(external.find("c1")).constant->is_borrowed());
  std::filesystem::remove(path);
  std::filesystem::remove(path + ".data");
  EXPECT_EQ(print_graph(external), print_graph(expected));
  EXPECT_EQ(*external.value(external.find("c0")).constant, counting(4096));
}

TEST(LoadedGraph, can_replace_the_files_that_it_borrows_from) {
  const testing::TemporaryFolder folder;
  const std::string path = (folder / "model.onnx").string();
  save_onnx(model_with_constants({4096, 3000}).load(), path, {.external_above_bytes = 64});
  const Graph graph = load_onnx(path);
  save_onnx(graph, path, {.external_above_bytes = 64});
  EXPECT_EQ(load_onnx(path), graph);
  save_onnx(graph, path);
  EXPECT_EQ(load_onnx(path), graph);
}

TEST(LoadedGraph, sizes_count_external_files_under_any_name) {
  const testing::TemporaryFolder folder;
  const std::string path = (folder / "model.onnx").string();
  save_onnx(model_with_constants({4096, 3000}).load(), path, {.external_above_bytes = 64});
  const auto model_size = static_cast<std::int64_t>(std::filesystem::file_size(path));
  const auto data_size = static_cast<std::int64_t>(std::filesystem::file_size(path + ".data"));
  EXPECT_EQ(onnx_file_bytes(path), model_size + data_size);
  // The sizes must stay the same if the file of the data has another name.
  onnx::ModelProto model;
  const auto bytes = read_file(path);
  ASSERT_TRUE(model.ParseFromArray(bytes.data(), static_cast<int>(bytes.size())));
  for (auto& tensor : *model.mutable_graph()->mutable_initializer())
    for (auto& entry : *tensor.mutable_external_data())
      if (entry.key() == "location") entry.set_value("weights.bin");
  std::filesystem::rename(path + ".data", (folder / "weights.bin").string());
  write_file(path, model.SerializeAsString());
  EXPECT_EQ(onnx_file_bytes(path), static_cast<std::int64_t>(model.ByteSizeLong()) + data_size);
  std::filesystem::remove((folder / "weights.bin").string());
  try {
    onnx_file_bytes(path);
    FAIL() << "no error";
  } catch (const Error& e) {
    EXPECT_NE(std::string(e.what()).find("weights.bin"), std::string::npos) << e.what();
  }
}

TEST(SavedModel, has_the_size_returned_by_model_bytes) {
  const testing::TemporaryFolder folder;
  const Graph graph = model_with_constants({4096, 3, 300}).load();
  save_onnx(graph, (folder / "model.onnx").string());
  EXPECT_EQ(model_bytes(graph),
            static_cast<std::int64_t>(std::filesystem::file_size((folder / "model.onnx").string())));
}

}  // namespace
}  // namespace bitfold
