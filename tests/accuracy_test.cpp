// Quantizes the real networks from the float file and checks the loss of accuracy with the defaults.
#include <gtest/gtest.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <limits>
#include <string>
#include <utility>
#include <vector>

#include "bitfold/calibrate.h"
#include "bitfold/data.h"
#include "bitfold/data_free.h"
#include "bitfold/onnx.h"
#include "bitfold/passes.h"
#include "bitfold/quantize.h"
#include "bitfold/report.h"
#include "testing.h"

namespace bitfold {
namespace {

std::string data_path(const std::string& path) { return (testing::data_folder() / path).string(); }

Graph float_network(const std::string& name) {
  Graph graph = load_onnx(data_path("models/" + name + ".onnx"));
  optimize(graph);
  return graph;
}

Dataset dataset(const Graph& graph, const std::string& path, const DatasetOptions& options) {
  std::vector<InputSpec> inputs;
  for (ValueId id : graph.inputs()) {
    const Value& value = graph.value(id);
    inputs.push_back({value.name, value.dtype, value.shape.value_or(Shape{})});
  }
  return open_dataset(data_path("data/" + path), inputs, options);
}

Graph quantized(const Graph& graph, const std::string& calibration_path, const DatasetOptions& options,
                const Recipe& recipe = {}) {
  const Dataset data = dataset(graph, calibration_path, options);
  return quantize(graph, *data.source, recipe).graph;
}

const DatasetOptions kMnist{.preprocess = {.mean = {0.1307F}, .std = {0.3081F}}};
const DatasetOptions kCifar{.preprocess = {.mean = {0.485F, 0.456F, 0.406F}, .std = {0.229F, 0.224F, 0.225F}}};
const DatasetOptions kImageNet{.preprocess = {.crop = ImageSize{224, 224}}};
const DatasetOptions kSmallImages{.preprocess = {.resize_exact = ImageSize{96, 96}}};
const DatasetOptions kFaces{
    .preprocess = {.resize_exact = ImageSize{320, 240}, .scale = 1.0F, .mean = {127.0F}, .std = {128.0F}}};

// In points (hundredths of the samples).
double lost_points(const std::string& name, const std::string& calibration, const std::string& test,
                   const DatasetOptions& options) {
  const Graph graph = float_network(name);
  const Graph codes = quantized(graph, calibration, options);
  const Dataset data = dataset(graph, test, options);
  const double before = evaluate(graph, *data.source).top1.value();
  const double after = evaluate(codes, *data.source).top1.value();
  std::printf("%s: %.2f %% in float, %.2f %% quantized\n", name.c_str(), 100 * before, 100 * after);
  return 100 * (before - after);
}

// The lowest signal to quantization noise ratio over the outputs, in dB.
double min_sqnr_db(const std::string& name, const std::string& calibration, const std::string& test,
                   const DatasetOptions& options) {
  const Graph graph = float_network(name);
  const Graph codes = quantized(graph, calibration, options);
  DatasetOptions some = options;
  some.limit = 100;
  const Dataset data = dataset(graph, test, some);
  double least = std::numeric_limits<double>::infinity();
  for (const ValueError& output : compare(graph, codes, *data.source).outputs) {
    std::printf("%s: %s %.1f dB\n", name.c_str(), output.value.c_str(), output.sqnr_db);
    least = std::min(least, output.sqnr_db);
  }
  return least;
}

// SQNR of the outputs on the network's evaluation data.
double sqnr_db(const Graph& graph, const char* what, const Graph& codes, BatchSource& data) {
  const double db = compare(graph, codes, data).sqnr_db;
  std::printf("%s, %s: %.2f dB\n", graph.name.c_str(), what, db);
  return db;
}

TEST(Accuracy, lenets_lose_at_most_0_05_points) {
  BITFOLD_NEEDS_DATA();
  EXPECT_LE(lost_points("lenet", "mnist/calib", "mnist/test", kMnist), 0.05 + 1e-9);
  EXPECT_LE(lost_points("lenet-bn", "mnist/calib", "mnist/test", kMnist), 0.05 + 1e-9);
}

TEST(Accuracy, resnet20_without_data_loses_at_most_a_point) {
  BITFOLD_NEEDS_DATA();
  const Graph imported = load_onnx(data_path("models/resnet20-cifar10.onnx"));
  const Graph graph = float_network("resnet20-cifar10");
  const InputRange pixels{.min = {-0.485F / 0.229F, -0.456F / 0.224F, -0.406F / 0.225F},
                          .max = {0.515F / 0.229F, 0.544F / 0.224F, 0.594F / 0.225F}};
  DatasetOptions some = kCifar;
  some.limit = 2000;
  const Dataset data = dataset(graph, "cifar10/val.npz", some);
  const double before = evaluate(graph, *data.source).top1.value();
  const Graph codes = quantize(imported, nullptr, {}, {.input_range = pixels}).graph;
  const double after = evaluate(codes, *data.source).top1.value();
  std::printf("%.2f %% in float, %.2f %% quantized without data\n", 100 * before, 100 * after);
  EXPECT_LE(100 * (before - after), 1.0);
}

TEST(Accuracy, bias_correction_without_data_improves_6_bits) {
  BITFOLD_NEEDS_DATA();
  const Graph imported = load_onnx(data_path("models/vww-mobilenetv1.onnx"));
  const Graph graph = float_network("vww-mobilenetv1");
  const Dataset data = dataset(graph, "imagenet/val", kSmallImages);
  const auto db = [&](BiasCorrection correction) {
    const Recipe recipe{.weight_bits = 6, .rounding = Rounding::nearest, .bias_correction = correction};
    const Graph codes = quantize(imported, nullptr, recipe).graph;
    return sqnr_db(graph, "without data, 6 bits", codes, *data.source);
  };
  EXPECT_GE(db(BiasCorrection::analytic), db(BiasCorrection::none) + 3);
}

TEST(Accuracy, equalization_improves_weights_with_one_grid_for_all_channels) {
  BITFOLD_NEEDS_DATA();
  const Graph graph = float_network("lenet");
  DatasetOptions some = kMnist;
  some.limit = 1000;
  const Dataset test = dataset(graph, "mnist/test", some);
  const auto db = [&](Equalization equalization) {
    const Recipe recipe{.granularity = Granularity::per_tensor, .equalization = equalization};
    return sqnr_db(graph, "one grid per tensor", quantized(graph, "mnist/calib", kMnist, recipe), *test.source);
  };
  EXPECT_GE(db(Equalization::weights), db(Equalization::none) + 1);
}

// A single grid for all channels of the weights is known to harm MobileNet.
TEST(Accuracy, equalization_makes_one_grid_as_good_as_one_per_channel) {
  BITFOLD_NEEDS_DATA();
  const Graph graph = float_network("vww-mobilenetv1");
  const auto db = [&](const char* what, const Recipe& recipe) {
    const Dataset data = dataset(graph, "imagenet/calib", kSmallImages);
    const CalibratedNetwork network = calibrate_network(graph, data.source.get(), recipe);
    const Graph codes = quantize(network, nullptr).graph;
    const Dataset test = dataset(graph, "imagenet/val", kSmallImages);
    return sqnr_db(graph, what, codes, *test.source);
  };
  const double one_each = db("per channel", {});
  const double shared = db("per tensor", {.granularity = Granularity::per_tensor, .equalization = Equalization::none});
  const double equalized = db("equalized", {.granularity = Granularity::per_tensor});
  EXPECT_GE(equalized, shared + 1.5);
  EXPECT_GE(equalized, one_each - 1.5);
}

TEST(Accuracy, resnet20_loses_at_most_0_4_points) {
  BITFOLD_NEEDS_DATA();
  EXPECT_LE(lost_points("resnet20-cifar10", "cifar10/calib.npz", "cifar10/val.npz", kCifar), 0.4 + 1e-9);
}

TEST(Accuracy, darknet_tiny_agrees_with_float_on_97_percent) {
  BITFOLD_NEEDS_DATA();
  const Graph graph = float_network("darknet-tiny");
  const Graph codes = quantized(graph, "imagenet/calib", kImageNet);
  const Dataset data = dataset(graph, "imagenet/val", kImageNet);
  const Comparison comparison = compare(graph, codes, *data.source);
  std::printf("darknet-tiny: agreement %.4f\n", comparison.top1_agreement.value());
  EXPECT_EQ(comparison.sample_count, 400);
  EXPECT_GE(comparison.top1_agreement.value(), 0.97);
}

Graph at_4_bits(const Graph& graph, const std::string& calibration, const DatasetOptions& options, Recipe recipe) {
  recipe.weight_bits = 4;
  return quantized(graph, calibration, options, recipe);
}

double top1(const Graph& codes, const std::string& test, const DatasetOptions& options) {
  const double accuracy = 100 * evaluate(codes, *dataset(codes, test, options).source).top1.value();
  std::printf("%s, 4 bits: %.2f %%\n", codes.name.c_str(), accuracy);
  return accuracy;
}

TEST(Accuracy, four_bits_with_samples_lose_few_points) {
  BITFOLD_NEEDS_DATA();
  const Graph resnet = float_network("resnet20-cifar10"), lenet = float_network("lenet-bn");
  EXPECT_GE(top1(at_4_bits(resnet, "cifar10/calib.npz", kCifar, {}), "cifar10/val.npz", kCifar), 80.20 - 1.5);
  EXPECT_GE(top1(at_4_bits(lenet, "mnist/calib", kMnist, {}), "mnist/test", kMnist), 99.34 - 0.2);
}

TEST(Accuracy, samples_and_asymmetric_grids_improve_4_bits) {
  BITFOLD_NEEDS_DATA();
  const Graph resnet = float_network("resnet20-cifar10");
  DatasetOptions some = kCifar;
  some.limit = 500;
  const Dataset data = dataset(resnet, "cifar10/val.npz", some);
  const auto db = [&](const char* what, const Recipe& recipe) {
    return sqnr_db(resnet, what, at_4_bits(resnet, "cifar10/calib.npz", kCifar, recipe), *data.source);
  };
  const Recipe plain{.rounding = Rounding::nearest, .bias_correction = BiasCorrection::none};
  const double gptq = db("gptq", {}), nearest = db("nearest", plain);
  EXPECT_GE(gptq, nearest + 6);
  EXPECT_GE(db("adaround", {.rounding = Rounding::adaround}), nearest + 6);
  EXPECT_GE(db("seq_mse", {.rounding = Rounding::seq_mse}), nearest + 2);
  EXPECT_GE(gptq, db("gptq, symmetric", {.weight_scheme = Scheme::symmetric}));
}

// Without a grid before each LeakyRelu, and with biases corrected by each layer's mean error.
TEST(Accuracy, fewer_grids_and_corrected_biases_improve_darknet_tiny) {
  BITFOLD_NEEDS_DATA();
  const Graph graph = float_network("darknet-tiny");
  DatasetOptions some = kImageNet;
  some.limit = 200;
  const Dataset data = dataset(graph, "imagenet/val", some);
  const auto db = [&](const char* what, const Recipe& recipe) {
    return sqnr_db(graph, what, quantized(graph, "imagenet/calib", kImageNet, recipe), *data.source);
  };
  const double best = db("defaults", {});
  const double uncorrected = db("biases as they are", {.bias_correction = BiasCorrection::none});
  EXPECT_GE(best, uncorrected + 0.8);
  EXPECT_GE(best, db("grids everywhere", {.target = Target::any}) + 3);
  EXPECT_GE(uncorrected, db("both", {.bias_correction = BiasCorrection::none, .target = Target::any}) + 4);
}

TEST(Accuracy, depthwise_networks_have_at_least_25_decibels) {
  BITFOLD_NEEDS_DATA();
  EXPECT_GE(min_sqnr_db("vww-mobilenetv1", "imagenet/calib", "imagenet/val", kSmallImages), 25);
  EXPECT_GE(min_sqnr_db("ultraface-rfb-320", "faces", "faces", kFaces), 25);
}

// SQNR of the first output on 200 samples, after calibration on 128.
double sqnr_db_with(const Graph& graph, const std::string& calibration, const std::string& test,
                    const DatasetOptions& options, const Recipe& recipe) {
  DatasetOptions some = options;
  some.limit = 128;
  const Graph codes = quantized(graph, calibration, some, recipe);
  some.limit = 200;
  const double sqnr_db = compare(graph, codes, *dataset(graph, test, some).source).sqnr_db;
  std::printf("%s, activations of %d bits, %s: %.2f dB\n", graph.name.c_str(), recipe.activation_bits,
              recipe.observer ? std::string(to_string(*recipe.observer)).c_str() : "default observer", sqnr_db);
  return sqnr_db;
}

TEST(Observers, beat_min_max_at_4_bits) {
  BITFOLD_NEEDS_DATA();
  const Graph graph = float_network("resnet20-cifar10");
  const auto sqnr_db = [&](Observer observer) {
    return sqnr_db_with(graph, "cifar10/calib.npz", "cifar10/val.npz", kCifar,
                        {.activation_bits = 4, .observer = observer});
  };
  const double min_max = sqnr_db(Observer::min_max);
  EXPECT_GT(sqnr_db(Observer::moving_average), min_max + 1);
  EXPECT_GT(sqnr_db(Observer::entropy), min_max + 0.5);
}

// The observer rates grids without bias correction; with it, the gain disappears (docs/internals/observers.md).
TEST(Observers, auto_improves_a_depthwise_network_by_half_a_decibel) {
  BITFOLD_NEEDS_DATA();
  const Graph graph = float_network("vww-mobilenetv1");
  const auto sqnr_db = [&](Observer observer) {
    return sqnr_db_with(graph, "imagenet/calib", "imagenet/val", kSmallImages,
                        {.bias_correction = BiasCorrection::none, .observer = observer});
  };
  EXPECT_GT(sqnr_db(Observer::automatic), sqnr_db(Observer::mse) + 0.5);
}

// Peak memory of a program in kilobytes; a process of its own, so that no other memory is counted.
long peak_kilobytes_of(const std::vector<std::string>& command) {
  std::vector<char*> words;
  for (const std::string& word : command) words.push_back(const_cast<char*>(word.c_str()));
  words.push_back(nullptr);
  const pid_t child = fork();
  if (child == 0) {
    std::freopen("/dev/null", "w", stdout);
    execv(words[0], words.data());
    _exit(127);
  }
  int status = -1;
  rusage usage{};
  wait4(child, &status, 0, &usage);
  EXPECT_EQ(status, 0) << command[0];
  return usage.ru_maxrss;
}

TEST(Calibrate, memory_does_not_grow_with_samples) {
  BITFOLD_NEEDS_DATA();
  const testing::TemporaryFolder folder;
  // The smallest and largest peak of three runs; the memory that two threads hold at once varies by about a tensor.
  const auto peaks_of = [&](const char* samples) {
    std::vector<long> peaks;
    for (int run = 0; run < 3; ++run)
      peaks.push_back(peak_kilobytes_of(
          {BITFOLD_TOOL_PATH, "quantize", (testing::data_folder() / "models" / "darknet-tiny.onnx").string(),
           "--calibrate", (testing::data_folder() / "data" / "imagenet" / "calib").string(), "--crop", "224", "--limit",
           samples, "-o", (folder / "out.onnx").string()}));
    const auto [least, most] = std::minmax_element(peaks.begin(), peaks.end());
    return std::pair(*least, *most);
  };
  const long few = peaks_of("10").second, many = peaks_of("100").first;
  std::printf("peak memory: at most %ld kB for 10 samples, at least %ld kB for 100\n", few, many);
  EXPECT_GT(few, 0);
  EXPECT_LE(many, few + few / 20);
}

}  // namespace
}  // namespace bitfold
