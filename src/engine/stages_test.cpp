#include "engine/stages.h"

#include <gtest/gtest.h>

#include <cmath>

#include "bitfold/error.h"
#include "bitfold/reference.h"
#include "bitfold/session.h"
#include "engine/test_graphs.h"

namespace bitfold::engine {
namespace {

Tensor integers(const std::vector<std::int64_t>& values) {
  return Tensor::from<std::int64_t>({static_cast<std::int64_t>(values.size())}, values);
}

void expect_close(const std::vector<Tensor>& got, const std::vector<Tensor>& expected) {
  ASSERT_EQ(got.size(), expected.size());
  for (std::size_t o = 0; o < got.size(); ++o) {
    ASSERT_EQ(got[o].shape(), expected[o].shape());
    ASSERT_EQ(got[o].dtype(), expected[o].dtype());
    if (got[o].dtype() != DataType::float32) {
      EXPECT_EQ(got[o], expected[o]);
      continue;
    }
    for (std::size_t i = 0; i < got[o].data<float>().size(); ++i)
      ASSERT_NEAR(got[o].data<float>()[i], expected[o].data<float>()[i], 1e-5);
  }
}

/// Conv and Relu, then a Slice of the first n columns (n is an input), then a second Conv.
Graph cropped_network(bool is_integer) {
  GraphBuilder b;
  const auto grid = [&](float scale) { return is_integer ? std::optional(unsigned_grid(scale, 10)) : std::nullopt; };
  const auto weights = [&](Shape shape) {
    return is_integer ? b.weights(shape, 0)
                      : b.graph.add_constant(b.graph.unique_name("w"), b.uniform_tensor(shape, -1, 1));
  };
  const ValueId x = b.input({kDynamic, 3, 8, 8}, grid(0.02F));
  const ValueId n = b.graph.add_input("n", DataType::int64, {1});
  const ValueId c = b.node(Conv{window(3, 1, 1), 1}, {x, weights({4, 3, 3, 3})}, grid(0.02F));
  const ValueId r = b.node(Unary{UnaryKind::relu}, {c}, grid(0.02F));
  const ValueId part = b.node(Slice{}, {r, b.integers({0}), n, b.integers({3})}, grid(0.02F));
  const ValueId d = b.node(Conv{window(3, 1, 1), 1}, {part, weights({5, 4, 3, 3})}, grid(0.1F));
  b.output(d);
  b.output(r);
  // Shape arithmetic on a size known only at run time: [batch, 5 * 8 * n].
  const ValueId flat = b.node(Flatten{1}, {d}, grid(0.1F));
  const ValueId size = b.node(ShapeOf{}, {flat});
  b.output(b.node(ConstantOfShape{}, {size}));
  infer_shapes(b.graph);
  return b.graph;
}

TEST(Stages, a_slice_of_computed_length_equals_the_reference) {
  for (const bool is_integer : {false, true})
    for (const int threads : {1, 2}) {
      const Graph graph = cropped_network(is_integer);
      GraphBuilder b;
      Session session(graph, {.threads = threads});
      const Reference reference(graph);
      for (const auto& [batch, n] : {std::pair<std::int64_t, std::int64_t>{2, 5}, {2, 3}, {1, 8}, {2, 5}, {3, 1}}) {
        const std::vector<Tensor> inputs{b.uniform_tensor({batch, 3, 8, 8}, 0, 1), integers({n})};
        const auto got = session.run(inputs);
        expect_close(got, reference.run(inputs));
        std::vector<Tensor> outputs;
        for (const Tensor& t : got) outputs.emplace_back(t.dtype(), t.shape());
        std::vector<double> times(session.steps().size());
        session.run(inputs, outputs, times);
        EXPECT_EQ(outputs, got);
      }
    }
}

TEST(Stages, integer_layers_stay_integer_on_both_sides_of_a_run_time_node) {
  Session session(cropped_network(true));
  GraphBuilder b;
  (void)session.run({{b.uniform_tensor({1, 3, 8, 8}, 0, 1), integers({4})}});
  int convolutions = 0, run_time = 0;
  for (const StepInfo& step : session.steps()) {
    if (step.op.starts_with("Conv")) {
      EXPECT_TRUE(step.is_integer) << step.kernel;
    }
    convolutions += step.op.starts_with("Conv") && !step.op.starts_with("ConstantOfShape") ? 1 : 0;
    run_time += step.kernel == "run time" ? 1 : 0;
  }
  EXPECT_EQ(convolutions, 2);
  EXPECT_EQ(run_time, 1);
}

TEST(Stages, weights_are_packed_once_for_all_shapes_and_sessions) {
  Session session(cropped_network(true));
  GraphBuilder b;
  const auto inputs = [&](std::int64_t n) {
    return std::vector<Tensor>{b.uniform_tensor({1, 3, 8, 8}, 0, 1), integers({n})};
  };
  (void)session.run(inputs(4));
  const std::size_t bytes = session.packed_weight_bytes();
  EXPECT_GT(bytes, 0U);
  (void)session.run(inputs(7));
  Session other = session.sharing_weights();
  (void)other.run(inputs(6));
  EXPECT_EQ(session.packed_weight_bytes(), bytes);
}

TEST(Stages, values_of_all_stages_can_be_read) {
  const Graph graph = cropped_network(true);
  GraphBuilder b;
  Session session(graph, {.keep_values = true});
  const std::vector<Tensor> inputs{b.uniform_tensor({1, 3, 8, 8}, 0, 1), integers({6})};
  const auto expected = Session(graph).run(inputs);
  EXPECT_EQ(session.run(inputs), expected);
  const std::string name = graph.value(graph.outputs()[0]).name;
  ASSERT_TRUE(session.keeps(name));
  EXPECT_EQ(dequantize(session.value(name), *graph.value(graph.outputs()[0]).quant), expected[0]);
}

TEST(Stages, outputs_may_be_inputs_constants_or_run_time_values) {
  GraphBuilder b;
  const ValueId shape = b.graph.add_input("shape", DataType::int64, {2});
  const ValueId zeros = b.node(ConstantOfShape{}, {shape});
  const ValueId constant = b.scalar(3);
  for (const ValueId id : {shape, constant, zeros, b.node(Unary{UnaryKind::exp}, {zeros})}) b.output(id);
  infer_shapes(b.graph);
  Session session(b.graph);
  for (const std::int64_t rows : {3, 0, 5}) {
    const auto got = session.run({{integers({rows, 2})}});
    expect_close(got, Reference(b.graph).run({{integers({rows, 2})}}));
    EXPECT_EQ(got[3].shape(), (Shape{rows, 2}));
  }
}

TEST(Stages, run_time_nodes_in_a_row_and_side_by_side_equal_the_reference) {
  GraphBuilder b;
  const ValueId x = b.input({kDynamic, 6}, std::nullopt);
  const ValueId n = b.graph.add_input("n", DataType::int64, {1});
  const ValueId zero = b.integers({0}), one = b.integers({1});
  const ValueId more = b.node(Binary{BinaryKind::add}, {n, one});
  const ValueId left = b.node(Slice{}, {b.node(Unary{UnaryKind::exp}, {x}), zero, n, one});
  const ValueId right = b.node(Slice{}, {x, zero, more, one});
  const ValueId both = b.node(Concat{1}, {left, right});
  const ValueId fewer = b.node(Slice{}, {both, one, more, one});
  b.output(b.node(Unary{UnaryKind::tanh}, {fewer}));
  b.output(b.node(Reduce{}, {both}));
  infer_shapes(b.graph);
  Session session(b.graph);
  const Reference reference(b.graph);
  for (const std::int64_t length : {2, 4, 2, 5, 0}) {
    const std::vector<Tensor> inputs{b.uniform_tensor({3, 6}, -1, 1), integers({length})};
    expect_close(session.run(inputs), reference.run(inputs));
  }
}

TEST(Stages, errors_name_the_node) {
  GraphBuilder b;
  const ValueId shape = b.graph.add_input("shape", DataType::int64, {1});
  const ValueId zeros = b.node(ConstantOfShape{}, {shape});
  b.output(b.node(Unary{UnaryKind::exp}, {zeros}));
  infer_shapes(b.graph);
  Session session(b.graph, {.max_memory_bytes = 1'000'000});
  const auto message = [&](std::int64_t count) {
    try {
      (void)session.run({{integers({count})}});
    } catch (const Error& e) {
      return std::string(e.what());
    }
    return std::string();
  };
  EXPECT_TRUE(message(-5).starts_with("[ConstantOfShape 'ConstantOfShape_node']")) << message(-5);
  EXPECT_TRUE(message(std::int64_t{1} << 40).starts_with("[ConstantOfShape 'ConstantOfShape_node']"));
  EXPECT_NE(message(1'000'000).find("4.0 MB, more than the 1.0 MB"), std::string::npos) << message(1'000'000);
  EXPECT_EQ(message(10), "");
}

ValueId scalar_input(Graph& graph, const std::string& name, DataType type) { return graph.add_input(name, type, {}); }

/// Adds a node with bodies and outputs of these types.
std::vector<ValueId> add_control(Graph& graph, Op op, std::vector<ValueId> inputs, std::vector<Graph> bodies,
                                 std::size_t outputs) {
  Node node{
      .name = op_name(op) + "_node", .op = std::move(op), .inputs = std::move(inputs), .outputs = {}, .bodies = {}};
  for (Graph& body : bodies) {
    infer_shapes(body);
    node.bodies.push_back(std::make_shared<const Graph>(std::move(body)));
  }
  for (std::size_t i = 0; i < outputs; ++i) node.outputs.push_back(graph.add_value({.name = graph.unique_name("out")}));
  std::vector<ValueId> made = node.outputs;
  graph.add_node(std::move(node));
  return made;
}

Tensor trip_count(std::int64_t count) { return Tensor::from<std::int64_t>({}, std::vector<std::int64_t>{count}); }

TEST(Stages, a_loop_equals_the_reference) {
  GraphBuilder b;
  const ValueId count = scalar_input(b.graph, "count", DataType::int64);
  const ValueId x = b.input({kDynamic, 4}, std::nullopt);
  GraphBuilder body;
  (void)scalar_input(body.graph, "i", DataType::int64);
  const ValueId goes_on = scalar_input(body.graph, "goes_on", DataType::boolean);
  const ValueId carried = body.input({kDynamic, 4}, std::nullopt), captured = body.input({kDynamic, 4}, std::nullopt);
  const ValueId weights = body.graph.add_constant("w", body.uniform_tensor({4, 4}, -0.3F, 0.3F));
  const ValueId next = body.node(Unary{UnaryKind::relu}, {body.node(Gemm{}, {carried, weights})});
  for (const ValueId id : {goes_on, body.node(Binary{BinaryKind::add}, {next, captured}), next}) body.output(id);
  const auto outputs = add_control(b.graph, Loop{.captured = 1},
                                   {count, ValueId::none, b.node(Unary{UnaryKind::tanh}, {x}), x}, {body.graph}, 2);
  b.output(b.node(Unary{UnaryKind::exp}, {outputs[0]}));
  b.output(outputs[1]);
  infer_shapes(b.graph);
  Session session(b.graph);
  const Reference reference(b.graph);
  for (const auto& [rows, trips] : {std::pair<std::int64_t, std::int64_t>{2, 3}, {2, 5}, {3, 1}, {2, 3}}) {
    const std::vector<Tensor> inputs{trip_count(trips), b.uniform_tensor({rows, 4}, -1, 1)};
    const auto got = session.run(inputs);
    expect_close(got, reference.run(inputs));
    EXPECT_EQ(got[1].shape(), (Shape{trips, rows, 4}));
  }
  EXPECT_GT(session.packed_weight_bytes(), 0U) << "the body's weights count";
}

TEST(Stages, an_if_runs_one_of_its_bodies) {
  GraphBuilder b;
  const ValueId condition = scalar_input(b.graph, "condition", DataType::boolean);
  const ValueId x = b.input({3, 4}, std::nullopt);
  std::vector<Graph> bodies;
  for (const bool is_first : {true, false}) {
    GraphBuilder body;
    const ValueId y = body.input({3, 4}, std::nullopt);
    // Outputs of different shapes.
    body.output(is_first ? body.node(Unary{UnaryKind::exp}, {y}) : body.node(Reshape{}, {y, body.integers({2, 6})}));
    bodies.push_back(body.graph);
  }
  const auto outputs = add_control(b.graph, If{}, {condition, x}, std::move(bodies), 1);
  b.output(b.node(Unary{UnaryKind::neg}, {outputs[0]}));
  infer_shapes(b.graph);
  Session session(b.graph);
  const Reference reference(b.graph);
  for (const bool value : {true, false, true}) {
    Tensor condition_value(DataType::boolean, {});
    condition_value.mutable_bytes()[0] = std::byte{value};
    const std::vector<Tensor> inputs{condition_value, b.uniform_tensor({3, 4}, -1, 1)};
    const auto got = session.run(inputs);
    expect_close(got, reference.run(inputs));
    EXPECT_EQ(got[0].shape(), value ? (Shape{3, 4}) : (Shape{2, 6}));
  }
}

TEST(Stages, a_scan_inside_a_loop_equals_the_reference) {
  GraphBuilder b;
  const ValueId count = scalar_input(b.graph, "count", DataType::int64);
  const ValueId x = b.input({kDynamic, 4}, std::nullopt);
  GraphBuilder step;  // the Scan's body computes running sums of rows
  const ValueId sum = step.input({4}, std::nullopt), row = step.input({4}, std::nullopt);
  const ValueId total = step.node(Binary{BinaryKind::add}, {sum, row});
  step.output(total);
  step.output(step.node(Unary{UnaryKind::tanh}, {total}));
  GraphBuilder body;
  (void)scalar_input(body.graph, "i", DataType::int64);
  const ValueId goes_on = scalar_input(body.graph, "goes_on", DataType::boolean);
  const ValueId rows = body.input({kDynamic, 4}, std::nullopt);
  const ValueId zeros = body.graph.add_constant("zeros", Tensor(DataType::float32, {4}));
  const auto scanned = add_control(body.graph, Scan{.scan_inputs = 1}, {zeros, rows}, {step.graph}, 2);
  body.output(goes_on);
  body.output(body.node(Unary{UnaryKind::exp}, {scanned[1]}));
  const auto outputs = add_control(b.graph, Loop{}, {count, ValueId::none, x}, {body.graph}, 1);
  b.output(outputs[0]);
  infer_shapes(b.graph);
  Session session(b.graph);
  for (const std::int64_t length : {3, 5, 3}) {
    const std::vector<Tensor> inputs{trip_count(3), b.uniform_tensor({length, 4}, -1, 1)};
    expect_close(session.run(inputs), Reference(b.graph).run(inputs));
  }
}

}  // namespace
}  // namespace bitfold::engine
