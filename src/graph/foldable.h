// Nodes that can be replaced by constants.
#pragma once

#include <cstdint>
#include <span>

#include "bitfold/graph.h"

namespace bitfold {

/// Results with more elements than this are not folded if they exceed their inputs: a few bytes of a file may request a
/// tensor of any size.
inline constexpr std::int64_t kMaxFoldedElements = std::int64_t{1} << 24;

/// Whether a node can be replaced by constants: all its inputs are plain constants (no grid, whole-byte types), and its
/// outputs have no grid, are not graph outputs (which keep a producer), and are not larger than allowed
/// (kMaxFoldedElements). `infos` is infer_values(graph).
bool is_foldable(const Graph& graph, NodeId id, std::span<const ValueInfo> infos);

}  // namespace bitfold
