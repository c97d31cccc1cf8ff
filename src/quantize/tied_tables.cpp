#include "quantize/tied_tables.h"

#include <algorithm>
#include <vector>

#include "graph/linear_layer.h"
#include "quantize/weights.h"

namespace bitfold::quantization {
namespace {

template <class T>
Tensor transpose_of(const Tensor& matrix) {
  const std::int64_t rows = matrix.dim(0), columns = matrix.dim(1);
  Tensor result(matrix.dtype(), {columns, rows});
  const auto from = matrix.data<T>();
  const auto to = result.mutable_data<T>();
  for (std::int64_t r = 0; r < rows; ++r)
    for (std::int64_t c = 0; c < columns; ++c)
      to[static_cast<std::size_t>(c * rows + r)] = from[static_cast<std::size_t>(r * columns + c)];
  return result;
}

bool are_transposed(const Tensor& a, const Tensor& b) {
  const std::int64_t rows = a.dim(0), columns = a.dim(1);
  if (b.dim(0) != columns || b.dim(1) != rows) return false;
  const auto x = a.data<float>(), y = b.data<float>();
  for (std::int64_t r = 0; r < rows; ++r)
    for (std::int64_t c = 0; c < columns; ++c)
      if (x[static_cast<std::size_t>(r * columns + c)] != y[static_cast<std::size_t>(c * rows + r)]) return false;
  return true;
}

class Tables {
 public:
  Tables(const Graph& float_graph, Graph& graph, const Plan& plan) : float_graph_(float_graph), graph_(graph) {
    for (NodeId id : float_graph.nodes()) {
      if (!plan.at(id).in_integers || plan.at(id).role != Role::product) continue;
      const auto& grid = graph.value(graph.node(id).inputs[1]).quant;
      if (grid && grid->bits == 8 && grid->per_channel() && constant_weights(float_graph, id)->alpha == 1)
        products_.push_back(id);
    }
  }

  /// The product whose weights are the table; none if there is none.
  NodeId product_of(ValueId table) const {
    const Tensor& numbers = *float_graph_.value(table).constant;
    for (NodeId id : products_) {
      const ValueId weights = float_graph_.node(id).inputs[1];
      if (weights == table) return id;
      const Tensor& other = *float_graph_.value(weights).constant;
      if (numbers.rank() == 2 && other.rank() == 2 && are_transposed(numbers, other)) return id;
    }
    return NodeId::none;
  }

  /// The codes of the table: those of the product's weights, or a transposed copy.
  ValueId codes_of(ValueId table, NodeId product) {
    const ValueId weights = graph_.node(product).inputs[1];
    if (float_graph_.node(product).inputs[1] == table) return weights;
    const auto known = transposed_.find(table);
    if (known != transposed_.end()) return known->second;
    const Value& value = graph_.value(weights);
    QuantParams grid = *value.quant;
    grid.axis = 1 - grid.axis;
    Tensor codes =
        grid.is_signed ? transpose_of<std::int8_t>(*value.constant) : transpose_of<std::uint8_t>(*value.constant);
    const ValueId copy = graph_.add_constant(graph_.unique_name(graph_.value(table).name + "_codes"), codes);
    set_codes(graph_.value(copy), std::move(codes), std::move(grid));
    return transposed_[table] = copy;
  }

 private:
  const Graph& float_graph_;
  Graph& graph_;
  std::vector<NodeId> products_;
  std::map<ValueId, ValueId> transposed_;
};

}  // namespace

std::map<NodeId, NodeId> share_tables(const Graph& float_graph, Graph& graph, const Plan& plan,
                                      std::span<const std::string> in_float) {
  std::map<NodeId, NodeId> shared;
  Tables tables(float_graph, graph, plan);
  for (NodeId id : float_graph.nodes()) {
    const Node& node = float_graph.node(id);
    if (!std::holds_alternative<Gather>(node.op) || !float_graph.is_constant(node.inputs[0])) continue;
    const Value& table = float_graph.value(node.inputs[0]);
    if (std::ranges::find(in_float, node.name) != in_float.end() || table.constant->dtype() != DataType::float32)
      continue;
    const NodeId product = tables.product_of(node.inputs[0]);
    if (product == NodeId::none) continue;
    graph.set_input(id, 0, tables.codes_of(node.inputs[0], product));
    shared[id] = product;
  }
  return shared;
}

}  // namespace bitfold::quantization
