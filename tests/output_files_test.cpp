// The files that the tool writes: what they may replace, what is left when something goes wrong, and that every result
// arrives or an error says that it did not.
#include <sys/stat.h>

#include "bitfold/session.h"
#include "small_network.h"

namespace bitfold::testing {
namespace {

namespace fs = std::filesystem;

class OutputFiles : public SmallNetworkTest {
 protected:
  std::string inspect() const { return fmt::format("{} inspect {}", BITFOLD_TOOL_PATH, model()); }
  /// A shell's exit status and standard error; standard output goes where `command` says.
  static ToolResult shell(const std::string& command) { return run_command("( " + command + " )"); }
  static bool is_json(const std::string& text) { return !nlohmann::json::parse(text, nullptr, false).is_discarded(); }
};

TEST_F(OutputFiles, devices_and_pipes_are_written_in_place) {
  const ToolResult null = run_tool(fmt::format("inspect {} --json /dev/null", model()));
  EXPECT_EQ(null.status, 0) << null.output;
  EXPECT_TRUE(fs::is_character_file("/dev/null"));
  ASSERT_EQ(::mkfifo(path("pipe").c_str(), 0600), 0);
  const ToolResult piped =
      shell(fmt::format("{} --json {} >/dev/null & cat {}; wait", inspect(), path("pipe"), path("pipe")));
  EXPECT_TRUE(is_json(piped.output)) << piped.output;
  EXPECT_TRUE(fs::is_fifo(path("pipe")));
}

TEST_F(OutputFiles, standard_output_under_any_name_receives_only_the_result) {
  for (const char* name : {"-", "/dev/stdout", "/dev/fd/1", "/proc/self/fd/1"}) {
    const ToolResult result = shell(fmt::format("{} --json {} 2>/dev/null", inspect(), name));
    EXPECT_TRUE(is_json(result.output)) << name << "\n" << result.output;
    // Renaming would leave the file that the shell opened empty.
    const ToolResult to_file = shell(fmt::format("{} --json {} 2>/dev/null >{}", inspect(), name, path("out.json")));
    EXPECT_EQ(to_file.status, 0) << name;
    EXPECT_TRUE(is_json(read_text(path("out.json")))) << name;
  }
  const ToolResult other = shell(fmt::format("{} --json /dev/fd/3 3>{} >/dev/null", inspect(), path("three.json")));
  EXPECT_EQ(other.status, 0) << other.output;
  EXPECT_TRUE(is_json(read_text(path("three.json"))));
}

TEST_F(OutputFiles, links_are_followed_and_not_replaced) {
  fs::create_symlink("target.onnx", path("link.onnx"));
  ASSERT_EQ(run_tool(fmt::format("fold {} -o {}", model(), path("link.onnx"))).status, 0);
  EXPECT_TRUE(fs::is_symlink(path("link.onnx")));
  EXPECT_EQ(run_tool("inspect " + path("target.onnx")).status, 0);
}

TEST_F(OutputFiles, one_file_for_two_results_is_refused) {
  const std::string quantize = fmt::format("quantize {} --calibrate {}", model(), data());
  expect_refused(fmt::format("{} -o {} --json {}", quantize, out(), out()), {"--output and --json", out()});
  expect_refused(fmt::format("{} -o {} --report {} --json {}", quantize, out(), path("a"), path("./a")),
                 {"--json and --report both write"});
  expect_refused(fmt::format("{} -o {} --save-calibration {} --json {}", quantize, out(), path("a"), path("a")),
                 {"--json and --save-calibration both write"});
  expect_refused(fmt::format("{} -o /dev/stdout --json -", quantize), {"--output and --json both write"});
  fs::create_symlink("a", path("link"));
  expect_refused(fmt::format("{} -o {} --report {} --json {}", quantize, out(), path("a"), path("link")),
                 {"--json and --report both write"});
}

TEST_F(OutputFiles, input_files_are_never_overwritten) {
  fs::create_symlink("model.onnx", path("link.onnx"));
  const std::string before = read_text(model());
  for (const std::string& output : {model(), path("link.onnx")}) {
    for (const std::string option : {"-o", "--json"}) {
      const std::string other = option == "-o" ? "" : "-o " + out();
      expect_refused(fmt::format("fold {} {} {} {}", model(), other, option, output),
                     {"would overwrite", output, "the model that is read", "another file"});
    }
    expect_refused(fmt::format("inspect {} --json {}", model(), output), {"would overwrite", "the model that is read"});
  }
  expect_quantize_refused("--save-calibration " + data(), {"--save-calibration would overwrite", data()});
  expect_refused(fmt::format("run {} --input {} --output {}", model(), data(), data()), {"--output would overwrite"});
  EXPECT_EQ(read_text(model()), before);
}

TEST_F(OutputFiles, external_data_that_is_read_is_never_overwritten_or_removed) {
  save_onnx(small_network(), path("big.onnx"), {.external_above_bytes = 100});
  const std::string weights = path("big.onnx.data"), before = read_text(weights);
  expect_refused(fmt::format("fold {} -o {}", path("big.onnx"), weights), {weights, "external data of"});
  fs::copy(path("big.onnx"), path("copy.onnx"));  // shares the weights of big.onnx
  expect_refused(fmt::format("fold {} -o {}", path("copy.onnx"), path("big.onnx")), {"remove its weights", weights});
  EXPECT_EQ(read_text(weights), before);
}

TEST_F(OutputFiles, a_model_and_its_data_in_use_can_be_replaced_by_another_process) {
  const std::string used = path("used.onnx");
  Graph product;
  Tensor weights(DataType::float32, {64, 64}), x(DataType::float32, {1, 64});
  for (float& v : weights.mutable_data<float>()) v = 0.5F;
  for (float& v : x.mutable_data<float>()) v = 2;
  const ValueId w = product.add_constant("w", weights);
  product.mark_output(product.add(MatMul{}, "product", {product.add_input("x", DataType::float32, {1, 64}), w}, "y"));
  save_onnx(product, used, {.external_above_bytes = 64});
  const Graph graph = load_onnx(used);
  ASSERT_TRUE(graph.value(graph.find("w")).constant->is_borrowed());
  // The tool renames a new file over the old one, whose contents stay mapped.
  ASSERT_EQ(run_tool(fmt::format("quantize {} --calibrate {} -o {}", model(), data(), used)).status, 0);
  ASSERT_EQ(run_tool(fmt::format("fold {} -o {}", model(), used)).status, 0);
  const Tensor y = Session(graph).run({{x}})[0];
  for (const float v : y.data<float>()) EXPECT_EQ(v, 64);
}

TEST_F(OutputFiles, sizes_count_external_data_under_any_name) {
  save_onnx(small_network(), path("big.onnx"), {.external_above_bytes = 100});
  fs::rename(path("big.onnx"), path("renamed.onnx"));
  const auto json = run_for_json("inspect " + path("renamed.onnx"));
  EXPECT_EQ(json["bytes"].get<std::uintmax_t>(),
            fs::file_size(path("renamed.onnx")) + fs::file_size(path("big.onnx.data")));
}

TEST_F(OutputFiles, are_checked_before_any_work) {
  expect_refused(fmt::format("fold {} -o {} --json {}", model(), out(), path("none/a.json")),
                 {"none/a.json", "No such file"});
  expect_refused(fmt::format("fold {} -o {} --json {}", model(), out(), folder_.path().string()), {"is a folder"});
}

TEST_F(OutputFiles, lost_standard_output_is_an_error) {
  if (!fs::exists("/dev/full")) GTEST_SKIP() << "needs /dev/full";
  const std::string help = std::string(BITFOLD_TOOL_PATH) + " --help";
  for (const std::string& command : {inspect(), inspect() + " --json -", inspect() + " --json /dev/stdout", help}) {
    const ToolResult full = shell(command + " >/dev/full");
    EXPECT_EQ(full.status, 1) << command;
    EXPECT_NE(full.output.find("No space left on device"), std::string::npos) << command << "\n" << full.output;
    const ToolResult closed = shell(command + " >&-");
    EXPECT_EQ(closed.status, 1) << command;
    EXPECT_NE(closed.output.find("Bad file descriptor"), std::string::npos) << command << "\n" << closed.output;
  }
  // The requested file exists nevertheless.
  EXPECT_EQ(shell(fmt::format("{} fold {} -o {} >&-", BITFOLD_TOOL_PATH, model(), out())).status, 1);
  EXPECT_EQ(run_tool("inspect " + out()).status, 0);
}

TEST_F(OutputFiles, a_closed_pipe_is_an_error) {
  const ToolResult result = shell(fmt::format("( trap '' PIPE; sleep 0.2; {}; echo status $? >&2 ) | true", inspect()));
  EXPECT_NE(result.output.find("cannot write standard output: Broken pipe"), std::string::npos) << result.output;
  EXPECT_NE(result.output.find("status 1"), std::string::npos) << result.output;
}

TEST_F(OutputFiles, exceeding_a_limit_on_file_sizes_is_an_error) {
  const auto before = count_files();
  const ToolResult result =
      shell(fmt::format("ulimit -f 100; {} inspect {} --json {}", BITFOLD_TOOL_PATH, model(), path("a.json")));
  EXPECT_EQ(result.status, 0) << "small files fit: " << result.output;
  const ToolResult refused =
      shell(fmt::format("ulimit -f 0; {} inspect {} --json {}", BITFOLD_TOOL_PATH, model(), path("b.json")));
  EXPECT_EQ(refused.status, 1);
  EXPECT_NE(refused.output.find("b.json': File too large"), std::string::npos) << refused.output;
  EXPECT_EQ(count_files(), before + 1);
}

TEST_F(OutputFiles, names_of_maximal_length_can_be_written) {
  for (const std::size_t length : {249, 255}) {
    const std::string name = path(std::string(length - 5, 'n') + ".onnx");
    const ToolResult result = run_tool(fmt::format("fold {} -o {}", model(), name));
    EXPECT_EQ(result.status, 0) << result.output;
    EXPECT_EQ(run_tool("inspect " + name).status, 0);
  }
}

TEST_F(OutputFiles, concurrent_tools_leave_one_complete_file) {
  std::string command;
  for (int i = 0; i < 6; ++i)
    command += fmt::format("{} --json {} >/dev/null & p=\"$p $!\"; ", inspect(), path("same.json"));
  const ToolResult result = shell(command + "for i in $p; do wait $i || exit 1; done");
  EXPECT_EQ(result.status, 0) << result.output;
  EXPECT_EQ(result.output, "");
  EXPECT_TRUE(is_json(read_text(path("same.json"))));
  EXPECT_EQ(count_files(), 3u);
}

TEST_F(OutputFiles, arrays_are_read_through_pipes) {
  save_npy(path("x.npy"), {{"", Tensor::from<float>({2}, std::vector<float>{-1, 1})}});
  const ToolResult piped = shell(fmt::format("cat {} | {} tensor /dev/stdin", path("x.npy"), BITFOLD_TOOL_PATH));
  EXPECT_EQ(piped.status, 0) << piped.output;
  EXPECT_NE(piped.output.find("waiting for an array from the pipe '/dev/stdin'"), std::string::npos) << piped.output;
  EXPECT_NE(piped.output.find("8 bits, asymmetric"), std::string::npos) << piped.output;
  ASSERT_EQ(::mkfifo(path("pipe").c_str(), 0600), 0);
  expect_refused(fmt::format("quantize {} --calibrate {} -o {}", model(), path("pipe"), out()),
                 {"pipe': is a pipe or a device"});
  expect_refused("inspect " + path("pipe"), {"pipe': it is not a regular file"});
  expect_quantize_refused("--recipe " + path("pipe"), {"pipe': it is not a regular file"});
}

TEST_F(OutputFiles, control_characters_do_not_reach_the_terminal) {
  Graph graph = small_network();
  graph.rename_node(graph.nodes()[0], "esc\033[31m\n\u009b1m");
  save_onnx(graph, path("names.onnx"));
  const ToolResult result = run_tool("inspect " + path("names.onnx"));
  EXPECT_EQ(result.status, 0);
  EXPECT_NE(result.output.find("esc\\x1b[31m\\n\\xc2\\x9b1m"), std::string::npos) << result.output;
  for (const char* call : {"inspect 'no\033such'", "inspect --no\033flag", "'\033verb'"}) {
    const ToolResult refused = run_tool(call);
    EXPECT_NE(refused.status, 0);
    EXPECT_EQ(refused.output.find('\033'), std::string::npos) << refused.output;
  }
  const ToolResult json = run_tool("inspect " + path("names.onnx") + " --json -");
  EXPECT_EQ(json.output.find_first_of("\033\u009b"), std::string::npos) << json.output;
}

}  // namespace
}  // namespace bitfold::testing
