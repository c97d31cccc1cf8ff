// Writes the networks whose speed is measured. For each: NAME.onnx (float, BatchNorms in place), NAME.int8.onnx
// (quantized with the defaults) and NAME.npy (the random samples used for calibration and as inputs).
#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cstdio>
#include <filesystem>
#include <random>
#include <string>
#include <string_view>
#include <vector>

#include "bitfold/bitfold.h"
#include "builder.h"
#include "networks.h"

namespace bitfold::networks {

std::span<const Network> all_networks() {
  static constexpr std::array<Network, 5> kNetworks{{{"resnet50", resnet50},
                                                     {"mobilenet_v2", mobilenet_v2},
                                                     {"efficientnet_lite0", efficientnet_lite0},
                                                     {"vit_tiny", vit_tiny},
                                                     {"bert_layer", bert_layer}}};
  return kNetworks;
}

namespace {

namespace fs = std::filesystem;

constexpr std::int64_t kSamples = 8;

void write_network(const Network& network, const fs::path& folder) {
  const auto path = [&](const char* ending) { return (folder / (network.name + std::string(ending))).string(); };
  Graph graph = network.make();
  const Value& input = graph.value(graph.inputs()[0]);
  Shape shape = *input.shape;
  shape[0] = kSamples;
  Tensor samples(DataType::float32, shape);
  std::mt19937 random(2);
  fill_normal(samples, 0, 1, random);  // similar to normalized pixels
  save_npy(path(".npy"), {{"", samples}});
  save_onnx(graph, path(".onnx"));

  optimize(graph);
  Dataset data = open_dataset(path(".npy"), {{"input", DataType::float32, *graph.value(graph.inputs()[0]).shape}});
  const QuantizeResult result = quantize(graph, *data.source);
  save_onnx(result.graph, path(".int8.onnx"));
  const Comparison comparison = compare(graph, result.graph, *data.source);
  fmt::print("{}: {:.1f} MB, int8 {:.1f} MB, output SQNR {:.1f} dB\n", network.name,
             static_cast<double>(fs::file_size(path(".onnx"))) * 1e-6,
             static_cast<double>(fs::file_size(path(".int8.onnx"))) * 1e-6, comparison.sqnr_db);
  std::fflush(stdout);
}

int write_all(const fs::path& folder, const std::vector<std::string_view>& wanted) {
  fs::create_directories(folder);
  std::size_t written = 0;
  for (const Network& network : all_networks()) {
    if (!wanted.empty() && std::ranges::find(wanted, network.name) == wanted.end()) continue;
    write_network(network, folder);
    ++written;
  }
  if (wanted.empty() || written == wanted.size()) return 0;
  fmt::print(stderr, "networks: the known ones are");
  for (const Network& network : all_networks()) fmt::print(stderr, " {}", network.name);
  fmt::print(stderr, "\n");
  return 2;
}

}  // namespace
}  // namespace bitfold::networks

int main(int argc, char** argv) {
  if (argc < 2 || std::string_view(argv[1]).starts_with("-")) {
    fmt::print(stderr, "usage: networks FOLDER [NAME ...]\n");
    return 2;
  }
  try {
    return bitfold::networks::write_all(argv[1], std::vector<std::string_view>(argv + 2, argv + argc));
  } catch (const std::exception& e) {
    fmt::print(stderr, "networks: {}\n", e.what());
    return 1;
  }
}
