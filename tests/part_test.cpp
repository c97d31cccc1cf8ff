// The tool on networks with an operator that it cannot run, and on parts of networks.
#include <fmt/format.h>

#include "numeric/random_tensor.h"
#include "small_network.h"

namespace bitfold::testing {
namespace {

/// small_network(), then an unknown operator, then a Conv.
class PartTool : public SmallNetworkTest {
 protected:
  void SetUp() override {
    SmallNetworkTest::SetUp();
    Graph g = small_network();
    const ValueId y = g.outputs()[0];
    g.clear_outputs();
    const ValueId u = g.add_value({.name = "decoded", .dtype = DataType::float32, .shape = Shape{kDynamic, 4, 6, 6}});
    g.add_node({.name = "riddle",
                .op = Opaque{.domain = "org.example", .type = "Mystery", .attributes = {}, .opset = 3},
                .inputs = {y},
                .outputs = {u}});
    const ValueId weight = g.add_constant("head.weight", random_tensor({2, 4, 1, 1}, 3));
    g.mark_output(g.add(Conv{{.kernel = {1, 1}, .strides = {1, 1}, .dilations = {1, 1}, .pads = {0, 0, 0, 0}}}, "head",
                        {u, weight}, "z"));
    save_onnx(g, mystery());
    save_npy(path("decoded.npz"), {{"x", random_tensor({4, 4, 6, 6}, 5)}});
  }
  std::string mystery() const { return path("mystery.onnx"); }
};

TEST_F(PartTool, quantizes_the_part_that_can_be_run_and_names_the_rest) {
  const auto json = run_for_json(fmt::format("quantize {} --calibrate {} -o {}", mystery(), data(), out()));
  ASSERT_EQ(json["left"].size(), 2U);
  EXPECT_EQ(json["left"][0]["name"], "riddle");
  EXPECT_EQ(json["left"][0]["cause"], "cannot_run");
  EXPECT_EQ(json["left"][1]["name"], "head");
  EXPECT_EQ(json["left"][1]["cause"], "not_reached");
  const ToolResult result = run_tool(fmt::format("quantize {} --calibrate {} -o {}", mystery(), data(), out()));
  EXPECT_NE(result.output.find("1 node is left as it is, because it cannot be run: 1 x org.example.Mystery"),
            std::string::npos)
      << result.output;
  const Graph written = load_onnx(out());
  const Node& riddle = written.node(written.producer(written.find("decoded")));
  ASSERT_TRUE(std::holds_alternative<Opaque>(riddle.op));
  EXPECT_EQ(std::get<Opaque>(riddle.op).opset, 3);
  int integer_layers = 0;
  for (NodeId id : written.nodes()) {
    const Node& node = written.node(id);
    integer_layers += node.name == "conv" && written.value(node.inputs[1]).quant.has_value();
    EXPECT_FALSE(node.name == "head" && written.value(node.inputs[1]).quant);
  }
  EXPECT_EQ(integer_layers, 1);

  const auto compared = run_for_json(fmt::format("compare {} {} --data {} --outputs-at y", mystery(), out(), data()));
  EXPECT_EQ(compared["outputs"][0]["value"], "y");
  EXPECT_GT(compared["sqnr_db"].get<double>(), 25);
}

TEST_F(PartTool, quantizes_between_given_values) {
  const auto json = run_for_json(
      fmt::format("quantize {} --inputs-at decoded --calibrate {} -o {}", mystery(), path("decoded.npz"), out()));
  ASSERT_EQ(json["left"].size(), 3U);
  EXPECT_EQ(json["left"][0]["cause"], "outside");
  for (const auto& layer : json["layers"])
    EXPECT_TRUE(layer["op"] != "Conv" || layer["quantized"] == (layer["name"] == "head")) << layer;
  const auto compared =
      run_for_json(fmt::format("compare {} {} --inputs-at decoded --data {}", mystery(), out(), path("decoded.npz")));
  EXPECT_GT(compared["sqnr_db"].get<double>(), 25);
  EXPECT_EQ(run_for_json(fmt::format("bench {} --inputs-at decoded --min-time 0.01", mystery()))["batch"], 1);
  const auto run = run_for_json(fmt::format("run {} --outputs-at hidden --input {}", mystery(), data()));
  EXPECT_EQ(run["outputs"][0]["shape"], nlohmann::json::array({4, 4, 6, 6}));
}

TEST_F(PartTool, the_report_says_which_part_it_is_about) {
  const auto json = run_for_json(
      fmt::format("analyze {} --calibrate {} --samples 2 --report {}", mystery(), data(), path("report.html")));
  EXPECT_EQ(json["left"].size(), 2U);
  EXPECT_NE(json["left_text"].get<std::string>().find("org.example.Mystery"), std::string::npos);
  EXPECT_NE(read_text(path("report.html")).find("org.example.Mystery"), std::string::npos);
}

TEST_F(PartTool, an_unknown_operator_that_nothing_reads_does_not_prevent_a_run) {
  Graph g = small_network();
  g.add(Opaque{.domain = "org.example", .type = "Mystery"}, "riddle", {g.find("hidden")}, "unused");
  save_onnx(g, path("unused.onnx"));
  EXPECT_EQ(run_for_json(fmt::format("run {} --input {}", path("unused.onnx"), data()))["outputs"][0]["name"], "y");
}

TEST_F(PartTool, other_verbs_say_how_to_cut_the_network) {
  const std::vector<std::string> words{"mystery.onnx: cannot run: 1 x org.example.Mystery", "riddle", "--outputs-at y"};
  expect_refused(fmt::format("eval {} --data {}", mystery(), data()), words);
  expect_refused(fmt::format("bench {}", mystery()), words);
  expect_refused(fmt::format("compare {} {} --data {}", mystery(), mystery(), data()), words);
  expect_refused(fmt::format("run {} --input {}", mystery(), data()), words);
  expect_refused(fmt::format("quantize {} --outputs-at hiden --calibrate {} -o {}", mystery(), data(), out()),
                 {"no value 'hiden'; did you mean 'hidden'?"});
  expect_refused(fmt::format("eval {} --outputs-at z --data {}", mystery(), data()),
                 {"mystery.onnx: outputs_at: 'z' cannot be computed", "[org.example.Mystery 'riddle']"});
}

}  // namespace
}  // namespace bitfold::testing
