// Converts an operator's present form to the form that it has in an older opset: the inverse of lift.h.
#pragma once

#include <onnx/onnx_pb.h>

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "bitfold/graph.h"

namespace bitfold {

/// The opset in which to write a graph, bodies included. If the caller gives `wanted`, it is that opset. Otherwise it
/// is the lowest opset that can express the content and is not below Graph::opset (13 if the graph has none). Throws
/// Error naming the node or value that does not exist in the opset, or two that exclude each other.
std::int64_t choose_opset(const Graph& graph, std::optional<std::int64_t> wanted);

/// A node while it is converted to a node of a file.
struct NodeWriting {
  const Graph& graph;
  const Node& node;
  std::int64_t opset = 0;
  onnx::NodeProto& proto;  ///< In the present form; lower() changes it.
  /// Adds a node before `proto`, with `attributes` as its own. Returns the name of its output, which begins with
  /// `stem`.
  std::function<std::string(const onnx::NodeProto& attributes, const char* type, const std::vector<std::string>& inputs,
                            const char* stem)>
      add_node;
  /// Adds an initializer. Returns its name, which begins with `stem`.
  std::function<std::string(const char* stem, Tensor tensor)> add_constant;

  std::string add(const char* type, const std::vector<std::string>& inputs, const char* stem) const {
    return add_node({}, type, inputs, stem);
  }
};

/// Converts a node to the form that its operator has at the opset that choose_opset() returned.
void lower(NodeWriting& writing);

/// Whether lower() has a form of the operator for opsets below `since`, or a reason why a node has none.
bool has_lowering(std::string_view type, std::int64_t since);

/// The lowest IR version for an opset and an element type.
std::int64_t ir_version(std::int64_t opset);

}  // namespace bitfold
