#include "engine/stages.h"

#include <algorithm>
#include <chrono>
#include <set>

#include "base/check.h"
#include "base/memory.h"
#include "engine/executor.h"
#include "engine/lowering.h"
#include "ops/containers.h"
#include "ops/control.h"
#include "ops/operator.h"

namespace bitfold::engine {
namespace {

constexpr std::size_t kMaxStageBytes = std::size_t{256} << 20;

std::size_t index(NodeId id) { return static_cast<std::size_t>(id); }

bool has_objects(std::span<const ValueInfo> infos) {
  return std::ranges::any_of(infos, holds_objects, &ValueInfo::dtype);
}

/// Whether a node allocates its outputs when it runs, even where their shapes can be inferred. Plans have no strings
/// and sequences.
bool is_always_run_time(const Node& node, std::span<const ValueInfo> inputs, std::span<const ValueInfo> outputs) {
  return !node.bodies.empty() || ops::info(node.op).evaluate == nullptr || has_objects(inputs) || has_objects(outputs);
}

/// The shape that distinguishes stages. Lengths of sequences determine no shapes before a run.
Shape key_shape(const Tensor& t) { return is_container(t.dtype()) ? Shape{} : t.shape(); }

bool has_static_shapes(const Node& node, std::span<const ValueInfo> outputs) {
  for (std::size_t i = 0; i < node.outputs.size(); ++i)
    if (node.outputs[i] != ValueId::none && (!outputs[i].shape || !is_static(*outputs[i].shape))) return false;
  return true;
}

StepInfo step_info(const Graph& graph, NodeId id) {
  const Node& node = graph.node(id);
  StepInfo info{.name = node.name, .op = op_name(node.op), .kernel = "run time", .inputs = {}, .outputs = {}};
  for (ValueId input : node.inputs)
    if (input != ValueId::none && !graph.is_constant(input)) info.inputs.push_back(graph.value(input).name);
  for (ValueId output : node.outputs)
    if (output != ValueId::none) info.outputs.push_back(graph.value(output).name);
  return info;
}

}  // namespace

ValueInfo info_of_arrived(const Value& value, const Tensor& t) {
  if (is_container(t.dtype()))
    return {.dtype = t.dtype(), .shape = {}, .elements = {}, .scales = {}, .items = value.items};
  return {.dtype = t.dtype(), .shape = t.shape()};
}

Stages::Stages(const Graph& graph, const SessionOptions& options, WeightCache& weights, Arena& arena)
    : graph_(graph), options_(options), weights_(weights), arena_(arena), order_(graph.topological_order()) {
  for (NodeId id : order_) needed_.resize(std::max(needed_.size(), index(id) + 1));
  std::vector<ValueId> pending = graph_.outputs();
  while (!pending.empty()) {
    const ValueId id = pending.back();
    pending.pop_back();
    const NodeId producer = id == ValueId::none ? NodeId::none : graph_.producer(id);
    if (producer == NodeId::none || needed_[index(producer)] != 0) continue;
    needed_[index(producer)] = 1;
    for (ValueId input : graph_.node(producer).inputs) pending.push_back(input);
  }
}

Stages::~Stages() = default;

std::vector<Tensor> Stages::run(std::span<const Tensor> inputs, std::span<double> step_us) {
  visited_.clear();
  steps_.clear();
  kept_.clear();
  if (bytes_ > kMaxStageBytes) {
    first_.clear();
    bytes_ = 0;
  }
  Values values(graph_.value_capacity());
  for (std::size_t i = 0; i < inputs.size(); ++i) {
    const ValueId id = graph_.inputs()[i];
    const auto& grid = graph_.value(id).quant;
    values[index(id)] = grid ? snap(inputs[i], *grid) : inputs[i];
  }
  std::vector<double> times;
  Stage* stage = nullptr;
  do {
    stage = &next_stage(stage, values);
    run_stage(*stage, values, times);
    visited_.push_back(stage);
  } while (!stage->is_last);
  std::copy_n(times.begin(), std::min(times.size(), step_us.size()), step_us.begin());
  std::vector<Tensor> outputs;
  for (ValueId id : graph_.outputs()) outputs.push_back(tensor(id, *stage, values));
  return outputs;
}

Stage& Stages::next_stage(Stage* before, const Values& values) {
  std::vector<Shape> key;
  for (ValueId id : before == nullptr ? graph_.inputs() : before->arriving)
    key.push_back(key_shape(*values[index(id)]));
  auto& entry = (before == nullptr ? first_ : before->next)[std::move(key)];
  if (entry == nullptr) entry = make_stage(before, values);
  return *entry;
}

std::unique_ptr<Stage> Stages::make_stage(const Stage* before, const Values& values) {
  auto stage = std::make_unique<Stage>();
  stage->is_done = before != nullptr ? before->is_done : std::vector<std::uint8_t>(needed_.size());
  if (before != nullptr) stage->known = before->known;
  const std::vector<NodeId> nodes = find_nodes(*stage, values);
  make_plan(*stage, nodes, values);
  for (NodeId id : stage->run_time_nodes) stage->is_done[index(id)] = 1;
  stage->is_last = std::ranges::equal(stage->is_done, needed_);
  if (!stage->is_last && stage->run_time_nodes.empty())
    for (NodeId id : order_)
      if (needed_[index(id)] != 0 && stage->is_done[index(id)] == 0)
        fail("{} reads a value that no node computes", where(graph_, id));
  find_dying(*stage);
  for (NodeId id : stage->run_time_nodes)
    for (ValueId output : graph_.node(id).outputs)
      if (output != ValueId::none && std::ranges::find(stage->dying, output) == stage->dying.end())
        stage->arriving.push_back(output);
  bytes_ += sizeof(Stage) + stage->is_done.size() + graph_.value_capacity() * sizeof(Value);
  if (stage->plan != nullptr) bytes_ += stage->plan->own_bytes();
  return stage;
}

/// The nodes of the stage, and the run-time nodes after it.
std::vector<NodeId> Stages::find_nodes(Stage& stage, const Values& values) const {
  std::vector<std::optional<ValueInfo>> infos(graph_.value_capacity());
  for (ValueId id : graph_.values()) {
    auto& info = infos[index(id)];
    if (const auto known = stage.known.find(id); known != stage.known.end())
      info = declared_info({.name = {}, .dtype = known->second.dtype(), .constant = known->second});
    else if (values[index(id)])
      info = info_of_arrived(graph_.value(id), *values[index(id)]);
    else if (graph_.is_constant(id))
      info = declared_info(graph_.value(id));
  }
  std::vector<NodeId> nodes;
  for (NodeId id : order_) {
    if (needed_[index(id)] == 0 || stage.is_done[index(id)] != 0) continue;
    const Node& node = graph_.node(id);
    std::vector<ValueInfo> inputs;
    const auto is_ready = [&](ValueId input) { return input == ValueId::none || infos[index(input)]; };
    if (!std::ranges::all_of(node.inputs, is_ready)) continue;
    for (ValueId input : node.inputs) inputs.push_back(input == ValueId::none ? ValueInfo{} : *infos[index(input)]);
    std::vector<ValueInfo> outputs;
    try {
      outputs = infer_node(node, inputs);
    } catch (const Error& e) {
      fail("{} {}", where(graph_, id), e.what());
    }
    if (is_always_run_time(node, inputs, outputs) || !has_static_shapes(node, outputs)) {
      stage.run_time_nodes.push_back(id);
      continue;
    }
    stage.is_done[index(id)] = 1;
    nodes.push_back(id);
    for (std::size_t i = 0; i < node.outputs.size(); ++i) {
      if (node.outputs[i] == ValueId::none) continue;
      if (auto constant = tensor_of(outputs[i])) stage.known.emplace(node.outputs[i], std::move(*constant));
      infos[index(node.outputs[i])] = std::move(outputs[i]);
    }
  }
  return nodes;
}

/// Lowers the nodes as a graph of their own.
void Stages::make_plan(Stage& stage, const std::vector<NodeId>& nodes, const Values& values) {
  std::vector<std::uint8_t> is_here(needed_.size());
  for (NodeId id : nodes) is_here[index(id)] = 1;
  Graph& part = stage.graph = graph_;
  part.clear_outputs();
  for (NodeId id : part.nodes())
    if (is_here[index(id)] == 0) part.remove_node(id);
  stage.inputs = graph_.inputs();
  std::set<ValueId> given(stage.inputs.begin(), stage.inputs.end());
  const auto is_produced_here = [&](ValueId id) {
    const NodeId producer = graph_.producer(id);
    return producer != NodeId::none && is_here[index(producer)] != 0;
  };
  for (NodeId id : nodes) {
    for (ValueId input : graph_.node(id).inputs) {
      if (input == ValueId::none || graph_.is_constant(input) || is_produced_here(input)) continue;
      if (!given.insert(input).second) continue;
      if (const auto known = stage.known.find(input); known != stage.known.end())
        part.value(input).constant = known->second;
      else
        add_arrived(stage, input, *values[index(input)]);
    }
    for (ValueId output : graph_.node(id).outputs) {
      if (output == ValueId::none || stage.known.contains(output)) continue;
      const auto is_read_later = [&](NodeId reader) {
        return needed_[index(reader)] != 0 && is_here[index(reader)] == 0;
      };
      if (std::ranges::any_of(graph_.consumers(output), is_read_later) || graph_.is_output(output))
        part.mark_output(output);
    }
  }
  if (part.outputs().empty()) return;
  std::vector<Shape> shapes;
  for (ValueId id : stage.inputs) shapes.push_back(values[index(id)]->shape());
  stage.plan = std::make_unique<Plan>(Lowering(part, shapes, options_, weights_, true).run(), shapes, options_);
}

/// Makes a value that was computed before this stage an input of the stage. The input has an id of its own.
void Stages::add_arrived(Stage& stage, ValueId id, const Tensor& value) const {
  Graph& part = stage.graph;
  const ValueId input = part.add_input(part.unique_name(graph_.value(id).name), value.dtype(), value.shape());
  part.value(input).quant = graph_.value(id).quant;
  part.replace_uses(id, input);
  stage.inputs.push_back(id);
}

void Stages::find_dying(Stage& stage) const {
  for (ValueId id : graph_.values()) {
    if (graph_.is_output(id) || graph_.is_constant(id) || graph_.is_input(id)) continue;
    const auto reads_later = [&](NodeId reader) {
      return needed_[index(reader)] != 0 && stage.is_done[index(reader)] == 0;
    };
    if (std::ranges::none_of(graph_.consumers(id), reads_later)) stage.dying.push_back(id);
  }
}

void Stages::run_stage(Stage& stage, Values& values, std::vector<double>& times) {
  if (stage.plan != nullptr) run_plan(stage, values, times);
  for (NodeId id : stage.run_time_nodes) {
    const auto begin = std::chrono::steady_clock::now();
    run_node(id, stage, values);
    times.push_back(std::chrono::duration<double, std::micro>(std::chrono::steady_clock::now() - begin).count());
  }
  for (ValueId id : stage.dying) values[index(id)].reset();
}

void Stages::run_plan(Stage& stage, Values& values, std::vector<double>& times) {
  std::vector<Tensor> inputs, outputs;
  for (ValueId id : stage.inputs) inputs.push_back(*values[index(id)]);
  Plan* plan = stage.plan.get();
  for (std::size_t i = 0; i < plan->output_shapes().size(); ++i)
    outputs.emplace_back(plan->output_types()[i], plan->output_shapes()[i]);
  const std::size_t first = times.size();
  times.resize(first + plan->steps().size());
  plan->bind(arena_.reserve(plan->arena_bytes()));
  if (!plan->run(inputs, outputs, std::span(times).subspan(first))) {
    if (stage.exact_plan == nullptr) {
      const std::vector<Shape>& shapes = plan->input_shapes();
      stage.exact_plan =
          std::make_unique<Plan>(Lowering(stage.graph, shapes, options_, weights_, false).run(), shapes, options_);
    }
    plan = stage.exact_plan.get();
    plan->bind(arena_.reserve(plan->arena_bytes()));
    (void)plan->run(inputs, outputs);
  }
  for (std::size_t i = 0; i < outputs.size(); ++i) values[index(stage.graph.outputs()[i])] = std::move(outputs[i]);
  if (options_.keep_values)
    for (const std::string& name : plan->kept_names()) kept_[name] = plan->value(name);
}

void Stages::run_node(NodeId id, const Stage& stage, Values& values) {
  const Node& node = graph_.node(id);
  std::vector<std::optional<Tensor>> inputs;
  for (ValueId input : node.inputs)
    inputs.push_back(input == ValueId::none ? std::nullopt : std::optional(tensor(input, stage, values)));
  std::vector<Tensor> outputs = evaluate(id, inputs);
  for (std::size_t i = 0; i < node.outputs.size(); ++i) {
    if (node.outputs[i] == ValueId::none) continue;
    const auto& grid = graph_.value(node.outputs[i]).quant;
    values[index(node.outputs[i])] =
        grid && outputs[i].dtype() == DataType::float32 ? snap(outputs[i], *grid) : std::move(outputs[i]);
  }
}

std::vector<Tensor> Stages::evaluate(NodeId id, std::span<const std::optional<Tensor>> inputs) {
  const Node& node = graph_.node(id);
  if (!node.bodies.empty()) {
    const auto infer = [&] {
      std::vector<ValueInfo> known;
      for (const auto& input : inputs) known.push_back(input ? info_of(*input) : ValueInfo{});
      return infer_node(node, known);
    };
    return ops::run_bodies(
        node, inputs,
        [&](std::size_t index, std::span<const Tensor> arguments) { return body(id, index, arguments).run(arguments); },
        infer);
  }
  std::vector<TensorView> views;
  for (const auto& input : inputs)  // operators only read their inputs; the view has no const form
    views.push_back(input ? TensorView{input->dtype(), input->shape(), const_cast<std::byte*>(input->bytes())}
                          : TensorView{});
  const ops::OperatorInfo& row = ops::info(node.op);
  ops::check_objects(row, node, views);
  if (row.evaluate == nullptr) {
    check(row.evaluate_dynamic != nullptr, "{} cannot be run", where(node));
    return row.evaluate_dynamic(node, views);
  }
  std::vector<ValueInfo> infos;
  for (const auto& input : inputs)
    infos.push_back(input ? declared_info({.name = {}, .dtype = input->dtype(), .constant = *input}) : ValueInfo{});
  return evaluate_inferred(node, infos, views);
}

/// Runs an evaluation that writes into outputs whose shapes can be inferred.
std::vector<Tensor> Stages::evaluate_inferred(const Node& node, std::span<const ValueInfo> infos,
                                              std::span<const TensorView> inputs) const {
  std::vector<ValueInfo> made;
  try {
    made = infer_node(node, infos);
    if (!has_static_shapes(node, made)) fail("the shape of its outputs does not follow from its inputs");
    for (std::size_t i = 0; i < made.size(); ++i)
      if (node.outputs[i] != ValueId::none)
        check_fits_memory(storage_bytes(made[i].dtype, element_count(*made[i].shape)), options_.max_memory_bytes);
  } catch (const Error& e) {
    fail("{} {}", where(node), e.what());
  }
  std::vector<Tensor> outputs;
  outputs.reserve(made.size());
  std::vector<TensorView> views;
  for (std::size_t i = 0; i < made.size(); ++i) {
    const bool is_used = node.outputs[i] != ValueId::none;
    outputs.push_back(is_used ? Tensor(made[i].dtype, *made[i].shape) : Tensor());
    if (!made[i].shape) made[i].shape.emplace();  // the views refer to this shape
    views.push_back({made[i].dtype, *made[i].shape, is_used ? outputs[i].mutable_bytes() : nullptr});
  }
  ops::info(node.op).evaluate(node, inputs, views);
  return outputs;
}

Executor& Stages::body(NodeId id, std::size_t index, std::span<const Tensor> arguments) {
  Body& body = bodies_[{id, index}];
  if (body.executor != nullptr) return *body.executor;
  body.graph = std::make_unique<Graph>(*graph_.node(id).bodies[index]);
  // Files need not declare the types of a body's inputs.
  const auto& inputs = body.graph->inputs();
  for (std::size_t i = 0; i < std::min(inputs.size(), arguments.size()); ++i)
    if (DataType& type = body.graph->value(inputs[i]).dtype; type == DataType::unknown) type = arguments[i].dtype();
  body.executor = std::make_unique<Executor>(*body.graph, options_, weights_.body({id, index}), arena_);
  return *body.executor;
}

Tensor Stages::tensor(ValueId id, const Stage& stage, const Values& values) {
  if (values[index(id)]) return *values[index(id)];
  if (const auto known = stage.known.find(id); known != stage.known.end()) return known->second;
  const Value& value = graph_.value(id);
  check(value.constant.has_value(), "value '{}' is read before it is computed", value.name);
  if (!value.quant) return *value.constant;
  return weights_.constant({id, false, false}, [&] { return dequantize(*value.constant, *value.quant); });
}

const std::vector<StepInfo>& Stages::steps() const {
  if (!steps_.empty()) return steps_;
  for (const Stage* stage : visited_) {
    if (stage->plan != nullptr) steps_.insert(steps_.end(), stage->plan->steps().begin(), stage->plan->steps().end());
    for (NodeId id : stage->run_time_nodes) steps_.push_back(step_info(graph_, id));
  }
  return steps_;
}

std::size_t Stages::arena_bytes() const {
  std::size_t most = 0;
  for (const Stage* stage : visited_)
    if (stage->plan != nullptr) most = std::max(most, stage->plan->arena_bytes());
  return most;
}

std::size_t Stages::arena_lower_bound() const {
  std::size_t most = 0;
  for (const Stage* stage : visited_)
    if (stage->plan != nullptr) most = std::max(most, stage->plan->arena_lower_bound());
  return most;
}

Tensor Stages::value(const std::string& name) const {
  const auto found = kept_.find(name);
  check(found != kept_.end(), "value '{}' is not kept: it is unknown, or fused into a later step", name);
  return found->second;
}

}  // namespace bitfold::engine
