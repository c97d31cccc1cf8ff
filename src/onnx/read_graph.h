// One graph of a file, the main graph or the body of a node, becomes a Graph.
//
// Reals of float16, bfloat16 and float64 become float32 inside. Constants are converted. A graph input or output, and
// an input or output of an operator that Bitfold lacks, keeps the file's type and has a Cast next to it.
#pragma once

#include <onnx/onnx_pb.h>

#include <map>
#include <memory>
#include <optional>
#include <set>
#include <span>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "bitfold/graph.h"
#include "onnx/expansion.h"
#include "onnx/functions.h"
#include "onnx/initializer_data.h"
#include "onnx/lift.h"
#include "onnx/qdq.h"
#include "ops/operator.h"

namespace bitfold {

/// State shared by all graphs of a file.
struct ModelFile {
  ModelFile(onnx::ModelProto& proto, DetachedModelData detached, std::shared_ptr<const void> memory,
            std::string data_folder)
      : model(proto),
        initializer_data(std::move(detached.initializers)),
        owner(std::move(memory)),
        folder(std::move(data_folder)),
        functions(proto) {
    for (int i = 0; i < proto.graph().node_size(); ++i)
      if (const auto data = detached.constants[static_cast<std::size_t>(i)]; data.data() != nullptr)
        constant_data[&proto.graph().node(i)] = data;
  }

  onnx::ModelProto& model;  ///< Its initializers lose their elements as they are read.
  /// The elements that parse_model() left out of `model`, for initializers by index.
  InitializerData initializer_data;
  std::unordered_map<const onnx::NodeProto*, std::span<const std::byte>> constant_data;
  std::shared_ptr<const void> owner;  ///< Keeps that memory alive; if null, the data must be copied.
  std::string folder;                 ///< The folder of external data.
  Functions functions;
  /// The opset that the file had before its content required a higher one; 0 if unknown.
  std::int64_t earlier_opset = 0;
  std::set<std::string> overridden = {};  ///< LoadOptions::overridden.
  /// The first type of halves among the large constants; unknown if there are none.
  DataType constants = DataType::unknown;
  /// Metadata of values in bodies, by the body's path.
  std::map<std::string, std::map<std::string, std::string>> body_metadata = {};
};

/// A value of an outer graph that a body reads.
struct Captured {
  std::string name;
  DataType file_type = DataType::float32;
  Value value;  ///< A constant is copied into the body; any other value becomes an input of the body.
};

class GraphReader {
 public:
  /// `path` is that of a body, or "" for the main graph. All references must outlive the reader.
  GraphReader(ModelFile& file, const onnx::GraphProto& graph, const Opsets& opsets, std::string path = "");

  /// `inputs`: the outer graph's types and shapes of a body's own inputs. Sets grids and inferred shapes.
  Graph read(std::span<const ValueInfo> inputs = {}, std::span<const Captured> captured = {});
  /// The element types of the outputs in the file. Call after read().
  const std::vector<DataType>& output_types() const { return output_types_; }

 private:
  /// A value by its name in the file. A value of an ordinary type has only `real`.
  struct FileValue {
    DataType type = DataType::float32;  ///< The type in the file.
    ValueId real = ValueId::none;       ///< For other types of reals: the float32 value; none until something reads it.
    /// For other types of reals: the value in the file's type; none until something reads it.
    ValueId raw = ValueId::none;
    std::optional<Tensor> elements = {};  ///< The elements of a constant that is not in the graph yet.
  };

  // The graph: read_graph.cpp.
  bool is_body() const { return !path_.empty(); }
  void read_initializers();
  Tensor take_initializer(int i);
  void note_halves(const Tensor& constant);
  void read_inputs(std::span<const ValueInfo> infos);
  void add_captured(std::span<const Captured> captured);
  void read_declarations(std::span<const SourceNode> nodes);
  void mark_output(const onnx::ValueInfoProto& output);
  void fuse_casts();
  void name_nodes();

  // Values: read_graph.cpp.
  std::string fresh(const std::string& stem) const;
  ValueId add_constant(const std::string& name, bool has_name, Tensor tensor);
  ValueId read_value(const std::string& name);
  ValueId read_raw(const std::string& name);
  void give_up_name(ValueId id, const std::string& name);
  ValueId add_cast(ValueId from, DataType to, const std::string& output);
  const ValueInfo& info(ValueId id);
  std::vector<ValueInfo> infos_of(const std::vector<ValueId>& ids);

  // Nodes: read_node.cpp, read_stand_ins.cpp, read_bodies.cpp, read_sequence_map.cpp.
  void read_node(const SourceNode& source);
  void read_checked(const SourceNode& source);
  bool read_mark(const onnx::NodeProto& node);
  bool skip_identity(const onnx::NodeProto& node);
  bool widen_constant(const onnx::NodeProto& node);
  std::optional<std::string> read_sequence_map(const SourceNode& source);
  bool read_flattened_softmax(const onnx::NodeProto& node);
  std::optional<std::string> read_expanded(const onnx::NodeProto& node, ExpandNode expand);
  std::optional<std::string> read_known(const SourceNode& source, std::size_t output_count);
  void read_unknown(const SourceNode& source, std::size_t output_count, std::string reason);
  bool fold_grid(const Op& op, const std::vector<ValueId>& inputs, const std::string& output);
  std::optional<std::string> read_bodies(const SourceNode& source, const ops::OperatorInfo& row, NodeForm& form,
                                         Node& made, std::vector<DataType>& output_types);
  std::optional<std::string> set_fields(const NodeForm& form, const ops::OperatorInfo& row, Op& op,
                                        std::optional<DataType>& file_type);
  NodeId add_node(const onnx::NodeProto& node, Node made, std::size_t output_count);
  void infer(NodeId id);
  DataType file_type_of_output(const onnx::NodeProto& node, NodeId id, std::size_t output,
                               std::optional<DataType> attribute);
  std::size_t count_outputs(const onnx::NodeProto& node) const;
  std::int64_t opset_of(const onnx::NodeProto& node, const Opsets& opsets) const;

  ModelFile& file_;
  const onnx::GraphProto& proto_;
  const Opsets& opsets_;
  const std::string path_;
  Graph graph_;
  std::unordered_map<std::string, FileValue> values_;
  std::map<std::string, ValueInfo> declared_;  // types and shapes that the file declares
  std::set<std::string> read_, names_;         // names that something reads; all names of the file's graph
  std::set<std::string> own_, outputs_;        // names of inputs and initializers; names of outputs
  std::set<NodeId> file_casts_, own_casts_;    // Casts to other types of reals: from the file, and added here
  QdqMarks marks_;
  std::vector<std::optional<ValueInfo>> infos_;  // per value, filled when a node needs it
  std::vector<DataType> output_types_;
};

/// Gives a value that a body captures the name and the grid that it has outside. Runs after grids were found in a graph
/// and its bodies.
void adopt_captured(Graph& graph);

}  // namespace bitfold
