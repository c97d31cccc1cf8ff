// Releases the memory of a graph's constants that lie in mapped files.
#pragma once

#include "bitfold/graph.h"
#include "numeric/release_pages.h"

namespace bitfold {

/// Calls release_mapped_pages() for every constant of the graph and of its nodes' bodies.
inline void release_mapped_constants(const Graph& graph) {
  for (ValueId id : graph.values())
    if (const auto& constant = graph.value(id).constant) release_mapped_pages(*constant);
  for (NodeId id : graph.nodes())
    for (const auto& body : graph.node(id).bodies) release_mapped_constants(*body);
}

}  // namespace bitfold
