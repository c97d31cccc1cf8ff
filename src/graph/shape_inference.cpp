// Infers types, shapes and small integer elements of a graph's values before it runs.
#include <algorithm>

#include "base/check.h"
#include "bitfold/graph.h"
#include "graph/infer_bodies.h"
#include "ops/operator.h"

namespace bitfold {
namespace {

using ops::Elements;

/// The elements of a constant small enough to be shape arithmetic.
std::optional<Elements> elements_of(const Tensor& t) {
  if (t.size() > ops::kMaxElements) return std::nullopt;
  Elements e;
  if (t.dtype() == DataType::int64) {
    for (auto v : t.data<std::int64_t>()) e.emplace_back(v);
  } else if (t.dtype() == DataType::int32) {
    for (auto v : t.data<std::int32_t>()) e.emplace_back(v);
  } else if (t.dtype() == DataType::boolean) {
    for (auto v : t.data<bool>()) e.emplace_back(v);
  } else {
    return std::nullopt;
  }
  return e;
}

/// The information in the value itself.
ValueInfo declared(const Value& value) {
  ValueInfo info{.dtype = value.dtype, .shape = value.shape, .elements = {}, .scales = {}, .items = value.items};
  if (value.constant) {
    info.shape = value.constant->shape();
    if (!value.quant) info.elements = elements_of(*value.constant);
    if (value.dtype == DataType::float32 && !value.quant && value.constant->size() <= ops::kMaxScaleCount)
      info.scales.assign(value.constant->data<float>().begin(), value.constant->data<float>().end());
  }
  return info;
}

/// Gives every unknown size of a value a separate negative number, so that inference recognizes its copies.
class UnknownSizes {
 public:
  void number(ValueInfo& info) {
    if (!info.shape) return;
    for (std::int64_t& dim : *info.shape)
      if (dim == kDynamic) dim = --last_;
  }
  /// Replaces numbered unknown sizes by kDynamic.
  static void forget(ValueInfo& info) {
    if (info.shape)
      for (std::int64_t& dim : *info.shape) dim = std::max(dim, kDynamic);
    if (info.elements)
      for (Element& e : *info.elements) e.dimension = 0;
  }

 private:
  std::int64_t last_ = kDynamic;
};

/// The type of the tensors in a value that holds this one; only the element type, because others may differ in shape.
ItemType item_type_of(const Tensor& held) {
  if (held.dtype() != DataType::sequence) return {held.dtype(), {}};
  return held.size() > 0 ? item_type_of(held.items()[0]) : ItemType{};
}

/// Infers the nodes of a graph whose inputs are known, in order.
void infer_nodes(const Graph& graph, bool uses_declared, std::vector<ValueInfo>& infos) {
  UnknownSizes unknown;
  for (ValueId id : graph.inputs()) unknown.number(infos[index(id)]);
  const auto is_present = [](ValueId id) { return id != ValueId::none; };
  for (NodeId id : graph.topological_order()) {
    const Node& node = graph.node(id);
    std::vector<ValueInfo> in;
    for (ValueId input : node.inputs) in.push_back(is_present(input) ? infos[index(input)] : ValueInfo{});
    std::vector<ValueInfo> out;
    try {
      out = infer_node(node, in);
    } catch (const Error& e) {
      fail("{} {}", where(graph, id), e.what());
    }
    for (std::size_t i = 0; i < out.size(); ++i) {
      if (!is_present(node.outputs[i])) continue;
      const Value& value = graph.value(node.outputs[i]);
      ValueInfo& info = infos[index(node.outputs[i])];
      info = std::move(out[i]);
      // If the shape is unknown, the shape declared in the file is used. It holds only for the declared input shapes.
      if (!info.shape && uses_declared) info.shape = value.shape;
      if (info.shape) ops::check_size(*info.shape, fmt::format("value '{}'", value.name));
      if (info.dtype == DataType::unknown) {
        info.dtype = value.dtype;
        info.items = value.items;
      }
      unknown.number(info);
    }
  }
}

}  // namespace

std::vector<ValueInfo> infer_node(const Node& node, std::span<const ValueInfo> inputs) {
  const ops::Inputs in{node, inputs};
  ops::check_slots(node);
  for (std::size_t i = 0; i < in.size(); ++i)
    if (in.has(i) && in.shape(i)) ops::check_size(*in.shape(i), fmt::format("input {}", i));
  std::vector<ValueInfo> outputs = node.bodies.empty() ? ops::info(node.op).infer(in) : infer_bodies(node, inputs);
  outputs.resize(node.outputs.size());
  for (std::size_t i = 0; i < outputs.size(); ++i) {
    if (outputs[i].shape) ops::check_size(*outputs[i].shape, fmt::format("output {}", i));
    // Enforces the bound for every rule, including rules that do not check it.
    if (outputs[i].elements && std::ssize(*outputs[i].elements) > ops::kMaxElements) outputs[i].elements.reset();
  }
  return outputs;
}

ValueInfo declared_info(const Value& value) { return declared(value); }

ValueInfo info_of(const Tensor& tensor) {
  ValueInfo info{.dtype = tensor.dtype(), .shape = tensor.shape(), .elements = elements_of(tensor)};
  if (tensor.dtype() == DataType::float32 && tensor.size() <= ops::kMaxScaleCount)
    info.scales.assign(tensor.data<float>().begin(), tensor.data<float>().end());
  if (is_container(tensor.dtype())) info.items = tensor.size() > 0 ? item_type_of(tensor.items()[0]) : ItemType{};
  return info;
}

std::vector<ValueInfo> infer_outputs(const Graph& graph, std::span<const ValueInfo> inputs) {
  std::vector<ValueInfo> infos(graph.value_capacity());
  for (ValueId id : graph.values())
    if (graph.is_constant(id)) infos[index(id)] = declared(graph.value(id));
  for (std::size_t i = 0; i < inputs.size() && i < graph.inputs().size(); ++i)
    infos[index(graph.inputs()[i])] = inputs[i];
  infer_nodes(graph, false, infos);
  std::vector<ValueInfo> outputs;
  for (ValueId id : graph.outputs()) {
    outputs.push_back(infos[index(id)]);
    UnknownSizes::forget(outputs.back());
  }
  return outputs;
}

std::vector<ValueInfo> infer_values(const Graph& graph, std::span<const Shape> inputs) {
  std::vector<ValueInfo> infos;
  for (ValueId id : graph.values()) {
    infos.resize(index(id) + 1);
    const bool is_computed = graph.producer(id) != NodeId::none;
    infos[index(id)] = is_computed ? ValueInfo{} : declared(graph.value(id));
  }
  for (std::size_t i = 0; i < inputs.size() && i < graph.inputs().size(); ++i)
    infos[index(graph.inputs()[i])].shape = inputs[i];
  for (ValueId id : graph.inputs()) {
    const ValueInfo& info = infos[index(id)];
    if (!info.shape) continue;
    const std::string what = fmt::format("graph input '{}'", graph.value(id).name);
    for (std::int64_t dim : *info.shape) check(dim >= kDynamic, "{} has the invalid dimension {}", what, dim);
    ops::check_size(*info.shape, what);
  }
  infer_nodes(graph, inputs.empty(), infos);
  for (ValueInfo& info : infos) UnknownSizes::forget(info);
  return infos;
}

void infer_shapes(Graph& graph) {
  const auto infos = infer_values(graph);
  for (ValueId id : graph.values()) {
    if (graph.producer(id) == NodeId::none) continue;
    const ValueInfo& info = infos[index(id)];
    if (info.shape) graph.value(id).shape = info.shape;
    graph.value(id).dtype = info.dtype;
    graph.value(id).items = info.items;
  }
}

}  // namespace bitfold
