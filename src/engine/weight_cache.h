// Keeps what is derived from a graph's constants and does not depend on the input shapes: packed weights, tables,
// decoded constants. Lowering looks entries up by key, and decodes or packs weights only if there is none.
#pragma once

#include <array>
#include <compare>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "base/memory.h"
#include "bitfold/graph.h"
#include "kernels/integer_conv.h"
#include "onednn/prepared.h"

namespace bitfold::engine {

/// The weights of an integer product, in the order in which it reads them.
struct ProductKey {
  NodeId node = NodeId::none;
  bool is_folded = false;        ///< Whether the depth is in the order of a flattened channels-last image.
  std::int64_t folded_rows = 1;  ///< ImageForm::folded_rows

  auto operator<=>(const ProductKey&) const = default;
};

/// The reason why a product cannot run in integers; none if it can.
using Refusal = std::optional<std::string>;

/// Facts about these weights that lowering needs before they are packed.
struct ProductFacts {
  Refusal refusal;
  std::vector<float> scales;       ///< One per output channel.
  std::vector<std::int32_t> bias;  ///< Biases that include the input's zero point.
  bool fits_winograd = false;
};

/// The same of a ConvInteger or MatMulInteger.
struct CodeProductFacts {
  bool can_run = false;                   ///< In integers. If not, the rest is empty.
  std::vector<std::int32_t> weight_sums;  ///< By output channel, as are the zero points.
  std::vector<std::int32_t> zero_points;  ///< Not subtracted from the weights; empty if all are.
  std::int64_t depth = 0;                 ///< Products in each sum.
};

/// Identifies a filter and the operations that its step applies to the accumulators.
struct FilterKey {
  ProductKey product;
  FilterForm form = FilterForm::direct;
  ValueId output = ValueId::none;  ///< The output of the step, after fusion.
  /// Scale, zero point, qmin and qmax of the residual, if there is one.
  std::optional<std::array<float, 4>> residual_grid;

  auto operator<=>(const FilterKey&) const = default;
};

/// The weights of a filter in one packed form. Filters with equal keys share the packed bytes.
struct PackedWeightsKey {
  ValueId weights = ValueId::none;
  ValueId zero_points = ValueId::none;  ///< Subtracted from the weights, if they are not the weights' own.
  ConvFilter filter;
  std::int64_t output_stride = 0;    ///< WeightMatrix::output_stride
  std::int64_t folded_channels = 0;  ///< Channels of the flattened image that the product reads; 0 for others.
  std::int64_t folded_rows = 1;      ///< ImageForm::folded_rows
  FilterForm form = FilterForm::direct;

  auto operator<=>(const PackedWeightsKey&) const = default;
};

struct IntegerFilter {
  std::shared_ptr<const PackedFilter> filter;
  std::shared_ptr<const OutputTerms> terms;
};

/// Packed float weights. Steps with equal keys share them.
struct FloatWeightsKey {
  ValueId weights = ValueId::none;
  float factor = 1;                  ///< WeightMatrix::alpha
  bool is_transposed = false;        ///< As in onednn::Primitive::matmul.
  std::int64_t folded_channels = 0;  ///< As in PackedWeightsKey.
  bool is_planar = false;            ///< Packed for kernels/planar_conv instead of oneDNN.
  std::int64_t offset = 0;      ///< The first element, of a constant that contains the weights of several products.
  onednn::PackedLayout layout;  ///< Empty if planar.

  auto operator<=>(const FloatWeightsKey&) const = default;
};

/// A constant in a form that differs from the graph's, such as another layout or type.
struct ConstantKey {
  ValueId value = ValueId::none;
  bool is_code = false, is_channels_last = false;

  auto operator<=>(const ConstantKey&) const = default;
};

/// Shared by all plans of a session, and by sessions in several threads.
class WeightCache {
 public:
  /// Each `make` is called if there is no entry yet; other threads wait meanwhile.
  std::shared_ptr<const ProductFacts> facts(const ProductKey& key, const std::function<ProductFacts()>& make);
  std::shared_ptr<const CodeProductFacts> code_facts(const ProductKey& key,
                                                     const std::function<CodeProductFacts()>& make);
  /// `make` allocates the filter from the given memory; the other argument is a filter with the same packed weights, or
  /// null.
  using MakeFilter = std::function<IntegerFilter(MemoryPieces&, const PackedFilter*)>;
  std::shared_ptr<const IntegerFilter> filter(const FilterKey& key, const PackedWeightsKey& weights,
                                              const MakeFilter& make);
  /// `make` fills `bytes` zeroed bytes.
  std::shared_ptr<const std::byte> floats(const FloatWeightsKey& key, std::size_t bytes,
                                          const std::function<void(std::byte*)>& make);
  Tensor constant(const ConstantKey& key, const std::function<Tensor()>& make);
  /// The bounds that Magnitudes computes for a constant's reals and for the sums of a product's weights.
  double magnitude(ValueId constant, const std::function<double()>& make);
  double row_sum(NodeId product, const std::function<double()>& make);
  /// prepared(), computed once for equal arguments.
  BinaryGrids grids(const PointwiseKernels& kernels, CodeBinary kind, const BinaryGrids& grids);

  /// The cache of a body of an If, Loop or Scan; the key is the node and the body's number.
  WeightCache& body(std::pair<NodeId, std::size_t> key);

  /// Bytes of packed weights, bodies included: filters and floats.
  std::size_t packed_bytes() const;

 private:
  /// The key's entry of the table, made if it is missing. Entries are added once they are complete, so that an
  /// exception leaves none.
  template <class Table, class Make>
  auto& find_or_make(Table& table, const typename Table::key_type& key, const Make& make);

  mutable std::mutex mutex_;
  std::map<ProductKey, std::shared_ptr<const ProductFacts>> facts_;
  std::map<ProductKey, std::shared_ptr<const CodeProductFacts>> code_facts_;
  std::map<FilterKey, std::shared_ptr<const IntegerFilter>> filters_;
  std::map<PackedWeightsKey, std::shared_ptr<const PackedFilter>> packed_;  ///< The first filter with these weights.
  std::map<FloatWeightsKey, std::shared_ptr<const std::byte>> floats_;
  std::map<ConstantKey, Tensor> constants_;
  std::map<ValueId, double> magnitudes_;
  std::map<NodeId, double> row_sums_;
  std::vector<std::pair<CodeBinary, BinaryGrids>> grids_;
  std::map<std::pair<NodeId, std::size_t>, std::unique_ptr<WeightCache>> bodies_;
  MemoryPieces memory_;  ///< Weights are allocated in the order in which layers run.
  std::size_t packed_bytes_ = 0;
};

}  // namespace bitfold::engine
