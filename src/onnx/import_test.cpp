// Reading ONNX files: the real models, the older forms of operators, and rejected files.
#include <gtest/gtest.h>

#include "bitfold/onnx.h"
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

}  // namespace
}  // namespace bitfold
