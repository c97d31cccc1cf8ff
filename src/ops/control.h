// Control flow of If, Loop and Scan, independent of how their bodies are run.
#pragma once

#include <functional>
#include <optional>
#include <span>
#include <vector>

#include "bitfold/node.h"

namespace bitfold::ops {

/// Runs body number `body` of the node on the inputs of its Graph, and returns its outputs.
using RunBody = std::function<std::vector<Tensor>(std::size_t body, std::span<const Tensor> inputs)>;

/// Infers the node's outputs for these inputs.
using InferOutputs = std::function<std::vector<ValueInfo>()>;

/// The outputs of an If, Loop or Scan. `inputs` are those of the node; absent ones are empty. Without iterations,
/// collected outputs have the inferred types and shapes. Throws Error beginning with the node if the data is invalid.
std::vector<Tensor> run_bodies(const Node& node, std::span<const std::optional<Tensor>> inputs, const RunBody& run,
                               const InferOutputs& infer);

/// How many of the last inputs of an If, Loop or Scan are captured values.
std::size_t captured_count(const Node& node);
/// Sets that number in an operator that stores it; of an If, all inputs but the condition are captured.
void set_captured_count(Op& op, std::size_t count);

/// The values that a Loop carries, or the states of a Scan. Value i is input `node_input` + i and output i of the node,
/// and input `body_input` + i and output `body_output` + i of its body.
struct CarriedValues {
  std::size_t node_input = 0, body_input = 0, body_output = 0, count = 0;
};
/// None for other operators. The node must have the inputs that its attributes demand.
CarriedValues carried_values(const Node& node);

/// The inputs that each body has before the captured values, if the node has `inputs` before them. Shapes are left
/// unknown unless the operator determines them.
std::vector<ValueInfo> body_inputs(const Op& op, std::span<const ValueInfo> inputs);
/// How many of the first outputs of a body are not outputs of the node: 1 for the condition of a Loop.
std::size_t inner_output_count(const Op& op);

}  // namespace bitfold::ops
