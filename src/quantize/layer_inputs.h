// What a layer multiplies its weights with, over sample data: rows of inputs, and their moments.
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "bitfold/batch.h"
#include "bitfold/graph.h"
#include "quantize/hessian_rounding.h"

namespace bitfold::quantization {

/// A Conv (one or two spatial dimensions), Gemm or MatMul with constant weights as matrix products, one per group:
/// outputs [rows][channels] = inputs [rows][depth] times weights [channels][depth].
struct ProductView {
  std::int64_t groups = 1, channels = 1, depth = 1;   ///< Channels and depth of one group.
  std::int64_t channel_stride = 1, depth_stride = 1;  ///< Of the weight tensor's elements.

  std::size_t weight_index(std::int64_t group, std::int64_t channel, std::int64_t k) const {
    return static_cast<std::size_t>((group * channels + channel) * channel_stride + k * depth_stride);
  }
};

/// None where the node is no such product.
std::optional<ProductView> product_view(const Graph& graph, NodeId id);

struct SampleOptions {
  std::int64_t most_samples = 128;     ///< Of the source's first ones.
  std::int64_t rows_per_sample = 256;  ///< Output positions, evenly spread over the image.
  bool keeps_rows = false;             ///< In the moments. Fewer rows, where they would take more than 256 MiB.
};

/// Moments of the inputs of node `float_id` of the float graph and `quantized_id` of the quantized one, by group: both
/// graphs run up to there, sample by sample. The same whatever the number of threads: sums are made in the order of
/// samples. Memory does not grow with their number.
std::vector<InputMoments> input_moments(const Graph& float_graph, NodeId float_id, const Graph& quantized_graph,
                                        NodeId quantized_id, BatchSource& samples, const SampleOptions& options);

}  // namespace bitfold::quantization
