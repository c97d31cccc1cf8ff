// The batches that a graph takes: how many samples at a time, and batches of a fixed size.
#pragma once

#include <algorithm>

#include "bitfold/batch.h"
#include "bitfold/graph.h"
#include "quantize/samples.h"

namespace bitfold::report {

/// Samples per batch: the graph's fixed batch, or `wanted`, or 16, which is enough to use every core. Fewer if 16
/// samples exceed 4 MiB, because intermediate values kept for comparison are tens of times larger.
inline std::int64_t batch_size(const Graph& graph, std::int64_t wanted) {
  if (graph.inputs().empty()) return 1;
  const auto& shape = graph.value(graph.inputs().front()).shape;
  const bool is_fixed = shape && !shape->empty() && shape->front() != kDynamic;
  if (is_fixed) return std::max<std::int64_t>(1, shape->front());
  if (wanted > 0) return wanted;
  return quantization::samples_in_4_mebibytes(graph, 16);
}

/// Repeats the last sample until `input` has `samples` of them, for graphs with a fixed batch.
inline Tensor padded_to(const Tensor& input, std::int64_t samples) {
  if (input.rank() == 0 || input.dim(0) >= samples) return input;
  return quantization::take_samples(input, 0, samples);
}

/// The inputs of one run (quantization::for_each_run()): a whole sample as it is, or the batch's inputs, padded if the
/// graph's batch is fixed.
inline std::vector<Tensor> graph_inputs(const Graph& graph, const Batch& batch, std::int64_t samples) {
  if (!batch.runs.empty()) return batch.runs.front();
  std::vector<Tensor> inputs = batch.inputs;
  for (std::size_t i = 0; i < inputs.size(); ++i) {
    const auto& shape = graph.value(graph.inputs()[i]).shape;
    if (shape && !shape->empty() && shape->front() != kDynamic) inputs[i] = padded_to(inputs[i], samples);
  }
  return inputs;
}

}  // namespace bitfold::report
