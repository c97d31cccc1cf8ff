// What a session keeps of its graph's constants: everything that does not depend on the input shapes. Plans ask for it
// by key, and decode or pack weights only where it is missing.
#pragma once

#include <compare>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <utility>
#include <vector>

#include "base/memory.h"
#include "bitfold/graph.h"
#include "kernels/integer_conv.h"
#include "onednn/prepared.h"

namespace bitfold::engine {

/// Weights as an integer product reads them.
struct ProductKey {
  NodeId node = NodeId::none;
  bool is_folded = false;        ///< Whether the depth is in the order of a flattened channels-last image.
  std::int64_t folded_rows = 1;  ///< Of the image form.

  auto operator<=>(const ProductKey&) const = default;
};

/// What is known of these weights before they are packed.
struct ProductFacts {
  std::string refusal;             ///< Why the product cannot run in integers; empty where it can.
  std::vector<float> scales;       ///< One per output channel.
  std::vector<std::int32_t> bias;  ///< With the input's zero point folded in.
  bool fits_winograd = false;
};

/// A filter together with what follows its accumulators.
struct FilterKey {
  ProductKey product;
  FilterForm form = FilterForm::direct;
  ValueId output = ValueId::none, residual = ValueId::none;  ///< Of the step.

  auto operator<=>(const FilterKey&) const = default;
};

struct IntegerFilter {
  std::shared_ptr<const PackedFilter> filter;
  std::shared_ptr<const OutputTerms> terms;
};

/// Float weights as a kernel reads them.
struct FloatWeightsKey {
  NodeId node = NodeId::none;
  bool is_folded = false;
  bool is_planar = false;       ///< Packed for kernels/planar_conv instead of oneDNN.
  onednn::PackedLayout layout;  ///< Empty where planar.

  auto operator<=>(const FloatWeightsKey&) const = default;
};

/// A constant in another form than the graph holds it in.
struct ConstantKey {
  ValueId value = ValueId::none;
  bool is_code = false, is_channels_last = false;

  auto operator<=>(const ConstantKey&) const = default;
};

/// Shared by all plans of a session, and by sessions in several threads.
class WeightCache {
 public:
  /// Each `make` is called where there is no entry yet, while other threads that ask wait.
  std::shared_ptr<const ProductFacts> facts(const ProductKey& key, const std::function<ProductFacts()>& make);
  /// `make` gets the memory that the filter is to take.
  std::shared_ptr<const IntegerFilter> filter(const FilterKey& key,
                                              const std::function<IntegerFilter(MemoryPieces&)>& make);
  /// `make` fills `bytes` zeroed bytes.
  std::shared_ptr<const std::byte> floats(const FloatWeightsKey& key, std::size_t bytes,
                                          const std::function<void(std::byte*)>& make);
  Tensor constant(const ConstantKey& key, const std::function<Tensor()>& make);
  /// Of a constant's reals, and of a product's weights: see Magnitudes.
  double magnitude(ValueId constant, const std::function<double()>& make);
  double row_sum(NodeId product, const std::function<double()>& make);
  /// prepared(), which is expensive, once for equal arguments.
  BinaryGrids grids(const PointwiseKernels& kernels, CodeBinary kind, const BinaryGrids& grids);

  /// The cache of a network inside this one: the body of that number of an If, Loop or Scan.
  WeightCache& body(std::pair<NodeId, std::size_t> key);

  /// Bytes of packed weights, bodies included: filters and floats.
  std::size_t packed_bytes() const;

 private:
  /// The key's entry of the table, made where it is missing. Entries are added only once they are complete, so that an
  /// exception leaves none.
  template <class Table, class Make>
  auto& find_or_make(Table& table, const typename Table::key_type& key, const Make& make);

  mutable std::mutex mutex_;
  std::map<ProductKey, std::shared_ptr<const ProductFacts>> facts_;
  std::map<FilterKey, std::shared_ptr<const IntegerFilter>> filters_;
  std::map<FloatWeightsKey, std::shared_ptr<const std::byte>> floats_;
  std::map<ConstantKey, Tensor> constants_;
  std::map<ValueId, double> magnitudes_;
  std::map<NodeId, double> row_sums_;
  std::vector<std::pair<CodeBinary, BinaryGrids>> grids_;
  std::map<std::pair<NodeId, std::size_t>, std::unique_ptr<WeightCache>> bodies_;
  MemoryPieces memory_;  ///< Layers lie in it in the order in which they run.
  std::size_t packed_bytes_ = 0;
};

}  // namespace bitfold::engine
