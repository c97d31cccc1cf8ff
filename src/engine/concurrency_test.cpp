// Concurrent sessions give the same results as a session alone and, under ThreadSanitizer (./dev sanitize thread), have
// no data race.
#include <gtest/gtest.h>

#include <barrier>
#include <cstdint>
#include <thread>
#include <utility>
#include <vector>

#include "bitfold/passes.h"
#include "bitfold/session.h"
#include "engine/test_graphs.h"

namespace bitfold::engine {
namespace {

constexpr int kThreads = 6, kRuns = 12;

/// Conv, Relu, MaxPool and Gemm in float, through oneDNN; dynamic batch.
GraphBuilder float_network() {
  GraphBuilder b;
  const ValueId x = b.input({kDynamic, 3, 12, 12}, std::nullopt);
  const ValueId w = b.graph.add_constant("w", b.uniform_tensor({16, 3, 3, 3}, -1, 1));
  const ValueId r = b.node(Unary{UnaryKind::relu}, {b.node(Conv{window(3, 1, 1), 1}, {x, w})});
  const ValueId f = b.node(Flatten{1}, {b.node(Pool{PoolKind::max, window(2, 2, 0)}, {r})});
  b.output(b.node(Gemm{}, {f, b.graph.add_constant("v", b.uniform_tensor({576, 10}, -1, 1))}));
  return b;
}

/// A residual block large enough that two threads divide its layers.
GraphBuilder wide_network() {
  GraphBuilder b;
  const ValueId x = b.input({kDynamic, 16, 28, 28}, unsigned_grid(0.02F, 100));
  const ValueId w = b.weights({32, 16, 3, 3}, 0), v = b.weights({32, 32, 3, 3}, 0);
  const ValueId c = b.node(Conv{window(3, 1, 1), 1}, {x, w, b.bias(x, w)}, unsigned_grid(0.05F, 120));
  const ValueId d = b.node(Conv{window(3, 1, 1), 1}, {c, v, b.bias(c, v)}, unsigned_grid(0.06F, 110));
  b.output(b.node(Binary{BinaryKind::add}, {c, d}, unsigned_grid(0.08F, 125)));
  return b;
}

struct Network {
  const char* name;
  GraphBuilder (*make)();
  Shape image;
};
const Network kNetworks[] = {{"integer", integer_network, {3, 8, 8}},
                             {"float", float_network, {3, 12, 12}},
                             {"wide", wide_network, {16, 28, 28}}};

/// Inputs of several batch sizes, so that sessions also compile while others run, and the outputs of a single session.
struct Work {
  std::vector<Tensor> inputs, expected;

  Work(GraphBuilder& b, const Shape& image) {
    Session alone(b.graph);
    for (const std::int64_t batch : {1, 2, 3}) {
      inputs.push_back(b.uniform_tensor({batch, image[0], image[1], image[2]}, -2, 2));
      expected.push_back(alone.run({{inputs.back()}})[0]);
    }
  }

  /// Number of runs of `session` with different outputs, beginning with input `first`.
  int wrong_runs(Session& session, int first) const {
    int wrong = 0;
    for (int run = 0; run < kRuns; ++run) {
      const auto i = static_cast<std::size_t>(first + run) % inputs.size();
      wrong += session.run({{inputs[i]}})[0] == expected[i] ? 0 : 1;
    }
    return wrong;
  }
};

/// Runs body(thread number) in threads that start at the same time; returns the sum of the results.
template <class Body>
int in_threads(Body body) {
  std::vector<int> results(kThreads);
  std::barrier start(kThreads);
  {
    std::vector<std::jthread> threads;
    threads.reserve(kThreads);
    for (int t = 0; t < kThreads; ++t)
      threads.emplace_back([&, t] {
        start.arrive_and_wait();
        results[static_cast<std::size_t>(t)] = body(t);
      });
  }
  int sum = 0;
  for (int result : results) sum += result;
  return sum;
}

class Concurrency : public ::testing::TestWithParam<Network> {
 protected:
  GraphBuilder builder{GetParam().make()};
  Work work{builder, GetParam().image};
};
INSTANTIATE_TEST_SUITE_P(Networks, Concurrency, ::testing::ValuesIn(kNetworks),
                         [](const auto& test) { return std::string(test.param.name); });

TEST_P(Concurrency, sessions_sharing_packed_weights_give_the_same_results) {
  Session first(builder.graph);
  first.run({{work.inputs[0]}});
  const std::size_t packed = first.packed_weight_bytes();
  std::vector<Session> sessions;
  sessions.reserve(kThreads);
  for (int t = 0; t < kThreads; ++t) sessions.push_back(first.sharing_weights());
  EXPECT_EQ(in_threads([&](int t) { return work.wrong_runs(sessions[static_cast<std::size_t>(t)], t); }), 0);
  EXPECT_EQ(first.packed_weight_bytes(), packed);
}

TEST_P(Concurrency, concurrent_requests_pack_weights_once) {
  std::vector<Session> sessions;
  sessions.emplace_back(builder.graph);
  while (sessions.size() < kThreads) sessions.push_back(sessions[0].sharing_weights());
  EXPECT_EQ(in_threads([&](int t) { return work.wrong_runs(sessions[static_cast<std::size_t>(t)], 0); }), 0);
  Session alone(builder.graph);
  for (const Tensor& input : work.inputs) alone.run({{input}});
  EXPECT_EQ(sessions[0].packed_weight_bytes(), alone.packed_weight_bytes());
}

TEST_P(Concurrency, sessions_of_one_graph_can_be_created_concurrently) {
  EXPECT_EQ(in_threads([&](int t) {
              Session session(builder.graph);
              return work.wrong_runs(session, t);
            }),
            0);
}

TEST_P(Concurrency, a_session_may_run_in_another_thread) {
  Session session(builder.graph);
  session.run({{work.inputs[0]}});
  int wrong = -1;
  std::jthread([&] { wrong = work.wrong_runs(session, 1); }).join();
  EXPECT_EQ(wrong, 0);
  EXPECT_EQ(work.wrong_runs(session, 0), 0);
  Session moved = std::move(session);
  std::jthread([&, own = std::move(moved)]() mutable { wrong = work.wrong_runs(own, 2); }).join();
  EXPECT_EQ(wrong, 0);
}

TEST_P(Concurrency, concurrent_sessions_with_several_threads_give_the_same_results) {
  EXPECT_EQ(in_threads([&](int t) {
              Session session(builder.graph, {.threads = 1 + t % 3});
              return work.wrong_runs(session, t);
            }),
            0);
}

TEST_P(Concurrency, outputs_passed_between_threads_are_independent) {
  Session session(builder.graph);
  std::vector<Tensor> outputs = session.run({{work.inputs[0]}});
  const Tensor kept = outputs[0];  // shares memory with outputs[0] until that is written
  int wrong = -1;
  std::jthread([&, copy = outputs[0]] { wrong = copy == work.expected[0] ? 0 : 1; }).join();
  session.run({{work.inputs[0]}}, outputs);
  EXPECT_EQ(wrong, 0);
  EXPECT_TRUE(kept == work.expected[0]);
  EXPECT_TRUE(outputs[0] == work.expected[0]);
}

}  // namespace
}  // namespace bitfold::engine
