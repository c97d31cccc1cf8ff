// The nodes of a file in an order in which every value is produced before it is read.
#pragma once

#include <onnx/onnx_pb.h>

#include <set>
#include <string>
#include <vector>

namespace bitfold {

/// "[Conv 'conv1']", as errors speak of a node in a file; by its first output where it has no name.
std::string where(const onnx::NodeProto& node);

/// Indices into graph.node(): file order wherever that already is such an order, which the format asks for. `given` are
/// the names of inputs and initializers. Throws Error naming the node for a cycle, an input that nothing produces, and
/// a name produced twice.
std::vector<int> sort_nodes(const onnx::GraphProto& graph, const std::set<std::string>& given);

/// Names that the subgraphs in a node's attributes (the branches of If, the body of Loop) read from outside themselves.
std::set<std::string> captured_names(const onnx::NodeProto& node);

}  // namespace bitfold
