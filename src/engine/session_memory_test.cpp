// Memory of sessions: allocations of a run (invariant 7), limits, and errors where memory runs out.
#include <gtest/gtest.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cstdlib>
#include <fstream>
#include <new>

#include "bitfold/reference.h"
#include "bitfold/session.h"
#include "engine/session_testing.h"
#include "engine/test_graphs.h"
#include "error_testing.h"
#include "testing.h"

namespace {
std::atomic<std::int64_t> allocation_count{0};
/// Number of allocations that succeed before `new` fails; negative means never.
std::atomic<std::int64_t> allocations_left{-1};

bool may_allocate() {
  ++allocation_count;
  return allocations_left < 0 || allocations_left-- > 0;
}
}  // namespace

#if defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define BITFOLD_THREAD_SANITIZER  // ThreadSanitizer's new and delete cannot be replaced, so nothing is counted
#endif
#endif

#if defined(BITFOLD_THREAD_SANITIZER) || defined(__SANITIZE_ADDRESS__)
#define BITFOLD_SANITIZED
#endif

#ifndef BITFOLD_THREAD_SANITIZER
// Counts all allocations made through new (invariant 7). Not inlined, because gcc would report a mismatched free().
[[gnu::noinline]] void* operator new(std::size_t bytes) {
  if (!may_allocate()) throw std::bad_alloc();
  if (void* memory = std::malloc(bytes == 0 ? 1 : bytes)) return memory;
  throw std::bad_alloc();
}
[[gnu::noinline]] void* operator new(std::size_t bytes, const std::nothrow_t&) noexcept {
  return may_allocate() ? std::malloc(bytes == 0 ? 1 : bytes) : nullptr;
}
[[gnu::noinline]] void operator delete(void* memory) noexcept { std::free(memory); }
[[gnu::noinline]] void operator delete(void* memory, std::size_t) noexcept { std::free(memory); }
#endif

namespace bitfold::engine {
namespace {

using testing::expect_error;

TEST(Session, running_an_integer_network_again_allocates_nothing) {
  GraphBuilder b = integer_network();
  Session session(b.graph);
  const std::vector<Tensor> inputs{b.uniform_tensor({2, 3, 8, 8}, -2, 2)};
  std::vector<Tensor> outputs = session.run(inputs);
  const std::vector<Tensor> first = outputs;
  outputs[0] = Tensor(DataType::float32, {2, 10});
  const std::int64_t before = allocation_count;
  session.run(inputs, outputs);
  EXPECT_EQ(allocation_count, before);
  EXPECT_EQ(outputs, first);
}

/// Runs a float network in a child process that may take `bytes` more address space. Returns its exit status, or the
/// signal that ended it, negated.
int run_within(std::size_t bytes) {
  const pid_t child = fork();
  if (child == 0) {
    std::size_t pages = 0;
    std::ifstream("/proc/self/statm") >> pages;
    const rlim_t limit = pages * static_cast<std::size_t>(sysconf(_SC_PAGESIZE)) + bytes;
    const rlimit limits{limit, limit};
    setrlimit(RLIMIT_AS, &limits);
    int status = 0;
    try {
      GraphBuilder b;
      const ValueId x = b.input({1, 8, 128, 128}, std::nullopt);
      const ValueId w = b.graph.add_constant("w", b.uniform_tensor({32, 8, 3, 3}, -1, 1));
      const ValueId v = b.graph.add_constant("v", b.uniform_tensor({16, 32, 3, 3}, -1, 1));
      const ValueId c = b.node(Unary{UnaryKind::relu}, {b.node(Conv{window(3, 1, 1), 1}, {x, w})});
      b.output(b.node(Softmax{}, {b.node(Conv{window(3, 2, 1), 1}, {c, v})}));
      infer_shapes(b.graph);
      (void)Session(b.graph).run({{b.uniform_tensor({1, 8, 128, 128}, -1, 1)}});
    } catch (const Error&) {
      status = 1;
    } catch (const std::bad_alloc&) {
      status = 2;  // memory ran out outside of the session
    }
    _exit(status);
  }
  int status = 0;
  waitpid(child, &status, 0);
  return WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status);
}

TEST(Session, memory_that_runs_out_in_float_layers_is_an_error) {
#ifdef BITFOLD_SANITIZED
  GTEST_SKIP() << "sanitizers need more address space than a limit leaves";
#endif
  bool has_failed = false, has_run = false;
  for (std::size_t bytes = 0; bytes <= std::size_t{256} << 20; bytes += std::max<std::size_t>(bytes / 4, 1 << 18)) {
    const int status = run_within(bytes);
    EXPECT_GE(status, 0) << "with " << bytes << " bytes";
    has_failed |= status == 1;
    has_run |= status == 0;
  }
  EXPECT_TRUE(has_failed);
  EXPECT_TRUE(has_run);
}

TEST(Session, refuses_values_larger_than_memory_before_it_runs) {
  GraphBuilder b;
  const ValueId x = b.input({1, 4}, std::nullopt);
  const ValueId large = b.node(Expand{}, {x, b.integers({1'000'000'000, 1'000, 4})});
  b.output(b.node(Reduce{}, {large}));
  infer_shapes(b.graph);
  expect_error([&] { Session session(b.graph); },
               "[Expand 'Expand_node'] its output 'Expand' of shape 1000000000x1000x4 takes 16.0 TB, more than the");
  expect_error(
      [&] {
        (void)Reference(b.graph).run({{b.uniform_tensor({1, 4}, -1, 1)}});
      },
      "[Expand 'Expand_node'] its output 0 of shape");
}

TEST(Session, limits_the_memory_of_all_intermediate_values_together) {
  GraphBuilder b;
  const ValueId x = b.input({1, 1'000}, std::nullopt);
  std::vector<ValueId> branches;
  for (int i = 0; i < 10; ++i) branches.push_back(b.node(Unary{UnaryKind::exp}, {x}));
  b.output(b.node(Variadic{VariadicKind::sum}, branches));
  infer_shapes(b.graph);
  EXPECT_NO_THROW(Session(b.graph, {.max_memory_bytes = 50'000}));
  expect_error([&] { Session(b.graph, {.max_memory_bytes = 20'000}); },
               "[Sum 'Sum_node'] and the values alive at the same time take");
  expect_error([&] { Session(b.graph, {.max_memory_bytes = 3'000}); },
               "its output 'Exp' of shape 1x1000 takes 4000 bytes, more than the 3000 bytes");
}

TEST(Session, memory_that_runs_out_is_an_error) {
#ifdef BITFOLD_THREAD_SANITIZER
  GTEST_SKIP() << "new cannot be replaced";
#endif
  GraphBuilder b = integer_network();
  const std::vector<Tensor> inputs{b.uniform_tensor({2, 3, 8, 8}, -2, 2)};
  const auto expected = Session(b.graph, {.threads = 2}).run(inputs);
  int failures = 0;
  for (std::int64_t last = 0;; last += 1 + last / 8) {
    allocations_left = last;
    try {
      Session session(b.graph, {.threads = 2});
      const auto got = session.run(inputs);
      allocations_left = -1;
      EXPECT_EQ(got, expected);
      break;
    } catch (const Error& e) {
      allocations_left = -1;
      ++failures;
      EXPECT_NE(std::string(e.what()).find("out of memory"), std::string::npos) << e.what();
    }
  }
  EXPECT_GT(failures, 20);
}

}  // namespace
}  // namespace bitfold::engine
