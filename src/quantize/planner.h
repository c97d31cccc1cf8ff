// Which nodes run in integers, which values get grids, and which share one.
//
// 1. A product (Conv, Gemm, MatMul) runs in integers wherever its weights allow. The nodes between products follow,
// where
//    everything they read comes from integer nodes or graph inputs and something that reads them runs in integers: an
//    island of integers around a single pool would cost two conversions and an error, and save nothing.
// 2. Every value between integer nodes gets a grid. A Gemm or MatMul that only float nodes read has none: its
//    accumulators become reals directly, which is more accurate, and ONNX Runtime fuses that too. A Conv always has
//    one, because there ONNX Runtime fuses only Conv -> QuantizeLinear. For Target::bitfold, what a LeakyRelu alone
//    reads of a product has none either.
// 3. Nodes that move or select codes tie their inputs and outputs to one grid. So does a Relu or Clip that alone reads
// its
//    input: snapping to a grid that ends at the bounds is what it does, and it can be removed.
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
  std::string reason;  ///< Why not.
};

/// A value's range is the union over those of the same group that count.
struct GridGroup {
  std::vector<ValueId> members;  ///< All of them get the grid.
  std::vector<ValueId> counted;  ///< Without those that only become another member.
};

struct Plan {
  std::vector<NodePlan> nodes;  ///< By NodeId.
  std::vector<GridGroup> groups;
  int rounded_behind_leaky_relu = 0;  ///< Products, for Target::bitfold.
  const NodePlan& at(NodeId id) const { return nodes[static_cast<std::size_t>(id)]; }
};

/// Changes the graph where one value must be two: Requantize nodes. A Requantize's output is counted through its input.
/// `skip` holds names of nodes to leave in float; throws Error on an unknown one.
Plan make_plan(Graph& graph, const std::vector<std::string>& skip, Target target = Target::bitfold);

}  // namespace bitfold::quantization
