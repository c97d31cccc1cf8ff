// Writes networks that are large, or of a kind that the shared models lack, with deterministic random weights of
// realistic size: what their layers are, and so how long they take, is that of the published networks; what they
// compute is not. Each goes with samples to calibrate on.
//
//     bench_networks FOLDER        FOLDER/resnet50.onnx, FOLDER/resnet50.npz ...; then bench/peers/speed.py --networks
//     FOLDER
#include <cstdio>
#include <exception>
#include <filesystem>
#include <string>

#include "bitfold/bitfold.h"
#include "networks.h"

namespace {

/// Three samples of the network's input, normal as preprocessed images are.
void save_samples(const bitfold::Graph& graph, const std::string& path) {
  const bitfold::Value& input = graph.value(graph.inputs().front());
  bitfold::Shape shape = *input.shape;
  shape[0] = 3;
  bitfold::save_npy(path, {{"x", networks::Random(7).normal(shape, 1)}});
}

}  // namespace

int main(int argc, char** argv) try {
  if (argc != 2) {
    std::fprintf(stderr, "usage: bench_networks FOLDER\n");
    return 2;
  }
  const std::filesystem::path folder = argv[1];
  std::filesystem::create_directories(folder);
  for (const auto& [name, build] : networks::kAll) {
    const bitfold::Graph graph = build();
    bitfold::save_onnx(graph, (folder / (std::string(name) + ".onnx")).string());
    save_samples(graph, (folder / (std::string(name) + ".npz")).string());
    std::printf("%s: %zu nodes\n", name, graph.node_count());
  }
  return 0;
} catch (const std::exception& error) {
  std::fprintf(stderr, "bench_networks: %s\n", error.what());
  return 1;
}
