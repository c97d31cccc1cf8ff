// Replaces everything that is known before running by constants: nodes whose inputs are all constant (computed by the
// reference, which defines their meaning), shape arithmetic whose result inference finds although the batch is
// symbolic, and the targets of Reshapes with at most one unknown size, which is written as -1.
#include <algorithm>

#include "graph/foldable.h"
#include "graph/runnable.h"
#include "numeric/release_pages.h"
#include "ops/operator.h"
#include "passes/rewrite.h"

namespace bitfold {
namespace {

using Infos = std::vector<ValueInfo>;

const ValueInfo& info_of(const Infos& infos, ValueId id) { return infos[static_cast<std::size_t>(id)]; }

/// Turns the outputs of a node into constants; they keep their names.
void become_constants(Graph& graph, NodeId id, std::vector<Tensor> tensors) {
  const std::vector<ValueId> outputs = graph.node(id).outputs;
  graph.remove_node(id);
  for (std::size_t i = 0; i < outputs.size(); ++i) {
    if (outputs[i] == ValueId::none) continue;
    Value& value = graph.value(outputs[i]);
    value.dtype = tensors[i].dtype();
    value.shape = tensors[i].shape();
    value.constant = std::move(tensors[i]);
  }
}

bool compute(Graph& graph, NodeId id, const Infos& infos) {
  const Node& node = graph.node(id);
  if (!is_foldable(graph, id, infos)) return false;
  std::vector<TensorView> inputs;
  for (ValueId in : node.inputs) {
    if (in == ValueId::none) {
      inputs.emplace_back();
      continue;
    }
    // Operator functions only read their inputs.
    const Tensor& tensor = *graph.value(in).constant;
    inputs.push_back({tensor.dtype(), tensor.shape(), const_cast<std::byte*>(tensor.bytes())});
  }
  if (ops::info(node.op).evaluate == nullptr || why_not_runnable(graph, id, infos)) return false;
  std::vector<Tensor> results;
  for (ValueId out : node.outputs) {
    if (out == ValueId::none) results.emplace_back();
    if (out != ValueId::none) results.emplace_back(info_of(infos, out).dtype, *info_of(infos, out).shape);
  }
  std::vector<TensorView> outputs;
  for (std::size_t i = 0; i < results.size(); ++i) {
    const bool is_used = node.outputs[i] != ValueId::none;
    outputs.push_back(is_used ? TensorView{results[i].dtype(), results[i].shape(), results[i].mutable_bytes()}
                              : TensorView{});
  }
  ops::info(node.op).evaluate(node, inputs, outputs);
  for (ValueId in : node.inputs)
    if (in != ValueId::none) release_mapped_pages(*graph.value(in).constant);
  become_constants(graph, id, std::move(results));
  return true;
}

template <class T>
Tensor integers(const ValueInfo& info) {
  Tensor tensor(info.dtype, *info.shape);
  const auto data = tensor.mutable_data<T>();
  for (std::size_t i = 0; i < data.size(); ++i) data[i] = static_cast<T>(*(*info.elements)[i]);
  return tensor;
}

/// A value as a tensor, if shape inference finds all of its elements.
std::optional<Tensor> known_tensor(const ValueInfo& info) {
  if (!info.elements || !info.shape || !is_static(*info.shape)) return std::nullopt;
  const auto& elements = *info.elements;
  if (element_count(*info.shape) != std::ssize(elements)) return std::nullopt;
  if (!std::all_of(elements.begin(), elements.end(), [](const auto& e) { return e.has_value(); })) return std::nullopt;
  if (info.dtype == DataType::int64) return integers<std::int64_t>(info);
  if (info.dtype == DataType::int32) return integers<std::int32_t>(info);
  if (info.dtype == DataType::boolean) return integers<bool>(info);
  return std::nullopt;
}

bool replace_by_knowledge(Graph& graph, NodeId id, const Infos& infos) {
  const Node& node = graph.node(id);
  if (std::holds_alternative<Opaque>(node.op)) return false;
  std::vector<Tensor> results;
  for (ValueId out : node.outputs) {
    if (out == ValueId::none) {
      results.emplace_back();
      continue;
    }
    auto tensor = known_tensor(info_of(infos, out));
    if (!tensor || graph.is_output(out)) return false;
    results.push_back(std::move(*tensor));
  }
  become_constants(graph, id, std::move(results));
  return true;
}

bool fix_reshape_target(Graph& graph, NodeId id, const Infos& infos) {
  const Node& node = graph.node(id);
  if (!std::holds_alternative<Reshape>(node.op) || graph.is_constant(node.inputs[1])) return false;
  const auto& shape = info_of(infos, node.outputs[0]).shape;
  if (!shape || std::count(shape->begin(), shape->end(), kDynamic) > 1) return false;
  // an entry of 0 would copy the input's dimension
  if (std::find(shape->begin(), shape->end(), 0) != shape->end()) return false;
  static_assert(kDynamic == -1, "a Reshape's target writes its one unknown size as -1");
  const std::string stem = graph.value(node.inputs[1]).name;
  set_constant_input(graph, id, 1, Tensor::from<std::int64_t>({std::ssize(*shape)}, *shape), stem);
  return true;
}

}  // namespace

int fold_constants(Graph& graph) {
  const Infos infos = infer_values(graph);
  int changes = 0;
  for (NodeId id : graph.topological_order()) {
    const bool is_changed =
        compute(graph, id, infos) || replace_by_knowledge(graph, id, infos) || fix_reshape_target(graph, id, infos);
    changes += is_changed ? 1 : 0;
  }
  return changes;
}

}  // namespace bitfold
