// A layer as a matrix product, and the input rows of that product.
#pragma once

#include <algorithm>
#include <cstdint>
#include <optional>
#include <vector>

#include "bitfold/graph.h"

namespace bitfold::quantization {

/// A Conv (one or two spatial dimensions), Gemm or MatMul with constant weights as matrix products, one per group:
/// outputs [rows][channels] = inputs [rows][depth] times weights [channels][depth].
struct ProductView {
  std::int64_t groups = 1, channels = 1, depth = 1;   ///< Channels and depth of one group.
  std::int64_t channel_stride = 1, depth_stride = 1;  ///< Strides in elements of the weight tensor.

  std::size_t weight_index(std::int64_t group, std::int64_t channel, std::int64_t k) const {
    return static_cast<std::size_t>((group * channels + channel) * channel_stride + k * depth_stride);
  }
};

/// Absent if the node is not such a product.
std::optional<ProductView> product_view(const Graph& graph, NodeId id);

/// Reads the input rows of a product, at output positions spread evenly over the image.
class LayerRows {
 public:
  static constexpr std::int64_t kMaxPerSample = 256;

  /// For product `id`; at most `max_rows` per tensor.
  LayerRows(const Graph& graph, NodeId id, std::int64_t max_rows = kMaxPerSample);

  /// Writes rows [count][depth] of one group of x, the layer's first input. Returns count.
  std::int64_t read(const Tensor& x, std::int64_t group, std::vector<float>& rows) const;

 private:
  std::int64_t read_windows(const Tensor& x, std::int64_t group, std::vector<float>& rows) const;
  std::int64_t read_vectors(const Tensor& x, std::vector<float>& rows) const;
  std::int64_t chosen(std::int64_t count) const { return std::min(count, max_rows_); }

  ProductView view_;
  std::int64_t max_rows_;
  const Conv* conv_;
};

}  // namespace bitfold::quantization
