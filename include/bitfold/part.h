// A part of a network as a network of its own: what lies between given values, or what can be run.
#pragma once

#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "bitfold/graph.h"

namespace bitfold {

/// The values between which a part of a network lies, by name.
struct Cut {
  std::vector<std::string> inputs_at;   ///< The part starts from these values. Empty: the network's inputs.
  std::vector<std::string> outputs_at;  ///< The part computes these values. Empty: everything that can be computed.

  bool empty() const { return inputs_at.empty() && outputs_at.empty(); }
};

/// Why a node does not belong to a part.
enum class LeftBecause {
  cannot_run,   ///< Its operator cannot be run.
  not_reached,  ///< It needs the output of a node that cannot be run.
  outside,      ///< It does not lie between the given values.
};
std::string_view to_string(LeftBecause cause);

/// A node outside a part.
struct LeftNode {
  std::string node, op;
  LeftBecause cause = LeftBecause::outside;
  std::string reason;  ///< For users: what the operator lacks, or which value is missing.
};

struct Part {
  /// The part. Its inputs and outputs have the names that they have in the whole network.
  Graph graph;
  Graph whole;
  std::vector<NodeId> nodes;   ///< The nodes of `whole` that the part consists of.
  std::vector<LeftNode> left;  ///< The other nodes of `whole`, in execution order.
};

/// The nodes that can be run and whose inputs are computed from the part's inputs and constants. With `outputs_at`,
/// only those of them that the given values need; otherwise, the part's outputs are the values that other nodes read
/// and the network's outputs, as far as the part computes them. All inputs of the cut are inputs of the part, in their
/// order; values of unknown type become float32. Throws Error if a name is not a value (with the nearest name), a value
/// of `outputs_at` cannot be computed (with the cause), or nothing can.
Part extract_part(const Graph& graph, const Cut& cut = {});

/// The whole network with the part replaced by `changed`, which was made from the part's graph: its inputs and outputs
/// have the same names. If a part's input has got a grid, other readers of that value still read it without the grid.
Graph put_back(const Part& part, const Graph& changed);

/// The nodes outside a part in one sentence: "3 nodes are left as they are, because they cannot be run: 3 x acme.Decode
/// (first: [acme.Decode 'd']); 2 nodes after them stay in float". Empty if there are none.
std::string describe_left(std::span<const LeftNode> left);
/// Only those that cannot be run: "3 x acme.Decode (first: [acme.Decode 'd'])".
std::string list_refused(std::span<const LeftNode> left);

}  // namespace bitfold
