// The tool with a library of operators (examples/custom_operators).
#include <fmt/format.h>

#include <cmath>

#include "numeric/random_tensor.h"
#include "small_network.h"

namespace bitfold::testing {
namespace {

/// small_network(), then org.example.Squash, then a Conv.
class CustomOpsTool : public SmallNetworkTest {
 protected:
  void SetUp() override {
    SmallNetworkTest::SetUp();
    Graph g = small_network();
    const ValueId y = g.outputs()[0];
    g.clear_outputs();
    const ValueId u = g.add(Opaque{.domain = "org.example", .type = "Squash", .opset = 1}, "squash", {y}, "u");
    g.value(u).dtype = DataType::unknown;
    const ValueId weight = g.add_constant("head.weight", random_tensor({2, 4, 1, 1}, 3));
    g.mark_output(g.add(Conv{{.kernel = {1, 1}, .strides = {1, 1}, .dilations = {1, 1}, .pads = {0, 0, 0, 0}}}, "head",
                        {u, weight}, "z"));
    save_onnx(g, squash());
  }
  std::string squash() const { return path("squash.onnx"); }
  static constexpr const char* kLibrary = "--custom-ops " BITFOLD_CUSTOM_OPERATORS;
};

TEST_F(CustomOpsTool, a_loaded_operator_runs_in_float_between_quantized_layers) {
  expect_refused(fmt::format("run {} --input {}", squash(), data()), {"org.example.Squash"});
  const auto quantized =
      run_for_json(fmt::format("quantize {} --calibrate {} -o {} {}", squash(), data(), out(), kLibrary));
  EXPECT_TRUE(quantized["left"].empty());
  for (const auto& layer : quantized["layers"])
    EXPECT_TRUE(layer["op"] != "Conv" || layer["quantized"].get<bool>()) << layer;
  const auto compared = run_for_json(fmt::format("compare {} {} --data {} {}", squash(), out(), data(), kLibrary));
  EXPECT_GT(compared["sqnr_db"].get<double>(), 25);

  ASSERT_EQ(run_tool(fmt::format("run {} --input {} --output {} --outputs-at y,u {}", squash(), data(),
                                 path("values.npz"), kLibrary))
                .status,
            0);
  const auto arrays = load_npy(path("values.npz"));
  ASSERT_EQ(arrays.size(), 2U);
  const auto y = arrays[0].tensor.data<float>(), u = arrays[1].tensor.data<float>();
  for (std::size_t i = 0; i < y.size(); ++i) EXPECT_NEAR(u[i], y[i] / (1 + std::abs(y[i])), 1e-5F);
}

TEST_F(CustomOpsTool, a_file_that_cannot_be_loaded_is_named) {
  expect_refused(fmt::format("run {} --input {} --custom-ops {}", squash(), data(), squash()),
                 {"squash.onnx: cannot be loaded"});
}

}  // namespace
}  // namespace bitfold::testing
