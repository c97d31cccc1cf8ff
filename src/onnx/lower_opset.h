// From an operator's present form to the form that it has in an older opset: the mirror of lift.h.
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

/// The opset in which to write a graph, bodies included. `wanted` is the caller's; without one it is the lowest that can
/// say the content but not below Graph::opset (13 where there is none). Throws Error naming the node or value that does
/// not exist in the opset, or two that exclude each other.
std::int64_t choose_opset(const Graph& graph, std::optional<std::int64_t> wanted);

/// A node on its way into a file.
struct NodeWriting {
  const Graph& graph;
  const Node& node;
  std::int64_t opset = 0;
  onnx::NodeProto& proto;  ///< In the present form, which lower() changes.
  /// Adds a node before `proto`, with `attributes` as its own; gives the name of its output, which is based on `stem`.
  std::function<std::string(const onnx::NodeProto& attributes, const char* type, const std::vector<std::string>& inputs,
                            const char* stem)>
      add_node;
  /// Adds an initializer; gives its name, which is based on `stem`.
  std::function<std::string(const char* stem, Tensor tensor)> add_constant;

  std::string add(const char* type, const std::vector<std::string>& inputs, const char* stem) const {
    return add_node({}, type, inputs, stem);
  }
};

/// Writes a node in the form that its operator has at the opset, which choose_opset() found possible.
void lower(NodeWriting& writing);

/// Whether lower() has a form of the operator for opsets below `since`, or says why a node has none.
bool has_lowering(std::string_view type, std::int64_t since);

/// The lowest IR version for an opset and an element type.
std::int64_t ir_version(std::int64_t opset);

}  // namespace bitfold
