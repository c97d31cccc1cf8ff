// Decides which nodes run in integers, which values get grids, and which values share one.
//
// 1. A product (Conv, Gemm, MatMul) runs in integers if its weights allow it. A node between products runs in integers
//    if all its inputs come from integer nodes or graph inputs and one of its readers runs in integers. A single
//    integer pool among float nodes would need two conversions, add an error and save nothing.
// 2. Every value between integer nodes gets a grid. A Gemm or MatMul with only float readers has none: its accumulators
//    become reals directly, which is more accurate, and ONNX Runtime fuses that too. A Conv always has one, because
//    ONNX Runtime fuses only Conv -> QuantizeLinear. For Target::bitfold, the output of a product whose only reader is
//    a LeakyRelu has no grid either.
// 3. Nodes that move or select codes share one grid between inputs and outputs. So does a Relu or Clip that is the only
//    reader of its input: a grid that ends at its bounds replaces it, so that the node can be removed.
#pragma once

#include <string>
#include <vector>

#include "bitfold/graph.h"
#include "bitfold/quantize.h"
#include "quantize/roles.h"

namespace bitfold::quantization {

struct NodePlan {
  Role role = Role::none;
  bool in_integers = false;
  std::string reason;  ///< Why it runs in float.
};

/// Values that share a grid. Its range is the union of the ranges of the counted ones.
struct GridGroup {
  std::vector<ValueId> members;  ///< All values that get the grid.
  /// Members that count for the range: those whose only reader computes another member are left out.
  std::vector<ValueId> counted;
};

struct Plan {
  std::vector<NodePlan> nodes;  ///< Indexed by NodeId.
  std::vector<GridGroup> groups;
  int fused_leaky_relu_layers = 0;  ///< Products rounded after their LeakyRelu, for Target::bitfold.
  const NodePlan& at(NodeId id) const { return nodes[static_cast<std::size_t>(id)]; }
};

/// Adds Requantize nodes where some readers need the value on a grid and others do not; the range of a Requantize's
/// output is that of its input. `skip` holds names of nodes to leave in float; throws Error on an unknown one.
Plan make_plan(Graph& graph, const std::vector<std::string>& skip, Target target = Target::bitfold);

}  // namespace bitfold::quantization
