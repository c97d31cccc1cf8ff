// Cells 12, 13, 20 and 31: a whole network.
#include <algorithm>
#include <cmath>
#include <cstdio>
#include <span>
#include <string>

#include "as_written.h"
#include "bitfold/bitfold.h"
#include "cells.h"
#include "networks.h"
#include "table.h"

namespace notebook {
namespace {

using bitfold::Graph;
using bitfold::Tensor;
using bitfold::ValueId;

// Cell 15, quantize_model: `m.weight.data = W_q; m.bias.data = b_q`.
Graph with_codes_for_weights(Graph graph) {
  for (const ValueId id : graph.values()) {
    auto& constant = graph.value(id).constant;
    if (!constant) continue;
    const Quantized q = quantize(constant->data<float>(), 8, Mode::asymmetric);
    constant = Tensor::from<float>(constant->shape(), q.codes);
  }
  return graph;
}

std::int64_t constant_bytes(const Graph& graph) {
  std::int64_t bytes = 0;
  for (const ValueId id : graph.values())
    if (graph.is_constant(id)) bytes += static_cast<std::int64_t>(graph.value(id).constant->size_bytes());
  return bytes;
}

std::vector<float> scores(const Graph& graph, const Tensor& image) {
  bitfold::Session session(graph);
  const Tensor y = session.run(std::span(&image, 1)).at(0);
  return {y.data<float>().begin(), y.data<float>().end()};
}

// One row of the closing table: `graph` compared with `original` on the same images.
void print_row(const char* title, const Graph& graph, const Graph& original, Images& images) {
  bitfold::Session session(graph), original_session(original);
  double signal = 0, noise = 0, agreeing = 0;
  while (const auto batch = images.next(64)) {
    const Tensor y = original_session.run(batch->inputs).at(0), other = session.run(batch->inputs).at(0);
    const auto a = y.data<float>(), b = other.data<float>();
    for (std::size_t i = 0; i < a.size(); ++i) {
      signal += double{a[i]} * double{a[i]};
      noise += (double{a[i]} - double{b[i]}) * (double{a[i]} - double{b[i]});
    }
    constexpr std::size_t kClasses = 10;
    for (std::size_t first = 0; first < a.size(); first += kClasses) {
      const auto best = [&](std::span<const float> scores) {
        const auto row = scores.subspan(first, kClasses);
        return std::max_element(row.begin(), row.end()) - row.begin();
      };
      agreeing += best(a) == best(b) ? 1 : 0;
    }
  }
  images.rewind();
  std::printf("  %-22s %10.1f KB %15.1f %% %16.1f dB\n", title, static_cast<double>(constant_bytes(graph)) / 1000,
              100 * agreeing / static_cast<double>(images.sample_count()), 10 * std::log10(signal / noise));
}

}  // namespace

void walk_network() {
  print_heading("cells 12, 20 and 31", "a whole LeNet");
  Graph original = lenet();
  const Graph theirs = with_codes_for_weights(original);
  bitfold::optimize(original);

  Images calibration_images(64, 1000), test_images(256, 2000);
  const Graph ours = bitfold::quantize(original, calibration_images).graph;

  const auto& fc1 = theirs.value(theirs.find("fc1.weight")).constant;
  std::printf(
      "fc1.weight after the notebook's quantize_model begins %.0f %.0f %.0f: codes, stored as the layer's weights.\n\n",
      static_cast<double>(fc1->data<float>()[0]), static_cast<double>(fc1->data<float>()[1]),
      static_cast<double>(fc1->data<float>()[2]));
  const Tensor image = test_images.next(1)->inputs[0];
  test_images.rewind();
  print({{"scores of an image, float", scores(original, image), 1, 4},
         {"the notebook's model", scores(theirs, image), 1, kScientific},
         {"Bitfold's, in integers", scores(ours, image), 1, 4}});

  std::printf("\n  over %d images        weights and biases   same class as float   signal to noise\n",
              static_cast<int>(test_images.sample_count()));
  print_row("float", original, original, test_images);
  print_row("the notebook", theirs, original, test_images);
  print_row("Bitfold, 8 bits", ours, original, test_images);
  std::printf(
      "\nWhy they differ: the notebook writes codes where weights were, with neither scale nor zero point, and goes on "
      "in float: a\n"
      "weight of -0.01 has become about 90, and the \"quantized\" model computes nonsense, in as many bytes as before. "
      "Bitfold gives\n"
      "each value of the graph a grid, calibrated on images, and runs the network in integers from end to end.\n");
}

}  // namespace notebook
