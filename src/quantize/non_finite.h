// Errors about NaN and infinities where a grid is needed. Values that need no grid may be infinite or NaN.
#pragma once

#include <string>
#include <string_view>

#include "bitfold/graph.h"
#include "quantize/planner.h"

namespace bitfold::quantization {

/// "NaN", "infinite" or "minus infinite".
std::string_view non_finite_word(float number);

/// Throws Error: the value is `what` ("NaN at index 3"), so it cannot have a grid. The message names the node that
/// computes it and the nodes to leave in float.
[[noreturn]] void refuse_grid(const Graph& graph, ValueId id, const std::string& what);

/// Throws Error if the weights or the bias of a product in integers are not finite.
void check_finite_constants(const Graph& graph, const Plan& plan);

}  // namespace bitfold::quantization
