// What every operator computes: one function each, on borrowed tensors, into outputs of the right shape.
//
// These are the definition that passes fold constants with, that calibration and the simulation run, and that the
// engine falls back to for rare float operators. Plain loops; convolutions and matrix products accumulate in double
// and round once.
#pragma once

#include <span>
#include <string>

#include "bitfold/graph.h"

namespace bitfold {

/// Inputs and outputs as the node lists them; an absent optional one is a view without data. Output views have the type
/// and shape of infer_node(). Allocates nothing in proportion to the data. Inputs and outputs do not overlap. Throws
/// Error, starting with the node, where the data itself is impossible: an index out of range, an integer division by
/// zero.
using OpFunction = void (*)(const Node& node, std::span<const TensorView> inputs, std::span<const TensorView> outputs);

/// None when the operator cannot be run.
OpFunction find_op_function(const Op& op);

/// Why the node cannot be run on inputs of these types: "float16 is not supported (float32 is)". Empty when it can.
std::string why_not_runnable(const Node& node, std::span<const ValueInfo> inputs);

}  // namespace bitfold
