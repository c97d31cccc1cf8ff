// Models whose weights lie in other files: finding those files, and replacing model and weights together.
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <thread>

#include "base/file.h"
#include "bitfold/error.h"
#include "bitfold/onnx.h"
#include "testing.h"

namespace bitfold {
namespace {

namespace fs = std::filesystem;

constexpr SaveOptions kExternal{.external_above_bytes = 100};

/// y = x * w. Every element of w is `value`, and w is kept in another file.
Graph network(float value, std::int64_t size = 256) {
  Graph graph;
  const ValueId x = graph.add_input("x", DataType::float32, {size});
  Tensor weight(DataType::float32, {size});
  for (float& element : weight.mutable_data<float>()) element = value;
  const ValueId w = graph.add_constant("w", weight);
  graph.mark_output(graph.add(Binary{BinaryKind::mul}, "mul", {x, w}, "y"));
  // Identifies the model that belongs to these weights.
  graph.metadata["value"] = std::to_string(value);
  return graph;
}

/// The value that a model and its weights share. Throws Error if they differ.
float loaded_value(const std::string& path) {
  const Graph graph = load_onnx(path);
  const Tensor weight = *graph.value(graph.find("w")).constant;
  const auto elements = weight.data<float>();
  for (const float element : elements) EXPECT_EQ(element, elements[0]);
  EXPECT_EQ(graph.metadata.at("value"), std::to_string(elements[0]));
  return elements[0];
}

std::vector<std::string> names_in(const fs::path& folder) {
  std::vector<std::string> names;
  for (const auto& entry : fs::directory_iterator(folder)) names.push_back(entry.path().filename().string());
  std::sort(names.begin(), names.end());
  return names;
}

class ExternalFiles : public ::testing::Test {
 protected:
  std::string path(const std::string& name) const { return (folder_ / name).string(); }
  testing::TemporaryFolder folder_;
};

TEST_F(ExternalFiles, are_found_under_any_name) {
  save_onnx(network(1), path("a.onnx"), kExternal);
  EXPECT_EQ(external_files(path("a.onnx")), std::vector<std::string>{path("a.onnx.data")});
  fs::copy(path("a.onnx"), path("b.onnx"));
  EXPECT_EQ(external_files(path("b.onnx")), std::vector<std::string>{path("a.onnx.data")});
  save_onnx(network(1), path("whole.onnx"));
  EXPECT_TRUE(external_files(path("whole.onnx")).empty());
}

TEST_F(ExternalFiles, damaged_models_do_not_crash_the_search) {
  save_onnx(network(1), path("a.onnx"), kExternal);
  const std::vector<std::byte> bytes = read_file(path("a.onnx"));
  for (std::size_t size = 0; size < bytes.size(); ++size) {
    write_file(path("cut.onnx"), std::span(bytes).first(size));
    EXPECT_LE(external_files(path("cut.onnx")).size(), 1u);
  }
  EXPECT_TRUE(external_files(path("missing.onnx")).empty());
  EXPECT_TRUE(external_files(folder_.path().string()).empty());
}

TEST_F(ExternalFiles, get_a_free_name_and_are_removed_with_their_model) {
  const std::string model = path("a.onnx");
  save_onnx(network(1), model, kExternal);
  EXPECT_EQ(names_in(folder_.path()), (std::vector<std::string>{"a.onnx", "a.onnx.data"}));
  save_onnx(network(2), model, kExternal);
  EXPECT_EQ(names_in(folder_.path()), (std::vector<std::string>{"a.onnx", "a.onnx.data.2"}));
  EXPECT_EQ(loaded_value(model), 2);
  save_onnx(network(3), model, kExternal);
  EXPECT_EQ(names_in(folder_.path()), (std::vector<std::string>{"a.onnx", "a.onnx.data"}));
  EXPECT_EQ(loaded_value(model), 3);
  save_onnx(network(4), model);
  EXPECT_EQ(names_in(folder_.path()), std::vector<std::string>{"a.onnx"});
  EXPECT_EQ(loaded_value(model), 4);
}

TEST_F(ExternalFiles, files_of_other_models_are_neither_replaced_nor_removed) {
  write_file(path("a.onnx.data"), std::string_view("of someone else"));
  save_onnx(network(1), path("a.onnx"), kExternal);
  EXPECT_EQ(read_file(path("a.onnx.data")).size(), 15u);
  EXPECT_EQ(loaded_value(path("a.onnx")), 1);
  fs::copy(path("a.onnx"), path("b.onnx"));  // uses the weights of a.onnx
  save_onnx(network(2), path("b.onnx"), kExternal);
  EXPECT_EQ(loaded_value(path("a.onnx")), 1);
  EXPECT_EQ(loaded_value(path("b.onnx")), 2);
}

TEST_F(ExternalFiles, are_refused_for_a_model_that_is_a_device) {
  try {
    save_onnx(network(1), "/dev/null", kExternal);
    ADD_FAILURE() << "nothing was thrown";
  } catch (const Error& error) {
    EXPECT_NE(std::string(error.what()).find("'/dev/null' is not a regular file"), std::string::npos) << error.what();
  }
  EXPECT_FALSE(fs::exists("/dev/null.data"));
}

TEST_F(ExternalFiles, have_valid_names_if_the_models_name_is_as_long_as_possible) {
  const std::string model = path(std::string(250, 'm') + ".onnx");
  save_onnx(network(1), model, kExternal);
  EXPECT_EQ(loaded_value(model), 1);
  save_onnx(network(2), model, kExternal);
  EXPECT_EQ(loaded_value(model), 2);
  EXPECT_EQ(names_in(folder_.path()).size(), 2u);
}

// A process that replaces model and weights repeatedly is killed at a random moment; the files must still match.
TEST_F(ExternalFiles, are_never_paired_with_another_model) {
  const std::string model = path("a.onnx");
  save_onnx(network(0), model, kExternal);
  for (int round = 0; round < 40; ++round) {
    const pid_t child = ::fork();
    ASSERT_GE(child, 0);
    if (child == 0) {
      for (float value = 1;; ++value) save_onnx(network(value), model, kExternal);
    }
    std::this_thread::sleep_for(std::chrono::microseconds(500 + 777 * round));
    ::kill(child, SIGKILL);
    ::waitpid(child, nullptr, 0);
    EXPECT_GE(loaded_value(model), 0);
  }
}

}  // namespace
}  // namespace bitfold
