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

/// The outputs of an If, Loop or Scan. `inputs` are those of the node; absent ones are empty. Throws Error beginning
/// with the node if the data is invalid.
std::vector<Tensor> run_bodies(const Node& node, std::span<const std::optional<Tensor>> inputs, const RunBody& run);

}  // namespace bitfold::ops
