// Networks of float16, bfloat16 and float64 are float32 inside and keep the file's types at the interface.
#include <gtest/gtest.h>

#include "base/file.h"
#include "bitfold/error.h"
#include "bitfold/reals.h"
#include "numeric/reals.h"
#include "onnx/attributes.h"
#include "onnx/model_builder.h"
#include "round_trip.h"
#include "testing.h"

namespace bitfold {
namespace {

using testing::save_and_load;

using testing::ModelBuilder;

Tensor halves(const Shape& shape, const std::vector<float>& values) {
  Tensor t(DataType::float16, shape);
  auto* to = reinterpret_cast<std::uint16_t*>(t.mutable_bytes());
  for (float value : values) *to++ = float_to_float16(value);
  return t;
}

void declare(onnx::ValueInfoProto& info, const std::string& name, int type) {
  info.set_name(name);
  info.mutable_type()->mutable_tensor_type()->set_elem_type(type);
}

class OtherReals : public ::testing::TestWithParam<std::pair<int, DataType>> {};

TEST_P(OtherReals, occur_only_at_the_interface) {
  const auto [number, dtype] = GetParam();
  ModelBuilder b(17);
  b.input("x", {2, 2}, number).output("y");
  declare(*b.graph().mutable_output(0), "y", number);
  b.node("Exp", "exp", {"x"}, {"h"});
  b.node("Relu", "relu", {"h"}, {"y"});
  const Graph graph = b.load();
  EXPECT_EQ(graph.value(graph.inputs()[0]).dtype, dtype);
  EXPECT_EQ(graph.value(graph.inputs()[0]).name, "x");
  EXPECT_EQ(graph.value(graph.outputs()[0]).dtype, dtype);
  EXPECT_EQ(graph.value(graph.outputs()[0]).name, "y");
  EXPECT_EQ(graph.value(graph.find("h")).dtype, DataType::float32);
  EXPECT_EQ(graph.node_count(), 4u);
  EXPECT_EQ(save_and_load(graph), graph);
}

INSTANTIATE_TEST_SUITE_P(Types, OtherReals,
                         ::testing::Values(std::pair{int(onnx::TensorProto::FLOAT16), DataType::float16},
                                           std::pair{int(onnx::TensorProto::BFLOAT16), DataType::bfloat16},
                                           std::pair{int(onnx::TensorProto::DOUBLE), DataType::float64}));

TEST(Halves, constants_are_widened) {
  ModelBuilder b(17);
  b.input("x", {2}, onnx::TensorProto::FLOAT16).constant("w", halves({2}, {1.5F, -2})).output("y");
  declare(*b.graph().mutable_output(0), "y", onnx::TensorProto::FLOAT16);
  b.node("Mul", "mul", {"x", "w"}, {"y"});
  const Graph graph = b.load();
  EXPECT_EQ(graph.value(graph.find("w")).constant, Tensor::from<float>({2}, std::vector<float>{1.5F, -2}));
  EXPECT_EQ(save_and_load(graph), graph);
}

TEST(Halves, casts_between_them_inside_a_network_are_casts_to_float32) {
  ModelBuilder b(17);
  b.input("x", {2}).output("y");
  set_integer(b.node("Cast", "down", {"x"}, {"h"}), "to", onnx::TensorProto::FLOAT16);
  b.node("Exp", "exp", {"h"}, {"e"});
  set_integer(b.node("Cast", "up", {"e"}, {"y"}), "to", onnx::TensorProto::FLOAT);
  const Graph graph = b.load();
  for (NodeId id : graph.nodes())
    EXPECT_TRUE(op_name(graph.node(id).op) != "Cast" || graph.node(id).op == Op(Cast{DataType::float32}));
  EXPECT_EQ(graph.value(graph.outputs()[0]).dtype, DataType::float32);
  EXPECT_EQ(save_and_load(graph), graph);
}

TEST(Halves, input_that_is_an_output_passes_unchanged) {
  ModelBuilder b(17);
  b.input("x", {2}, onnx::TensorProto::FLOAT16).output("x").output("y");
  b.node("Exp", "exp", {"x"}, {"y"});
  const Graph graph = b.load();
  EXPECT_EQ(graph.outputs()[0], graph.inputs()[0]);
  EXPECT_EQ(graph.value(graph.outputs()[1]).dtype, DataType::float16);  // the output of an Exp of float16
  EXPECT_EQ(save_and_load(graph), graph);
}

TEST(Halves, unknown_operators_keep_them) {
  ModelBuilder b(17);
  b.input("x", {2}, onnx::TensorProto::FLOAT16).constant("c", halves({2}, {1, 2})).output("y");
  declare(*b.graph().mutable_output(0), "y", onnx::TensorProto::FLOAT16);
  declare(*b.graph().add_value_info(), "f", onnx::TensorProto::FLOAT16);
  b.node("Exp", "exp", {"x"}, {"e"});
  b.node("Frobnicate", "frob", {"x", "e", "c"}, {"f"});
  b.node("Mul", "mul", {"f", "c"}, {"y"});
  const Graph graph = b.load();
  for (NodeId id : graph.nodes()) {
    const Node& node = graph.node(id);
    if (!std::holds_alternative<Opaque>(node.op)) continue;
    for (ValueId in : node.inputs) EXPECT_EQ(graph.value(in).dtype, DataType::float16) << graph.value(in).name;
    EXPECT_EQ(node.inputs[0], graph.inputs()[0]);
    EXPECT_EQ(graph.value(node.outputs[0]).dtype, DataType::float16);
  }
  EXPECT_EQ(save_and_load(graph), graph);
}

TEST(Halves, unknown_operators_must_declare_their_output_types) {
  ModelBuilder b(17);
  b.input("x", {2}, onnx::TensorProto::FLOAT16).output("y");
  b.node("Frobnicate", "frob", {"x"}, {"f"});
  b.node("Exp", "exp", {"f"}, {"y"});
  try {
    b.load();
    FAIL() << "no Error";
  } catch (const Error& error) {
    EXPECT_NE(std::string(error.what()).find("[Frobnicate 'frob']"), std::string::npos) << error.what();
    EXPECT_NE(std::string(error.what()).find("'f'"), std::string::npos) << error.what();
  }
}

TEST(Halves, fill_values_are_widened) {
  ModelBuilder b(17);
  b.constant("shape", Tensor::from<std::int64_t>({1}, std::vector<std::int64_t>{3})).output("y");
  declare(*b.graph().mutable_output(0), "y", onnx::TensorProto::FLOAT16);
  set_tensor(b.node("ConstantOfShape", "fill", {"shape"}, {"y"}), "value", halves({1}, {0.5F}));
  const Graph graph = b.load();
  EXPECT_EQ(graph.value(graph.outputs()[0]).dtype, DataType::float16);
  for (NodeId id : graph.nodes())
    if (const auto* fill = std::get_if<ConstantOfShape>(&graph.node(id).op)) {
      EXPECT_EQ(fill->value, Tensor::from<float>({1}, std::vector<float>{0.5F}));
    }
  EXPECT_EQ(save_and_load(graph), graph);
}

class StoredHalves : public ::testing::TestWithParam<std::pair<int, DataType>> {
 protected:
  /// Two MatMuls of halves with 1,024 weights each.
  static Graph network(const Tensor& first, const Tensor& second) {
    const int number = GetParam().first;
    ModelBuilder b(17);
    b.input("x", {1, 32}, number).constant("w", first).constant("v", second).output("y");
    declare(*b.graph().mutable_output(0), "y", number);
    b.node("MatMul", "one", {"x", "w"}, {"h"});
    b.node("MatMul", "two", {"h", "v"}, {"y"});
    return b.load();
  }
  static Tensor weights() {
    std::vector<float> values;
    for (int i = 0; i < 1024; ++i) values.push_back(static_cast<float>(i % 61 - 30) / 16);
    return convert_reals(Tensor::from<float>({32, 32}, values), GetParam().second);
  }
  static onnx::ModelProto saved(const Graph& graph, const SaveOptions& options = {}) {
    const testing::TemporaryFolder folder;
    save_onnx(graph, (folder / "model.onnx").string(), options);
    const auto bytes = read_file((folder / "model.onnx").string());
    onnx::ModelProto model;
    EXPECT_TRUE(model.ParseFromArray(bytes.data(), static_cast<int>(bytes.size())));
    return model;
  }
  static int type_of(const onnx::ModelProto& model, const std::string& name) {
    for (const auto& tensor : model.graph().initializer())
      if (tensor.name() == name) return tensor.data_type();
    return -1;
  }
};

TEST_P(StoredHalves, large_constants_are_written_as_they_were_read) {
  const Graph graph = network(weights(), weights());
  EXPECT_EQ(graph.value(graph.find("w")).constant, to_float32(weights()));
  const onnx::ModelProto model = saved(graph);
  const std::string suffix = "/" + std::string(to_string(GetParam().second));
  EXPECT_EQ(type_of(model, "w" + suffix), GetParam().first);
  EXPECT_EQ(type_of(model, "v" + suffix), GetParam().first);
  EXPECT_LT(model.ByteSizeLong(), 2 * 2048 + 1024U);
  EXPECT_EQ(save_and_load(graph), graph);
}

TEST_P(StoredHalves, constants_that_a_half_does_not_hold_are_written_in_float32) {
  Graph graph = network(weights(), weights());
  Tensor changed = *graph.value(graph.find("w")).constant;
  changed.mutable_data<float>()[1023] = 0.1F;
  graph.value(graph.find("w")).constant = changed;
  const onnx::ModelProto model = saved(graph);
  EXPECT_EQ(type_of(model, "w"), onnx::TensorProto::FLOAT);
  EXPECT_EQ(type_of(model, "v"), -1);  // it is the output of a Cast
  EXPECT_EQ(save_and_load(graph), graph);
}

INSTANTIATE_TEST_SUITE_P(Types, StoredHalves,
                         ::testing::Values(std::pair{int(onnx::TensorProto::FLOAT16), DataType::float16},
                                           std::pair{int(onnx::TensorProto::BFLOAT16), DataType::bfloat16}));

TEST(Halves, in_bfloat16_are_stored_from_opset_13_on) {
  ModelBuilder b(17);
  const Tensor w = convert_reals(Tensor::from<float>({1024}, std::vector<float>(1024, 1)), DataType::bfloat16);
  b.input("x", {1024}).constant("w", w).output("y");
  set_integer(b.node("Cast", "up", {"w"}, {"v"}), "to", onnx::TensorProto::FLOAT);
  b.node("Add", "add", {"x", "v"}, {"y"});
  const Graph graph = b.load();
  EXPECT_EQ(graph.value(graph.find("v")).constant, to_float32(w));  // the Cast of a constant is a constant
  EXPECT_EQ(graph.node_count(), 1U);
  EXPECT_EQ(save_and_load(graph), graph);
  const Graph old = save_and_load(graph, {.opset = 12});
  EXPECT_EQ(old.value(old.find("v")).constant, to_float32(w));
}

TEST(Unknown, element_types_are_not_written) {
  ModelBuilder b(17);
  b.input("x", {2}).output("y");
  b.node("Frobnicate", "frob", {"x"}, {"f"});
  b.node("Frobnicate", "again", {"f"}, {"y"});
  const Graph graph = b.load();
  testing::TemporaryFolder folder;
  const std::string path = (folder / "model.onnx").string();
  save_onnx(graph, path);
  const auto bytes = read_file(path);
  onnx::ModelProto model;
  ASSERT_TRUE(model.ParseFromArray(bytes.data(), static_cast<int>(bytes.size())));
  EXPECT_EQ(model.graph().value_info_size(), 0);
  EXPECT_FALSE(model.graph().output(0).has_type());
  EXPECT_EQ(load_onnx(path), graph);
}

}  // namespace
}  // namespace bitfold
