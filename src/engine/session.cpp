// Session: options, threads and errors around the executor of a graph.
#include "bitfold/session.h"

#include <new>

#include "base/check.h"
#include "base/thread_limit.h"
#include "bitfold/cpu.h"
#include "engine/executor.h"
#include "graph/merge_constants.h"
#include "graph/runnable.h"

namespace bitfold {
namespace {

/// Calls f() and converts std::bad_alloc to an Error.
template <class F>
auto naming_memory(const F& f) {
  try {
    return f();
  } catch (const std::bad_alloc&) {
    fail("out of memory");
  }
}

}  // namespace

struct Session::Impl {
  Impl(Graph g, const SessionOptions& o, std::shared_ptr<engine::WeightCache> w)
      : graph(std::move(g)), options(o), threads(thread_count(o.threads)), weights(std::move(w)) {}

  Graph graph;
  SessionOptions options;
  int threads;
  std::shared_ptr<engine::WeightCache> weights;
  engine::Arena arena;
  engine::Executor executor{graph, options, *weights, arena};

  const engine::Executor& present() const {
    check(executor.is_compiled(), "the input shapes are dynamic: run the session once before asking about its plan");
    return executor;
  }
};

Session::Session(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {
  std::vector<Shape> shapes;
  for (ValueId id : impl_->graph.inputs()) {
    const auto& shape = impl_->graph.value(id).shape;
    if (!shape || !is_static(*shape)) return;
    shapes.push_back(*shape);
  }
  const ThreadLimit scope(impl_->threads);
  naming_memory([&] { impl_->executor.compile(std::move(shapes)); });
}

Session::Session(const Graph& graph, SessionOptions options)
    : Session(naming_memory([&] {
        check(!options.isa || *options.isa <= detected_isa(), "isa is {}, but this CPU supports at most {}",
              to_string(options.isa.value_or(Isa::portable)), to_string(detected_isa()));
        check_runnable(graph, infer_values(graph));
        Graph own = graph;
        merge_constants(own);  // equal weights are packed once
        return std::make_unique<Impl>(std::move(own), options, std::make_shared<engine::WeightCache>());
      })) {
  if (impl_->executor.is_compiled()) return;
  const ThreadLimit scope(impl_->threads);
  naming_memory([&] { impl_->executor.pack_weights(); });
}

Session::Impl& Session::impl() const {
  check(impl_ != nullptr, "this Session has been moved from");
  return *impl_;
}

Session Session::sharing_weights() const {
  return naming_memory([&] { return Session(std::make_unique<Impl>(impl().graph, impl().options, impl().weights)); });
}

Session::~Session() = default;
Session::Session(Session&&) noexcept = default;
Session& Session::operator=(Session&&) noexcept = default;

std::vector<Tensor> Session::run(std::span<const Tensor> inputs) {
  return naming_memory([&] {
    const ThreadLimit scope(impl().threads);
    return impl().executor.run(inputs);
  });
}

void Session::run(std::span<const Tensor> inputs, std::span<Tensor> outputs) { run(inputs, outputs, {}); }

void Session::run(std::span<const Tensor> inputs, std::span<Tensor> outputs, std::span<double> step_us) {
  naming_memory([&] {
    const ThreadLimit scope(impl().threads);
    impl().executor.run(inputs, outputs, step_us);
  });
}

const std::vector<StepInfo>& Session::steps() const { return impl().present().steps(); }
std::size_t Session::arena_bytes() const { return impl().present().arena_bytes(); }
std::size_t Session::arena_lower_bound() const { return impl().present().arena_lower_bound(); }
std::size_t Session::packed_weight_bytes() const { return impl().weights->packed_bytes(); }

Tensor Session::value(const std::string& name) const {
  check(impl().options.keep_values, "value '{}' is not kept: set keep_values", name);
  return impl().present().value(name);
}

bool Session::keeps(const std::string& name) const {
  return impl().options.keep_values && impl().present().keeps(name);
}

}  // namespace bitfold
