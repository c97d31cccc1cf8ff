// Runs nodes in topological order, with the shapes that the data has.
#include "bitfold/reference.h"

#include <algorithm>
#include <mutex>
#include <optional>

#include "base/check.h"
#include "base/memory.h"
#include "graph/runnable.h"
#include "numeric/block_pool.h"
#include "ops/containers.h"
#include "ops/control.h"
#include "ops/operator.h"
#include "reference/fast.h"
#include "reference/image_layouts.h"
#include "reference/steps.h"

namespace bitfold {
namespace {

using reference::Held;
using reference::snap_value;

// Operators only read their inputs; views have no const form.
TensorView view_of(const Tensor& t) { return {t.dtype(), t.shape(), const_cast<std::byte*>(t.bytes())}; }

}  // namespace

struct Reference::Impl {
  using Step = reference::Step;

  // A step's outputs for the input shapes of its last run.
  struct Inferred {
    std::vector<Shape> inputs;
    std::vector<ValueInfo> outputs;
  };
  // State kept from one run for the next.
  struct Leftovers {
    BlockPool pool;
    std::vector<Inferred> inferred;  // one per step
  };

  Graph graph;
  ReferenceOptions options;
  reference::Constants constants{graph};
  std::vector<Step> steps{reference::plan_steps(graph, options)};
  mutable reference::FastProducts fast;
  mutable std::mutex leftovers_lock;
  mutable std::vector<std::unique_ptr<Leftovers>> leftovers;  // one per concurrent run so far

  Impl(const Graph& g, ReferenceOptions o) : graph(g), options(std::move(o)) {}

  // The value that a node reads; null if it is absent.
  Held* argument(ValueId id, std::vector<std::optional<Held>>& values) const {
    if (id == ValueId::none) return nullptr;
    if (!values[index(id)] && constants.are_codes(id)) values[index(id)] = Held{constants.decoded(id)};
    return &*values[index(id)];
  }

  Tensor take_input(std::size_t i, const Tensor& given) const {
    const ValueId id = graph.inputs()[i];
    const Value& value = graph.value(id);
    check(given.dtype() == value.dtype, "input '{}' is {}, expected {}", value.name, to_string(given.dtype()),
          to_string(value.dtype));
    if (value.shape) {
      bool fits = given.shape().size() == value.shape->size();
      for (std::size_t d = 0; fits && d < value.shape->size(); ++d)
        fits = (*value.shape)[d] == kDynamic || (*value.shape)[d] == given.shape()[d];
      if (!fits)
        fail("input '{}' has shape {}, expected {}", value.name, to_string(given.shape()), to_string(*value.shape));
    }
    check_items(value, given);
    Tensor taken = given;
    snap_value(
        graph, id, [] { return "[input]"; }, taken);
    return taken;
  }

  // Whether all images that the step reads are channels-last and the step accepts them in this order.
  static bool reads_channels_last(const Step& step, std::span<Held* const> inputs) {
    if (step.images == 0 || !step.may_give_any_order) return false;
    for (const Held* held : inputs.first(step.images))
      if (!held->has_channels_last || held->tensor.shape() != inputs[0]->tensor.shape()) return false;
    return true;
  }

  static void put_channels_first(std::span<Held* const> inputs, std::vector<TensorView>& views) {
    for (std::size_t i = 0; i < inputs.size(); ++i) {
      if (inputs[i] == nullptr) continue;
      reference::put_channels_first(*inputs[i]);
      views[i] = view_of(inputs[i]->tensor);
    }
  }

  // Returns whether the output is channels-last.
  bool execute(const Step& step, std::span<Held* const> inputs, std::vector<TensorView>& in,
               std::span<const TensorView> out) const {
    const Node& node = graph.node(step.id);
    if (reads_channels_last(step, inputs)) {
      reference::run_channels_last(node, step.row->evaluate, in, out);
      return true;
    }
    const bool is_conv = std::holds_alternative<Conv>(node.op);
    if (!is_conv) put_channels_first(inputs, in);
    reference::ImageLayouts layouts{.in = is_conv && inputs[0]->has_channels_last, .out = step.may_give_any_order};
    if (!options.plain_loops && fast.run(step.id, node, step.has_constant_weights, in, out, layouts))
      return layouts.out;
    put_channels_first(inputs, in);
    step.row->evaluate(node, in, out);
    return false;
  }

  /// `inputs` in the node's order; null if absent.
  /// `alive`: the bytes of all computed values, to which the outputs are added.
  std::vector<Held> compute(const Step& step, std::span<Held* const> inputs, Inferred& inferred,
                            std::size_t& alive) const {
    const Node& node = graph.node(step.id);
    std::vector<TensorView> in, out;
    for (const Held* held : inputs) in.push_back(held == nullptr ? TensorView{} : view_of(held->tensor));
    ops::check_objects(*step.row, node, in);
    if (step.row->evaluate == nullptr) return compute_dynamic(step, inputs, in, alive);
    const std::vector<ValueInfo>& made = outputs_of(step, inputs, inferred);
    std::vector<Held> outputs(node.outputs.size());
    for (std::size_t i = 0; i < outputs.size(); ++i) {
      const bool is_known = i < made.size() && made[i].shape && is_static(*made[i].shape);
      if (!is_known)
        fail("{} the shape of its output {} cannot be determined from its inputs", where(graph, step.id), i);
      if (node.outputs[i] == ValueId::none) {
        out.push_back({made[i].dtype, *made[i].shape, nullptr});
        continue;
      }
      check_memory(step.id, i, made[i], alive);
      alive += storage_bytes(made[i].dtype, element_count(*made[i].shape));
      Tensor& tensor = outputs[i].tensor = Tensor::uninitialized(made[i].dtype, *made[i].shape);
      out.push_back({tensor.dtype(), tensor.shape(), tensor.mutable_bytes()});
    }
    const bool has_channels_last = execute(step, inputs, in, out);
    for (std::size_t i = 0; i < outputs.size(); ++i) {
      outputs[i].has_channels_last = has_channels_last;
      if (node.outputs[i] == ValueId::none) continue;
      snap_value(
          graph, node.outputs[i], [&] { return where(graph, step.id); }, outputs[i].tensor);
    }
    return outputs;
  }

  /// A step whose output shapes are known only after it has run.
  std::vector<Held> compute_dynamic(const Step& step, std::span<Held* const> inputs, std::vector<TensorView>& in,
                                    std::size_t& alive) const {
    const Node& node = graph.node(step.id);
    put_channels_first(inputs, in);
    std::vector<Tensor> made;
    if (step.bodies.empty()) {
      made = step.row->evaluate_dynamic(node, in);
    } else {
      std::vector<std::optional<Tensor>> given;
      for (const Held* held : inputs) given.push_back(held == nullptr ? std::nullopt : std::optional(held->tensor));
      const auto infer = [&] {
        std::vector<ValueInfo> known;
        for (const auto& input : given) known.push_back(input ? info_of(*input) : ValueInfo{});
        return infer_node(node, known);
      };
      made = ops::run_bodies(
          node, given,
          [&](std::size_t body, std::span<const Tensor> arguments) { return step.bodies[body].run(arguments); }, infer);
    }
    std::vector<Held> outputs(node.outputs.size());
    check(made.size() >= outputs.size(), "{} has {} outputs", where(node), made.size());
    for (std::size_t i = 0; i < outputs.size(); ++i) {
      if (node.outputs[i] == ValueId::none) continue;
      check_memory(step.id, i, info_of(made[i]), alive);
      alive += made[i].size_bytes();
      outputs[i].tensor = std::move(made[i]);
      snap_value(
          graph, node.outputs[i], [&] { return where(node); }, outputs[i].tensor);
    }
    return outputs;
  }

  // If the limit is the memory available now, the values alive are not counted again: they are no longer available.
  void check_memory(NodeId id, std::size_t output, const ValueInfo& info, std::size_t alive) const {
    const std::size_t limit = options.max_memory_bytes, own = storage_bytes(info.dtype, element_count(*info.shape));
    try {
      check_fits_memory(own, limit);
    } catch (const Error& e) {
      fail("{} its output {} of shape {} takes {}", where(graph, id), output, to_string(*info.shape), e.what());
    }
    if (fixed_memory_limit(limit) == 0) return;
    try {
      check_fits_memory(own + alive, limit);
    } catch (const Error& e) {
      fail("{} its output {} of shape {} and the values alive beside it take {}", where(graph, id), output,
           to_string(*info.shape), e.what());
    }
  }

  const std::vector<ValueInfo>& outputs_of(const Step& step, std::span<Held* const> inputs, Inferred& last) const {
    const auto has_shape = [](const Held* held, const Shape& shape) {
      return held == nullptr || held->tensor.shape() == shape;
    };
    if (step.shapes_tell_shapes && std::ranges::equal(inputs, last.inputs, has_shape)) return last.outputs;
    std::vector<ValueInfo> known;
    last.inputs.clear();  // so that it is not reused if the following throws
    for (const Held* held : inputs) known.push_back(held == nullptr ? ValueInfo{} : info_of(held->tensor));
    last.outputs = infer(graph.node(step.id), step.id, known);
    for (const Held* held : inputs) last.inputs.push_back(held == nullptr ? Shape{} : held->tensor.shape());
    return last.outputs;
  }

  std::vector<ValueInfo> infer(const Node& node, NodeId id, std::span<const ValueInfo> known) const {
    try {
      return infer_node(node, known);
    } catch (const Error& error) {
      fail("{} {}", where(graph, id), error.what());
    }
  }

  std::vector<Tensor> run(std::span<const Tensor> inputs, std::vector<Inferred>& inferred) const {
    check(inputs.size() == graph.inputs().size(), "{} inputs are given, but the network has {}", inputs.size(),
          graph.inputs().size());
    std::vector<std::optional<Held>> values = constants.reals();
    for (std::size_t i = 0; i < inputs.size(); ++i) {
      const ValueId id = graph.inputs()[i];
      values[index(id)] = Held{take_input(i, inputs[i])};
      tell(id, values[index(id)]->tensor);
    }
    std::vector<Held*> arguments;
    std::size_t alive = 0;
    for (std::size_t s = 0; s < steps.size(); ++s) {
      const Step& step = steps[s];
      const Node& node = graph.node(step.id);
      arguments.clear();
      for (ValueId id : node.inputs) arguments.push_back(argument(id, values));
      std::vector<Held> outputs = compute(step, arguments, inferred[s], alive);
      for (std::size_t i = 0; i < outputs.size(); ++i) {
        const ValueId id = node.outputs[i];
        if (id == ValueId::none) continue;
        values[index(id)] = std::move(outputs[i]);
        tell(id, values[index(id)]->tensor);
      }
      for (ValueId id : step.dying) {
        if (graph.producer(id) != NodeId::none) alive -= values[index(id)]->tensor.size_bytes();
        values[index(id)].reset();
      }
    }
    std::vector<Tensor> results;
    for (ValueId id : graph.outputs()) {
      check(values[index(id)] || constants.are_codes(id), "no node computes output '{}'", graph.value(id).name);
      reference::put_channels_first(*argument(id, values));
      results.push_back(values[index(id)]->tensor);
    }
    return results;
  }

  std::unique_ptr<Leftovers> borrow() const {
    const std::lock_guard lock(leftovers_lock);
    std::unique_ptr<Leftovers> borrowed;
    if (leftovers.empty()) {
      borrowed = std::make_unique<Leftovers>();
      borrowed->inferred.resize(steps.size());
      return borrowed;
    }
    borrowed = std::move(leftovers.back());
    leftovers.pop_back();
    return borrowed;
  }
  void give_back(std::unique_ptr<Leftovers> borrowed) const {
    const std::lock_guard lock(leftovers_lock);
    leftovers.push_back(std::move(borrowed));
  }

  void tell(ValueId id, const Tensor& t) const {
    if (options.on_value) options.on_value(id, t);
  }
};

Reference::Reference(const Graph& graph, ReferenceOptions options)
    : impl_(std::make_shared<const Impl>(graph, std::move(options))) {}

std::vector<Tensor> Reference::run(std::span<const Tensor> inputs) const {
  auto leftovers = impl_->borrow();
  std::vector<Tensor> results;
  {
    std::optional<BlockPool::Use> use;
    if (!BlockPool::is_one_in_use()) use.emplace(leftovers->pool);
    results = impl_->run(inputs, leftovers->inferred);
  }
  impl_->give_back(std::move(leftovers));
  return results;
}

std::vector<Tensor> Reference::run_node(NodeId id, std::span<const Tensor> inputs) const {
  const Impl& m = *impl_;
  const auto step = std::find_if(m.steps.begin(), m.steps.end(), [id](const reference::Step& s) { return s.id == id; });
  check(step != m.steps.end(), "node {} is not in the network", static_cast<int>(id));
  const Node& node = m.graph.node(id);
  check(inputs.size() == node.inputs.size(), "{} got {} inputs, but has {}", where(m.graph, id), inputs.size(),
        node.inputs.size());
  std::vector<Held> held(inputs.size());
  std::vector<Held*> arguments;
  for (std::size_t i = 0; i < inputs.size(); ++i) {
    const ValueId value = node.inputs[i];
    if (value != ValueId::none && m.constants.are_codes(value))
      held[i] = Held{m.constants.decoded(value)};
    else if (value != ValueId::none)
      held[i] = m.constants.reals()[index(value)].value_or(Held{inputs[i]});
    arguments.push_back(value == ValueId::none ? nullptr : &held[i]);
  }
  std::vector<Tensor> outputs;
  Impl::Inferred inferred;
  std::size_t alive = 0;
  for (Held& made : m.compute(*step, arguments, inferred, alive)) {
    reference::put_channels_first(made);
    outputs.push_back(std::move(made.tensor));
  }
  return outputs;
}

}  // namespace bitfold
