// The passes on real networks: which nodes remain, and that the outputs stay the same.
#include <cmath>
#include <set>

#include "bitfold/onnx.h"
#include "bitfold/passes.h"
#include "bitfold/reference.h"
#include "testing.h"

namespace bitfold {
namespace {

/// Uniform in [-2, 2), similar to normalized images.
Tensor pseudo_random(Shape shape) {
  for (auto& d : shape) d = d == kDynamic ? 2 : d;
  Tensor t(DataType::float32, std::move(shape));
  std::uint32_t state = 1;
  for (float& v : t.mutable_data<float>()) {
    state = state * 1664525U + 1013904223U;
    v = static_cast<float>(state >> 8) / static_cast<float>(1 << 22) - 2;
  }
  return t;
}

struct ModelCase {
  const char* name;
  std::set<std::string> ops_left;
  double max_absolute_error;  ///< 0 means 1e-5 of the largest output.
};

class OptimizeModel : public ::testing::TestWithParam<ModelCase> {};

TEST_P(OptimizeModel, leaves_only_layers_and_keeps_the_outputs) {
  BITFOLD_NEEDS_DATA();
  const ModelCase& c = GetParam();
  const Graph graph = load_onnx((testing::data_folder() / "models" / (std::string(c.name) + ".onnx")).string());
  Graph folded = graph;
  optimize(folded);

  std::set<std::string> ops;
  for (NodeId id : folded.nodes()) ops.insert(op_name(folded.node(id).op));
  EXPECT_EQ(ops, c.ops_left);

  std::vector<Tensor> inputs;
  for (ValueId id : graph.inputs()) inputs.push_back(pseudo_random(*graph.value(id).shape));
  // With an absolute bound, sums are computed in double, so that only the folding makes a difference. In float32 the
  // sums of the two networks also differ by their own rounding, 1.1e-6 on conv-bn-relu.
  const ReferenceOptions options{.plain_loops = c.max_absolute_error > 0, .on_value = {}};
  const auto before = Reference(graph, options).run(inputs), after = Reference(folded, options).run(inputs);
  ASSERT_EQ(before.size(), after.size());
  for (std::size_t i = 0; i < before.size(); ++i) {
    ASSERT_EQ(before[i].shape(), after[i].shape());
    const auto x = before[i].data<float>(), y = after[i].data<float>();
    double largest = 0, error = 0;
    for (std::size_t k = 0; k < x.size(); ++k) {
      largest = std::max(largest, std::abs(static_cast<double>(x[k])));
      error = std::max(error, std::abs(static_cast<double>(x[k]) - static_cast<double>(y[k])));
      ASSERT_TRUE(std::isfinite(y[k]));
    }
    EXPECT_LE(error, c.max_absolute_error > 0 ? c.max_absolute_error : 1e-5 * largest);
    EXPECT_GT(largest, 0);
  }
}

INSTANTIATE_TEST_SUITE_P(
    Models, OptimizeModel,
    ::testing::Values(
        ModelCase{"conv-bn-relu", {"Conv", "Relu"}, 1e-6},
        ModelCase{"lenet", {"Conv", "Flatten", "Gemm", "MaxPool", "Relu"}, 0},
        ModelCase{"lenet-bn", {"Conv", "Flatten", "Gemm", "MaxPool", "Relu"}, 0},
        ModelCase{"resnet20-cifar10", {"Add", "AveragePool", "Conv", "Gemm", "Pad", "Relu", "Reshape", "Slice"}, 0},
        ModelCase{"darknet-tiny", {"Conv", "Flatten", "GlobalAveragePool", "LeakyRelu", "MaxPool"}, 0},
        ModelCase{"vww-mobilenetv1", {"AveragePool", "Conv", "Flatten", "Gemm", "Relu", "Softmax"}, 0},
        ModelCase{
            "ultraface-rfb-320",
            {"Add", "Concat", "Conv", "Div", "Exp", "Mul", "Relu", "Reshape", "Slice", "Softmax", "Sub", "Transpose"},
            0}),
    [](const auto& made) {
      std::string name = made.param.name;
      for (char& c : name) c = c == '-' ? '_' : c;
      return name;
    });

}  // namespace
}  // namespace bitfold
