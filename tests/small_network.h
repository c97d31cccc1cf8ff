// A small network with samples, and a check that the tool refuses something.
#pragma once

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "bitfold/data.h"
#include "bitfold/graph.h"
#include "bitfold/onnx.h"
#include "tool.h"

namespace bitfold::testing {

/// Conv(3 -> 4, 3x3) and Relu on [N,3,8,8].
inline Graph small_network() {
  Graph g;
  const ValueId x = g.add_input("input", DataType::float32, {kDynamic, 3, 8, 8});
  Tensor w(DataType::float32, {4, 3, 3, 3});
  float next = -0.5F;
  for (float& v : w.mutable_data<float>()) v = next += 0.01F;
  const ValueId weight = g.add_constant("weight", w);
  const ValueId conv = g.add(Conv{{.kernel = {3, 3}, .strides = {1, 1}, .dilations = {1, 1}, .pads = {0, 0, 0, 0}}},
                             "conv", {x, weight}, "hidden");
  g.mark_output(g.add(Unary{UnaryKind::relu}, "relu", {conv}, "y"));
  return g;
}

/// model() and data() in a folder of their own.
class SmallNetworkTest : public ::testing::Test {
 protected:
  void SetUp() override {
    save_onnx(small_network(), model());
    Tensor x(DataType::float32, {4, 3, 8, 8});
    float next = 0;
    for (float& v : x.mutable_data<float>()) v = next += 0.001F;
    save_npy(data(), {{"x", x}});
  }
  std::string model() const { return (folder_ / "model.onnx").string(); }
  std::string data() const { return (folder_ / "data.npz").string(); }
  std::string out() const { return (folder_ / "out.onnx").string(); }
  std::string path(const std::string& name) const { return (folder_ / name).string(); }

  /// Expects exit status 1, every word in the message, no output file and no temporary file.
  void expect_refused(const std::string& arguments, const std::vector<std::string>& words) {
    const auto before = count_files();
    const ToolResult result = run_tool(arguments);
    EXPECT_EQ(result.status, 1) << arguments << "\n" << result.output;
    for (const auto& word : words)
      EXPECT_NE(result.output.find(word), std::string::npos) << "no '" << word << "' in:\n" << result.output;
    EXPECT_EQ(count_files(), before) << "a file was left over";
  }
  void expect_quantize_refused(const std::string& extra, const std::vector<std::string>& words) {
    expect_refused(fmt::format("quantize {} --calibrate {} -o {} {}", model(), data(), out(), extra), words);
  }
  std::size_t count_files() const {
    std::size_t n = 0;
    for (const auto& entry : std::filesystem::recursive_directory_iterator(folder_.path())) n += entry.exists();
    return n;
  }

  TemporaryFolder folder_;
};

}  // namespace bitfold::testing
