// The check of operators and element types before a graph is run. Reference and Session share it.
#pragma once

#include <optional>
#include <span>
#include <string>
#include <vector>

#include "bitfold/graph.h"

namespace bitfold {

/// The reason why a node cannot be run: Bitfold lacks the operator, or the operator's row does not accept a type. Empty
/// if it can. `infos` is infer_values(graph).
std::optional<std::string> why_not_runnable(const Graph& graph, NodeId id, std::span<const ValueInfo> infos);

/// The same for a node and everything in its bodies.
std::optional<std::string> why_not_runnable_with_bodies(const Graph& graph, NodeId id,
                                                        std::span<const ValueInfo> infos);

/// Nodes that cannot be run, in one group for each operator and reason.
class Refusals {
 public:
  void add(const std::string& op, const std::string& node, const std::string& reason);
  bool empty() const { return groups_.empty(); }
  /// "2 x NonMaxSuppression (first: [NonMaxSuppression 'nms'])", with a comma between groups.
  std::string text() const;

 private:
  struct Group {
    std::string op, reason, node;
    int count;
  };
  std::vector<Group> groups_;
};

/// Throws Error if a sequence or an optional holds tensors of another type than declared.
void check_items(const Value& declared, const Tensor& given);

/// Throws Error naming every kind of operator that cannot be run, with the reason and the first node: "cannot run: 2 x
/// NonMaxSuppression (first: [NonMaxSuppression 'nms'])". Includes bodies.
void check_runnable(const Graph& graph, std::span<const ValueInfo> infos);

}  // namespace bitfold
