// The complete workflow: folds, calibrates, quantizes to 8, 6, 4 and 2 bits, measures, and prints one table.
//
// Without --data it draws its own digits and uses the LeNet included in the project. With --data it reads MNIST's files
// (from calib/ and test/, or from one folder for both), and lenet-bn.onnx from the same folder if it exists.
#include <fmt/format.h>

#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "bitfold/bitfold.h"
#include "digits.h"

namespace bitfold::demo {
namespace {

namespace fs = std::filesystem;

constexpr std::int64_t kCalibrationSamples = 512, kTestSamples = 4000;
constexpr double kBenchTime_s = 0.4;

struct Arguments {
  std::optional<fs::path> data;
  fs::path model = fs::path(BITFOLD_DEMO_FOLDER) / "lenet-digits.onnx";
  std::optional<fs::path> write_digits;
  std::int64_t count = 24000;
  std::uint64_t seed = 1;
};

/// Files of the calibration and test samples. `folder` keeps the drawn digits alive.
struct Samples {
  std::string calibration, test, model;
};

/// A folder for the demo's files, removed at the end.
class WorkFolder {
 public:
  WorkFolder() {
    std::string pattern = (fs::temp_directory_path() / "bitfold-demo-XXXXXX").string();
    if (::mkdtemp(pattern.data()) == nullptr) throw Error(pattern + ": cannot make a temporary folder");
    path_ = pattern;
  }
  ~WorkFolder() {
    std::error_code ignored;
    fs::remove_all(path_, ignored);
  }
  WorkFolder(const WorkFolder&) = delete;
  WorkFolder& operator=(const WorkFolder&) = delete;
  std::string operator/(const std::string& name) const { return (path_ / name).string(); }

 private:
  fs::path path_;
};

void write_digits(const std::string& path, std::int64_t count, std::uint64_t seed) {
  const Digits digits = draw_digits(count, seed);
  save_npy(path, {{"x", digits.images}, {"y", Tensor::from<std::int64_t>({count}, digits.labels)}});
}

Samples find_samples(const Arguments& arguments, const WorkFolder& folder) {
  if (!arguments.data) {
    fmt::print("drawing {} digits to calibrate on and {} to test on\n", kCalibrationSamples, kTestSamples);
    // Seeds different from the one used to train the network.
    write_digits(folder / "calibration.npz", kCalibrationSamples, 2);
    write_digits(folder / "test.npz", kTestSamples, 3);
    return {folder / "calibration.npz", folder / "test.npz", arguments.model.string()};
  }
  const fs::path& data = *arguments.data;
  const auto either = [&](const char* name) { return fs::exists(data / name) ? data / name : data; };
  Samples samples{either("calib").string(), either("test").string(), arguments.model.string()};
  for (const fs::path& model :
       {data / "lenet-bn.onnx", data / "../models/lenet-bn.onnx", data / "../../models/lenet-bn.onnx"})
    if (fs::exists(model)) {
      samples.model = model.string();
      break;
    }
  return samples;
}

struct Row {
  std::string name;
  double top1 = 0, agreement = 0, sqnr_db = 0, file_bytes = 0, latency_us = 0;
};

/// Weights and activations of n bits.
Graph quantized_at(int bits, const Graph& graph, BatchSource& samples) {
  return quantize(graph, samples, {.weight_bits = bits, .activation_bits = bits}).graph;
}

void print_table(const std::vector<Row>& rows) {
  fmt::print("\n{:<12} {:>9} {:>11} {:>9} {:>10} {:>12} {:>9}\n", "network", "accuracy", "agreement", "SQNR dB", "file",
             "latency", "speed-up");
  for (const Row& row : rows) {
    const bool is_float = &row == &rows.front();
    fmt::print("{:<12} {:>7.2f} % {:>9.2f} % {:>9} {:>7.0f} kB {:>9.1f} us {:>8.2f}x\n", row.name, row.top1 * 100,
               row.agreement * 100, is_float ? "" : fmt::format("{:.1f}", row.sqnr_db), row.file_bytes / 1e3,
               row.latency_us, rows.front().latency_us / row.latency_us);
  }
  fmt::print("(latency: median of one sample, one thread; agreement: same class as the float network)\n");
}

void quantize_at_every_width(const Samples& samples, const WorkFolder& folder) {
  Graph graph = load_onnx(samples.model);
  const std::size_t nodes_before = graph.node_count();
  optimize(graph);
  fmt::print("{}: {} nodes, {} after folding\n", samples.model, nodes_before, graph.node_count());

  const Value& input = graph.value(graph.inputs().front());
  const std::vector<InputSpec> specs{{input.name, input.dtype, input.shape.value_or(Shape{})}};
  const DatasetOptions options{.preprocess = {.mean = {0.1307F}, .std = {0.3081F}}};
  Dataset calibration_data = open_dataset(samples.calibration, specs, options);
  Dataset test_data = open_dataset(samples.test, specs, options);
  fmt::print("calibrating on {}\n", calibration_data.source->description());

  std::vector<Row> rows{{.name = "float"}};
  std::vector<Graph> graphs{graph};
  for (int bits : {8, 6, 4, 2}) {
    rows.push_back({.name = fmt::format("{} bits", bits)});
    graphs.push_back(quantized_at(bits, graph, *calibration_data.source));
  }
  std::vector<const Graph*> pointers;
  pointers.reserve(graphs.size());
  for (const Graph& g : graphs) pointers.push_back(&g);
  const auto times = bench_interleaved(pointers, {.min_time_s = kBenchTime_s});
  for (std::size_t i = 0; i < rows.size(); ++i) {
    const std::string path = folder / fmt::format("model{}.onnx", i);
    save_onnx(graphs[i], path);
    // Measures the file that a user would run, after reading it back.
    const Graph loaded = load_onnx(path);
    rows[i].top1 = evaluate(loaded, *test_data.source).top1.value_or(0);
    const Comparison comparison = compare(graph, loaded, *test_data.source);
    rows[i].agreement = comparison.top1_agreement.value_or(0);
    rows[i].sqnr_db = comparison.sqnr_db;
    rows[i].file_bytes = static_cast<double>(fs::file_size(path));
    rows[i].latency_us = times[i].median_us;
  }
  print_table(rows);
}

/// The notebook's block: Conv(3 -> 20, 5x5) + BatchNorm + Relu on 1x3x32x32, unfolded against folded.
void time_fused_block() {
  Graph block;
  std::uint32_t state = 1;
  const auto random = [&](Shape shape, float low, float high) {
    Tensor t(DataType::float32, std::move(shape));
    for (float& x : t.mutable_data<float>()) {
      state = state * 1664525U + 1013904223U;  // the generator of Numerical Recipes; the values do not matter
      x = low + (high - low) * static_cast<float>(state >> 8U) / 16777216.0F;
    }
    return t;
  };
  const ValueId x = block.add_input("input", DataType::float32, {1, 3, 32, 32});
  const auto constant = [&](const char* name, Tensor t) { return block.add_constant(name, std::move(t)); };
  const Window window{.kernel = {5, 5}, .strides = {1, 1}, .dilations = {1, 1}, .pads = {0, 0, 0, 0}};
  const ValueId conv = block.add(
      Conv{window}, "conv1",
      {x, constant("w", random({20, 3, 5, 5}, -0.1F, 0.1F)), constant("b", random({20}, -0.1F, 0.1F))}, "conv1");
  const ValueId bn =
      block.add(BatchNorm{}, "bn1",
                {conv, constant("gamma", random({20}, 0.5F, 1.5F)), constant("beta", random({20}, -0.5F, 0.5F)),
                 constant("mean", random({20}, -0.5F, 0.5F)), constant("var", random({20}, 0.5F, 1.5F))},
                "bn1");
  block.mark_output(block.add(Unary{UnaryKind::relu}, "relu1", {bn}, "y"));
  Graph folded = block;
  optimize(folded);
  const auto times = bench_interleaved({&block, &folded}, {.min_time_s = kBenchTime_s});
  fmt::print(
      "\nthe notebook's block, conv + bn + relu in float: {:.1f} us in three steps, {:.1f} us folded and fused: "
      "{:.2f}x "
      "(the notebook: 341 us, 238 us, 1.43x)\n",
      times[0].median_us, times[1].median_us, times[0].median_us / times[1].median_us);
}

Arguments parse(int argc, char** argv) {
  Arguments arguments;
  for (int i = 1; i < argc; ++i) {
    const std::string_view flag = argv[i];
    if (flag == "--help" || flag == "-h") {
      fmt::print(
          "usage: demo [--data FOLDER] [--model FILE.onnx]\n       demo --write-digits FILE.npz [--count N] [--seed "
          "S]\n");
      std::exit(0);
    }
    const bool is_known =
        flag == "--data" || flag == "--model" || flag == "--write-digits" || flag == "--count" || flag == "--seed";
    if (!is_known || i + 1 >= argc) {
      fmt::print(stderr, "demo: {} '{}'; see demo --help\n", is_known ? "no value after" : "unknown option", flag);
      std::exit(2);
    }
    const char* value = argv[++i];
    if (flag == "--data") arguments.data = value;
    if (flag == "--model") arguments.model = value;
    if (flag == "--write-digits") arguments.write_digits = value;
    if (flag == "--count") arguments.count = std::atoll(value);
    if (flag == "--seed") arguments.seed = static_cast<std::uint64_t>(std::atoll(value));
  }
  return arguments;
}

}  // namespace
}  // namespace bitfold::demo

int main(int argc, char** argv) {
  using namespace bitfold;
  const demo::Arguments arguments = demo::parse(argc, argv);
  try {
    if (arguments.write_digits) {
      demo::write_digits(arguments.write_digits->string(), arguments.count, arguments.seed);
      return 0;
    }
    const demo::WorkFolder folder;
    demo::quantize_at_every_width(demo::find_samples(arguments, folder), folder);
    demo::time_fused_block();
    return 0;
  } catch (const Error& e) {
    fmt::print(stderr, "demo: {}\n", e.what());
    return 1;
  }
}
