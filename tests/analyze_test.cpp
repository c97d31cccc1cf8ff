// The report and the mixed precision search on real networks: the advice is correct, the loss limit is met, and a
// search can resume.
#include <fmt/format.h>

#include "tool.h"

namespace bitfold::testing {
namespace {

class Analyze : public NetworkTest {
 protected:
  static constexpr const char* kCifar = "--mean 0.485,0.456,0.406 --std 0.229,0.224,0.225";
};

TEST_F(Analyze, measures_every_layer_with_weights_and_attributes_the_error) {
  const auto json = run_for_json(fmt::format("analyze {} --calibrate {} {} --limit 64 --samples 16 --report {}",
                                             model("lenet-bn"), data("mnist/calib"), kMnist, path("report.html")));
  double shares = 0;
  int with_weights = 0;
  for (const auto& layer : json["layers"]) {
    if (!layer["has_weights"]) continue;
    ++with_weights;
    const auto& alone = layer["sensitivity"]["alone"];
    ASSERT_EQ(alone.size(), 2U);
    EXPECT_EQ(alone[0]["weight_bits"], 8);
    EXPECT_GT(alone[0]["sqnr_db"].get<double>(), alone[1]["sqnr_db"].get<double>() + 6) << layer["name"];
    shares += layer["sensitivity"]["error_share"].get<double>();
    EXPECT_GT(layer["time_us"].get<double>(), 0) << layer["name"];
  }
  EXPECT_EQ(with_weights, 4);
  EXPECT_NEAR(shares, 1, 1e-9);
  const std::string page = read_text(path("report.html"));
  EXPECT_EQ(page.find("src=\"http"), std::string::npos);
  EXPECT_NE(page.find("/conv1/Conv"), std::string::npos);
}

// Layers are measured one by one without samples; the whole network is measured as `quantize` writes it.
TEST_F(Analyze, measures_the_network_quantized_with_samples) {
  const std::string call =
      fmt::format("analyze {} --calibrate {} {} --limit 64 --samples 8 --weight-bits 4 --bias-correction none ",
                  model("lenet-bn"), data("mnist/calib"), kMnist);
  const auto squant = run_for_json(call + "--rounding squant"), gptq = run_for_json(call + "--rounding gptq");
  EXPECT_GT(gptq["sqnr_db"].get<double>(), squant["sqnr_db"].get<double>() + 1);
  ASSERT_EQ(gptq["layers"].size(), squant["layers"].size());
  for (std::size_t i = 0; i < gptq["layers"].size(); ++i) {
    if (!gptq["layers"][i]["has_weights"].get<bool>()) continue;
    EXPECT_EQ(gptq["layers"][i]["sensitivity"]["alone"], squant["layers"][i]["sensitivity"]["alone"]);
  }
}

// With one grid for all channels the report warns of wide channels; following its advice must help.
TEST_F(Analyze, the_advice_on_wide_channels_improves_accuracy) {
  const std::string call = fmt::format("analyze {} --calibrate {} --resize 96x96 --limit 16 --samples 4 --granularity ",
                                       model("vww-mobilenetv1"), data("imagenet/calib"));
  const auto warned = [](const nlohmann::json& report) {
    int count = 0;
    for (const auto& layer : report["layers"])
      for (const auto& finding : layer["findings"])
        count += finding["cause"] == "wide_channels" && finding["severity"] == "warning";
    return count;
  };
  const auto before = run_for_json(call + "per_tensor"), after = run_for_json(call + "per_channel");
  EXPECT_GT(warned(before), 0);
  EXPECT_EQ(warned(after), 0);
  EXPECT_GT(after["sqnr_db"].get<double>(), before["sqnr_db"].get<double>() + 1);
}

TEST_F(Analyze, the_written_file_meets_the_loss_limit) {
  const std::string common = fmt::format("quantize {} --calibrate {} {} --limit 128 ", model("resnet20-cifar10"),
                                         data("cifar10/calib.npz"), kCifar);
  ASSERT_EQ(run_tool(common + "-o " + path("int8.onnx")).status, 0);
  const auto found = run_for_json(fmt::format("{}--samples 4 --eval {} --eval-limit 150 --max-drop 2 -o {}", common,
                                              data("cifar10/val.npz"), path("mixed.onnx")));
  const auto top1 = [&](const std::string& file) {
    return run_for_json(fmt::format("eval {} --data {} {} --limit 150", file, data("cifar10/val.npz"), kCifar))["top1"]
        .get<double>();
  };
  EXPECT_LE(100 * (top1(model("resnet20-cifar10")) - top1(path("mixed.onnx"))), 2 + 1e-9);
  const auto size = [](const std::string& file) { return static_cast<double>(std::filesystem::file_size(file)); };
  EXPECT_LT(size(path("mixed.onnx")), 0.7 * size(path("int8.onnx")));
  EXPECT_EQ(found["quantized_bytes"].get<double>(), size(path("mixed.onnx")));
}

TEST_F(Analyze, a_resumed_search_writes_the_same_file_and_repeats_no_measurement) {
  const std::string call = fmt::format(
      "quantize {} --calibrate {} {} --limit 64 --samples 8 --eval {} --eval-limit 300 --max-drop 0.5 --resume {} -o ",
      model("lenet-bn"), data("mnist/calib"), kMnist, data("mnist/test"), path("state.json"));
  ASSERT_EQ(run_tool(call + path("a.onnx")).status, 0);
  const std::string state = read_text(path("state.json"));
  ASSERT_EQ(run_tool(call + path("b.onnx")).status, 0);
  EXPECT_EQ(read_text(path("a.onnx")), read_text(path("b.onnx")));
  EXPECT_EQ(read_text(path("state.json")), state);
}

// Interrupted as soon as the first mix, which is 8 bits for all layers, has been measured.
TEST_F(Analyze, an_interrupted_search_keeps_its_best_result) {
  const std::string call = fmt::format(
      "{} quantize {} --calibrate {} {} --limit 64 --samples 4 --eval {} --eval-limit 400 --max-drop 5 --resume {} -o "
      "{}",
      BITFOLD_TOOL_PATH, model("resnet20-cifar10"), data("cifar10/calib.npz"), kCifar, data("cifar10/val.npz"),
      path("state.json"), path("out.onnx"));
  const ToolResult result = run_command(fmt::format(
      "({} & pid=$!; until grep -qs score {}; do kill -0 $pid 2>/dev/null || break; sleep 0.02; done; kill -INT $pid; "
      "wait $pid)",
      call, path("state.json")));
  EXPECT_EQ(result.status, 0) << result.output;
  EXPECT_NE(result.output.find("ended early"), std::string::npos) << result.output;
  EXPECT_TRUE(std::filesystem::exists(path("out.onnx")));
}

TEST_F(Analyze, a_limit_that_cannot_be_measured_or_met_is_an_error_and_writes_nothing) {
  const std::string call = fmt::format("quantize {} --calibrate {} {} --limit 16 -o {} ", model("lenet-bn"),
                                       data("mnist/calib"), kMnist, path("out.onnx"));
  const ToolResult no_data = run_tool(call + "--max-drop 0.5");
  EXPECT_EQ(no_data.status, 1);
  EXPECT_NE(no_data.output.find("--eval"), std::string::npos) << no_data.output;
  const ToolResult no_time =
      run_tool(call + fmt::format("--max-drop 0 --time-budget 0.000001 --eval {} --eval-limit 20", data("mnist/test")));
  EXPECT_EQ(no_time.status, 1);
  EXPECT_NE(no_time.output.find("no mix within this drop was found"), std::string::npos) << no_time.output;
  EXPECT_FALSE(std::filesystem::exists(path("out.onnx")));
}

}  // namespace
}  // namespace bitfold::testing
