// The library's quantize() and the tool write the same file.
#include <fmt/format.h>

#include <string>

#include "bitfold/data.h"
#include "bitfold/error.h"
#include "bitfold/onnx.h"
#include "bitfold/passes.h"
#include "bitfold/quantize.h"
#include "numeric/random_tensor.h"
#include "quantize/memory_source.h"
#include "tool.h"

namespace bitfold::testing {
namespace {

class Pipeline : public NetworkTest {
 protected:
  Dataset open(const Graph& graph, const std::string& name, const DatasetOptions& options) {
    std::vector<InputSpec> inputs;
    for (ValueId id : graph.inputs()) {
      const Value& value = graph.value(id);
      inputs.push_back({value.name, value.dtype, value.shape.value_or(Shape{})});
    }
    return open_dataset(data(name), inputs, options);
  }
  /// The bytes that the tool writes.
  std::string tool(const std::string& name, const std::string& flags) {
    const ToolResult result = run_tool(fmt::format("quantize {} {} -o {}", model(name), flags, path("tool.onnx")));
    EXPECT_EQ(result.status, 0) << result.output;
    return read_text(path("tool.onnx"));
  }
  /// The bytes that the library writes.
  std::string library(const Graph& graph, BatchSource* samples, const Recipe& recipe = {},
                      const QuantizeOptions& options = {}) {
    save_onnx(quantize(graph, samples, recipe, options).graph, path("library.onnx"));
    return read_text(path("library.onnx"));
  }
};

TEST_F(Pipeline, tool_and_library_write_the_same_lenet) {
  const Graph graph = load_onnx(model("lenet-bn"));
  const Dataset samples =
      open(graph, "mnist/calib", {.preprocess = {.mean = {0.1307F}, .std = {0.3081F}}, .limit = 100});
  const std::string flags = fmt::format("--calibrate {} {} --limit 100", data("mnist/calib"), kMnist);
  EXPECT_EQ(library(graph, samples.source.get()), tool("lenet-bn", flags));
  EXPECT_EQ(library(graph, samples.source.get(), {.weight_bits = 4, .layers = {{"/conv1/Conv", {.weight_bits = 8}}}}),
            tool("lenet-bn", flags + " --weight-bits 4 --layer /conv1/Conv:weight_bits=8"));
  Graph folded = graph;
  optimize(folded);
  EXPECT_EQ(library(folded, samples.source.get(), {}, {.threads = 1}), tool("lenet-bn", flags)) << "optimized before";
}

TEST_F(Pipeline, tool_and_library_write_the_same_resnet) {
  const Graph graph = load_onnx(model("resnet20-cifar10"));
  const Dataset samples =
      open(graph, "cifar10/calib.npz",
           {.preprocess = {.mean = {0.485F, 0.456F, 0.406F}, .std = {0.229F, 0.224F, 0.225F}}, .limit = 64});
  const std::string pixels = "--mean 0.485,0.456,0.406 --std 0.229,0.224,0.225";
  const std::string flags = fmt::format("--calibrate {} {} --limit 64", data("cifar10/calib.npz"), pixels);
  EXPECT_EQ(library(graph, samples.source.get()), tool("resnet20-cifar10", flags));
  // Equalized and observed on samples before it is quantized.
  EXPECT_EQ(library(graph, samples.source.get(), {.granularity = Granularity::per_tensor}),
            tool("resnet20-cifar10", flags + " --granularity per_tensor"));
  const InputRange range{.min = {-0.485F / 0.229F, -0.456F / 0.224F, -0.406F / 0.225F},
                         .max = {(1 - 0.485F) / 0.229F, (1 - 0.456F) / 0.224F, (1 - 0.406F) / 0.225F}};
  EXPECT_EQ(library(graph, nullptr, {}, {.input_range = range}), tool("resnet20-cifar10", "--data-free " + pixels));
}

/// y = W relu(x V)
Graph two_layers(bool has_norm = false) {
  Graph g;
  ValueId x = g.add_input("x", DataType::float32, Shape{kDynamic, 4});
  if (has_norm) x = g.add(LayerNorm{}, "norm", {x, g.add_constant("s", random_tensor({4}, 5))}, "n");
  const ValueId v = g.add(MatMul{}, "first", {x, g.add_constant("v", random_tensor({4, 8}, 1))}, "h");
  const ValueId r = g.add(Unary{UnaryKind::relu}, "relu", {v}, "r");
  g.mark_output(g.add(MatMul{}, "second", {r, g.add_constant("w", random_tensor({8, 3}, 2))}, "y"));
  return g;
}

TEST(PipelineOptions, chooses_the_observer_for_the_network) {
  MemorySource samples(random_tensor({16, 4}, 3));
  EXPECT_EQ(quantize(two_layers(), samples).recipe.observer, Observer::mse);
  EXPECT_EQ(quantize(two_layers(true), samples).recipe.observer, Observer::min_max);
  EXPECT_EQ(quantize(two_layers(true), samples, {.observer = Observer::mse}).recipe.observer, Observer::mse);
  EXPECT_EQ(quantize(two_layers(), nullptr).recipe.observer, Observer::min_max);
}

TEST(PipelineOptions, reports_phases_and_can_be_cancelled) {
  MemorySource samples(random_tensor({16, 4}, 3));
  std::string phases;
  std::atomic<bool> cancel{false};
  QuantizeOptions options;
  options.progress = {.report =
                          [&](std::string_view phase, std::int64_t, std::int64_t) {
                            if (phases.find(phase) == std::string::npos) phases += fmt::format("{};", phase);
                            if (phase == "refining layers") cancel = true;
                          },
                      .cancel = &cancel};
  EXPECT_THROW(quantize(two_layers(), samples, {}, options), Cancelled);
  EXPECT_EQ(phases, "calibrating;refining layers;");
}

TEST(PipelineOptions, warns_instead_of_printing) {
  std::vector<std::string> warnings;
  const QuantizeOptions options{.warn = [&](const std::string& text) { warnings.push_back(text); }};
  ::testing::internal::CaptureStderr();
  quantize(two_layers(), nullptr, {}, options);
  EXPECT_EQ(::testing::internal::GetCapturedStderr(), "");
  ASSERT_EQ(warnings.size(), 1U);
  EXPECT_NE(warnings[0].find("no BatchNorm"), std::string::npos);
}

TEST(PipelineOptions, saved_statistics_are_refused_after_another_preparation) {
  const Graph graph = two_layers();
  MemorySource samples(random_tensor({16, 4}, 3));
  const CalibratedNetwork network = calibrate_network(graph, &samples, {}, {.keeps_all_statistics = true});
  const Recipe uncorrected{.bias_correction = BiasCorrection::none};
  EXPECT_EQ(quantize(calibrate_network(graph, network.calibration, uncorrected), nullptr).graph,
            quantize(graph, samples, uncorrected).graph);
  const auto refused = [&](Recipe recipe, Prepared prepared, const std::string& words) {
    Calibration calibration = network.calibration;
    calibration.prepared = prepared;
    try {
      calibrate_network(graph, calibration, recipe);
      ADD_FAILURE() << words;
    } catch (const Error& error) {
      EXPECT_NE(std::string(error.what()).find(words), std::string::npos) << error.what();
    }
  };
  refused({.smooth = 0.5}, {}, "smooth '0.5' needs sample inputs");
  refused({.equalization = Equalization::weights}, {}, "equalization 'weights' changes the values");
  refused({.rounding = Rounding::gptq}, {}, "rounding 'gptq' needs sample inputs, not only their statistics");
  refused({}, {.equalization = Equalization::noise}, "equalized or smoothed");
}

TEST(PipelineOptions, an_infinite_value_without_a_grid_does_not_matter) {
  Graph g;
  const ValueId x = g.add_input("x", DataType::float32, Shape{kDynamic, 4, 4});
  const ValueId q = g.add(MatMul{}, "qk", {x, g.add_constant("v", random_tensor({4, 4}, 1))}, "q");
  Tensor mask(DataType::float32, {4, 4});
  mask.mutable_data<float>()[3] = -std::numeric_limits<float>::infinity();
  const ValueId m = g.add(Binary{BinaryKind::add}, "mask", {q, g.add_constant("m", mask)}, "masked");
  const ValueId p = g.add(Softmax{}, "softmax", {m}, "p");
  g.mark_output(g.add(MatMul{}, "pv", {p, g.add_constant("w", random_tensor({4, 4}, 2))}, "y"));
  MemorySource samples(random_tensor({16, 4, 4}, 3));
  for (const bool keeps_all : {false, true}) {
    const CalibratedNetwork network = calibrate_network(g, &samples, {}, {.keeps_all_statistics = keeps_all});
    EXPECT_FALSE(network.calibration.values.contains("masked"));
    EXPECT_EQ(network.calibration.values.contains("y"), keeps_all);
    EXPECT_TRUE(quantize(network, &samples).decisions.front().quantized);
  }
}

}  // namespace
}  // namespace bitfold::testing
