// One Graph, the network or the body of a node, becomes a graph of a file. Grids become QuantizeLinear /
// DequantizeLinear pairs:
//
//   computed value v, graph input v    v -> QuantizeLinear -> v/q -> DequantizeLinear -> v/dq, which v's consumers read
//   the same as graph output           v/raw -> QuantizeLinear -> v/q -> DequantizeLinear -> v
//   Requantize x -> y                  x -> QuantizeLinear -> y/q -> DequantizeLinear -> y
//   constant w                         w/codes -> DequantizeLinear -> w
//
// ONNX Runtime's CPU provider runs a node in integers if every tensor input comes from a DequantizeLinear and every
// output goes to a QuantizeLinear and is not a graph output. The forms above meet this condition. Scales and zero
// points are initializers. Facts that ONNX's types cannot express are written as metadata (qdq.h).
//
// Constant codes of 2 and 3 bits are stored in int4 (int2 needs opset 25, which few runtimes read), all other codes
// below 8 bits in int8 or uint8. A runtime would use the whole of the wider type for such an activation, so a Clip
// before the QuantizeLinear keeps it on its grid. Narrow grids of 8 and 16 bits have no Clip: it would keep ONNX
// Runtime from fusing, and only reals outside the calibrated range reach the one extra code. An operator that only
// moves elements of a value on the same grid needs no Clip and must not get one: ONNX Runtime 1.32 moves the pairs
// around such nodes and then refuses a model with signed codes after a Clip.
#pragma once

#include <onnx/onnx_pb.h>

#include <cstdint>
#include <map>
#include <optional>
#include <set>
#include <span>
#include <string>
#include <unordered_map>
#include <utility>
#include <vector>

#include "bitfold/graph.h"

namespace bitfold {

/// State shared by all graphs of a file that is being written.
struct ModelWriting {
  std::int64_t opset = 0;                                ///< The opset of the default domain.
  std::set<std::string> taken = {};                      ///< Names of values and nodes, in any graph.
  std::map<std::string, std::int64_t> domains = {};      ///< The other domains of nodes, with their versions.
  std::map<std::string, std::string> domain_users = {};  ///< The first node of each domain, for messages.
  std::map<std::string, std::string> metadata = {};
  /// The elements of large initializers of the main graph, by index, which are not in the message.
  std::vector<std::optional<Tensor>> data = {};
  /// float16 or bfloat16 if large constants that it holds exactly are written in it, otherwise unknown.
  DataType constants = DataType::unknown;
};

/// Adds the names of all values of a graph and its bodies to `taken`.
void take_names(const Graph& graph, std::set<std::string>& taken);

class GraphWriter {
 public:
  /// A body has a writer for the graph around it, and a path (qdq.h). All references must outlive the writer.
  GraphWriter(ModelWriting& model, const Graph& graph, onnx::GraphProto& file, GraphWriter* outer = nullptr,
              std::string path = "");

  /// Throws Error naming a value or node that ONNX cannot express. `captured`: for a body, the outer values that its
  /// last inputs stand for.
  void write(std::span<const ValueId> captured = {});

 private:
  // The graph and its nodes: write_graph.cpp.
  void bind_captured(std::span<const ValueId> captured);
  void write_input(ValueId id);
  void write_outputs();
  void write_value_info(ValueId id, const std::string& name);
  void write_node(NodeId id);
  void write_operator(NodeId id);
  void write_fields(const Node& node, onnx::NodeProto& written);
  void write_bodies(const Node& node, onnx::NodeProto& written);
  void write_unknown(const Node& node, onnx::NodeProto& written);
  void write_flattened(const Node& node, std::int64_t axis);
  void write_metadata();
  onnx::NodeProto& add(const char* type, const std::string& node_name, const std::vector<std::string>& inputs,
                       const std::string& output);
  void add_initializer(const std::string& name, const Tensor& tensor);
  void append(onnx::NodeProto node);

  // Names: write_graph.cpp.
  std::string fresh(const std::string& stem);
  std::string own_name(ValueId id);
  std::string raw_name(ValueId id);
  std::string read_name(ValueId id);
  bool is_outer_name(const std::string& name) const;
  bool shares_constant(const Value& value);
  void need_constant(const std::string& name);

  // Grids: write_grids.cpp.
  void write_constant(ValueId id);
  void write_reals(const std::string& name, const Tensor& tensor);
  void write_snapped_outputs(const Node& node, const std::vector<std::string>& raw_names);
  void write_requantize(const Node& node);
  void write_pair(const Value& value, const std::string& from, const std::string& to, const char* mark,
                  const std::string& node_name);
  std::vector<std::string> write_grid(const Value& value, bool with_zero_point);
  std::string write_scale(const std::string& stem, const Tensor& scale);
  std::string clipped(const Value& value, const std::string& from);

  ModelWriting& model_;
  const Graph& graph_;
  onnx::GraphProto& file_;
  GraphWriter* outer_;
  const std::string path_;
  std::map<ValueId, std::string> read_names_;  // names by which consumers read a value, if not its own
  // Written scales per channel. Nodes that share weights have biases with equal ones.
  std::map<Shape, std::vector<std::pair<Tensor, std::string>>> scales_;
  std::map<ValueId, std::string> own_names_;  // new names of values whose names occur in an outer graph
  // constants that nothing has read yet, and which are not written
  std::unordered_map<std::string, ValueId> constants_;
};

}  // namespace bitfold
