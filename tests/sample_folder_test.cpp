// Folders of .npz files, one sample each, in every command.
#include "small_network.h"

namespace bitfold::testing {
namespace {

/// A product over a sequence of open length, plus a state whose first dimension is not the batch, times a number.
Graph sequence_network() {
  Graph g;
  const ValueId x = g.add_input("x", DataType::float32, {kDynamic, kDynamic, 8});
  const ValueId state = g.add_input("state", DataType::float32, {2, kDynamic, 8});
  const ValueId gain = g.add_input("gain", DataType::float32, {});
  Tensor w(DataType::float32, {8, 8});
  float next = -0.3F;
  for (float& v : w.mutable_data<float>()) v = next += 0.01F;
  const ValueId weight = g.add_constant("weight", w);
  const ValueId hidden = g.add(MatMul{}, "product", {x, weight}, "hidden");
  g.mark_output(g.add(Binary{BinaryKind::mul}, "scaled", {hidden, gain}, "y"));
  g.mark_output(g.add(MatMul{}, "next", {state, weight}, "next_state"));
  return g;
}

std::vector<NamedTensor> sample(std::int64_t length) {
  Tensor x(DataType::float32, {1, length, 8}), state(DataType::float32, {2, 1, 8}), gain(DataType::float32, {});
  float next = static_cast<float>(length) / 16;
  for (float& v : x.mutable_data<float>()) v = next = next > 1 ? -0.9F : next + 0.13F;
  for (float& v : state.mutable_data<float>()) v = next = next > 1 ? -0.9F : next + 0.17F;
  gain.mutable_data<float>()[0] = 0.5F;
  return {{"gain", gain}, {"state", state}, {"x", x}};
}

class SampleFolders : public SmallNetworkTest {
 protected:
  void SetUp() override {
    save_onnx(sequence_network(), model());
    std::filesystem::create_directory(calib());
    for (const std::int64_t length : {3, 7, 5, 12}) save(std::to_string(100 + length), sample(length));
  }
  std::string calib() const { return path("calib"); }
  void save(const std::string& name, const std::vector<NamedTensor>& arrays) const {
    save_npy(path("calib/" + name + ".npz"), arrays);
  }
};

TEST_F(SampleFolders, feed_every_command_with_sequences_states_and_numbers) {
  const auto expect_works = [&](const std::string& arguments) {
    const ToolResult result = run_tool(arguments);
    EXPECT_EQ(result.status, 0) << arguments << "\n" << result.output;
    return result.output;
  };
  for (const char* extra : {"", "--rounding gptq", "--weight-bits 4", "--observer auto"})
    EXPECT_NE(expect_works(fmt::format("quantize {} --calibrate {} -o {} {}", model(), calib(), out(), extra))
                  .find("quantized 2 of 2 layers with weights, calibrated on 4 samples"),
              std::string::npos)
        << extra;
  const auto comparison = run_for_json(fmt::format("compare {} {} --data {}", model(), out(), calib()));
  EXPECT_EQ(comparison["samples"], 4);
  EXPECT_GT(comparison["sqnr_db"], 30.0);
  EXPECT_EQ(run_for_json(fmt::format("eval {} --data {}", out(), calib()))["samples"], 4);
  expect_works(fmt::format("analyze {} --calibrate {} --report {}", model(), calib(), path("report.html")));
  expect_works(fmt::format("bench {} {} --input {} --min-time 0", model(), out(), calib()));
}

TEST_F(SampleFolders, run_writes_one_file_of_outputs_per_sample) {
  const ToolResult result = run_tool(fmt::format("run {} --input {} --output {}", model(), calib(), path("outputs")));
  ASSERT_EQ(result.status, 0) << result.output;
  for (const std::int64_t length : {3, 7, 5, 12}) {
    const std::string name = std::to_string(100 + length) + ".npz";
    ASSERT_EQ(
        run_tool(fmt::format("run {} --input {} --output {}", model(), calib() + "/" + name, path("one.npz"))).status,
        0);
    EXPECT_EQ(read_text(path("outputs/" + name)), read_text(path("one.npz")));
    EXPECT_EQ(load_npy(path("one.npz"))[0].tensor.shape(), (Shape{1, length, 8}));
  }
  expect_refused(fmt::format("run {} --input {} --output {}", model(), calib(), calib()),
                 {"would overwrite", "a file that is read"});
  write_text(data(), "a file");
  expect_refused(fmt::format("run {} --input {} --output {}", model(), calib(), data()),
                 {"the outputs are written to a folder"});
}

TEST_F(SampleFolders, the_statistics_do_not_depend_on_threads) {
  std::string first;
  for (const int threads : {1, 2, 3}) {
    const ToolResult result =
        run_tool(fmt::format("quantize {} --calibrate {} -o {} --threads {}", model(), calib(), out(), threads));
    ASSERT_EQ(result.status, 0) << result.output;
    if (first.empty()) first = read_text(out());
    EXPECT_EQ(read_text(out()), first) << threads;
  }
}

TEST_F(SampleFolders, equal_samples_give_the_model_of_one_file_with_a_batch_axis) {
  save_onnx(small_network(), model());
  std::filesystem::remove_all(calib());
  std::filesystem::create_directory(calib());
  SmallNetworkTest::SetUp();
  const Tensor all = load_npy(data())[0].tensor;
  for (std::size_t i = 0; i < 4; ++i)
    save(std::to_string(i), {{"input", Tensor::from<float>({1, 3, 8, 8}, all.data<float>().subspan(i * 192, 192))}});
  std::string first;
  for (const std::string& from : {data(), calib()}) {
    const ToolResult result = run_tool(fmt::format("quantize {} --calibrate {} -o {}", model(), from, out()));
    ASSERT_EQ(result.status, 0) << result.output;
    if (first.empty()) first = read_text(out());
    EXPECT_EQ(read_text(out()), first);
  }
}

TEST_F(SampleFolders, a_sample_that_does_not_fit_is_named) {
  const std::string quantize = fmt::format("quantize {} --calibrate {} -o {}", model(), calib(), out());
  auto arrays = sample(4);
  arrays[1].name = "stat";
  save("200", arrays);
  expect_refused(quantize, {"200.npz", "lacks the array 'state'", "'stat' (float32 2x1x8)"});
  arrays = sample(4);
  arrays[1].tensor = Tensor(DataType::float32, {3, 1, 8});
  save("200", arrays);
  expect_refused(quantize, {"200.npz': array 'state': is float32 3x1x8; input 'state' expects float32 2x?x8"});
  std::filesystem::remove(path("calib/200.npz"));
  write_text(path("calib/photo.jpg"), "x");
  expect_refused(quantize, {"contains array files such as '103.npz' and images"});
}

TEST_F(SampleFolders, a_network_without_inputs_needs_no_data_to_run) {
  Graph g;
  g.mark_output(g.add_constant("c", Tensor(DataType::float32, {2})));
  save_onnx(g, model());
  const ToolResult result = run_tool(fmt::format("run {} --output {}", model(), path("c.npy")));
  EXPECT_EQ(result.status, 0) << result.output;
  EXPECT_EQ(load_npy(path("c.npy"))[0].tensor, Tensor(DataType::float32, {2}));
  save_onnx(small_network(), model());
  const ToolResult missing = run_tool("run " + model());
  EXPECT_EQ(missing.status, 2);
  EXPECT_NE(missing.output.find("--input (the network reads inputs:  'input' float32 ?x3x8x8) is required"),
            std::string::npos)
      << missing.output;
}

TEST_F(SampleFolders, inspect_says_whether_a_network_works) {
  save_onnx(small_network(), model());
  const ToolResult works = run_tool("inspect --check " + model());
  EXPECT_EQ(works.status, 0);
  EXPECT_TRUE(works.output.starts_with(
      "runs; 1 of 1 layers with weights can be quantized (100.00 % of the multiply-accumulates)\n"))
      << works.output;
  Graph g;
  const ValueId x = g.add_input("x", DataType::float32, {1, 3, kDynamic, 8});
  const ValueId w = g.add_constant("w", *small_network().value(small_network().find("weight")).constant);
  const ValueId y = g.add(Conv{{.kernel = {3, 3}, .strides = {1, 1}, .dilations = {1, 1}, .pads = {0, 0, 0, 0}}},
                          "conv", {x, w}, "hidden");
  save_onnx(g, model());
  EXPECT_TRUE(run_tool("inspect " + model()).output.starts_with("runs; 0 of 0") ||
              run_tool("inspect " + model()).output.starts_with("runs; no layer"));
  g.mark_output(y);
  save_onnx(g, model());
  EXPECT_NE(run_tool("inspect " + model()).output.find("give open sizes with --shape"), std::string::npos);
  EXPECT_EQ(run_for_json(fmt::format("inspect {} --shape x=1x3x10x8", model()))["macs"], 1 * 8 * 6 * 4 * 27);
  expect_refused(fmt::format("inspect {} --shape x=1x4x10x8", model()), {"--shape x=1x4x10x8", "1x3x?x8"});
  expect_refused(fmt::format("inspect {} --shape z=1", model()), {"the network has no input 'z'"});
  EXPECT_EQ(run_tool(fmt::format("inspect {} --shape 1x3", model())).status, 2);
  g = small_network();
  g.mark_output(g.add(Opaque{.domain = "", .type = "NoSuchOperator", .attributes = {}, .opset = 17, .reason = ""},
                      "strange", {g.outputs()[0]}, "z"));
  save_onnx(g, model());
  EXPECT_TRUE(run_tool("inspect " + model())
                  .output.starts_with("cannot run: 1 x NoSuchOperator (first: [NoSuchOperator 'strange'])\n"));
  EXPECT_EQ(run_tool("inspect " + model()).status, 0);
  expect_refused("inspect --check " + model(), {"cannot run: 1 x NoSuchOperator"});
}

TEST_F(SampleFolders, tables_fit_the_terminal) {
  save_onnx(small_network(), model());
  const std::string text = run_command("COLUMNS=60 " BITFOLD_TOOL_PATH " inspect " + model()).output;
  const std::string table = text.substr(text.find("\n\n"));
  std::istringstream lines(table);
  for (std::string line; std::getline(lines, line);) EXPECT_LE(line.size(), 60U) << line;
  EXPECT_NE(table.find("..."), std::string::npos) << table;
}

}  // namespace
}  // namespace bitfold::testing
