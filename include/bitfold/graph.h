// A network: values, nodes, and which nodes produce and consume values.
//
// A Graph is always a function on real numbers. A Value may have a grid (invariant 1): its reals then lie on that grid,
// however they were computed.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "bitfold/affine.h"
#include "bitfold/node.h"
#include "bitfold/tensor.h"

namespace bitfold {

struct Value {
  std::string name;                    ///< Unique in its graph.
  DataType dtype = DataType::float32;  ///< Type of the reals: float32 also for values with a grid.
  std::optional<Shape> shape;          ///< Absent until inferred; kDynamic for dimensions known only at run time.
  std::optional<Tensor> constant;      ///< Set for constants. With a grid, contains the codes.
  std::optional<QuantParams> quant;    ///< The grid its reals lie on.
  std::optional<ItemType> items;       ///< Set for a sequence or an optional, which has no shape.

  bool operator==(const Value&) const = default;
};

/// A regular value: copying a Graph copies everything except the shared, immutable bytes of its tensors.
class Graph {
 public:
  std::string name;
  /// The opset of the file that the graph was read from; saving keeps it if possible. 0: not read from a file.
  std::int64_t opset = 0;
  std::map<std::string, std::string> metadata;  ///< ONNX metadata_props; kept through import and export.

  /// Throws Error if the name is already used.
  ValueId add_value(Value value);
  ValueId add_input(std::string value_name, DataType dtype, Shape shape);
  ValueId add_constant(std::string value_name, Tensor tensor);
  /// A name based on `stem` that no value has.
  std::string unique_name(std::string_view stem) const;

  /// Throws Error if an output already has a producer, is a constant or a graph input.
  NodeId add_node(Node node);
  /// Adds a node with one new float32 output named `output_name`.
  ValueId add(Op op, std::string node_name, std::vector<ValueId> inputs, std::string output_name);

  void mark_output(ValueId id);
  /// Removes all graph outputs, for instance to mark those of a part of the graph.
  void clear_outputs();

  const Value& value(ValueId id) const { return values_[checked(id)]; }
  Value& value(ValueId id) { return values_[checked(id)]; }
  const Node& node(NodeId id) const { return nodes_[checked(id)]; }
  /// The op may be changed in place. Edges are changed only through the functions below.
  Op& op(NodeId id) { return nodes_[checked(id)].op; }
  /// The networks that an If, Loop or Scan runs.
  void set_bodies(NodeId id, std::vector<std::shared_ptr<const Graph>> bodies) {
    nodes_[checked(id)].bodies = std::move(bodies);
  }
  void rename_node(NodeId id, std::string node_name) { nodes_[checked(id)].name = std::move(node_name); }
  /// Throws Error if another value has that name.
  void rename_value(ValueId id, std::string value_name);

  const std::vector<ValueId>& inputs() const { return inputs_; }
  const std::vector<ValueId>& outputs() const { return outputs_; }
  bool is_input(ValueId id) const { return id != ValueId::none && is_input_[checked(id)] != 0; }
  bool is_output(ValueId id) const { return id != ValueId::none && is_output_[checked(id)] != 0; }
  bool is_constant(ValueId id) const { return id != ValueId::none && value(id).constant.has_value(); }
  ValueId find(std::string_view value_name) const;  ///< ValueId::none if there is no such value.

  NodeId producer(ValueId id) const { return producers_[checked(id)]; }  ///< NodeId::none for inputs and constants.
  /// Each consuming node once, in the order of addition.
  const std::vector<NodeId>& consumers(ValueId id) const { return consumers_[checked(id)]; }
  /// Whether exactly one node reads `id` and it is not a graph output.
  bool has_single_consumer(ValueId id) const;

  /// Live nodes in an order in which every node follows the producers of its inputs. Ties keep the order of addition,
  /// so that the order is the same on every machine. Throws Error naming a node if there is a cycle.
  std::vector<NodeId> topological_order() const;
  std::vector<NodeId> nodes() const;    ///< Live nodes in the order of addition.
  std::vector<ValueId> values() const;  ///< Live values in the order of addition.
  std::size_t node_count() const;
  /// One more than the largest ValueId ever used: the size of a table indexed by value.
  std::size_t value_capacity() const { return values_.size(); }

  void set_input(NodeId id, std::size_t slot, ValueId value);
  void add_input_slot(NodeId id, ValueId value);
  void resize_inputs(NodeId id, std::size_t count);
  /// Makes every node that reads `from` read `to` instead; graph outputs stay unchanged.
  void replace_uses(ValueId from, ValueId to);
  /// As replace_uses(); and if `from` is a graph output, `to` replaces it and takes over its name.
  void replace_value(ValueId from, ValueId to);
  /// The node's outputs lose their producer.
  void remove_node(NodeId id);
  /// Makes `to` the output `slot` of the node instead of its current value.
  void set_output(NodeId id, std::size_t slot, ValueId value);
  /// Removes nodes whose outputs are all unused, then unused constants. Returns the number of nodes removed.
  int remove_dead();
  /// Drops removed nodes and values, orders nodes topologically and renumbers. Invalidates ids.
  void compact();

  /// Equality of the stored form including ids and order: compact() both sides to compare contents.
  bool operator==(const Graph&) const = default;

 private:
  static std::size_t index(ValueId id) { return static_cast<std::size_t>(id); }
  static std::size_t index(NodeId id) { return static_cast<std::size_t>(id); }
  /// The index of an id; throws Error when the graph has no such value or node.
  std::size_t checked(ValueId id) const {
    if (index(id) >= values_.size()) fail_id(static_cast<std::int32_t>(id), "value", values_.size());
    return index(id);
  }
  std::size_t checked(NodeId id) const {
    if (index(id) >= nodes_.size()) fail_id(static_cast<std::int32_t>(id), "node", nodes_.size());
    return index(id);
  }
  template <class Id>
  void check_id(Id id) const {
    static_cast<void>(checked(id));
  }
  [[noreturn]] static void fail_id(std::int32_t id, const char* kind, std::size_t count);
  void check_slot(NodeId id, std::size_t slot, std::size_t count) const;
  void unlink(ValueId id, NodeId consumer);
  bool reads(NodeId node, ValueId id) const;

  std::vector<Value> values_;
  std::vector<Node> nodes_;
  std::vector<std::uint8_t> node_alive_, value_alive_;
  std::vector<ValueId> inputs_, outputs_;
  std::vector<NodeId> producers_;                   // per value
  std::vector<std::vector<NodeId>> consumers_;      // per value
  std::vector<std::uint8_t> is_input_, is_output_;  // per value
  std::map<std::string, ValueId, std::less<>> by_name_;
};

/// Whether any value has a grid.
bool is_quantized(const Graph& graph);

/// The subject of errors and log lines: "[Conv 'layer2.0.conv1']".
std::string where(const Graph& graph, NodeId id);

/// Infers the outputs of a node from its inputs. The dtype of an absent input is ignored. A negative dimension is
/// unknown; equal numbers below kDynamic stand for equal sizes. Throws Error (without the place) if shapes contradict
/// the operator. Outputs whose shape depends on unknown data have no shape.
std::vector<ValueInfo> infer_node(const Node& node, std::span<const ValueInfo> inputs);

/// The facts that shape inference derives from a known tensor: type, shape and elements.
ValueInfo info_of(const Tensor& tensor);

/// The facts stored in a value, without its producer: its declared type and shape, and a constant's elements.
ValueInfo declared_info(const Value& value);

/// Applies infer_node to a whole graph; results by value. `inputs`, if given, replace the declared shapes of the graph
/// inputs, in their order. Throws Error beginning with where(node) on contradictions.
std::vector<ValueInfo> infer_values(const Graph& graph, std::span<const Shape> inputs = {});

/// Writes the results of infer_values to Value::shape and Value::dtype.
void infer_shapes(Graph& graph);

/// How far a graph has been processed; each stage includes the guarantees of those before it.
enum class Stage {
  imported,   ///< acyclic, unique names, valid input counts, consistent shapes
  optimized,  ///< no BatchNorm that could be folded into the Conv before it, no node with only constant inputs
  quantized,  ///< valid grids: scale > 0 and finite, zero_point within range, bias grid = s_x * s_w[c]
};

/// Throws Error naming node and value if the graph violates a guarantee of `stage`.
void verify(const Graph& graph, Stage stage);

/// The graph as text, one value or node per line, for tests and for reading. parse_graph reads it back. The result is
/// the same graph, except that constants of more than 16 elements are written as type, shape and a hash, and read as
/// zeros. parse_graph throws Error naming the line.
std::string print_graph(const Graph& graph);
Graph parse_graph(std::string_view text);

}  // namespace bitfold
