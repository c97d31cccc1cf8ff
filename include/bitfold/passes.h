// Graph-to-graph passes that need no data: they keep the function in real arithmetic (invariant 4).
#pragma once

#include <span>
#include <string>
#include <vector>

#include "bitfold/graph.h"

namespace bitfold {

struct Pass {
  const char* name;
  const char* why_here;      ///< Why it stands at this place in the order.
  int (*run)(Graph& graph);  ///< Returns how many places it changed.
};

/// The table IS the order.
std::span<const Pass> standard_passes();

struct PassRecord {
  std::string name;
  int change_count = 0;
  double time_ms = 0;
};

struct OptimizeOptions {
  std::vector<std::string> skip;  ///< Passes not to run, by name; an unknown name is an Error.
};

/// Runs the table, verifying after each pass, until nothing changes; compacts the graph. The result satisfies
/// Stage::optimized (unless passes were skipped).
std::vector<PassRecord> optimize(Graph& graph, const OptimizeOptions& options = {});

}  // namespace bitfold
