// The role of a node in the plan, as far as it follows from the node alone.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "bitfold/graph.h"

namespace bitfold::quantization {

enum class Role {
  none,        ///< stays in float; the reason says why
  product,     ///< Conv, Gemm, MatMul with constant weights; the target of quantization
  movement,    ///< moves or selects elements: inputs and outputs share one grid
  clip,        ///< Relu, or Clip with constant bounds; a grid that ends at the bounds replaces it
  arithmetic,  ///< Add, Mul, average pools, other activations; separate grids for all inputs and outputs
};

struct Classified {
  Role role = Role::none;
  std::string reason;  ///< Reason for `none`.
};

/// Requires inferred types. `recipe.skip` and neighbouring nodes are considered later.
Classified classify(const Graph& graph, NodeId id);

/// The inputs that carry the data, without weights, biases, shapes and bounds.
std::vector<ValueId> data_inputs(const Graph& graph, NodeId id);
std::vector<ValueId> used_outputs(const Graph& graph, NodeId id);

}  // namespace bitfold::quantization
