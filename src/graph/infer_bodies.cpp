#include "graph/infer_bodies.h"

#include <algorithm>

#include "base/check.h"
#include "ops/control.h"
#include "ops/infer.h"
#include "ops/type_set.h"

namespace bitfold {
namespace {

std::optional<ItemType> common_items(const std::optional<ItemType>& a, const std::optional<ItemType>& b) {
  if (!a || !b || a == b) return a ? a : b;
  ItemType both{a->dtype == DataType::unknown ? b->dtype : a->dtype, {}};
  if (b->dtype != DataType::unknown && b->dtype != both.dtype) both.dtype = DataType::unknown;
  return both;
}

/// The facts known about a value that is either a or b.
ValueInfo common(const ValueInfo& a, const ValueInfo& b) {
  return {.dtype = a.dtype == b.dtype ? a.dtype : DataType::unknown,
          .shape = ops::common_shape(a.shape, b.shape),
          .elements = {},
          .scales = {},
          .items = common_items(a.items, b.items)};
}

/// The same type; the shape and elements may change between iterations and are unknown.
ValueInfo changing(const ValueInfo& x) { return ops::like(x, {}); }

/// The infos of a branch's outputs, or the reason why it cannot run on these inputs.
struct BranchInfos {
  std::vector<ValueInfo> outputs;
  std::optional<Error> error;
};

BranchInfos infer_branch(const Node& node, std::size_t branch, std::span<const ValueInfo> captured) {
  try {
    BranchInfos infos{infer_outputs(*node.bodies[branch], captured), {}};
    check(infos.outputs.size() == node.outputs.size(), "has {} outputs, but branch {} has {}", node.outputs.size(),
          branch, infos.outputs.size());
    return infos;
  } catch (const Error& error) {
    return {{}, error};
  }
}

/// A branch that does not fit the shapes is an error only if it is chosen, or if neither fits: networks hold branches
/// for different sizes of their inputs.
std::vector<ValueInfo> infer_if(const Node& node, std::span<const ValueInfo> inputs) {
  const auto captured = inputs.subspan(1);
  const auto& condition = inputs[0].elements;
  if (condition && condition->size() == 1 && condition->front()) {
    BranchInfos chosen = infer_branch(node, *condition->front() != 0 ? 0 : 1, captured);
    if (chosen.error) throw *chosen.error;
    return chosen.outputs;
  }
  BranchInfos then_infos = infer_branch(node, 0, captured), else_infos = infer_branch(node, 1, captured);
  if (then_infos.error && else_infos.error) throw *then_infos.error;
  if (then_infos.error) return else_infos.outputs;
  if (else_infos.error) return then_infos.outputs;
  std::vector<ValueInfo> outputs;
  for (std::size_t i = 0; i < node.outputs.size(); ++i)
    outputs.push_back(common(then_infos.outputs[i], else_infos.outputs[i]));
  return outputs;
}

bool is_optional(const ValueInfo& x) { return ops::kOptional.contains(x.dtype); }

/// The facts about a value that a Loop carries on if its body took `before` and gave `after`. A body may take an
/// optional and give its element.
ValueInfo carried_on(const ValueInfo& before, const ValueInfo& after) {
  if (!is_optional(before) || is_optional(after)) return common(before, after);
  const ItemType item{after.dtype, after.shape};
  return common(before, {.dtype = before.dtype,
                         .shape = {},
                         .elements = {},
                         .scales = {},
                         .items = is_container(after.dtype) ? after.items : item});
}

/// Carried values keep their shape if one iteration keeps it.
std::vector<ValueInfo> infer_carried(const Graph& body, std::vector<ValueInfo> inputs,
                                     const ops::CarriedValues& carried) {
  const auto [node_input, first_in, first_out, count] = carried;
  std::vector<ValueInfo> outputs = infer_outputs(body, inputs);
  bool has_changed = false;
  for (std::size_t i = 0; i < count; ++i) {
    ValueInfo& before = inputs[first_in + i];
    const ValueInfo after = carried_on(before, outputs[first_out + i]);
    before.elements.reset();
    if (after.shape != before.shape || after.dtype != before.dtype || after.items != before.items) {
      before.items = after.items;
      before = after.shape ? ValueInfo{.dtype = before.dtype, .shape = after.shape, .elements = {}} : changing(before);
      has_changed = true;
    }
  }
  if (!has_changed) return infer_outputs(body, inputs);
  outputs = infer_outputs(body, inputs);
  for (std::size_t i = 0; i < count; ++i)
    if (is_optional(inputs[first_in + i]) == is_optional(outputs[first_out + i]))
      outputs[first_out + i] = common(inputs[first_in + i], outputs[first_out + i]);
  return outputs;
}

std::vector<ValueInfo> infer_loop(const Node& node, std::span<const ValueInfo> inputs) {
  const Graph& body = *node.bodies[0];
  const auto captured = static_cast<std::size_t>(std::get<Loop>(node.op).captured);
  check(node.inputs.size() >= 2 + captured, "has {} inputs, {} of them captured", node.inputs.size(), captured);
  const ops::CarriedValues values = ops::carried_values(node);
  const std::size_t carried = values.count;
  check(body.inputs().size() == 2 + carried + captured && body.outputs().size() >= 1 + carried,
        "carries {} values, but its body has {} inputs and {} outputs", carried, body.inputs().size(),
        body.outputs().size());
  std::vector<ValueInfo> in{{.dtype = DataType::int64, .shape = Shape{}},
                            {.dtype = DataType::boolean, .shape = Shape{}}};
  in.insert(in.end(), inputs.begin() + 2, inputs.end());
  std::vector<ValueInfo> outputs = infer_carried(body, std::move(in), values);
  outputs.erase(outputs.begin());
  for (std::size_t i = carried; i < outputs.size(); ++i) {
    outputs[i].elements.reset();
    check(!is_container(outputs[i].dtype), "output {} collects values of type {}; only tensors can be collected", i,
          to_string(outputs[i].dtype));
    if (outputs[i].shape) outputs[i].shape->insert(outputs[i].shape->begin(), kDynamic);
  }
  for (std::size_t i = 0; i < carried; ++i) outputs[i].elements.reset();
  return outputs;
}

std::vector<ValueInfo> infer_scan(const Node& node, std::span<const ValueInfo> inputs) {
  const auto& op = std::get<Scan>(node.op);
  const Graph& body = *node.bodies[0];
  const auto captured = static_cast<std::size_t>(op.captured), scanned = static_cast<std::size_t>(op.scan_inputs);
  check(node.inputs.size() >= scanned + captured && body.inputs().size() == node.inputs.size(),
        "has {} inputs, {} of them scanned, but its body has {}", node.inputs.size(), scanned, body.inputs().size());
  const ops::CarriedValues values = ops::carried_values(node);
  const std::size_t states = values.count;
  check(body.outputs().size() >= states && body.outputs().size() == node.outputs.size(),
        "has {} states and {} outputs, but its body has {} outputs", states, node.outputs.size(),
        body.outputs().size());
  std::vector<ValueInfo> in(inputs.begin(), inputs.end());
  std::int64_t length = kDynamic;
  for (std::size_t i = 0; i < scanned; ++i) {
    ValueInfo& slice = in[states + i];
    slice.elements.reset();
    if (!slice.shape) continue;
    const std::int64_t axis = ops::normalize_axis(i < op.input_axes.size() ? op.input_axes[i] : 0, slice.shape->size());
    if (length == kDynamic) length = (*slice.shape)[static_cast<std::size_t>(axis)];
    slice.shape->erase(slice.shape->begin() + axis);
  }
  std::vector<ValueInfo> outputs = infer_carried(body, std::move(in), values);
  for (std::size_t i = 0; i < outputs.size(); ++i) {
    outputs[i].elements.reset();
    if (i < states || !outputs[i].shape) continue;
    const std::size_t o = i - states;
    const std::int64_t axis =
        ops::normalize_axis(o < op.output_axes.size() ? op.output_axes[o] : 0, outputs[i].shape->size() + 1);
    outputs[i].shape->insert(outputs[i].shape->begin() + axis, std::max(length, kDynamic));
  }
  return outputs;
}

}  // namespace

std::vector<ValueInfo> infer_bodies(const Node& node, std::span<const ValueInfo> inputs) {
  if (std::holds_alternative<If>(node.op)) return infer_if(node, inputs);
  if (std::holds_alternative<Loop>(node.op)) return infer_loop(node, inputs);
  return infer_scan(node, inputs);
}

}  // namespace bitfold
