// Merges LayerNormalization into one node. Exporters for opsets before 17 write it as
//
//   d = x - mean(x),    n = d / sqrt(mean(d^2) + epsilon),    y = n * scale + shift
//
// Means are over the last axis; scale and shift have one entry per index of it. A single node runs as one step of the
// engine, and equalization and smoothing recognize it.
#include "ops/infer.h"
#include "passes/rewrite.h"

namespace bitfold {
namespace {

/// The node that produces `value`, if its operator is an Op of this kind.
template <class Op, class Kind>
std::optional<NodeId> made_by(const Graph& graph, ValueId value, Kind kind) {
  const NodeId id = value == ValueId::none ? NodeId::none : graph.producer(value);
  if (id == NodeId::none) return std::nullopt;
  const auto* op = std::get_if<Op>(&graph.node(id).op);
  return op != nullptr && op->kind == kind ? std::optional(id) : std::nullopt;
}

ValueId input(const Graph& graph, NodeId id, std::size_t slot) { return graph.node(id).inputs[slot]; }

/// x, if `value` is the mean of x over the last axis with keepdims; otherwise none.
ValueId averaged(const Graph& graph, ValueId value) {
  const auto id = made_by<Reduce>(graph, value, ReduceKind::mean);
  if (!id || !std::get<Reduce>(graph.node(*id).op).keepdims || graph.node(*id).inputs.size() < 2) return ValueId::none;
  const ValueId x = input(graph, *id, 0), axes = input(graph, *id, 1);
  const auto& shape = graph.value(x).shape;
  if (!shape || axes == ValueId::none || !graph.is_constant(axes)) return ValueId::none;
  const Tensor& list = *graph.value(axes).constant;
  if (list.dtype() != DataType::int64 || list.size() != 1) return ValueId::none;
  const std::int64_t axis = list.data<std::int64_t>()[0];
  return ops::is_last_axis(axis, shape->size()) ? x : ValueId::none;
}

/// x, if `value` = x - mean(x).
ValueId centred(const Graph& graph, ValueId value) {
  const auto id = made_by<Binary>(graph, value, BinaryKind::sub);
  if (!id) return ValueId::none;
  const ValueId x = input(graph, *id, 0);
  return averaged(graph, input(graph, *id, 1)) == x ? x : ValueId::none;
}

/// Whether an operation with this single number keeps the value's shape; [1, 1, 1, 1] would add axes.
bool keeps_rank(const Graph& graph, ValueId value, const Tensor& number) {
  const auto& shape = graph.value(value).shape;
  return shape && number.shape().size() <= shape->size();
}

/// d, if `value` = d^2.
ValueId squared(const Graph& graph, ValueId value) {
  if (const auto id = made_by<Binary>(graph, value, BinaryKind::mul))
    return input(graph, *id, 0) == input(graph, *id, 1) ? input(graph, *id, 0) : ValueId::none;
  const auto id = made_by<Binary>(graph, value, BinaryKind::pow);
  if (!id || scalar_constant(graph, input(graph, *id, 1)) != 2.0F) return ValueId::none;
  return keeps_rank(graph, input(graph, *id, 0), *plain_constant(graph, input(graph, *id, 1))) ? input(graph, *id, 0)
                                                                                               : ValueId::none;
}

struct Operand {
  ValueId value = ValueId::none;
  const Tensor* constant = nullptr;
};

/// The variable operand of a Binary that has one constant operand.
Operand split(const Graph& graph, NodeId id) {
  for (const std::size_t slot : {std::size_t{0}, std::size_t{1}})
    if (const Tensor* constant = plain_constant(graph, input(graph, id, slot)))
      return {input(graph, id, 1 - slot), constant};
  return {};
}

struct Normalization {
  ValueId x;
  float epsilon;
};

/// The parts of a normalization that ends with the division `id`; none if `id` does not end one.
std::optional<Normalization> normalization(const Graph& graph, NodeId id) {
  const auto* op = std::get_if<Binary>(&graph.node(id).op);
  if (op == nullptr || op->kind != BinaryKind::div) return std::nullopt;
  const ValueId d = input(graph, id, 0), x = centred(graph, d);
  if (x == ValueId::none || graph.value(x).dtype != DataType::float32) return std::nullopt;
  const auto root = made_by<Unary>(graph, input(graph, id, 1), UnaryKind::sqrt);
  if (!root) return std::nullopt;
  const auto sum = made_by<Binary>(graph, input(graph, *root, 0), BinaryKind::add);
  if (!sum) return std::nullopt;
  const auto [variance, epsilon] = split(graph, *sum);
  if (epsilon == nullptr || epsilon->size() != 1 || !(epsilon->data<float>()[0] >= 0)) return std::nullopt;
  if (!keeps_rank(graph, variance, *epsilon)) return std::nullopt;
  const ValueId square = averaged(graph, variance), difference = squared(graph, square);
  if (difference == ValueId::none || (difference != d && centred(graph, difference) != x)) return std::nullopt;
  for (const ValueId inner : {d, input(graph, id, 1), input(graph, *root, 0), variance, square, difference})
    if (graph.value(inner).quant) return std::nullopt;  // this rounding is part of the meaning
  return Normalization{x, epsilon->data<float>()[0]};
}

/// The only reader of a node's output, if it is a Binary of this kind with a constant of shape [size].
NodeId affine_reader(const Graph& graph, NodeId id, BinaryKind kind, std::int64_t size) {
  const ValueId y = graph.node(id).outputs[0];
  if (!graph.has_single_consumer(y) || graph.is_output(y) || graph.value(y).quant) return NodeId::none;
  const NodeId reader = graph.consumers(y).front();
  const auto* op = std::get_if<Binary>(&graph.node(reader).op);
  if (op == nullptr || op->kind != kind) return NodeId::none;
  const Tensor* constant = split(graph, reader).constant;
  return constant != nullptr && constant->shape() == Shape{size} ? reader : NodeId::none;
}

/// Merges the reader, whose other operand is `constant`, into the node.
void take_over(Graph& graph, NodeId id, NodeId reader, std::size_t slot, Tensor constant, const char* what) {
  set_constant_input(graph, id, slot, std::move(constant), graph.value(graph.node(reader).outputs[0]).name + what);
  absorb_into(graph, id, reader);
}

bool merge(Graph& graph, NodeId id) {
  const auto found = normalization(graph, id);
  if (!found) return false;
  const std::int64_t size = graph.value(found->x).shape->back();
  if (size == kDynamic) return false;
  const NodeId scaled = affine_reader(graph, id, BinaryKind::mul, size);
  graph.set_input(id, 0, found->x);
  graph.resize_inputs(id, 1);
  graph.op(id) = LayerNorm{.axis = -1, .epsilon = found->epsilon};
  if (scaled == NodeId::none) {
    const std::vector<float> ones(static_cast<std::size_t>(size), 1.0F);
    set_constant_input(graph, id, 1, Tensor::from<float>({size}, ones),
                       graph.value(graph.node(id).outputs[0]).name + ".scale");
    return true;
  }
  take_over(graph, id, scaled, 1, *split(graph, scaled).constant, ".scale");
  const NodeId shifted = affine_reader(graph, id, BinaryKind::add, size);
  if (shifted != NodeId::none) take_over(graph, id, shifted, 2, *split(graph, shifted).constant, ".shift");
  return true;
}

}  // namespace

int merge_layer_norm(Graph& graph) {
  std::vector<NodeId> divisions;  // merging one removes other nodes, but never a division
  for (NodeId id : graph.topological_order())
    if (normalization(graph, id)) divisions.push_back(id);
  int changes = 0;
  for (NodeId id : divisions) changes += merge(graph, id) ? 1 : 0;
  return changes;
}

}  // namespace bitfold
