// Executes a Graph in float arithmetic. This defines the meaning of a graph; every other executor is compared with it.
#pragma once

#include <cstddef>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "bitfold/graph.h"

namespace bitfold {

struct ReferenceOptions {
  /// Uses plain loops only: slow, but independent of oneDNN.
  bool plain_loops = false;
  /// Called with every graph input and computed value, in execution order. The tensor holds reals, snapped if the value
  /// has a grid.
  std::function<void(ValueId, const Tensor&)> on_value;
  /// The same for the values of bodies, in every run of a body. `prefix` identifies the body; see body_prefix().
  std::function<void(const std::string& prefix, ValueId, const Tensor&)> on_body_value;
  /// Maximum bytes of all computed values that are alive together; a node that would exceed it is an Error. The values
  /// of a body are counted separately. 0 means usable_memory() at the time of the run.
  std::size_t max_memory_bytes = 0;
  /// Whether on_value may receive the elements of each sample in any order, which is faster. Shapes are unaffected.
  bool any_order = false;
};

/// Checks on construction that every operator can be run, then runs batches of any size. Values with a grid (computed
/// values, graph inputs and constants) are snapped to it. Intermediate values are freed after their last use. Copies
/// share everything. Several threads may call run() and run_node() at once; on_value is then called concurrently.
class Reference {
 public:
  /// Throws Error listing every operator that cannot be run, by name.
  explicit Reference(const Graph& graph, ReferenceOptions options = {});

  /// Inputs in graph input order; returns the graph outputs. Throws Error naming the node if shapes do not fit.
  std::vector<Tensor> run(std::span<const Tensor> inputs) const;

  /// Runs one node on given reals and snaps its outputs to their grids. For layer-by-layer comparison. `inputs` has
  /// one tensor per input of the node, in its order; tensors for constants and absent inputs are ignored. An unused
  /// output is returned as an empty tensor.
  std::vector<Tensor> run_node(NodeId id, std::span<const Tensor> inputs) const;

 private:
  struct Impl;
  std::shared_ptr<const Impl> impl_;
};

}  // namespace bitfold
