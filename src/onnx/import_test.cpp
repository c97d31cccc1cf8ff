// Reading ONNX files: the real models, the older forms of operators, and rejected files.
#include <gtest/gtest.h>

#include "bitfold/onnx.h"
#include "onnx/model_builder.h"
#include "testing.h"

namespace bitfold {
namespace {

std::string model_path(const std::string& name) { return (testing::data_folder() / "models" / name).string(); }

int count_opaque(const Graph& graph) {
  int count = 0;
  for (NodeId id : graph.nodes()) count += std::holds_alternative<Opaque>(graph.node(id).op) ? 1 : 0;
  return count;
}

class RealModel : public ::testing::TestWithParam<const char*> {};

TEST_P(RealModel, loads_with_every_operator_known) {
  BITFOLD_NEEDS_DATA();
  const Graph graph = load_onnx(model_path(GetParam()));
  EXPECT_EQ(count_opaque(graph), 0);
  EXPECT_EQ(graph.inputs().size(), 1u);
  EXPECT_GE(graph.outputs().size(), 1u);
  EXPECT_EQ(graph.value(graph.inputs()[0]).name, "input");
}

INSTANTIATE_TEST_SUITE_P(Models, RealModel,
                         ::testing::Values("conv-bn-relu.onnx", "darknet-tiny.onnx", "lenet-bn.onnx", "lenet.onnx",
                                           "resnet20-cifar10.onnx", "ultraface-rfb-320.onnx", "vww-mobilenetv1.onnx"));

TEST(DefaultValue, is_a_constant_unless_it_is_overridden) {
  testing::ModelBuilder b(17);
  b.input("x", {2}).input("w", {2}).constant("w", testing::floats({2}, {3, 4})).output("y");
  b.node("Mul", "mul", {"x", "w"}, {"y"});
  EXPECT_EQ(b.load().inputs().size(), 1U);
  EXPECT_TRUE(b.load().is_constant(b.load().find("w")));
  const std::string bytes = b.model.SerializeAsString();
  const Graph graph = parse_onnx(std::as_bytes(std::span(bytes)), "m.onnx", ".", {.overridden = {"w", "unknown"}});
  ASSERT_EQ(graph.inputs().size(), 2U);
  EXPECT_EQ(graph.value(graph.inputs()[1]).name, "w");
  EXPECT_EQ(graph.value(graph.inputs()[1]).shape, Shape{2});
}

}  // namespace
}  // namespace bitfold
