// Feeding a graph from a BatchSource: how many samples at a time, and batches of a fixed size.
#pragma once

#include <algorithm>
#include <cstring>

#include "bitfold/batch.h"
#include "bitfold/graph.h"

namespace bitfold::report {

/// The samples a graph takes at a time: its own fixed batch, or `wanted`, or 16 (large enough to use every core) unless
/// they take more than 4 MiB: what is computed from them, and kept for comparison, is tens of times that.
inline std::int64_t batch_size(const Graph& graph, std::int64_t wanted) {
  if (graph.inputs().empty()) return 1;
  const auto& shape = graph.value(graph.inputs().front()).shape;
  const bool is_fixed = shape && !shape->empty() && shape->front() != kDynamic;
  if (is_fixed) return std::max<std::int64_t>(1, shape->front());
  if (wanted > 0) return wanted;
  constexpr std::int64_t kMostBytes = 4 << 20, kMostSamples = 16;
  std::int64_t sample_bytes = 4;
  for (std::size_t d = 1; shape && d < shape->size() && sample_bytes < kMostBytes; ++d)
    sample_bytes *= std::clamp<std::int64_t>((*shape)[d], 1, kMostBytes);
  return std::clamp<std::int64_t>(kMostBytes / sample_bytes, 1, kMostSamples);
}

/// Repeats the last sample until `input` has `samples` of them: for graphs whose batch is fixed.
inline Tensor padded_to(const Tensor& input, std::int64_t samples) {
  if (input.rank() == 0 || input.dim(0) >= samples) return input;
  Shape shape = input.shape();
  const std::int64_t present = shape[0];
  shape[0] = samples;
  Tensor padded(input.dtype(), shape);
  const std::size_t row = input.size_bytes() / static_cast<std::size_t>(present);
  std::byte* out = padded.mutable_bytes();
  std::memcpy(out, input.bytes(), input.size_bytes());
  for (std::int64_t i = present; i < samples; ++i)
    std::memcpy(out + static_cast<std::size_t>(i) * row, input.bytes() + static_cast<std::size_t>(present - 1) * row,
                row);
  return padded;
}

/// The batch's inputs, padded where the graph's batch is fixed.
inline std::vector<Tensor> graph_inputs(const Graph& graph, const Batch& batch, std::int64_t samples) {
  std::vector<Tensor> inputs = batch.inputs;
  for (std::size_t i = 0; i < inputs.size(); ++i) {
    const auto& shape = graph.value(graph.inputs()[i]).shape;
    if (shape && !shape->empty() && shape->front() != kDynamic) inputs[i] = padded_to(inputs[i], samples);
  }
  return inputs;
}

}  // namespace bitfold::report
