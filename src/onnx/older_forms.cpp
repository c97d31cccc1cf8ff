#include "onnx/older_forms.h"

#include "base/check.h"
#include "onnx/attributes.h"
#include "onnx/lift.h"

namespace bitfold::older {

bool has(const Node& node, std::size_t slot) { return slot < node.inputs.size() && node.inputs[slot] != ValueId::none; }
const Value* input(const Graph& graph, const Node& node, std::size_t slot) {
  return has(node, slot) ? &graph.value(node.inputs[slot]) : nullptr;
}
const Tensor* constant(const Graph& graph, const Node& node, std::size_t slot) {
  const Value* value = input(graph, node, slot);
  return value != nullptr && value->constant && !value->quant ? &*value->constant : nullptr;
}
std::optional<Ints> constant_ints(const Graph& graph, const Node& node, std::size_t slot) {
  const Tensor* tensor = constant(graph, node, slot);
  if (tensor == nullptr) return std::nullopt;
  Ints values;
  if (tensor->dtype() == DataType::int64)
    values.assign(tensor->data<std::int64_t>().begin(), tensor->data<std::int64_t>().end());
  else if (tensor->dtype() == DataType::int32)
    values.assign(tensor->data<std::int32_t>().begin(), tensor->data<std::int32_t>().end());
  else
    return std::nullopt;
  return values;
}
std::optional<Shape> shape_of(const Graph& graph, const Node& node, std::size_t slot) {
  const Value* value = input(graph, node, slot);
  return value != nullptr ? value->shape : std::nullopt;
}

Reason unless_constant(const Graph& graph, const Node& node, std::initializer_list<std::size_t> slots) {
  for (std::size_t slot : slots)
    if (has(node, slot) && constant(graph, node, slot) == nullptr)
      return fmt::format("its input '{}' is computed", graph.value(node.inputs[slot]).name);
  return std::nullopt;
}

Reason never(const Graph&, const Node&) { return std::nullopt; }

void drop_input(onnx::NodeProto& proto, int slot) {
  if (proto.input_size() <= slot) return;
  proto.set_input(slot, "");
  while (proto.input_size() > 0 && proto.input(proto.input_size() - 1).empty()) proto.mutable_input()->RemoveLast();
}

void input_to_attribute(NodeWriting& w, std::size_t slot, const char* name) {
  if (!has(w.node, slot)) return;
  if (auto values = constant_ints(w.graph, w.node, slot)) {
    // Before opset 11, axes count from the front. Those of an Unsqueeze are axes of its output.
    const auto shape = shape_of(w.graph, w.node, 0);
    const bool is_wider = std::holds_alternative<Unsqueeze>(w.node.op);
    if (std::string_view(name) == "axes" && w.opset < 11 && shape)
      for (std::int64_t& axis : *values)
        if (axis < 0) axis += std::ssize(*shape) + (is_wider ? std::ssize(*values) : 0);
    set_integers(w.proto, name, *values);
  } else {
    const Tensor* tensor = constant(w.graph, w.node, slot);
    check(tensor != nullptr && tensor->dtype() == DataType::float32, "input {} is not a constant", slot);
    const auto reals = tensor->data<float>();
    if (reals.size() == 1 && std::string_view(name) != "scales")
      set_real(w.proto, name, reals[0]);
    else
      set_reals(w.proto, name, {reals.begin(), reals.end()});
  }
  const std::string& own = w.graph.value(w.node.inputs[slot]).name;
  if (own != w.proto.output(0) + "/" + name)
    w.proto.set_doc_string(w.proto.doc_string() + kConstantName + name + "=" + own + "\n");
  drop_input(w.proto, static_cast<int>(slot));
}

}  // namespace bitfold::older
