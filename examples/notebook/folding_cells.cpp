// Cells 195 to 287: BatchNorm folding, and the fused block.
#include <algorithm>
#include <cmath>
#include <cstdio>
#include <vector>

#include "bitfold/bitfold.h"
#include "cells.h"
#include "networks.h"
#include "table.h"

namespace notebook {
namespace {

using bitfold::Graph;
using bitfold::Tensor;

std::vector<float> output(const Graph& graph, const Tensor& x) {
  const Tensor y = bitfold::Reference(graph, {.plain_loops = true}).run(std::span(&x, 1)).at(0);
  return {y.data<float>().begin(), y.data<float>().end()};
}

Graph optimized(Graph graph) {
  bitfold::optimize(graph);
  return graph;
}

void check_folding(const char* title, const Statistics& statistics) {
  const Graph net = block(statistics, false), folded = optimized(net);
  const Tensor x = Random(198).normal({1, 3, 32, 32});
  const auto expected = output(net, x);
  const float difference = max_abs_difference(expected, output(folded, x));
  const float without = max_abs_difference(expected, output(convolution_alone(false), x));
  float largest = 0;
  for (float y : expected) largest = std::max(largest, std::abs(y));
  std::printf(
      "  %-18s nodes %zu -> %zu   outputs up to %.1f, largest difference %.1e: %s   (without the BatchNorm: %.1e)\n",
      title, net.node_count(), folded.node_count(), static_cast<double>(largest), static_cast<double>(difference),
      difference < 1e-6F ? "below 1e-6" : "NOT below 1e-6", static_cast<double>(without));
}

}  // namespace

void walk_folding() {
  print_heading("cells 195 to 219", "folding a BatchNorm into its convolution");
  std::printf("W' = gamma / sqrt(var + eps) * W,  b' = gamma / sqrt(var + eps) * (b - mean) + beta\n\n");
  check_folding("a new BatchNorm", fresh_statistics());
  check_folding("a trained one", trained_statistics());
  std::printf(
      "\nThe notebook's formula is right, but its check proves little: a BatchNorm that was never trained has gamma 1, "
      "beta 0,\n"
      "mean 0 and variance 1, and changes nothing beyond the fifth digit. So we check a trained one too.\n");
}

void walk_fused() {
  print_heading("cells 224 to 287", "the fused block: convolution, BatchNorm, Relu");
  const Graph unfused = block(trained_statistics(), true), fused = optimized(unfused);
  const Tensor x = Random(198).normal({1, 3, 32, 32});
  const auto expected = output(unfused, x);
  // Cell 224 computes w_f and b_f, but then passes w and b to the fused convolution.
  std::printf("largest difference to the unfused block: the notebook's `fuse` %.4f, Bitfold %.1e\n",
              static_cast<double>(max_abs_difference(expected, output(convolution_alone(true), x))),
              static_cast<double>(max_abs_difference(expected, output(fused, x))));
  std::printf(
      "Why they differ: `fuse` computes the folded weights and then builds its layer from the unfolded ones. A fresh "
      "BatchNorm hid\n"
      "it, and %%timeit looks at no result.\n\n");

  const auto times = bitfold::bench_interleaved({&unfused, &fused}, {.threads = 1, .min_time_s = 0.3});
  std::printf("  unfused  %7.1f us (median of %lld runs)\n", times[0].median_us,
              static_cast<long long>(times[0].run_count));
  std::printf("  fused    %7.1f us   ratio %.2f; the notebook: 341 us / 238 us = 1.43\n", times[1].median_us,
              times[0].median_us / times[1].median_us);
}

}  // namespace notebook
