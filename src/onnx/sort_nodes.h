// The nodes of a file in an order in which every value is produced before it is read.
#pragma once

#include <onnx/onnx_pb.h>

#include <functional>
#include <set>
#include <span>
#include <string>
#include <vector>

namespace bitfold {

/// "[Conv 'conv1']", as errors speak of a node in a file; by its first output where it has no name.
std::string where(const onnx::NodeProto& node);

/// Indices into `nodes`, in file order wherever that already is such an order, which the format asks for. What the
/// subgraphs of a node read from outside counts as read by the node. `is_given` says which names are graph inputs,
/// initializers, or values of an outer graph. Throws Error naming the node for a cycle, an input that nothing produces,
/// and a name produced twice.
std::vector<std::size_t> sort_nodes(std::span<const onnx::NodeProto* const> nodes,
                                    const std::function<bool(const std::string& name)>& is_given);

/// Names that the subgraphs in a node's attributes (the branches of If, the body of Loop) read from outside themselves.
std::set<std::string> captured_names(const onnx::NodeProto& node);

}  // namespace bitfold
