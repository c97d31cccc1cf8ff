// Teams of any size give the same bytes as one thread, for every way of dividing a step's work.
#include "engine/team.h"

#include <gtest/gtest.h>

#include <thread>
#include <vector>

#include "bitfold/session.h"
#include "engine/test_graphs.h"

namespace bitfold::engine {
namespace {

TEST(Team, waits_for_all_threads) {
  constexpr int kThreads = 4, kPhases = 2000;
  Barrier barrier(false);
  std::vector<int> reached(kThreads);  // each thread writes its own, and reads the others' after the barrier
  std::vector<int> wrong(kThreads);
  {
    std::vector<std::jthread> threads;
    for (int rank = 0; rank < kThreads; ++rank)
      threads.emplace_back([&, rank] {
        const Team team(rank, kThreads, barrier);
        for (int phase = 1; phase <= kPhases; ++phase) {
          reached[static_cast<std::size_t>(rank)] = phase;
          team.wait();
          for (int other : reached) wrong[static_cast<std::size_t>(rank)] += other == phase ? 0 : 1;
          team.wait();
        }
      });
  }
  EXPECT_EQ(wrong, std::vector<int>(kThreads, 0));
}

TEST(Team, wakes_sleeping_threads) {
  Barrier barrier(false);
  int value = 0;
  std::jthread late([&] {
    std::this_thread::sleep_for(std::chrono::milliseconds(50));  // far longer than a barrier spins
    value = 1;
    Team(1, 2, barrier).wait();
  });
  Team(0, 2, barrier).wait();
  EXPECT_EQ(value, 1);
}

/// Every way to divide work: rows of unpadded and padded images, channels if there are far more weights than pixels,
/// a batch, steps of one thread in between (the Concat), and steps with threads of their own (the float Softmax).
GraphBuilder network() {
  GraphBuilder b;
  const ValueId x = b.input({2, 16, 20, 20}, unsigned_grid(0.02F, 100));
  const auto conv = [&](ValueId in, std::int64_t from, std::int64_t to, std::int64_t kernel, std::int64_t stride) {
    const ValueId w = b.weights({to, from, kernel, kernel}, 0);
    return b.node(Conv{window(kernel, stride, kernel / 2), 1}, {in, w, b.bias(in, w)}, unsigned_grid(0.1F, 120));
  };
  const ValueId wide = conv(x, 16, 64, 3, 1);
  const ValueId even = conv(wide, 64, 64, 1, 1);
  const ValueId sum = b.node(Binary{BinaryKind::add}, {wide, even}, unsigned_grid(0.15F, 120));
  const ValueId pooled = b.node(Pool{PoolKind::max, window(2, 2, 0)}, {sum}, unsigned_grid(0.15F, 120));
  const ValueId both = b.node(Concat{1}, {pooled, pooled}, unsigned_grid(0.15F, 120));
  const ValueId small = conv(both, 128, 256, 3, 4);
  const ValueId deep = conv(small, 256, 256, 3, 1);
  const ValueId last = conv(deep, 256, 192, 1, 1);
  b.output(b.node(Softmax{1}, {last}));
  return b;
}

/// Images so large that several threads pad one image jointly.
GraphBuilder large_images() {
  GraphBuilder b;
  const ValueId x = b.input({2, 16, 120, 110}, unsigned_grid(0.02F, 100));
  const ValueId w = b.weights({8, 16, 3, 3}, 0);
  b.output(b.node(Conv{window(3, 1, 1), 1}, {x, w, b.bias(x, w)}, unsigned_grid(0.1F, 120)));
  return b;
}

void expect_same_bytes(GraphBuilder b) {
  const std::vector<Tensor> inputs = {b.uniform_tensor(*b.graph.value(b.graph.inputs()[0]).shape, -2, 2)};
  for (Isa isa : {Isa::portable, Isa::avx2, Isa::avx512vnni, Isa::amx}) {
    if (isa > detected_isa()) continue;
    const auto expected = Session(b.graph, {.isa = isa}).run(inputs);
    for (int threads : {2, 3, 5}) {
      Session session(b.graph, {.threads = threads, .isa = isa});
      for (int run = 0; run < 3; ++run)
        EXPECT_EQ(session.run(inputs), expected) << to_string(isa) << ", " << threads << " threads";
    }
  }
}

TEST(Team, every_size_computes_the_same_bytes) { expect_same_bytes(network()); }

TEST(Team, threads_pad_a_large_image_jointly) {
  GraphBuilder b = large_images();
  expect_same_bytes(b);
  const auto bytes = [&](int threads) { return Session(b.graph, {.threads = threads}).arena_bytes(); };
  EXPECT_LE(bytes(16), bytes(1) + (std::size_t{1} << 20));
}

}  // namespace
}  // namespace bitfold::engine
