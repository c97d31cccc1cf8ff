// Movements of codes become movements of reals.
//
//   QuantizeLinear -> codes -> Reshape -> codes -> DequantizeLinear
//
// becomes Reshape between two pairs of QuantizeLinear and DequantizeLinear, which absorb_qdq() turns into grids. Files
// with operators on codes (QOperator) contain the first form, also with constant codes, as in a Gather from a table.
#include <algorithm>
#include <map>
#include <ranges>
#include <set>

#include "bitfold/affine.h"
#include "bitfold/error.h"
#include "onnx/qdq.h"
#include "ops/operator.h"

namespace bitfold {
namespace {

bool is_movement(const Node& node) {
  return ops::moves_elements(node.op) && !std::holds_alternative<Requantize>(node.op) && node.bodies.empty();
}

/// The inputs whose elements the node moves.
std::vector<std::size_t> data_slots(const Node& node) {
  std::vector<std::size_t> slots;
  const ops::OperatorInfo& row = ops::info(node.op);
  for (std::size_t i = 0; i < node.inputs.size(); ++i) {
    const ops::Slot* slot = ops::slot_at(row.inputs, i);
    if (slot != nullptr && slot->use == ops::Use::data && node.inputs[i] != ValueId::none) slots.push_back(i);
  }
  return slots;
}

/// The inputs of a QuantizeLinear or DequantizeLinear of `x`.
std::vector<ValueId> with_parameters(ValueId x, std::vector<ValueId> parameters) {
  parameters.insert(parameters.begin(), x);
  return parameters;
}

class Movements {
 public:
  explicit Movements(Graph& graph) : graph_(graph) {}

  void run() {
    for (const NodeId id : graph_.topological_order() | std::views::reverse) {
      if (!is_movement(graph_.node(id))) continue;
      const NodeId reader = first_reader(id);
      if (reader == NodeId::none) continue;
      const DataType type = graph_.value(graph_.node(id).outputs[0]).dtype;
      const auto grid = grid_of(reader, type);
      if (!grid || grid->axis >= 0 || !all_read(id, *grid, type) || !comes_from(id, *grid, type)) continue;
      move(id, reader, *grid);
    }
  }

 private:
  /// None if the node's scale is not valid; running the node then reports it.
  std::optional<QuantParams> grid_of(NodeId id, DataType codes) const {
    try {
      return is_quantize(graph_.node(id).op) ? quantize_grid(graph_, id) : dequantize_grid(graph_, id, codes);
    } catch (const Error&) {
      return std::nullopt;
    }
  }

  NodeId first_reader(NodeId id) const {
    const Node& node = graph_.node(id);
    if (node.outputs.empty() || node.outputs[0] == ValueId::none || graph_.consumers(node.outputs[0]).empty())
      return NodeId::none;
    const NodeId reader = graph_.consumers(node.outputs[0]).front();
    return is_dequantize(graph_.node(reader).op) ? reader : NodeId::none;
  }

  /// Whether only DequantizeLinear nodes with that grid read the outputs.
  bool all_read(NodeId id, const QuantParams& grid, DataType type) const {
    return std::ranges::all_of(graph_.node(id).outputs, [&](ValueId output) {
      if (output == ValueId::none || graph_.is_output(output) || graph_.consumers(output).empty()) return false;
      return std::ranges::all_of(graph_.consumers(output), [&](NodeId reader) {
        const Node& node = graph_.node(reader);
        return is_dequantize(node.op) && node.inputs[0] == output && grid_of(reader, type) == grid;
      });
    });
  }

  /// Whether everything that the node moves is a constant, or was quantized to that grid, before any number of other
  /// movements. Each movement is visited once, because chains of them may be long, and may branch and join.
  bool comes_from(NodeId id, const QuantParams& grid, DataType type) {
    std::vector<NodeId> open{id};
    std::set<NodeId> seen{id};
    while (!open.empty()) {
      const NodeId at = open.back();
      open.pop_back();
      if (const auto known = origins_.find(at); known != origins_.end() && known->second == grid) continue;
      const Node& node = graph_.node(at);
      const std::vector<std::size_t> slots = data_slots(node);
      if (slots.empty() || (ops::fills(node.op) && !fill_is_zero(node, grid))) return false;
      for (const std::size_t slot : slots) {
        const ValueId x = node.inputs[slot];
        if (graph_.is_constant(x)) {
          if (graph_.value(x).quant) return false;
          continue;
        }
        const NodeId from = graph_.producer(x);
        if (from == NodeId::none || graph_.value(x).dtype != type) return false;
        if (is_quantize(graph_.node(from).op) ? grid_of(from, type) != grid : !is_movement(graph_.node(from)))
          return false;
        if (is_movement(graph_.node(from)) && seen.insert(from).second) open.push_back(from);
      }
    }
    for (const NodeId at : seen) origins_.insert_or_assign(at, grid);
    return true;
  }

  /// Whether a node that fills writes the code of real 0.
  bool fill_is_zero(const Node& node, const QuantParams& grid) const {
    const ValueId fill = ops::input_with(node, ops::Use::fill);
    if (fill == ValueId::none) return grid.zero_point[0] == 0;
    const Value& value = graph_.value(fill);
    if (!value.constant || value.quant || value.constant->size() != 1) return false;
    return dequantize(*value.constant, grid).data<float>()[0] == 0;
  }

  void move(NodeId id, NodeId reader, const QuantParams& grid) {
    const Node node = graph_.node(id);
    const DequantizeLinear like = std::get<DequantizeLinear>(graph_.node(reader).op);
    const std::vector<ValueId> parameters(graph_.node(reader).inputs.begin() + 1, graph_.node(reader).inputs.end());
    for (const std::size_t slot : data_slots(node))
      graph_.set_input(id, slot, reals_of(node.inputs[slot], like, parameters, grid));
    const ValueId fill = ops::input_with(node, ops::Use::fill);
    for (std::size_t i = 0; i < node.inputs.size() && fill != ValueId::none; ++i)
      if (node.inputs[i] == fill)
        graph_.set_input(id, i, graph_.add_constant(graph_.unique_name("zero"), Tensor(DataType::float32, {})));
    for (std::size_t i = 0; i < node.outputs.size(); ++i) {
      const Value codes = graph_.value(node.outputs[i]);
      const ValueId reals = graph_.add_value(
          {.name = graph_.unique_name(codes.name + "/reals"), .dtype = DataType::float32, .shape = codes.shape});
      graph_.set_output(id, i, reals);
      graph_.add_node({.name = codes.name + "/QuantizeLinear",
                       .op = QuantizeLinear{.axis = like.axis, .output_dtype = codes.dtype},
                       .inputs = with_parameters(reals, parameters),
                       .outputs = {node.outputs[i]}});
    }
  }

  /// Dequantized codes; of constants, a constant with a grid.
  ValueId reals_of(ValueId codes, const DequantizeLinear& like, const std::vector<ValueId>& parameters,
                   const QuantParams& grid) {
    Value reals{.name = graph_.unique_name(graph_.value(codes).name + "/reals"),
                .dtype = DataType::float32,
                .shape = graph_.value(codes).shape};
    if (graph_.is_constant(codes)) {
      reals.constant = graph_.value(codes).constant;
      reals.quant = grid;
      return graph_.add_value(std::move(reals));
    }
    const std::string name = reals.name;
    const ValueId y = graph_.add_value(std::move(reals));
    graph_.add_node({.name = name, .op = like, .inputs = with_parameters(codes, parameters), .outputs = {y}});
    return y;
  }

  Graph& graph_;
  std::map<NodeId, QuantParams> origins_;  // the grid from which a movement's codes come, where that is known
};

}  // namespace

void dequantize_before_movements(Graph& graph) { Movements(graph).run(); }

}  // namespace bitfold
