// How many inputs and outputs each operator has. Internal to graph/.
#pragma once

#include <cstddef>
#include <limits>

#include "bitfold/graph.h"

namespace bitfold {

struct Arity {
  std::size_t min_inputs = 1;  ///< The first ones, none of which may be absent.
  std::size_t max_inputs = 1;
  std::size_t max_outputs = 1;

  static constexpr std::size_t kAny = std::numeric_limits<std::size_t>::max();
};

Arity arity_of(const Op& op);

/// Throws Error (without saying where) when a node has too few or too many inputs or outputs, or lacks a required one.
void check_arity(const Node& node);

}  // namespace bitfold
