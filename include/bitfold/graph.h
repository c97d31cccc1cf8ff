// A network: values, nodes, and who produces and consumes what.
//
// A Graph always means a function on real numbers. A Value may carry a grid (invariant 1): then its reals lie
// on that grid, however they were computed.
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
  DataType dtype = DataType::float32;  ///< Of its reals: float32 also where a grid is set.
  std::optional<Shape> shape;          ///< Absent until inferred; kDynamic where known only at run time.
  std::optional<Tensor> constant;      ///< Set for constants. Where a grid is set too, it holds the codes.
  std::optional<QuantParams> quant;    ///< The grid its reals lie on.

  bool operator==(const Value&) const = default;
};

/// A regular value: copying a Graph copies everything but the (shared, immutable) bytes of its tensors.
class Graph {
 public:
  std::string name;
  std::map<std::string, std::string> metadata;  ///< ONNX metadata_props; survives import and export.

  /// Throws Error when the name is taken.
  ValueId add_value(Value value);
  ValueId add_input(std::string value_name, DataType dtype, Shape shape);
  ValueId add_constant(std::string value_name, Tensor tensor);
  /// A name based on `stem` that no value has yet.
  std::string unique_name(std::string_view stem) const;

  /// Throws Error when an output already has a producer, is a constant or a graph input.
  NodeId add_node(Node node);
  /// Adds a node with one fresh float32 output named `output_name`.
  ValueId add(Op op, std::string node_name, std::vector<ValueId> inputs, std::string output_name);

  void mark_output(ValueId id);
  /// Leaves no outputs: those of a part of the graph are marked next.
  void clear_outputs();

  const Value& value(ValueId id) const { return values_[checked(id)]; }
  Value& value(ValueId id) { return values_[checked(id)]; }
  const Node& node(NodeId id) const { return nodes_[checked(id)]; }
  /// The op and the name may be changed in place; edges only through the functions below.
  Op& op(NodeId id) { return nodes_[checked(id)].op; }
  /// The networks that an If, Loop or Scan runs.
  void set_bodies(NodeId id, std::vector<std::shared_ptr<const Graph>> bodies) {
    nodes_[checked(id)].bodies = std::move(bodies);
  }
  void rename_node(NodeId id, std::string node_name) { nodes_[checked(id)].name = std::move(node_name); }
  /// Throws Error when another value has that name.
  void rename_value(ValueId id, std::string value_name);

  const std::vector<ValueId>& inputs() const { return inputs_; }
  const std::vector<ValueId>& outputs() const { return outputs_; }
  bool is_input(ValueId id) const { return id != ValueId::none && is_input_[checked(id)] != 0; }
  bool is_output(ValueId id) const { return id != ValueId::none && is_output_[checked(id)] != 0; }
  bool is_constant(ValueId id) const { return id != ValueId::none && value(id).constant.has_value(); }
  ValueId find(std::string_view value_name) const;  ///< none when there is no such value.

  NodeId producer(ValueId id) const { return producers_[checked(id)]; }  ///< none for inputs and constants.
  /// Each consuming node once, in the order they were added.
  const std::vector<NodeId>& consumers(ValueId id) const { return consumers_[checked(id)]; }
  /// True when exactly one node reads `id` and it is not a graph output.
  bool has_single_consumer(ValueId id) const;

  /// Live nodes in an order in which every node comes after the producers of its inputs. Ties keep the order of
  /// addition, so that it is the same on every machine. Throws Error naming a node when there is a cycle.
  std::vector<NodeId> topological_order() const;
  std::vector<NodeId> nodes() const;    ///< Live nodes in the order they were added.
  std::vector<ValueId> values() const;  ///< Live values in the order they were added.
  std::size_t node_count() const;
  /// One more than the largest ValueId there ever was: the length of a table by value.
  std::size_t value_capacity() const { return values_.size(); }

  void set_input(NodeId id, std::size_t slot, ValueId value);
  void add_input_slot(NodeId id, ValueId value);
  void resize_inputs(NodeId id, std::size_t count);
  /// Every node that reads `from` reads `to` instead; graph outputs are left alone.
  void replace_uses(ValueId from, ValueId to);
  /// As replace_uses, and where `from` is a graph output, `to` becomes it and takes over its name.
  void replace_value(ValueId from, ValueId to);
  /// The node's outputs lose their producer.
  void remove_node(NodeId id);
  /// `to` becomes the producer of output `slot` instead of its present output value.
  void set_output(NodeId id, std::size_t slot, ValueId value);
  /// Removes nodes none of whose outputs is read, and then constants nobody reads. Returns how many nodes went.
  int remove_dead();
  /// Renumbers: drops removed nodes and values, and orders nodes topologically. Invalidates ids.
  void compact();

  /// Equal as stored, ids and order included: compact() both sides for equality of content.
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

/// Where an error or a log line speaks of: "[Conv 'layer2.0.conv1']".
std::string where(const Graph& graph, NodeId id);

/// What a node's outputs are, from what its inputs are. An absent input has no dtype worth reading. A negative
/// dimension is unknown; one below kDynamic stands for the same size wherever it appears. Throws Error (without saying
/// where) when shapes contradict the operator; outputs whose shape depends on data not known have no shape.
std::vector<ValueInfo> infer_node(const Node& node, std::span<const ValueInfo> inputs);

/// What is known of a tensor before an operator reads it.
ValueInfo info_of(const Tensor& tensor);

/// What a value says of itself, without its producer: declared type and shape, a constant's elements.
ValueInfo declared_info(const Value& value);

/// Everything infer_node can tell about a whole graph, per value. With `inputs` given, they replace the graph inputs'
/// declared shapes (in graph input order). Throws Error with where(node) in front on contradiction.
std::vector<ValueInfo> infer_values(const Graph& graph, std::span<const Shape> inputs = {});

/// Writes what infer_values found into Value::shape and Value::dtype.
void infer_shapes(Graph& graph);

/// How far a graph has come; each stage includes the promises of those before it.
enum class Stage {
  imported,   ///< acyclic, names unique, input counts right, shapes consistent
  optimized,  ///< no BatchNorm behind a Conv it could fold into, no node with only constant inputs
  quantized,  ///< grids valid: scale > 0 and finite, zero_point within range, bias grid = s_x * s_w[c]
};

/// Throws Error naming node and value when the graph breaks a promise of `stage`.
void verify(const Graph& graph, Stage stage);

/// The graph as text, one value or node per line. parse_graph reads it back: the same graph but for constants of more
/// than 16 elements, which are written as type, shape and a hash of their bytes and read as zeros. For tests and for
/// reading. parse_graph throws Error naming the line.
std::string print_graph(const Graph& graph);
Graph parse_graph(std::string_view text);

}  // namespace bitfold
