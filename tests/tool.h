// Runs the command line tool as a user does.
#pragma once

#include <sys/wait.h>

#include <array>
#include <cstdio>
#include <fstream>
#include <nlohmann/json.hpp>
#include <sstream>
#include <string>

#include "testing.h"

namespace bitfold::testing {

struct ToolResult {
  int status = -1;     ///< Exit status; 128 + signal if a signal ended the process.
  std::string output;  ///< Standard output and standard error together.
};

/// Runs a shell command; BITFOLD_TOOL_PATH is the built tool.
inline ToolResult run_command(const std::string& command) {
  ToolResult result;
  std::FILE* pipe = ::popen((command + " 2>&1").c_str(), "r");
  if (pipe == nullptr) return result;
  std::array<char, 4096> buffer;
  while (std::size_t n = std::fread(buffer.data(), 1, buffer.size(), pipe)) result.output.append(buffer.data(), n);
  const int status = ::pclose(pipe);
  result.status = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
  return result;
}

inline ToolResult run_tool(const std::string& arguments) {
  return run_command(std::string(BITFOLD_TOOL_PATH) + " " + arguments);
}

/// Runs a command with --json FILE and returns the parsed file.
inline nlohmann::json run_for_json(const std::string& arguments) {
  const TemporaryFolder folder;
  const std::string path = (folder / "result.json").string();
  const ToolResult result = run_tool(arguments + " --json " + path);
  EXPECT_EQ(result.status, 0) << arguments << "\n" << result.output;
  std::ifstream file(path);
  return nlohmann::json::parse(file, nullptr, false);
}

inline std::string read_text(const std::filesystem::path& path) {
  std::ifstream file(path, std::ios::binary);
  std::stringstream text;
  text << file.rdbuf();
  return text.str();
}

inline void write_text(const std::filesystem::path& path, const std::string& text) {
  std::ofstream(path, std::ios::binary) << text;
}

/// Base of tests on the real networks and data, with a folder for output.
class NetworkTest : public ::testing::Test {
 protected:
  void SetUp() override { BITFOLD_NEEDS_DATA(); }
  static std::string model(const std::string& name) { return (data_folder() / "models" / (name + ".onnx")).string(); }
  static std::string data(const std::string& name) { return (data_folder() / "data" / name).string(); }
  std::string path(const std::string& name) const { return (folder_ / name).string(); }
  static constexpr const char* kMnist = "--mean 0.1307 --std 0.3081";

  TemporaryFolder folder_;
};

}  // namespace bitfold::testing
