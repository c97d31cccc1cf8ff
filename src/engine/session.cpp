// Session: a graph and its plans. The plan for given input shapes is lowered when they first come.
#include "bitfold/session.h"

#include <omp.h>

#include <algorithm>
#include <deque>

#include "base/check.h"
#include "bitfold/cpu.h"
#include "engine/lowering.h"
#include "engine/plan.h"
#include "graph/runnable.h"

namespace bitfold {
namespace {

constexpr std::size_t kPlansKept = 4;

/// OpenMP's thread count for the calling thread, put back at the end.
class ThreadCount {
 public:
  explicit ThreadCount(int count) : before_(omp_get_max_threads()) { omp_set_num_threads(count); }
  ~ThreadCount() { omp_set_num_threads(before_); }
  ThreadCount(const ThreadCount&) = delete;
  ThreadCount& operator=(const ThreadCount&) = delete;

 private:
  int before_;
};

bool fits(const Shape& declared, const Shape& given) {
  return declared.size() == given.size() && std::equal(declared.begin(), declared.end(), given.begin(),
                                                       [](auto d, auto g) { return d == kDynamic || d == g; });
}

}  // namespace

struct Session::Impl {
  Graph graph;
  SessionOptions options;
  int threads = 1;
  std::shared_ptr<engine::WeightCache> weights = std::make_shared<engine::WeightCache>();
  std::deque<std::unique_ptr<engine::Plan>> plans;  // the present one first

  void check_inputs(std::span<const Tensor> inputs) const {
    check(inputs.size() == graph.inputs().size(), "the graph has {} inputs, got {}", graph.inputs().size(),
          inputs.size());
    for (std::size_t i = 0; i < inputs.size(); ++i) {
      const Value& declared = graph.value(graph.inputs()[i]);
      // Not check(): it would make the strings of its message, which allocates, in every run (invariant 7).
      if (inputs[i].dtype() != declared.dtype)
        fail("input '{}' is {}, got {}", declared.name, to_string(declared.dtype), to_string(inputs[i].dtype()));
      if (declared.shape && !fits(*declared.shape, inputs[i].shape()))
        fail("input '{}' has shape {}, got {}", declared.name, to_string(*declared.shape),
             to_string(inputs[i].shape()));
    }
  }

  engine::Plan& compile(std::vector<Shape> shapes) {
    engine::Program program = engine::Lowering(graph, shapes, options, *weights).run();
    plans.push_front(std::make_unique<engine::Plan>(std::move(program), std::move(shapes), options.keep_values));
    if (plans.size() > kPlansKept) plans.pop_back();
    return *plans.front();
  }

  engine::Plan& plan_for(std::span<const Tensor> inputs) {
    check_inputs(inputs);
    const auto fits_plan = [&](const auto& plan) {
      return std::equal(inputs.begin(), inputs.end(), plan->input_shapes().begin(),
                        [](const Tensor& t, const Shape& s) { return t.shape() == s; });
    };
    const auto it = std::find_if(plans.begin(), plans.end(), fits_plan);
    if (it == plans.end()) {
      std::vector<Shape> shapes;
      for (const Tensor& t : inputs) shapes.push_back(t.shape());
      return compile(std::move(shapes));
    }
    std::rotate(plans.begin(), it, it + 1);
    return *plans.front();
  }

  const engine::Plan& present() const {
    check(!plans.empty(), "the input shapes are dynamic: run the session once before asking about its plan");
    return *plans.front();
  }
};

Session::Session(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {
  std::vector<Shape> shapes;
  for (ValueId id : impl_->graph.inputs()) {
    const auto& shape = impl_->graph.value(id).shape;
    if (!shape || !is_static(*shape)) return;
    shapes.push_back(*shape);
  }
  const ThreadCount scope(impl_->threads);
  impl_->compile(std::move(shapes));
}

Session::Session(const Graph& graph, SessionOptions options)
    : Session([&] {
        check(options.threads >= 0, "threads is {}; expected 0 (all cores) or more", options.threads);
        check(!options.isa || *options.isa <= detected_isa(), "isa is {}, but this CPU goes no further than {}",
              to_string(options.isa.value_or(Isa::portable)), to_string(detected_isa()));
        check_runnable(graph, infer_values(graph));
        auto impl = std::make_unique<Impl>();
        impl->graph = graph;
        impl->options = options;
        impl->threads = options.threads > 0 ? options.threads : usable_threads();
        return impl;
      }()) {}

Session Session::sharing_weights() const {
  auto impl = std::make_unique<Impl>();
  impl->graph = impl_->graph;
  impl->options = impl_->options;
  impl->threads = impl_->threads;
  impl->weights = impl_->weights;
  return Session(std::move(impl));
}

Session::~Session() = default;
Session::Session(Session&&) noexcept = default;
Session& Session::operator=(Session&&) noexcept = default;

std::vector<Tensor> Session::run(std::span<const Tensor> inputs) {
  const ThreadCount scope(impl_->threads);
  engine::Plan& plan = impl_->plan_for(inputs);
  std::vector<Tensor> outputs;
  for (std::size_t i = 0; i < plan.output_shapes().size(); ++i)
    outputs.emplace_back(plan.output_types()[i], plan.output_shapes()[i]);
  plan.run(inputs, outputs);
  return outputs;
}

void Session::run(std::span<const Tensor> inputs, std::span<Tensor> outputs) { run(inputs, outputs, {}); }

void Session::run(std::span<const Tensor> inputs, std::span<Tensor> outputs, std::span<double> step_us) {
  const ThreadCount scope(impl_->threads);
  engine::Plan& plan = impl_->plan_for(inputs);
  check(outputs.size() == plan.output_shapes().size(), "the graph has {} outputs, got {} tensors",
        plan.output_shapes().size(), outputs.size());
  for (std::size_t i = 0; i < outputs.size(); ++i)
    if (outputs[i].dtype() != plan.output_types()[i] || outputs[i].shape() != plan.output_shapes()[i])
      fail("output {} is {} {}, got a tensor of {} {}", i, to_string(plan.output_types()[i]),
           to_string(plan.output_shapes()[i]), to_string(outputs[i].dtype()), to_string(outputs[i].shape()));
  check(step_us.empty() || step_us.size() == plan.steps().size(), "the plan has {} steps, got room for {} times",
        plan.steps().size(), step_us.size());
  plan.run(inputs, outputs, step_us);
}

const std::vector<StepInfo>& Session::steps() const { return impl_->present().steps(); }
std::size_t Session::arena_bytes() const { return impl_->present().arena_bytes(); }
std::size_t Session::arena_lower_bound() const { return impl_->present().arena_lower_bound(); }
std::size_t Session::packed_weight_bytes() const { return impl_->weights->total_bytes(); }

Tensor Session::value(const std::string& name) const {
  check(impl_->options.keep_values, "asked for value '{}' of a session that keeps none: set keep_values", name);
  return impl_->present().value(name);
}

bool Session::keeps(const std::string& name) const {
  return impl_->options.keep_values && impl_->present().keeps(name);
}

}  // namespace bitfold
