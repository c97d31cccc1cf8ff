// Sorts the nodes of a file so that every value is produced before it is read.
#pragma once

#include <onnx/onnx_pb.h>

#include <functional>
#include <set>
#include <span>
#include <string>
#include <vector>

namespace bitfold {

/// "[Conv 'conv1']", the form in which errors name a node of a file. A node without a name is named by its first
/// output.
std::string where(const onnx::NodeProto& node);

/// Indices into `nodes`. File order is kept if it is already valid, as the format requires. Values that the subgraphs
/// of a node read from outside count as inputs of the node. `is_given` returns true for graph inputs, initializers, and
/// values of an outer graph. Throws Error naming the node for a cycle, an input that nothing produces, and a name
/// produced twice.
std::vector<std::size_t> sort_nodes(std::span<const onnx::NodeProto* const> nodes,
                                    const std::function<bool(const std::string& name)>& is_given);

/// Names that the subgraphs in a node's attributes (the branches of If, the body of Loop) read from outside themselves.
std::set<std::string> captured_names(const onnx::NodeProto& node);

}  // namespace bitfold
