// When weights are packed, in sessions of open shapes.
#include <gtest/gtest.h>

#include "bitfold/reference.h"
#include "bitfold/session.h"
#include "engine/session_testing.h"
#include "engine/test_graphs.h"
#include "error_testing.h"

namespace bitfold::engine {
namespace {

using testing::expect_error;

TEST(SessionPacking, weights_are_packed_before_the_first_run_of_any_batch) {
  GraphBuilder b = integer_network();
  Session session(b.graph);
  const std::size_t packed = session.packed_weight_bytes();
  EXPECT_GT(packed, 0U);
  for (const std::int64_t batch : {3, 1, 7}) (void)session.run({{b.uniform_tensor({batch, 3, 8, 8}, -2, 2)}});
  EXPECT_EQ(session.packed_weight_bytes(), packed);
}

TEST(SessionPacking, float_weights_are_packed_before_the_first_run) {
  GraphBuilder b;
  const ValueId x = b.input({kDynamic, kDynamic, 24}, std::nullopt);
  b.output(b.node(MatMul{}, {x, b.graph.add_constant("w", b.uniform_tensor({24, 40}, -1, 1))}));
  infer_shapes(b.graph);
  Session session(b.graph);
  const std::size_t packed = session.packed_weight_bytes();
  EXPECT_GE(packed, 24U * 40U * sizeof(float));
  for (const std::int64_t length : {3, 70}) {
    const std::vector<Tensor> inputs{b.uniform_tensor({2, length, 24}, -2, 2)};
    expect_close(session.run(inputs), Reference(b.graph).run(inputs), 1e-5);
  }
  EXPECT_EQ(session.packed_weight_bytes(), packed);
}

TEST(SessionPacking, a_plan_of_assumed_shapes_is_not_described) {
  GraphBuilder b = integer_network();
  Session session(b.graph);
  expect_error([&] { (void)session.steps(); }, "the input shapes are dynamic: run the session once before");
  (void)session.run({{b.uniform_tensor({1, 3, 8, 8}, -2, 2)}});  // the assumed shape
  EXPECT_FALSE(session.steps().empty());
}

/// A product of a row whose length must be 48, which no assumed size equals.
GraphBuilder network_of_one_size() {
  GraphBuilder b;
  const ValueId x = b.input({kDynamic, kDynamic}, std::nullopt);
  b.output(b.node(MatMul{}, {x, b.graph.add_constant("w", b.uniform_tensor({48, 8}, -1, 1))}));
  return b;
}

TEST(SessionPacking, a_network_that_refuses_all_assumed_shapes_packs_when_it_runs) {
  GraphBuilder b = network_of_one_size();
  Session session(b.graph);
  EXPECT_EQ(session.packed_weight_bytes(), 0U);
  const std::vector<Tensor> inputs{b.uniform_tensor({2, 48}, -2, 2)};
  expect_close(session.run(inputs), Reference(b.graph).run(inputs), 1e-5);
  EXPECT_GT(session.packed_weight_bytes(), 0U);
}

TEST(SessionPacking, an_assumed_shape_that_exceeds_the_memory_limit_is_ignored) {
  GraphBuilder b;
  const ValueId x = b.input({kDynamic, 3, kDynamic, kDynamic}, std::nullopt);
  b.output(b.node(Conv{window(3, 1, 1), 1}, {x, b.graph.add_constant("w", b.uniform_tensor({4, 3, 3, 3}, -1, 1))}));
  Session session(b.graph, {.max_memory_bytes = 20'000});
  const std::vector<Tensor> inputs{b.uniform_tensor({1, 3, 4, 4}, -2, 2)};
  expect_close(session.run(inputs), Reference(b.graph).run(inputs), 1e-5);
}

TEST(SessionPacking, layers_after_a_run_time_node_are_packed_before_the_first_run) {
  GraphBuilder b;
  const ValueId x = b.input({kDynamic, 16, 8, 8}, std::nullopt);
  const ValueId n = b.graph.add_input("n", DataType::int64, {1});
  const auto filter = [&](const char* name) {
    return b.graph.add_constant(name, b.uniform_tensor({16, 16, 3, 3}, -1, 1));
  };
  const ValueId c = b.node(Conv{window(3, 1, 1), 1}, {x, filter("v")});
  const ValueId part = b.node(Slice{}, {c, b.integers({0}), n, b.integers({3})});
  b.output(b.node(Conv{window(3, 1, 1), 1}, {part, filter("w")}));
  infer_shapes(b.graph);
  Session session(b.graph);
  const std::size_t packed = session.packed_weight_bytes();
  EXPECT_GT(packed, 0U);
  const Tensor count = Tensor::from<std::int64_t>({1}, std::vector<std::int64_t>{5});
  const std::vector<Tensor> inputs{b.uniform_tensor({2, 16, 8, 8}, -2, 2), count};
  expect_close(session.run(inputs), Reference(b.graph).run(inputs), 1e-5);
  EXPECT_EQ(session.packed_weight_bytes(), packed);
}

}  // namespace
}  // namespace bitfold::engine
