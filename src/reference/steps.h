// The preparation of a graph for the reference: its constants as reals, and its steps in order.
#pragma once

#include <cstddef>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "base/check.h"
#include "bitfold/affine.h"
#include "bitfold/reference.h"
#include "ops/operator.h"
#include "reference/image_layouts.h"

namespace bitfold::reference {

/// Snaps the reals of a value that has a grid. at() returns the place for errors.
template <class At>
void snap_value(const Graph& graph, ValueId id, const At& at, Tensor& t) {
  const auto& grid = graph.value(id).quant;
  if (!grid || t.dtype() != DataType::float32) return;
  try {
    t = snap(t, *grid);
  } catch (const Error& error) {
    fail("{} value '{}': {}", at(), graph.value(id).name, error.what());
  }
}

class Constants {
 public:
  /// `graph` must outlive this object.
  explicit Constants(const Graph& graph);

  /// One entry per value, never channels-last; empty for computed values and for constants that the graph holds as
  /// codes.
  const std::vector<std::optional<Held>>& reals() const { return reals_; }
  bool are_codes(ValueId id) const { return decoded_[static_cast<std::size_t>(id)] != nullptr; }
  /// The reals of a constant held as codes, decoded by the first call. Thread-safe.
  Tensor decoded(ValueId id) const;

 private:
  struct Decoded {
    std::once_flag once;
    Tensor reals;
  };

  const Graph& graph_;
  std::vector<std::optional<Held>> reals_;
  std::vector<std::unique_ptr<Decoded>> decoded_;  // one per value
};

/// A node and the facts about it that do not depend on its inputs.
struct Step {
  NodeId id;
  const ops::OperatorInfo* row;
  std::vector<Reference> bodies;
  bool has_constant_weights;   // whether every input except the first is constant
  std::size_t images;          // see images_in_any_order()
  bool may_give_any_order;     // its outputs may be channels-last
  bool shapes_tell_shapes;     // input shapes determine output shapes, independent of input elements
  std::vector<ValueId> dying;  // values that no later step reads
};

/// The steps in the order in which they run. Throws Error listing every operator that cannot be run.
std::vector<Step> plan_steps(const Graph& graph, const ReferenceOptions& options);

}  // namespace bitfold::reference
