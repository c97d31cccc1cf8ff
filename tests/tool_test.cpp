// The commands of the tool on real networks: their JSON output, and the complete workflow.
#include "tool.h"

#include <fmt/format.h>

#include "bitfold/cpu.h"
#include "bitfold/data.h"
#include "small_network.h"

namespace bitfold::testing {
namespace {

class Tool : public NetworkTest {};

TEST_F(Tool, inspect_lists_layers_with_shapes_parameters_and_macs) {
  const auto json = run_for_json("inspect " + model("lenet"));
  ASSERT_TRUE(json.is_object());
  // conv1 20*3*25+20, conv2 50*20*25+50, fc1 800*500+500, fc2 500*10+10
  EXPECT_EQ(json["parameters"], 1520 + 25050 + 400500 + 5010);
  // conv1 24*24*20*75, conv2 8*8*50*500, fc1, fc2
  EXPECT_EQ(json["macs"], 864000 + 1600000 + 400000 + 5000);
  ASSERT_EQ(json["layers"].size(), 10U);
  EXPECT_EQ(json["layers"][0]["op"], "Conv");
  EXPECT_EQ(json["layers"][0]["output_shape"], nlohmann::json::array({-1, 20, 24, 24}));
  EXPECT_TRUE(json["layers"][0]["can_quantize"]);
}

TEST_F(Tool, inspect_reports_why_a_layer_cannot_be_quantized) {
  const auto json = run_for_json("inspect " + model("vww-mobilenetv1"));
  bool found = false;
  for (const auto& layer : json["layers"])
    if (layer["op"] == "Softmax") {
      found = true;
      EXPECT_FALSE(layer["can_quantize"]);
      EXPECT_FALSE(layer["reason"].get<std::string>().empty());
    }
  EXPECT_TRUE(found);
}

TEST_F(Tool, the_complete_workflow_on_lenet) {
  const std::string int8 = path("lenet.int8.onnx");
  const auto quantized = run_for_json(
      fmt::format("quantize {} --calibrate {} {} -o {}", model("lenet-bn"), data("mnist/calib"), kMnist, int8));
  EXPECT_EQ(quantized["samples"], 1000);
  EXPECT_LT(quantized["quantized_bytes"].get<double>(), 0.30 * quantized["float_bytes"].get<double>());
  for (const auto& layer : quantized["layers"]) {
    const bool has_weights = layer["op"] == "Conv" || layer["op"] == "Gemm";
    EXPECT_TRUE(!has_weights || layer["quantized"].get<bool>()) << layer;
  }

  const auto evaluated = run_for_json(fmt::format("eval {} --data {} {}", int8, data("mnist/test"), kMnist));
  EXPECT_EQ(evaluated["samples"], 10000);
  EXPECT_GE(evaluated["top1"].get<double>(), 0.9934 - 0.0005);
  EXPECT_GT(evaluated["top5"].get<double>(), 0.99);
  EXPECT_GT(evaluated["latency_us"].get<double>(), 0);

  const auto compared = run_for_json(
      fmt::format("compare {} {} --data {} {} --limit 500", model("lenet-bn"), int8, data("mnist/test"), kMnist));
  EXPECT_EQ(compared["samples"], 500);
  EXPECT_GE(compared["top1_agreement"].get<double>(), 0.995);
  EXPECT_GT(compared["sqnr_db"].get<double>(), 25);
  EXPECT_GT(compared["max_abs_error"].get<double>(), 0);
  EXPECT_GE(compared["layers"].size(), 6U);
}

TEST_F(Tool, saved_statistics_quantize_to_the_same_file) {
  const std::string call = fmt::format("quantize {} -o ", model("lenet"));
  ASSERT_EQ(run_tool(fmt::format("{}{} --calibrate {} {} --limit 64 --bias-correction none --save-calibration {}", call,
                                 path("a.onnx"), data("mnist/calib"), kMnist, path("statistics.json")))
                .status,
            0);
  ASSERT_EQ(run_tool(fmt::format("{}{} --calibration {}", call, path("b.onnx"), path("statistics.json"))).status, 0);
  EXPECT_EQ(read_text(path("a.onnx")), read_text(path("b.onnx")));
}

TEST_F(Tool, preprocessing_file_equals_the_same_flags) {
  write_text(path("mnist.toml"), "mean = [0.1307]\nstd = [0.3081]\n");
  const std::string call = fmt::format("eval {} --data {} --limit 200 --simulate ", model("lenet"), data("mnist/test"));
  EXPECT_EQ(run_for_json(call + kMnist)["top1"], run_for_json(call + "--preprocess " + path("mnist.toml"))["top1"]);
}

TEST_F(Tool, bench_prints_its_documented_fields) {
  const auto json = run_for_json("bench " + model("conv-bn-relu") + " --threads 1 --min-time 0.05");
  for (const char* field : {"median_us", "min_us", "p99_us", "first_us"})
    EXPECT_GT(json[field].get<double>(), 0) << field;
  for (const char* field : {"arena_bytes", "arena_lower_bound", "packed_weight_bytes"})
    EXPECT_GE(json[field].get<std::int64_t>(), 0) << field;
  EXPECT_EQ(json["threads"], 1);
}

TEST_F(Tool, bench_profiles_every_step) {
  const auto json = run_for_json("bench --profile " + model("lenet") + " --min-time 0.05");
  const auto& steps = json["models"][0]["steps"];
  ASSERT_GE(steps.size(), 4U);
  double shares = 0;
  std::int64_t macs = 0;
  for (const auto& step : steps) {
    EXPECT_FALSE(step["name"].get<std::string>().empty());
    EXPECT_FALSE(step["kernel"].get<std::string>().empty());
    shares += step["share"].get<double>();
    macs += step["macs"].get<std::int64_t>();
    EXPECT_EQ(step["gops"] > 0, step["macs"] > 0);
    EXPECT_EQ(step["of_peak"] > 0, step["macs"] > 0 && isa_cap() > Isa::portable);
    EXPECT_LE(step["of_peak"], 1.5);  // clocks change between the two measurements
  }
  EXPECT_NEAR(shares, 1, 1e-6);
  EXPECT_EQ(macs, run_for_json("inspect " + model("lenet"))["macs"].get<std::int64_t>());
}

TEST_F(Tool, run_reproduces_the_golden_output) {
  const auto golden = load_npy(data("golden/lenet.npz"));
  const NamedTensor* input = nullptr;
  const NamedTensor* output = nullptr;
  for (const auto& array : golden) (array.name == "input" ? input : output) = &array;
  ASSERT_TRUE(input != nullptr && output != nullptr);
  save_npy(path("x.npy"), {{"", input->tensor}});
  const ToolResult result =
      run_tool(fmt::format("run {} --input {} --output {}", model("lenet"), path("x.npy"), path("y.npz")));
  ASSERT_EQ(result.status, 0) << result.output;
  const auto y = load_npy(path("y.npz"));
  ASSERT_EQ(y.size(), 1U);
  EXPECT_EQ(y[0].name, "logits");
  ASSERT_EQ(y[0].tensor.shape(), output->tensor.shape());
  for (std::int64_t i = 0; i < y[0].tensor.size(); ++i)
    EXPECT_NEAR(y[0].tensor.data<float>()[static_cast<std::size_t>(i)],
                output->tensor.data<float>()[static_cast<std::size_t>(i)], 1e-3);
}

class ToolOnSmallNetwork : public SmallNetworkTest {};

TEST_F(ToolOnSmallNetwork, quantize_says_that_its_result_is_larger_and_why) {
  const ToolResult result = run_tool(fmt::format("quantize {} --calibrate {} -o {}", model(), data(), out()));
  ASSERT_GT(std::filesystem::file_size(out()), std::filesystem::file_size(model()));
  for (const char* words : {"x larger)", "the quantized file is larger than the float file: its constants take",
                            "the rest are nodes and the scales of grids"})
    EXPECT_NE(result.output.find(words), std::string::npos) << result.output;
}

TEST_F(ToolOnSmallNetwork, bench_says_which_model_is_slower) {
  Graph g;  // a thousand times the work
  const ValueId x = g.add_input("x", DataType::float32, {512, 512});
  g.mark_output(g.add(MatMul{}, "product", {x, g.add_constant("w", Tensor(DataType::float32, {512, 512}))}, "y"));
  save_onnx(g, path("large.onnx"));
  const std::string said = path("large.onnx") + " is slower than " + model();
  const auto bench = [&](const std::string& first, const std::string& second) {
    return run_tool(fmt::format("bench {} {} --min-time 0.01", first, second)).output;
  };
  EXPECT_NE(bench(model(), path("large.onnx")).find(said), std::string::npos);
  EXPECT_EQ(bench(path("large.onnx"), model()).find("is slower than"), std::string::npos);
}

TEST(ToolTensor, quantizes_the_notebooks_tensor) {
  const TemporaryFolder folder;
  const std::vector<float> x{-2.2066F, 0.3966F,  0.5587F, 1.1892F,  0.3932F, 1.6257F, -0.6623F, -0.0903F,
                             -0.8323F, -0.0078F, 1.2867F, -0.1683F, 3.2285F, 1.6256F, 0.6275F,  -1.0032F};
  save_npy((folder / "x.npy").string(), {{"", Tensor::from<float>({4, 4}, x)}});
  const auto json = run_for_json("tensor " + (folder / "x.npy").string() + " --bits 8 --scheme symmetric");
  EXPECT_NEAR(json["scale"][0].get<double>(), 3.2285 / 127, 1e-6);
  EXPECT_EQ(json["zero_point"][0], 0);
  EXPECT_EQ(json["codes"][12], 127);
  EXPECT_EQ(json["codes"][0], -87);
  EXPECT_LT(json["max_abs_error"].get<double>(), 3.2285 / 127 / 2 + 1e-6);
}

TEST(ToolHelp, every_verb_shows_an_example) {
  for (const char* verb : {"inspect", "fold", "quantize", "analyze", "eval", "compare", "bench", "run", "tensor"}) {
    const ToolResult result = run_tool(std::string(verb) + " --help");
    EXPECT_EQ(result.status, 0) << verb;
    EXPECT_NE(result.output.find(std::string("Example:  bitfold ") + verb), std::string::npos) << result.output;
  }
}

TEST(ToolJson, dash_writes_only_json_to_standard_output) {
  const TemporaryFolder folder;
  save_npy((folder / "x.npy").string(), {{"", Tensor::from<float>({2}, std::vector<float>{-1, 1})}});
  const ToolResult result = run_command("(" + std::string(BITFOLD_TOOL_PATH) + " tensor " +
                                        (folder / "x.npy").string() + " --json - 2>/dev/null)");
  EXPECT_EQ(result.status, 0);
  EXPECT_FALSE(nlohmann::json::parse(result.output, nullptr, false).is_discarded()) << result.output;
}

TEST(Usage, misspelt_commands_and_flags_are_named_before_anything_else) {
  const ToolResult verb = run_tool("quantise model.onnx");
  EXPECT_EQ(verb.status, 2);
  EXPECT_NE(verb.output.find("command 'quantise' does not exist; did you mean 'quantize'?"), std::string::npos)
      << verb.output;
  const ToolResult flag = run_tool("quantize model.onnx --calibrat data");
  EXPECT_EQ(flag.status, 2);
  EXPECT_NE(flag.output.find("quantize has no option --calibrat; did you mean '--calibrate'?"), std::string::npos)
      << flag.output;
  EXPECT_EQ(run_tool("quantize model.onnx --no-such=1").status, 2);
}

TEST(Usage, help_is_a_command_a_flag_and_the_default) {
  const std::string by_flag = run_tool("quantize --help").output;
  EXPECT_EQ(run_tool("help quantize").output, by_flag);
  EXPECT_NE(by_flag.find("Usage: bitfold quantize"), std::string::npos) << by_flag;
  const ToolResult bare = run_tool("");
  EXPECT_EQ(bare.status, 2);
  EXPECT_EQ(bare.output, run_tool("help").output);
  EXPECT_EQ(bare.output, run_tool("--help").output);
  EXPECT_NE(run_tool("version").output.find("instruction set: "), std::string::npos);
}

}  // namespace
}  // namespace bitfold::testing
