// A small classifier and its samples, for the tests of this folder.
#pragma once

#include <cstdint>
#include <optional>
#include <random>
#include <string>
#include <vector>

#include "bitfold/batch.h"
#include "bitfold/calibrate.h"
#include "bitfold/graph.h"
#include "quantize/memory_source.h"

namespace bitfold::testing {

/// Gives the same numbers with every standard library, unlike std::uniform_real_distribution.
inline Tensor uniform(Shape shape, unsigned seed, float extent = 1) {
  std::mt19937 random(seed);
  Tensor tensor(DataType::float32, std::move(shape));
  for (float& x : tensor.mutable_data<float>())
    x = extent * (2 * static_cast<float>(random() >> 8U) / static_cast<float>(1U << 24U) - 1);
  return tensor;
}

using Samples = MemorySource;

/// Products with Relus in between, 16 -> 32 -> ... -> 32 -> 8, with nodes "g1", "r1", "g2" and so on.
inline Graph classifier(int products = 3) {
  Graph graph;
  ValueId x = graph.add_input("x", DataType::float32, {kDynamic, 16});
  for (int i = 1; i <= products; ++i) {
    const std::string name = "g" + std::to_string(i), relu = "r" + std::to_string(i);
    const std::int64_t from = i == 1 ? 16 : 32, to = i == products ? 8 : 32;
    const auto seed = static_cast<unsigned>(10 * i);
    const ValueId w = graph.add_constant(name + ".w", uniform({to, from}, seed, 0.5F));
    const ValueId b = graph.add_constant(name + ".b", uniform({to}, seed + 1, 0.1F));
    x = graph.add(Gemm{.trans_b = true}, name, {x, w, b}, name + ".out");
    if (i < products) x = graph.add(Unary{UnaryKind::relu}, relu, {x}, relu + ".out");
  }
  graph.mark_output(x);
  infer_shapes(graph);
  return graph;
}

inline Samples samples(std::int64_t count, unsigned seed) { return Samples(uniform({count, 16}, seed)); }

inline Calibration calibration_of(const Graph& graph) {
  Samples some = samples(64, 1);
  return calibrate(graph, some, {.threads = 1});
}

}  // namespace bitfold::testing
