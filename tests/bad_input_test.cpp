// Every kind of bad input gives a message that names the fault and exit status 1; nothing is written, nothing crashes.
#include <fmt/format.h>
#include <gtest/gtest.h>

#include <vector>

#include "bitfold/calibrate.h"
#include "small_network.h"

namespace bitfold::testing {
namespace {

class BadInput : public SmallNetworkTest {};

TEST_F(BadInput, the_unmodified_network_is_valid) {
  const ToolResult result = run_tool(fmt::format("quantize {} --calibrate {} -o {}", model(), data(), out()));
  EXPECT_EQ(result.status, 0) << result.output;
  EXPECT_TRUE(std::filesystem::exists(out()));
}

TEST_F(BadInput, missing_model_is_refused) {
  expect_refused("inspect " + path("nothing.onnx"), {"nothing.onnx", "No such file"});
}

TEST_F(BadInput, empty_model_is_refused) {
  write_text(path("empty.onnx"), "");
  expect_refused("inspect " + path("empty.onnx"), {"empty.onnx", "empty"});
}

TEST_F(BadInput, folder_as_model_is_refused) {
  expect_refused("inspect " + folder_.path().string(), {folder_.path().string()});
}

TEST_F(BadInput, model_that_is_not_a_protobuf_is_refused) {
  write_text(path("text.onnx"), "this is a sentence and no network at all, however long one looks at it");
  expect_refused("inspect " + path("text.onnx"), {"text.onnx"});
}

TEST_F(BadInput, model_truncated_anywhere_is_refused) {
  BITFOLD_NEEDS_DATA();
  const std::string whole = read_text(data_folder() / "models" / "resnet20-cifar10.onnx");
  for (int sixteenth = 1; sixteenth < 16; ++sixteenth) {
    write_text(path("cut.onnx"), whole.substr(0, whole.size() * static_cast<std::size_t>(sixteenth) / 16));
    expect_refused("inspect " + path("cut.onnx"), {"cut.onnx"});
  }
}

TEST_F(BadInput, operator_that_cannot_be_run_is_named) {
  Graph g = small_network();
  const ValueId y = g.outputs()[0];
  g.mark_output(g.add(Opaque{.domain = "org.example", .type = "Mystery", .attributes = {}}, "riddle", {y}, "z"));
  save_onnx(g, path("opaque.onnx"));
  EXPECT_EQ(run_tool("inspect " + path("opaque.onnx")).status, 0) << "it can still be looked at";
  expect_refused(fmt::format("run {} --input {}", path("opaque.onnx"), data()), {"Mystery", "riddle"});
}

TEST_F(BadInput, conv_with_mismatched_channels_is_refused) {
  Graph g;
  const ValueId x = g.add_input("input", DataType::float32, {1, 5, 8, 8});
  const ValueId weight = g.add_constant("weight", Tensor(DataType::float32, {4, 3, 3, 3}));
  g.mark_output(g.add(Conv{{.kernel = {3, 3}, .strides = {1, 1}, .dilations = {1, 1}, .pads = {0, 0, 0, 0}}}, "conv7",
                      {x, weight}, "y"));
  save_onnx(g, path("channels.onnx"));
  expect_refused("inspect " + path("channels.onnx"), {"channels.onnx", "conv7", "3", "5"});
}

TEST_F(BadInput, index_out_of_range_names_file_and_node) {
  Graph g;
  const ValueId x = g.add_input("x", DataType::float32, {4, 2}), i = g.add_input("i", DataType::int64, {1});
  g.mark_output(g.add(Gather{0}, "pick", {x, i}, "y"));
  infer_shapes(g);
  save_onnx(g, path("gather.onnx"));
  save_npy(path("inputs.npz"), {{"x", Tensor(DataType::float32, {4, 2})},
                                {"i", Tensor::from<std::int64_t>({1}, std::vector<std::int64_t>{9})}});
  for (const char* engine : {"", " --simulate"})
    expect_refused(fmt::format("run {} --input {}{}", path("gather.onnx"), path("inputs.npz"), engine),
                   {"gather.onnx: [Gather 'pick']", "9"});
}

TEST_F(BadInput, network_that_needs_more_memory_than_allowed_is_refused) {
  Graph g;
  const ValueId x = g.add_input("x", DataType::float32, {1, 4});
  const ValueId shape =
      g.add_constant("shape", Tensor::from<std::int64_t>({3}, std::vector<std::int64_t>{1000, 1000, 4}));
  g.mark_output(g.add(Reduce{}, "sum", {g.add(Expand{}, "enlarge", {x, shape}, "large")}, "y"));
  infer_shapes(g);
  save_onnx(g, path("large.onnx"));
  save_npy(path("x.npy"), {{"", Tensor(DataType::float32, {1, 4})}});
  const std::string run = fmt::format("run {} --input {}", path("large.onnx"), path("x.npy"));
  EXPECT_EQ(run_tool(run).status, 0);
  for (const char* engine : {"", " --simulate"})
    expect_refused(run + " --max-memory 10MB" + engine,
                   {"large.onnx: [Expand 'enlarge']", "16.0 MB, more than the 10.0 MB of memory"});
}

TEST_F(BadInput, values_alive_together_that_need_more_memory_than_allowed_are_refused) {
  Graph g;
  const ValueId x = g.add_input("x", DataType::float32, {1000, 1000});
  const ValueId a = g.add(Unary{UnaryKind::exp}, "first", {x}, "a"),
                b = g.add(Unary{UnaryKind::exp}, "second", {a}, "b");
  const ValueId c = g.add(Unary{UnaryKind::exp}, "third", {b}, "c");
  g.mark_output(g.add(Reduce{}, "sum", {g.add(Concat{.axis = 0}, "join", {a, b, c}, "all")}, "y"));
  infer_shapes(g);
  save_onnx(g, path("wide.onnx"));
  save_npy(path("x.npy"), {{"", Tensor(DataType::float32, {1000, 1000})}});
  const std::string run = fmt::format("run {} --input {} --simulate --max-memory ", path("wide.onnx"), path("x.npy"));
  EXPECT_EQ(run_tool(run + "25MB").status, 0);  // a, b, c and the 12 MB of their Concat
  expect_refused(run + "20MB", {"wide.onnx: [Concat 'join']", "and the values alive beside it take 24.0 MB"});
}

TEST_F(BadInput, nodes_that_fail_while_running_are_named_with_their_file) {
  Graph g;
  const ValueId x = g.add_input("x", DataType::float32, {kDynamic, 4});
  const ValueId hundred = g.add_constant("hundred", Tensor::from<float>({}, std::vector<float>{100}));
  const ValueId far_away = g.add(Binary{BinaryKind::mul}, "enlarge", {x, hundred}, "far");
  const ValueId index = g.add(Cast{DataType::int64}, "index", {far_away}, "i");
  const ValueId table = g.add_constant("table", Tensor::from<float>({2}, std::vector<float>{1, 2}));
  g.mark_output(g.add(Gather{0}, "pick", {table, index}, "y"));
  infer_shapes(g);
  save_onnx(g, path("gather.onnx"));
  save_onnx(g, path("copy.onnx"));
  Tensor far(DataType::float32, {2, 4});
  for (float& value : far.mutable_data<float>()) value = 9;
  save_npy(path("far.npy"), {{"", far}});
  expect_refused(fmt::format("compare {} {} --data {}", path("gather.onnx"), path("copy.onnx"), path("far.npy")),
                 {"gather.onnx: ", "[Gather 'pick']", "900"});
  expect_refused(fmt::format("quantize {} --calibrate {} -o {}", path("gather.onnx"), path("far.npy"), out()),
                 {"gather.onnx: ", "[Gather 'pick']", "900"});
  expect_refused(fmt::format("bench {} {} --min-time 0", model(), path("gather.onnx")),
                 {"gather.onnx: [Gather 'pick']"});
}

TEST_F(BadInput, unwritable_output_is_refused) {
  expect_refused(fmt::format("fold {} -o {}", model(), path("no/such/folder/out.onnx")), {"no/such/folder/out.onnx"});
}

TEST_F(BadInput, full_disk_leaves_nothing) {
  if (!std::filesystem::exists("/dev/full")) GTEST_SKIP() << "needs /dev/full";
  expect_refused(fmt::format("fold {} -o /dev/full", model()), {"/dev/full", "No space left"});
}

TEST_F(BadInput, full_file_system_leaves_nothing) {
  const std::string disk = path("disk");
  std::filesystem::create_directory(disk);
  if (run_command("mount -t tmpfs -o size=4k tmpfs " + disk).status != 0)
    GTEST_SKIP() << "needs the right to mount a tmpfs";
  write_text(disk + "/filler", std::string(4096, 'x'));  // fills the only page
  const ToolResult result = run_tool(fmt::format("quantize {} --calibrate {} -o {}/out.onnx", model(), data(), disk));
  const auto left = run_command("ls -A " + disk).output;
  run_command("umount " + disk);
  EXPECT_EQ(result.status, 1) << result.output;
  EXPECT_NE(result.output.find("out.onnx"), std::string::npos) << result.output;
  EXPECT_EQ(left, "filler\n");
}

TEST_F(BadInput, calibration_data_of_the_wrong_shape_is_refused) {
  save_npy(path("wide.npz"), {{"x", Tensor(DataType::float32, {2, 3, 8, 9})}});
  expect_refused(fmt::format("quantize {} --calibrate {} -o {}", model(), path("wide.npz"), out()), {"wide.npz", "8"});
}

TEST_F(BadInput, calibration_data_of_the_wrong_type_is_refused) {
  save_npy(path("whole.npz"), {{"x", Tensor(DataType::int64, {2, 3, 8, 8})}});
  expect_refused(fmt::format("quantize {} --calibrate {} -o {}", model(), path("whole.npz"), out()),
                 {"whole.npz", "int64"});
}

TEST_F(BadInput, calibration_data_without_samples_is_refused) {
  save_npy(path("none.npz"), {{"x", Tensor(DataType::float32, {0, 3, 8, 8})}});
  expect_refused(fmt::format("quantize {} --calibrate {} -o {}", model(), path("none.npz"), out()),
                 {"none.npz", "no samples"});
}

TEST_F(BadInput, calibration_data_with_nan_is_refused) {
  Tensor x(DataType::float32, {2, 3, 8, 8});
  x.mutable_data<float>()[200] = std::numeric_limits<float>::quiet_NaN();
  save_npy(path("nan.npz"), {{"x", x}});
  expect_refused(fmt::format("quantize {} --calibrate {} -o {}", model(), path("nan.npz"), out()), {"nan.npz", "nan"});
}

TEST_F(BadInput, an_infinity_in_calibration_data_is_refused_where_a_grid_is_needed) {
  Tensor x(DataType::float32, {2, 3, 8, 8});
  x.mutable_data<float>()[200] = -std::numeric_limits<float>::infinity();
  save_npy(path("infinite.npy"), {{"", x}});
  const std::vector<std::string> words{"sample 1: input 'input' is minus infinite at index 8", "--skip 'conv'"};
  expect_refused(fmt::format("quantize {} --calibrate {} -o {}", model(), path("infinite.npy"), out()), words);
  const ToolResult skipped =
      run_tool(fmt::format("quantize {} --calibrate {} -o {} --skip conv", model(), path("infinite.npy"), out()));
  EXPECT_EQ(skipped.status, 0) << skipped.output;
}

TEST_F(BadInput, an_infinity_in_a_folder_of_samples_is_refused_where_a_grid_is_needed) {
  std::filesystem::create_directory(path("samples"));
  Tensor x(DataType::float32, {1, 3, 8, 8});
  save_npy(path("samples/a.npz"), {{"input", x}});
  x.mutable_data<float>()[5] = std::numeric_limits<float>::infinity();
  save_npy(path("samples/b.npz"), {{"input", x}});
  expect_refused(fmt::format("quantize {} --calibrate {} -o {}", model(), path("samples"), out()),
                 {"sample 1: input 'input' is infinite at index 5", "--skip 'conv'"});
}

TEST_F(BadInput, images_that_preprocessing_makes_infinite_are_refused) {
  BITFOLD_NEEDS_DATA();
  std::filesystem::create_directory(path("images"));
  std::filesystem::copy(data_folder() / "data" / "faces" / "13.jpg", path("images/13.jpg"));
  expect_refused(
      fmt::format("quantize {} --calibrate {} --resize 8x8 --std 1e-40 -o {}", model(), path("images"), out()),
      {"input 'input' is ", "check the data and its preprocessing"});
}

TEST_F(BadInput, weights_that_are_not_finite_are_refused) {
  Graph g = small_network();
  g.value(g.find("weight")).constant->mutable_data<float>()[7] = std::numeric_limits<float>::quiet_NaN();
  save_onnx(g, path("nan.onnx"));
  const std::vector<std::string> words{"nan.onnx: [Conv 'conv'] weights 'weight': an element is NaN, at index 7",
                                       "--skip 'conv'"};
  expect_refused(fmt::format("quantize {} --calibrate {} -o {}", path("nan.onnx"), data(), out()), words);
  expect_refused(fmt::format("quantize {} --data-free --input-range 0,1 -o {}", path("nan.onnx"), out()), words);
}

TEST_F(BadInput, one_weight_bit_is_refused) {
  expect_quantize_refused("--weight-bits 1", {"weight_bits", "1", "2 to 8"});
}
TEST_F(BadInput, thirty_three_weight_bits_are_refused) {
  expect_quantize_refused("--weight-bits 33", {"weight_bits", "33", "2 to 8"});
}
TEST_F(BadInput, twelve_activation_bits_are_refused) {
  expect_quantize_refused("--activation-bits 12", {"activation_bits", "12"});
}
TEST_F(BadInput, percentile_of_zero_is_refused) {
  expect_quantize_refused("--observer percentile --percentile 0", {"percentile", "0"});
}
TEST_F(BadInput, percentile_of_101_is_refused) {
  expect_quantize_refused("--observer percentile --percentile 101", {"percentile", "101"});
}
TEST_F(BadInput, unknown_observer_is_refused) {
  expect_quantize_refused("--observer median", {"median", "min_max", "percentile", "mse"});
}
TEST_F(BadInput, automatic_observer_with_saved_statistics_is_refused) {
  Calibration calibration;
  calibration.values["x"].add(std::vector<float>{0, 1});
  save_calibration(calibration, path("saved.json"));
  expect_refused(fmt::format("quantize {} --calibration {} --observer auto -o {}", model(), path("saved.json"), out()),
                 {"saved.json", "only statistics", "--observer auto", "--calibrate"});
}
TEST_F(BadInput, data_free_with_data_is_refused) {
  expect_quantize_refused("--data-free", {"--data-free", "--calibrate"});
}
TEST_F(BadInput, data_free_with_an_empty_input_range_is_refused) {
  expect_refused(fmt::format("quantize {} --data-free --input-range 1,1 -o {}", model(), out()), {"'input'", "1 to 1"});
}
TEST_F(BadInput, data_free_with_options_that_need_samples_is_refused) {
  expect_refused(fmt::format("quantize {} --data-free --rounding gptq -o {}", model(), out()), {"samples", "gptq"});
}
TEST_F(BadInput, skipping_an_unknown_layer_suggests_the_nearest) {
  expect_quantize_refused("--skip covn", {"covn", "conv"});
}

TEST_F(BadInput, recipe_with_an_unknown_key_suggests_the_nearest) {
  write_text(path("recipe.toml"), "weight_bits = 8\nweight_schema = \"symmetric\"\n");
  expect_quantize_refused("--recipe " + path("recipe.toml"), {"recipe.toml", "weight_schema", "weight_scheme"});
}

TEST_F(BadInput, recipe_with_a_value_of_the_wrong_type_is_refused) {
  write_text(path("recipe.toml"), "weight_bits = \"eight\"\n");
  expect_quantize_refused("--recipe " + path("recipe.toml"), {"recipe.toml", "weight_bits"});
}

TEST_F(BadInput, preprocess_file_with_an_unknown_key_is_refused) {
  write_text(path("images.toml"), "resise = 256\n");
  expect_quantize_refused("--preprocess " + path("images.toml"), {"images.toml", "resise", "resize"});
}

TEST_F(BadInput, corrupt_image_is_skipped_or_refused_when_strict) {
  BITFOLD_NEEDS_DATA();
  const auto folder = folder_ / "images";
  std::filesystem::create_directory(folder);
  for (const char* name : {"1.jpg", "13.jpg"})
    std::filesystem::copy(data_folder() / "data" / "faces" / name, folder / name);
  write_text(folder / "2.jpg", read_text(folder / "13.jpg").substr(0, 300));
  const std::string call =
      fmt::format("quantize {} --calibrate {} --resize 8x8 -o {}", model(), folder.string(), out());
  expect_refused(call + " --strict", {"2.jpg"});
  const ToolResult result = run_tool(call);
  EXPECT_EQ(result.status, 0) << result.output;
  EXPECT_NE(result.output.find("2.jpg"), std::string::npos) << "the skipped image is named:\n" << result.output;
}

TEST_F(BadInput, labels_that_do_not_match_are_refused) {
  BITFOLD_NEEDS_DATA();
  const auto folder = folder_ / "labelled";
  std::filesystem::create_directory(folder);
  std::filesystem::copy(data_folder() / "data" / "faces" / "13.jpg", folder / "13.jpg");
  write_text(folder / "labels.txt", "13.jpg 0\nmissing.jpg 1\n");
  expect_refused(fmt::format("eval {} --data {} --resize 8x8", model(), folder.string()),
                 {"labels.txt", "missing.jpg"});
  write_text(folder / "labels.txt", "13.jpg zero\n");
  expect_refused(fmt::format("eval {} --data {} --resize 8x8", model(), folder.string()), {"labels.txt", "zero"});
}

TEST_F(BadInput, usage_errors_exit_with_2) {
  for (const char* call : {"", "frobnicate", "quantize", "bench", "eval", "tensor", "quantize model.onnx"})
    EXPECT_EQ(run_tool(call).status, 2) << call;
  EXPECT_EQ(run_tool("inspect --no-such-flag " + model()).status, 2);
}

TEST_F(BadInput, quantizing_twice_is_refused) {
  ASSERT_EQ(run_tool(fmt::format("quantize {} --calibrate {} -o {}", model(), data(), out())).status, 0);
  expect_refused(fmt::format("quantize {} --calibrate {} -o {}", out(), data(), path("twice.onnx")),
                 {"out.onnx", "already"});
}

TEST_F(BadInput, an_open_image_size_can_be_inspected) {
  Graph g;
  const ValueId x = g.add_input("x", DataType::float32, {kDynamic, 3, kDynamic, kDynamic});
  const Window window{.kernel = {2, 2}, .strides = {2, 2}, .dilations = {1, 1}, .pads = {0, 0, 0, 0}};
  g.mark_output(g.add(Pool{.window = window}, "pool", {x}, "y"));
  save_onnx(g, path("any_size.onnx"));
  const ToolResult result = run_tool("inspect " + path("any_size.onnx"));
  EXPECT_EQ(result.status, 0) << result.output;
}

TEST_F(BadInput, overwriting_the_float_model_is_refused) {
  const std::string before = read_text(model());
  expect_refused(fmt::format("quantize {} --calibrate {} -o {}", model(), data(), model()), {model(), "another file"});
  EXPECT_EQ(read_text(model()), before);
}

TEST_F(BadInput, running_on_an_array_of_the_wrong_shape_is_refused) {
  save_npy(path("flat.npy"), {{"", Tensor(DataType::float32, {4, 3})}});
  expect_refused(fmt::format("run {} --input {}", model(), path("flat.npy")), {"input", "4x3"});
}

}  // namespace
}  // namespace bitfold::testing
