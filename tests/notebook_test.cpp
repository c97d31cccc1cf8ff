// Runs examples/notebook as a user does: its tables contain the notebook's figures and ours.
#include <array>
#include <cstdio>
#include <regex>
#include <string>

#include "testing.h"

namespace bitfold {
namespace {

struct Run {
  std::string text;  // runs of blanks are merged, because these tests check figures, not columns
  int status = -1;
};

const Run& notebook() {
  static const Run run = [] {
    Run r;
    std::FILE* pipe = ::popen("'" BITFOLD_NOTEBOOK "' 2>&1", "r");
    if (pipe == nullptr) return r;
    std::array<char, 4096> buffer{};
    while (const std::size_t count = std::fread(buffer.data(), 1, buffer.size(), pipe))
      r.text.append(buffer.data(), count);
    r.status = ::pclose(pipe);
    r.text = std::regex_replace(r.text, std::regex(" +"), " ");
    return r;
  }();
  return run;
}

// The number after `label`.
double figure(const std::string& label) {
  const std::size_t at = notebook().text.find(label);
  if (at == std::string::npos) {
    ADD_FAILURE() << "no '" << label << "' in the output:\n" << notebook().text;
    return 0;
  }
  return std::atof(notebook().text.c_str() + at + label.size());
}

void expect_line(const std::string& line) {
  EXPECT_NE(notebook().text.find(line), std::string::npos) << "no '" << line << "' in the output:\n" << notebook().text;
}

TEST(NotebookExample, exits_with_0) { EXPECT_EQ(notebook().status, 0) << notebook().text; }

TEST(NotebookExample, prints_the_tensor_as_in_the_notebook) {
  expect_line(
      "-2.2066 0.3966 0.5587 1.1892\n 0.3932 1.6257 -0.6623 -0.0903\n -0.8323 -0.0078 1.2867 -0.1683\n "
      "3.2285 1.6256 0.6275 -1.0032\n");
  expect_line("scale: 0.0213 in both. zero_point: the notebook 103.5259, Bitfold 104.");
}

TEST(NotebookExample, prints_fractional_codes_beside_bytes) {
  expect_line(" 0.0000 122.5259 129.5259 159.5259 0 123 130 160\n");
  expect_line(" 121.5259 179.5259 72.5259 99.5259 122 180 73 100\n");
  expect_line(" 64.5259 103.5259 163.5259 95.5259 65 104 164 96\n");
  expect_line(" 254.5259 179.5259 132.5259 56.5259 255 180 133 57\n");
  expect_line(" -2.2066 0.4050 0.5542 1.1936 -2.2167 0.4050 0.5542 1.1936\n");
}

TEST(NotebookExample, prints_the_error_from_truncating_the_zero_point) {
  expect_line("int(103.5259) is 103 in the notebook, round(103.5259) is 104 in Bitfold");
  expect_line(" -2.1953 0.4050 0.5542 1.1936 -2.2167 0.4050 0.5542 1.1936\n");
}

TEST(NotebookExample, prints_the_notebooks_symmetric_codes_and_its_clipping) {
  expect_line(" -104 19 26 56 -87 16 22 47\n");
  expect_line(" 18 76 -31 -4 15 64 -26 -4\n");
  expect_line(" -39 0 60 -8 -33 0 51 -7\n");
  expect_line(" 127 76 29 -47 127 64 25 -39\n");
  expect_line(" 2.7069 1.6199 0.6181 -1.0018 3.2285 1.6270 0.6355 -0.9914\n");
  expect_line("largest error: the notebook 0.5216, Bitfold 0.0119");
}

TEST(NotebookExample, quantized_layer_keeps_weights_and_biases_accurate) {
  const double ours = figure("with the scale it kept; Bitfold ");
  EXPECT_GT(ours, 0);
  EXPECT_LT(ours, 0.0005);  // weights are in [-0.116, 0.116]: half a step of 255 is 0.00045
  const double kept = figure("with its own scale, ");
  EXPECT_GT(kept, 3 * ours);
}

TEST(NotebookExample, network_runs_in_integers_where_the_notebooks_output_is_noise) {
  const auto signal_to_noise = [](const std::string& row) {
    std::smatch match;
    const std::regex pattern(row + R"( [0-9.]+ KB ([0-9.]+) % (\S+) dB)");
    if (!std::regex_search(notebook().text, match, pattern)) {
      ADD_FAILURE() << "no row '" << row << "' in the output:\n" << notebook().text;
      return 0.0;
    }
    return std::stod(match[2]);
  };
  EXPECT_GT(signal_to_noise("Bitfold, 8 bits"), 25);
  EXPECT_LT(signal_to_noise("the notebook"), 0);  // more noise than signal
}

TEST(NotebookExample, folding_error_is_below_a_millionth) {
  expect_line("a new BatchNorm nodes 2 -> 1");
  expect_line("a trained one nodes 2 -> 1");
  EXPECT_EQ(notebook().text.find("NOT below 1e-6"), std::string::npos) << notebook().text;
}

TEST(NotebookExample, fuses_with_the_folded_weights) {
  EXPECT_GT(figure("the notebook's `fuse` "), 0.1);
  std::smatch match;
  ASSERT_TRUE(std::regex_search(notebook().text, match, std::regex("`fuse` [0-9.]+, Bitfold ([0-9.e+-]+)")));
  EXPECT_LT(std::stod(match[1]), 1e-6);
}

TEST(NotebookExample, times_the_block_unfolded_and_folded) {
  EXPECT_GT(figure("\n unfused "), 0);
  EXPECT_GT(figure("\n fused "), 0);
  expect_line("the notebook: 341 us / 238 us = 1.43");
}

}  // namespace
}  // namespace bitfold
