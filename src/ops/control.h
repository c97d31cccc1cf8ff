// What If, Loop and Scan do with their bodies, whoever runs those.
#pragma once

#include <functional>
#include <optional>
#include <span>
#include <vector>

#include "bitfold/node.h"

namespace bitfold::ops {

/// Runs body number `body` of the node on the inputs that its Graph lists, and returns its outputs.
using RunBody = std::function<std::vector<Tensor>(std::size_t body, std::span<const Tensor> inputs)>;

/// The outputs of an If, Loop or Scan. `inputs` are the node's, absent ones empty. Throws Error, starting with the
/// node, where the data is impossible.
std::vector<Tensor> run_bodies(const Node& node, std::span<const std::optional<Tensor>> inputs, const RunBody& run);

}  // namespace bitfold::ops
