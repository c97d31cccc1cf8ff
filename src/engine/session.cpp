// Session: a graph and its plans. The plan for given input shapes is lowered when they first come.
#include "bitfold/session.h"

#include <omp.h>

#include <algorithm>
#include <iterator>
#include <list>
#include <new>
#include <unordered_map>

#include "base/check.h"
#include "base/memory.h"
#include "bitfold/cpu.h"
#include "engine/lowering.h"
#include "engine/plan.h"
#include "graph/runnable.h"

namespace bitfold {
namespace {

constexpr int kMaxThreads = 1024;

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

/// Calls f(); where memory runs out, the Error says so.
template <class F>
auto naming_memory(const F& f) {
  try {
    return f();
  } catch (const std::bad_alloc&) {
    fail("out of memory");
  }
}

/// The plans of a session, found by their input shapes. The least recently used ones are dropped where plans occupy
/// too much memory.
class PlanCache {
 public:
  engine::Plan& front() { return *plans_.front().plan; }
  const engine::Plan& front() const { return *plans_.front().plan; }
  bool empty() const { return plans_.empty(); }

  /// Moves the plan for these shapes to the front; null where there is none. Allocates nothing.
  engine::Plan* find(std::span<const Tensor> inputs, bool fuses_clamps) {
    const auto [begin, end] = by_hash_.equal_range(hash(inputs, fuses_clamps));
    for (auto it = begin; it != end; ++it) {
      const Entry& entry = *it->second;
      const bool is_it = entry.fuses_clamps == fuses_clamps &&
                         std::equal(inputs.begin(), inputs.end(), entry.plan->input_shapes().begin(),
                                    [](const Tensor& t, const Shape& s) { return t.shape() == s; });
      if (!is_it) continue;
      plans_.splice(plans_.begin(), plans_, it->second);
      return entry.plan.get();
    }
    return nullptr;
  }

  void add(std::unique_ptr<engine::Plan> plan, bool fuses_clamps) {
    const std::size_t key = hash(plan->input_shapes(), fuses_clamps);
    bytes_ += plan->own_bytes();
    plans_.push_front({std::move(plan), key, fuses_clamps});
    by_hash_.emplace(key, plans_.begin());
    while (bytes_ > kMaxBytes && plans_.size() > 1) drop_last();
  }

 private:
  static constexpr std::size_t kMaxBytes = std::size_t{256} << 20;

  struct Entry {
    std::unique_ptr<engine::Plan> plan;
    std::size_t key = 0;
    bool fuses_clamps = true;
  };
  using Plans = std::list<Entry>;

  static const Shape& shape_of(const Tensor& t) { return t.shape(); }
  static const Shape& shape_of(const Shape& s) { return s; }

  template <class Inputs>
  static std::size_t hash(const Inputs& inputs, bool fuses_clamps) {
    std::uint64_t h = fuses_clamps ? 1 : 2;
    for (const auto& input : inputs)
      for (const std::int64_t dim : shape_of(input)) h = (h ^ static_cast<std::uint64_t>(dim)) * 0x9E3779B97F4A7C15U;
    return h;
  }

  void drop_last() {
    const auto last = std::prev(plans_.end());
    const auto [begin, end] = by_hash_.equal_range(last->key);
    by_hash_.erase(std::find_if(begin, end, [&](const auto& entry) { return entry.second == last; }));
    bytes_ -= last->plan->own_bytes();
    plans_.pop_back();
  }

  Plans plans_;  ///< The most recently used one first.
  std::unordered_multimap<std::size_t, Plans::iterator> by_hash_;
  std::size_t bytes_ = 0;
};

}  // namespace

struct Session::Impl {
  Graph graph;
  SessionOptions options;
  int threads = 1;
  std::shared_ptr<engine::WeightCache> weights = std::make_shared<engine::WeightCache>();
  PlanCache plans;
  std::shared_ptr<std::byte> arena;  ///< The intermediate values of whichever plan runs.
  std::size_t arena_bytes = 0;

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

  engine::Plan& compile(std::vector<Shape> shapes, bool fuses_clamps) {
    engine::Program program = engine::Lowering(graph, shapes, options, *weights, fuses_clamps).run();
    plans.add(std::make_unique<engine::Plan>(std::move(program), std::move(shapes), options), fuses_clamps);
    return plans.front();
  }

  /// The plan for these inputs, bound to the arena.
  engine::Plan& plan_for(std::span<const Tensor> inputs, bool fuses_clamps) {
    engine::Plan* plan = plans.find(inputs, fuses_clamps);
    if (plan == nullptr) {
      std::vector<Shape> shapes;
      for (const Tensor& t : inputs) shapes.push_back(t.shape());
      plan = &compile(std::move(shapes), fuses_clamps);
    }
    reserve(plan->arena_bytes());
    plan->bind(arena.get());
    return *plan;
  }

  void reserve(std::size_t bytes) {
    if (bytes <= arena_bytes && arena != nullptr) return;
    // Lengths that grow from run to run must not allocate each time.
    const std::size_t grown = arena == nullptr ? bytes : std::max(bytes, arena_bytes + arena_bytes / 4);
    arena.reset();
    arena_bytes = 0;
    arena = allocate_zeroed(grown);
    arena_bytes = grown;
  }

  void run(engine::Plan& plan, std::span<const Tensor> inputs, std::span<Tensor> outputs, std::span<double> step_us) {
    if (!plan.run(inputs, outputs, step_us)) (void)plan_for(inputs, false).run(inputs, outputs);
  }

  const engine::Plan& present() const {
    check(!plans.empty(), "the input shapes are dynamic: run the session once before asking about its plan");
    return plans.front();
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
  naming_memory([&] { impl_->compile(std::move(shapes), true); });
}

Session::Session(const Graph& graph, SessionOptions options)
    : Session(naming_memory([&] {
        check(options.threads >= 0 && options.threads <= kMaxThreads, "threads is {}; expected 0 (all cores) to {}",
              options.threads, kMaxThreads);
        check(!options.isa || *options.isa <= detected_isa(), "isa is {}, but this CPU goes no further than {}",
              to_string(options.isa.value_or(Isa::portable)), to_string(detected_isa()));
        check_runnable(graph, infer_values(graph));
        auto impl = std::make_unique<Impl>();
        impl->graph = graph;
        impl->options = options;
        impl->threads = options.threads > 0 ? options.threads : usable_threads();
        return impl;
      })) {}

Session::Impl& Session::impl() const {
  check(impl_ != nullptr, "this Session was moved from");
  return *impl_;
}

Session Session::sharing_weights() const {
  return naming_memory([&] {
    auto copy = std::make_unique<Impl>();
    copy->graph = impl().graph;
    copy->options = impl().options;
    copy->threads = impl().threads;
    copy->weights = impl().weights;
    return Session(std::move(copy));
  });
}

Session::~Session() = default;
Session::Session(Session&&) noexcept = default;
Session& Session::operator=(Session&&) noexcept = default;

std::vector<Tensor> Session::run(std::span<const Tensor> inputs) {
  return naming_memory([&] {
    const ThreadCount scope(impl().threads);
    impl().check_inputs(inputs);
    engine::Plan& plan = impl().plan_for(inputs, true);
    std::vector<Tensor> outputs;
    for (std::size_t i = 0; i < plan.output_shapes().size(); ++i)
      outputs.emplace_back(plan.output_types()[i], plan.output_shapes()[i]);
    impl().run(plan, inputs, outputs, {});
    return outputs;
  });
}

void Session::run(std::span<const Tensor> inputs, std::span<Tensor> outputs) { run(inputs, outputs, {}); }

void Session::run(std::span<const Tensor> inputs, std::span<Tensor> outputs, std::span<double> step_us) {
  naming_memory([&] {
    const ThreadCount scope(impl().threads);
    impl().check_inputs(inputs);
    engine::Plan& plan = impl().plan_for(inputs, true);
    check(outputs.size() == plan.output_shapes().size(), "the graph has {} outputs, got {} tensors",
          plan.output_shapes().size(), outputs.size());
    for (std::size_t i = 0; i < outputs.size(); ++i)
      if (outputs[i].dtype() != plan.output_types()[i] || outputs[i].shape() != plan.output_shapes()[i])
        fail("output {} is {} {}, got a tensor of {} {}", i, to_string(plan.output_types()[i]),
             to_string(plan.output_shapes()[i]), to_string(outputs[i].dtype()), to_string(outputs[i].shape()));
    check(step_us.empty() || step_us.size() == plan.steps().size(), "the plan has {} steps, got room for {} times",
          plan.steps().size(), step_us.size());
    impl().run(plan, inputs, outputs, step_us);
  });
}

const std::vector<StepInfo>& Session::steps() const { return impl().present().steps(); }
std::size_t Session::arena_bytes() const { return impl().present().arena_bytes(); }
std::size_t Session::arena_lower_bound() const { return impl().present().arena_lower_bound(); }
std::size_t Session::packed_weight_bytes() const { return impl().weights->packed_bytes(); }

Tensor Session::value(const std::string& name) const {
  check(impl().options.keep_values, "asked for value '{}' of a session that keeps none: set keep_values", name);
  return impl().present().value(name);
}

bool Session::keeps(const std::string& name) const {
  return impl().options.keep_values && impl().present().keeps(name);
}

}  // namespace bitfold
