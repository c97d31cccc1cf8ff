// A layer as a matrix product, and the input rows of that product.
#pragma once

#include <algorithm>
#include <cstdint>
#include <optional>
#include <vector>

#include "bitfold/graph.h"
#include "ops/weight_matrix.h"

namespace bitfold::quantization {

/// The weights of a product with constant weights whose input LayerRows reads as rows: a Conv of one or two spatial
/// dimensions, a Gemm or a MatMul. Empty for other nodes.
std::optional<ops::WeightMatrix> row_product(const Graph& graph, NodeId id);

/// Reads the input rows of a product, at output positions spread evenly over the image.
class LayerRows {
 public:
  static constexpr std::int64_t kMaxPerSample = 256;

  /// Reads the rows of product `id`, at most `max_rows` per tensor.
  LayerRows(const Graph& graph, NodeId id, std::int64_t max_rows = kMaxPerSample);

  /// Writes rows [count][depth] of one group of x, the layer's first input. Returns count.
  std::int64_t read(const Tensor& x, std::int64_t group, std::vector<float>& rows) const;

 private:
  std::int64_t read_windows(const Tensor& x, std::int64_t group, std::vector<float>& rows) const;
  std::int64_t read_vectors(const Tensor& x, std::vector<float>& rows) const;
  std::int64_t chosen(std::int64_t count) const { return std::min(count, max_rows_); }

  ops::WeightMatrix weights_;
  std::int64_t max_rows_;
  const Window* window_;  ///< Null for Gemm and MatMul.
};

}  // namespace bitfold::quantization
