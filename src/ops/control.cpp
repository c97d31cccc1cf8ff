// If, Loop and Scan. Their bodies are Graphs, which this folder cannot run; Reference and Session pass a function that
// runs them.
#include "ops/control.h"

#include <algorithm>
#include <cstring>

#include "ops/operands.h"
#include "ops/operator.h"

namespace bitfold::ops {
namespace {

// infer_node() derives types and shapes from the bodies instead.
Outputs infer_control(const Inputs& in) {
  Outputs outputs(in.node.outputs.size());
  for (ValueInfo& info : outputs) info.dtype = DataType::unknown;
  return outputs;
}

/// A slice of one tensor, with the axis removed.
Tensor slice_at(const Tensor& x, std::size_t axis, std::int64_t index) {
  Shape shape = x.shape();
  const std::int64_t count = shape[axis];
  const auto inner = static_cast<std::size_t>(product(std::span(shape).subspan(axis + 1))) * element_bytes(x.dtype());
  const auto outer = static_cast<std::size_t>(product(std::span(shape).first(axis)));
  shape.erase(shape.begin() + static_cast<std::ptrdiff_t>(axis));
  Tensor y = Tensor::uninitialized(x.dtype(), shape);
  std::byte* to = y.mutable_bytes();
  for (std::size_t o = 0; o < outer && inner > 0; ++o)
    copy_run(x.dtype(), x.bytes() + (o * static_cast<std::size_t>(count) + static_cast<std::size_t>(index)) * inner,
             to + o * inner, inner);
  return y;
}

/// A collected output without iterations. Sizes that only an iteration would determine are 0.
Tensor nothing_collected(const ValueInfo& info, std::int64_t axis_or_negative) {
  Shape shape = info.shape.value_or(Shape{0});
  for (auto& size : shape) size = std::max<std::int64_t>(size, 0);
  shape[wrapped_axis(axis_or_negative, shape.size())] = 0;
  return Tensor(info.dtype == DataType::unknown ? DataType::float32 : info.dtype, shape);
}

/// Stacks tensors of one shape along a new axis.
Tensor stack(const Node& node, std::span<const Tensor> parts, std::int64_t axis_or_negative) {
  Shape shape = parts.front().shape();
  const auto axis = wrapped_axis(axis_or_negative, shape.size() + 1);
  const auto inner =
      static_cast<std::size_t>(product(std::span(shape).subspan(axis))) * element_bytes(parts[0].dtype());
  const auto outer = static_cast<std::size_t>(product(std::span(shape).first(axis)));
  for (const Tensor& part : parts)
    check(part.shape() == shape && part.dtype() == parts[0].dtype() && !is_container(part.dtype()),
          "{} collects values of shapes {} and {} in one output", where(node), to_string(shape),
          to_string(part.shape()));
  shape.insert(shape.begin() + static_cast<std::ptrdiff_t>(axis), static_cast<std::int64_t>(parts.size()));
  Tensor y = Tensor::uninitialized(parts[0].dtype(), shape);
  std::byte* to = y.mutable_bytes();
  for (std::size_t o = 0; o < outer && inner > 0; ++o)
    for (const Tensor& part : parts) {
      copy_run(part.dtype(), part.bytes() + o * inner, to, inner);
      to += inner;
    }
  return y;
}

std::vector<Tensor> present(const Node& node, std::span<const std::optional<Tensor>> inputs) {
  std::vector<Tensor> all;
  for (const auto& input : inputs) {
    check(input.has_value(), "{} lacks a required input", where(node));
    all.push_back(*input);
  }
  return all;
}

bool is_true(const Node& node, const Tensor& condition) {
  check(condition.dtype() == DataType::boolean && condition.size() == 1, "{} its condition has type {} and shape {}",
        where(node), to_string(condition.dtype()), to_string(condition.shape()));
  return condition.bytes()[0] != std::byte{0};
}

Tensor boolean(bool value) {
  Tensor t(DataType::boolean, {});
  t.mutable_bytes()[0] = value ? std::byte{1} : std::byte{0};
  return t;
}

/// A carried value in the type that it has before the first iteration: ONNX allows a body to take an optional and to
/// give its element.
Tensor in_type(const Tensor& carried, DataType type) {
  return carried.dtype() != type && kOptional.contains(type) ? Tensor::container(type, {carried}) : carried;
}

std::vector<Tensor> run_loop(const Node& node, std::span<const std::optional<Tensor>> inputs, const RunBody& run,
                             const InferOutputs& infer) {
  const auto captured = static_cast<std::size_t>(std::get<Loop>(node.op).captured);
  std::vector<Tensor> carried = present(node, inputs.subspan(2, inputs.size() - 2 - captured));
  const std::vector<Tensor> first = carried, outer = present(node, inputs.last(captured));
  std::vector<std::vector<Tensor>> scanned(node.outputs.size() - carried.size());
  bool goes_on = !inputs[1] || is_true(node, *inputs[1]);
  std::int64_t limit = std::numeric_limits<std::int64_t>::max();
  if (inputs[0]) {
    check(inputs[0]->dtype() == DataType::int64 && inputs[0]->size() == 1, "{} its trip count has shape {}",
          where(node), to_string(inputs[0]->shape()));
    limit = inputs[0]->data<std::int64_t>()[0];
  }
  check(inputs[0] || inputs[1], "{} has neither a trip count nor a condition: it would never end", where(node));
  for (std::int64_t i = 0; goes_on && i < limit; ++i) {
    std::vector<Tensor> arguments{Tensor::from<std::int64_t>({}, std::span<const std::int64_t>(&i, 1)),
                                  boolean(goes_on)};
    for (std::size_t k = 0; k < carried.size(); ++k) arguments.push_back(in_type(carried[k], first[k].dtype()));
    arguments.insert(arguments.end(), outer.begin(), outer.end());
    std::vector<Tensor> results = run(0, arguments);
    check(results.size() == 1 + node.outputs.size(), "{} its body has {} outputs; expected {}", where(node),
          results.size(), 1 + node.outputs.size());
    goes_on = is_true(node, results[0]);
    for (std::size_t k = 0; k < carried.size(); ++k) carried[k] = std::move(results[1 + k]);
    for (std::size_t k = 0; k < scanned.size(); ++k) scanned[k].push_back(std::move(results[1 + carried.size() + k]));
  }
  const bool has_run = scanned.empty() || !scanned.front().empty();
  const std::vector<ValueInfo> infos = has_run ? std::vector<ValueInfo>{} : infer();
  for (const auto& parts : scanned)
    carried.push_back(has_run ? stack(node, parts, 0) : nothing_collected(infos[carried.size()], 0));
  return carried;
}

std::vector<Tensor> run_scan(const Node& node, std::span<const std::optional<Tensor>> inputs, const RunBody& run,
                             const InferOutputs& infer) {
  const auto& op = std::get<Scan>(node.op);
  const auto captured = static_cast<std::size_t>(op.captured), count = static_cast<std::size_t>(op.scan_inputs);
  const std::vector<Tensor> all = present(node, inputs);
  const std::size_t state_count = all.size() - captured - count;
  std::vector<Tensor> states(all.begin(), all.begin() + static_cast<std::ptrdiff_t>(state_count));
  const auto entry = [](const std::vector<std::int64_t>& list, std::size_t i) { return i < list.size() ? list[i] : 0; };
  std::int64_t length = 0;
  std::vector<std::size_t> axes;
  for (std::size_t i = 0; i < count; ++i) {
    const Tensor& x = all[state_count + i];
    axes.push_back(wrapped_axis(entry(op.input_axes, i), x.shape().size()));
    const std::int64_t size = x.shape()[axes[i]];
    check(i == 0 || size == length, "{} scans inputs of different lengths, {} and {}", where(node), length, size);
    length = size;
  }
  std::vector<std::vector<Tensor>> scanned(node.outputs.size() - state_count);
  for (std::int64_t step = 0; step < length; ++step) {
    std::vector<Tensor> arguments = states;
    for (std::size_t i = 0; i < count; ++i)
      arguments.push_back(
          slice_at(all[state_count + i], axes[i], entry(op.input_directions, i) == 0 ? step : length - 1 - step));
    arguments.insert(arguments.end(), all.end() - static_cast<std::ptrdiff_t>(captured), all.end());
    std::vector<Tensor> results = run(0, arguments);
    check(results.size() == node.outputs.size(), "{} its body has {} outputs", where(node), results.size());
    for (std::size_t k = 0; k < state_count; ++k) states[k] = std::move(results[k]);
    for (std::size_t k = 0; k < scanned.size(); ++k) scanned[k].push_back(std::move(results[state_count + k]));
  }
  const std::vector<ValueInfo> infos = length > 0 ? std::vector<ValueInfo>{} : infer();
  for (std::size_t k = 0; k < scanned.size(); ++k) {
    if (entry(op.output_directions, k) != 0) std::ranges::reverse(scanned[k]);
    const std::int64_t axis = entry(op.output_axes, k);
    states.push_back(length > 0 ? stack(node, scanned[k], axis) : nothing_collected(infos[states.size()], axis));
  }
  return states;
}

}  // namespace

std::vector<Tensor> run_bodies(const Node& node, std::span<const std::optional<Tensor>> inputs, const RunBody& run,
                               const InferOutputs& infer) {
  if (std::holds_alternative<Loop>(node.op)) return run_loop(node, inputs, run, infer);
  if (std::holds_alternative<Scan>(node.op)) return run_scan(node, inputs, run, infer);
  check(!inputs.empty() && inputs[0].has_value(), "{} has no condition", where(node));
  return run(is_true(node, *inputs[0]) ? 0 : 1, present(node, inputs.subspan(1)));
}

std::size_t captured_count(const Node& node) {
  if (const auto* loop = std::get_if<Loop>(&node.op)) return static_cast<std::size_t>(loop->captured);
  if (const auto* scan = std::get_if<Scan>(&node.op)) return static_cast<std::size_t>(scan->captured);
  return std::holds_alternative<If>(node.op) ? node.inputs.size() - 1 : 0;
}

void set_captured_count(Op& op, std::size_t count) {
  if (auto* loop = std::get_if<Loop>(&op)) loop->captured = static_cast<std::int64_t>(count);
  if (auto* scan = std::get_if<Scan>(&op)) scan->captured = static_cast<std::int64_t>(count);
}

std::vector<ValueInfo> body_inputs(const Op& op, std::span<const ValueInfo> inputs) {
  if (std::holds_alternative<If>(op)) return {};
  std::vector<ValueInfo> infos;
  for (const ValueInfo& outer : inputs) infos.push_back(like(outer, {}));
  if (std::holds_alternative<Loop>(op)) {
    infos[0] = {.dtype = DataType::int64, .shape = Shape{}};
    infos[1] = {.dtype = DataType::boolean, .shape = Shape{}};
  }
  return infos;
}

CarriedValues carried_values(const Node& node) {
  const std::size_t inputs = node.inputs.size() - captured_count(node);
  if (std::holds_alternative<Loop>(node.op)) return {2, 2, 1, inputs - 2};
  if (const auto* scan = std::get_if<Scan>(&node.op))
    return {0, 0, 0, inputs - static_cast<std::size_t>(scan->scan_inputs)};
  return {};
}

std::size_t inner_output_count(const Op& op) { return std::holds_alternative<Loop>(op) ? 1 : 0; }

std::vector<OperatorInfo> control_operators() {
  const TypeSet tensors = kMoved | kPacked, any = tensors | kSequence | kOptional;
  const Slot outputs{"outputs", any, 0, Presence::variadic};
  return {
      {.name = "If",
       .since = 16,
       .prototype = If{},
       .inputs = {{"cond", kBoolean, 0, Presence::required, Use::parameter}, {"captured", any, 0, Presence::variadic}},
       .outputs = {outputs},
       .infer = infer_control,
       .bodies = {"then_branch", "else_branch"}},
      {.name = "Loop",
       .since = 16,
       .prototype = Loop{},
       .inputs = {{"M", kInt64, 0, Presence::optional, Use::parameter},
                  {"cond", kBoolean, 0, Presence::optional, Use::parameter},
                  {"carried", any, 0, Presence::variadic}},
       .outputs = {outputs},
       .fields = {internal("captured", &Loop::captured)},
       .infer = infer_control,
       .bodies = {"body"}},
      {.name = "Scan",
       .since = 16,
       .prototype = Scan{},
       .inputs = {{"states_and_inputs", tensors, 0, Presence::variadic}},
       .outputs = {{"outputs", tensors, 0, Presence::variadic}},
       .fields = {required(field("num_scan_inputs", &Scan::scan_inputs, Interval{.min = 1})),
                  internal("captured", &Scan::captured),
                  omitted_when_empty(field("scan_input_axes", &Scan::input_axes)),
                  omitted_when_empty(field("scan_input_directions", &Scan::input_directions, {0, 1})),
                  omitted_when_empty(field("scan_output_axes", &Scan::output_axes)),
                  omitted_when_empty(field("scan_output_directions", &Scan::output_directions, {0, 1}))},
       .infer = infer_control,
       .bodies = {"body"}}};
}

}  // namespace bitfold::ops
