// Runs parts of a network on the values of one sample.
#pragma once

#include <optional>
#include <span>
#include <vector>

#include "bitfold/graph.h"
#include "bitfold/reference.h"

namespace bitfold::quantization {

/// Tensors by ValueId, with Graph::value_capacity() entries. Values that are not computed yet or no longer needed are
/// absent.
using Values = std::vector<std::optional<Tensor>>;

/// Values with only the graph's inputs, snapped if they have a grid. Throws Error if their number is wrong.
Values input_values(const Graph& graph, std::span<const Tensor> inputs);

/// Computes the outputs of node `id` from `values` and stores them there.
void run_node(const Graph& graph, const Reference& reference, NodeId id, Values& values);

/// The nodes of a graph that lead from some values to another.
class Segment {
 public:
  /// The nodes that compute `wanted` (none: an empty segment) from the graph's inputs and the outputs of nodes that are
  /// `done` (by NodeId). run() leaves `wanted` and live_values(); other values are freed after their last use.
  Segment(const Graph& graph, ValueId wanted, const std::vector<bool>& done);

  void run(const Graph& graph, const Reference& reference, Values& values) const;
  bool empty() const { return steps_.empty(); }

  /// The nodes done before and those of the segment, by NodeId.
  const std::vector<bool>& done() const { return done_; }
  /// Graph inputs and outputs of done nodes that are read by nodes that are not done.
  const std::vector<ValueId>& live_values() const { return live_; }

 private:
  struct Step {
    NodeId node;
    std::vector<ValueId> dying;
  };
  std::vector<Step> steps_;
  std::vector<bool> done_;
  std::vector<ValueId> live_;
};

}  // namespace bitfold::quantization
