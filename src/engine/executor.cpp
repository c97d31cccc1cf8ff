#include "engine/executor.h"

#include <algorithm>

#include "base/check.h"
#include "base/memory.h"
#include "engine/assumed_shapes.h"
#include "engine/lowering.h"
#include "graph/runnable.h"

namespace bitfold::engine {

std::byte* Arena::reserve(std::size_t bytes) {
  if (memory_ != nullptr && bytes <= bytes_) return memory_.get();
  // Avoids an allocation per run when lengths grow from run to run.
  const std::size_t grown = memory_ == nullptr ? bytes : std::max(bytes, bytes_ + bytes_ / 4);
  memory_.reset();
  bytes_ = 0;
  memory_ = allocate_zeroed(grown);
  bytes_ = grown;
  return memory_.get();
}

namespace {

bool fits(const Shape& declared, const Shape& given) {
  return declared.size() == given.size() && std::equal(declared.begin(), declared.end(), given.begin(),
                                                       [](auto d, auto g) { return d == kDynamic || d == g; });
}

std::vector<Shape> shapes_of(std::span<const Tensor> tensors) {
  std::vector<Shape> shapes;
  for (const Tensor& t : tensors) shapes.push_back(t.shape());
  return shapes;
}

std::vector<Tensor> outputs_for(const Plan& plan) {
  std::vector<Tensor> outputs;
  for (std::size_t i = 0; i < plan.output_shapes().size(); ++i)
    outputs.emplace_back(plan.output_types()[i], plan.output_shapes()[i]);
  return outputs;
}

// check() is not used, because it would build its message, and so allocate, in every run (invariant 7).
void check_outputs(std::span<const Tensor> given, std::span<const DataType> types, std::span<const Shape> shapes) {
  if (given.size() != shapes.size())
    fail("the graph has {} outputs, but {} tensors are given", shapes.size(), given.size());
  for (std::size_t i = 0; i < given.size(); ++i)
    if (given[i].dtype() != types[i] || (given[i].shape() != shapes[i] && !is_container(types[i])))
      fail("output {} is {} {}, but the given tensor is {} {}", i, to_string(types[i]), to_string(shapes[i]),
           to_string(given[i].dtype()), to_string(given[i].shape()));
}

}  // namespace

Executor::Executor(const Graph& graph, const SessionOptions& options, WeightCache& weights, Arena& arena)
    : graph_(graph), options_(options), weights_(weights), arena_(arena) {}

Executor::~Executor() = default;

void Executor::check_inputs(std::span<const Tensor> inputs) const {
  if (inputs.size() != graph_.inputs().size())
    fail("the graph has {} inputs, but {} are given", graph_.inputs().size(), inputs.size());
  for (std::size_t i = 0; i < inputs.size(); ++i) {
    const Value& declared = graph_.value(graph_.inputs()[i]);
    if (inputs[i].dtype() != declared.dtype)
      fail("input '{}' is {}, but {} is given", declared.name, to_string(declared.dtype), to_string(inputs[i].dtype()));
    if (declared.shape && !fits(*declared.shape, inputs[i].shape()))
      fail("input '{}' has shape {}, but {} is given", declared.name, to_string(*declared.shape),
           to_string(inputs[i].shape()));
    check_items(declared, inputs[i]);
  }
}

void Executor::compile(std::vector<Shape> shapes) { has_plan_ = compile_plan(std::move(shapes), true) != nullptr; }

void Executor::pack_weights() {
  for (const std::vector<Shape>& shapes : assumed_input_shapes(graph_)) {
    try {
      if (stages_ == nullptr && compile_plan(shapes, true) != nullptr) return;
      return stages_->pack_weights(shapes);
    } catch (const Error&) {
      // The network refuses these shapes. An error that does not depend on them is reported by the first run.
    }
  }
}

Plan* Executor::compile_plan(std::vector<Shape> shapes, bool fuses_clamps) {
  Lowering lowering(graph_, shapes, options_, weights_, fuses_clamps);
  if (!lowering.has_all_shapes()) {
    stages_ = std::make_unique<Stages>(graph_, options_, weights_, arena_);
    return nullptr;
  }
  return &plans_.add(std::make_unique<Plan>(lowering.run(), std::move(shapes), options_), fuses_clamps);
}

Plan* Executor::plan_for(std::span<const Tensor> inputs) {
  check_inputs(inputs);
  if (stages_ != nullptr) return nullptr;
  Plan* plan = plans_.find(inputs, true);
  if (plan == nullptr) plan = compile_plan(shapes_of(inputs), true);
  has_plan_ = plan != nullptr;
  return plan;
}

void Executor::run_plan(Plan& plan, std::span<const Tensor> inputs, std::span<Tensor> outputs,
                        std::span<double> step_us) {
  plan.bind(arena_.reserve(plan.arena_bytes()));
  if (plan.run(inputs, outputs, step_us)) return;
  Plan* exact = plans_.find(inputs, false);
  if (exact == nullptr) exact = compile_plan(shapes_of(inputs), false);
  exact->bind(arena_.reserve(exact->arena_bytes()));
  (void)exact->run(inputs, outputs);
}

std::vector<Tensor> Executor::run(std::span<const Tensor> inputs) {
  Plan* plan = plan_for(inputs);
  if (plan == nullptr) return stages_->run(inputs, {});
  std::vector<Tensor> outputs = outputs_for(*plan);
  run_plan(*plan, inputs, outputs, {});
  return outputs;
}

void Executor::run(std::span<const Tensor> inputs, std::span<Tensor> outputs, std::span<double> step_us) {
  Plan* plan = plan_for(inputs);
  if (plan != nullptr) {
    check_outputs(outputs, plan->output_types(), plan->output_shapes());
    if (!step_us.empty() && step_us.size() != plan->steps().size())
      fail("the plan has {} steps, but step_us has {} entries", plan->steps().size(), step_us.size());
    return run_plan(*plan, inputs, outputs, step_us);
  }
  const std::vector<Tensor> results = stages_->run(inputs, step_us);
  std::vector<DataType> types;
  for (const Tensor& t : results) types.push_back(t.dtype());
  check_outputs(outputs, types, shapes_of(results));
  for (std::size_t i = 0; i < results.size(); ++i)
    if (holds_objects(results[i].dtype()))
      outputs[i] = results[i];
    else
      std::copy_n(results[i].bytes(), results[i].size_bytes(), outputs[i].mutable_bytes());
}

bool Executor::is_compiled() const { return stages_ != nullptr ? stages_->has_run() : has_plan_; }

const std::vector<StepInfo>& Executor::steps() const {
  return stages_ != nullptr ? stages_->steps() : plans_.front().steps();
}
std::size_t Executor::arena_bytes() const {
  return stages_ != nullptr ? stages_->arena_bytes() : plans_.front().arena_bytes();
}
std::size_t Executor::arena_lower_bound() const {
  return stages_ != nullptr ? stages_->arena_lower_bound() : plans_.front().arena_lower_bound();
}
Tensor Executor::value(const std::string& name) const {
  return stages_ != nullptr ? stages_->value(name) : plans_.front().value(name);
}
bool Executor::keeps(const std::string& name) const {
  return stages_ != nullptr ? stages_->keeps(name) : plans_.front().keeps(name);
}

}  // namespace bitfold::engine
