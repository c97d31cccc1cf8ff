// Graph passes that need no data and keep the function in real arithmetic (invariant 4).
#pragma once

#include <span>
#include <string>
#include <vector>

#include "bitfold/graph.h"

namespace bitfold {

struct Pass {
  const char* name;
  const char* why_here;      ///< The reason for its place in the order.
  int (*run)(Graph& graph);  ///< Returns the number of places changed.
};

/// The passes in the order in which they run.
std::span<const Pass> standard_passes();

struct PassRecord {
  std::string name;
  int change_count = 0;
  double time_ms = 0;
};

struct OptimizeOptions {
  std::vector<std::string> skip;  ///< Names of passes to skip; an unknown name is an Error.
};

/// Runs the passes until nothing changes, verifies after each, and compacts the graph. The result satisfies
/// Stage::optimized, unless passes were skipped.
std::vector<PassRecord> optimize(Graph& graph, const OptimizeOptions& options = {});

}  // namespace bitfold
