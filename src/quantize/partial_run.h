// Parts of a network, run on the values of one sample.
#pragma once

#include <optional>
#include <span>
#include <vector>

#include "bitfold/graph.h"
#include "bitfold/reference.h"

namespace bitfold::quantization {

/// By ValueId, Graph::value_capacity() of them; absent where there is none (yet, or any more).
using Values = std::vector<std::optional<Tensor>>;

/// The graph's inputs, snapped where they have a grid; all else absent. Throws Error when there are too few or too
/// many.
Values input_values(const Graph& graph, std::span<const Tensor> inputs);

/// Computes the outputs of node `id` from `values`, into them.
void run_node(const Graph& graph, const Reference& reference, NodeId id, Values& values);

/// Some nodes of a graph, from values that are there to others.
class Segment {
 public:
  /// What computes `wanted` (none: an empty segment) from the graph's inputs and what nodes that are `done` (by NodeId)
  /// made. Afterwards there are `wanted` and live_values(); all else is let go after its last use.
  Segment(const Graph& graph, ValueId wanted, const std::vector<bool>& done);

  void run(const Graph& graph, const Reference& reference, Values& values) const;
  bool empty() const { return steps_.empty(); }

  /// The nodes done before and those of the segment, by NodeId.
  const std::vector<bool>& done() const { return done_; }
  /// What nodes that are not done read of those that are, and of the inputs.
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
