// Which nodes are constants in disguise.
#pragma once

#include <cstdint>
#include <span>

#include "bitfold/graph.h"

namespace bitfold {

/// A constant larger than this (elements), and larger than what it is made of, stays an operator: a few bytes of file
/// may ask for a tensor of any size.
inline constexpr std::int64_t kMaxFoldedElements = std::int64_t{1} << 24;

/// Whether a node can be replaced by constants: all its inputs are plain constants (no grid, whole-byte types), its
/// outputs carry no grid, are not graph outputs (those keep a producer) and not inflated. `infos` is
/// infer_values(graph).
bool is_foldable(const Graph& graph, NodeId id, std::span<const ValueInfo> infos);

}  // namespace bitfold
