#include "bitfold/reference.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <functional>
#include <thread>

#include "bitfold/data.h"
#include "bitfold/error.h"
#include "bitfold/onnx.h"
#include "error_testing.h"
#include "numeric/block_pool.h"
#include "testing.h"

namespace bitfold {
namespace {

using testing::message_of;

using bitfold::testing::data_folder;

/// The largest difference relative to the largest magnitude of `expected`, because single elements may be near 0.
double relative_error(const Tensor& actual, const Tensor& expected) {
  EXPECT_EQ(actual.shape(), expected.shape());
  if (actual.size() != expected.size()) return INFINITY;
  double error = 0, top = 0;
  for (std::int64_t i = 0; i < actual.size(); ++i) {
    const auto k = static_cast<std::size_t>(i);
    const double difference = std::abs(static_cast<double>(actual.data<float>()[k]) - expected.data<float>()[k]);
    if (!(difference <= error)) error = difference;  // also true for NaN
    top = std::max(top, std::abs(static_cast<double>(expected.data<float>()[k])));
  }
  return error / top;
}

Tensor array(const std::vector<NamedTensor>& arrays, const std::string& name) {
  for (const NamedTensor& a : arrays)
    if (a.name == name) return a.tensor;
  ADD_FAILURE() << "no array " << name;
  return {};
}

/// Samples [first, first + count) of x.
Tensor samples(const Tensor& x, std::int64_t first, std::int64_t count) {
  Shape shape = x.shape();
  const std::size_t bytes = x.size_bytes() / static_cast<std::size_t>(shape[0]);
  shape[0] = count;
  return Tensor::from_bytes(
      x.dtype(), shape, {x.bytes() + static_cast<std::size_t>(first) * bytes, static_cast<std::size_t>(count) * bytes});
}

/// The graph's batch size for an input with `count` samples.
std::int64_t batch_of(const Graph& graph, std::int64_t count) {
  const std::int64_t declared = graph.value(graph.inputs()[0]).shape->front();
  return declared == kDynamic ? count : declared;
}

class Golden : public ::testing::TestWithParam<const char*> {};

TEST_P(Golden, model_gives_the_outputs_of_onnx_runtime_within_1e_4) {
  BITFOLD_NEEDS_DATA();
  const std::string name = GetParam();
  const Graph graph = load_onnx((data_folder() / "models" / (name + ".onnx")).string());
  const auto golden = load_npy((data_folder() / "data/golden" / (name + ".npz")).string());
  const Tensor input = array(golden, "input"), output = array(golden, "output");
  const Reference reference(graph);
  const std::int64_t batch = batch_of(graph, input.dim(0));
  ASSERT_GT(input.dim(0), 0);
  for (std::int64_t first = 0; first < input.dim(0); first += batch) {
    const auto outputs = reference.run(std::vector{samples(input, first, batch)});
    const double error = relative_error(outputs.at(0), samples(output, first, batch));
    RecordProperty("relative_error_in_1e_9", std::to_string(std::lround(error * 1e9)));
    EXPECT_LE(error, 1e-4);
  }
}

INSTANTIATE_TEST_SUITE_P(Models, Golden,
                         ::testing::Values("conv-bn-relu", "darknet-tiny", "lenet", "lenet-bn", "resnet20-cifar10",
                                           "ultraface-rfb-320", "vww-mobilenetv1"));

// ---- grids, lifetimes, errors

QuantParams quarter_grid() { return {.scale = {0.25F}, .zero_point = {0}, .bits = 8, .is_signed = true}; }

// If the caller has a pool, results must come from it; otherwise the caller's pool would grow with every run.
TEST(Reference, does_not_grow_the_pool_of_its_caller) {
  Graph g;
  const ValueId x = g.add_input("x", DataType::float32, {1, 20000});
  const ValueId a = g.add(Unary{UnaryKind::relu}, "relu", {x}, "a");
  g.mark_output(g.add(Unary{UnaryKind::exp}, "exp", {a}, "y"));
  infer_shapes(g);
  const Reference reference(g);
  BlockPool pool;
  const BlockPool::Use use(pool);
  const std::vector<Tensor> inputs{Tensor(DataType::float32, {1, 20000})};
  reference.run(inputs);
  const std::size_t kept = pool.kept_bytes();
  EXPECT_GT(kept, 0U);
  for (int i = 0; i < 5; ++i) reference.run(inputs);
  EXPECT_EQ(pool.kept_bytes(), kept);
}

TEST(Reference, snaps_inputs_constants_and_computed_values_to_their_grids) {
  Graph graph;
  const ValueId x = graph.add_input("x", DataType::float32, {2});
  graph.value(x).quant = quarter_grid();
  const ValueId c = graph.add_constant("c", Tensor::from<std::int8_t>({1}, std::vector<std::int8_t>{3}));
  graph.value(c).dtype = DataType::float32;
  graph.value(c).quant = quarter_grid();
  const ValueId y = graph.add(Binary{BinaryKind::mul}, "times", {x, c}, "y");
  graph.value(y).quant = quarter_grid();
  graph.mark_output(y);
  // 1.1 -> 1, 0.6 -> 0.5 on the grid; times 0.75 is 0.75 and 0.375; the tie goes to the even code 2.
  const auto out = Reference(graph).run(std::vector{Tensor::from<float>({2}, std::vector<float>{1.1F, 0.6F})});
  EXPECT_EQ(out[0], Tensor::from<float>({2}, std::vector<float>{0.75F, 0.5F}));
}

TEST(Reference, requantize_separates_snapped_and_unsnapped_readers) {
  Graph graph;
  const ValueId x = graph.add_input("x", DataType::float32, {1});
  const ValueId snapped = graph.add(Requantize{}, "r", {x}, "snapped");
  graph.value(snapped).quant = quarter_grid();
  const ValueId error = graph.add(Binary{BinaryKind::sub}, "error", {x, snapped}, "error");
  graph.mark_output(error);
  const auto out = Reference(graph).run(std::vector{Tensor::from<float>({1}, std::vector<float>{1.125F})});
  EXPECT_EQ(out[0].data<float>()[0], 0.125F);
}

TEST(Reference, reports_every_value_once_in_order) {
  Graph graph;
  const ValueId x = graph.add_input("x", DataType::float32, {kDynamic});
  const ValueId a = graph.add(Unary{UnaryKind::relu}, "a", {x}, "a");
  graph.mark_output(graph.add(Binary{BinaryKind::add}, "b", {a, x}, "b"));
  std::vector<std::string> seen;
  const Reference reference(graph,
                            {.on_value = [&](ValueId id, const Tensor&) { seen.push_back(graph.value(id).name); }});
  reference.run(std::vector{Tensor::from<float>({2}, std::vector<float>{-1, 1})});
  EXPECT_EQ(seen, (std::vector<std::string>{"x", "a", "b"}));
}

TEST(Reference, runs_one_node_with_the_graphs_own_constants) {
  Graph graph;
  const ValueId x = graph.add_input("x", DataType::float32, {1});
  const ValueId c = graph.add_constant("c", Tensor::from<float>({1}, std::vector<float>{2}));
  const ValueId y = graph.add(Binary{BinaryKind::mul}, "times", {x, c}, "y");
  graph.mark_output(graph.add(Unary{UnaryKind::neg}, "minus", {y}, "z"));
  const Reference reference(graph);
  const auto out =
      reference.run_node(graph.producer(y), std::vector{Tensor::from<float>({1}, std::vector<float>{3}), Tensor()});
  EXPECT_EQ(out.at(0).data<float>()[0], 6);
}

TEST(Reference, lists_every_operator_it_cannot_run_in_one_error) {
  Graph graph;
  const ValueId x = graph.add_input("x", DataType::float32, {1});
  const ValueId a = graph.add(Opaque{"", "Unheard", {}}, "one", {x}, "a");
  const ValueId b = graph.add(Opaque{"", "Unheard", {}}, "two", {a}, "b");
  const ValueId h = graph.add(Unary{UnaryKind::logical_not}, "not", {x}, "h");
  graph.mark_output(b);
  graph.mark_output(h);
  const std::string message = message_of([&] { Reference r(graph); });
  EXPECT_NE(message.find("cannot run: 2 x Unheard (first: [Unheard 'one'])"), std::string::npos) << message;
  EXPECT_NE(message.find("1 x Not (first: [Not 'not']: input 'X' is float32; accepted: boolean)"), std::string::npos)
      << message;
}

TEST(Reference, refuses_inputs_that_do_not_fit) {
  Graph graph;
  graph.mark_output(graph.add(Unary{}, "n", {graph.add_input("x", DataType::float32, {kDynamic, 2})}, "y"));
  const Reference reference(graph);
  EXPECT_EQ(message_of([&] {
              reference.run(std::vector{Tensor(DataType::float32, {4, 3})});
            }),
            "input 'x' has shape 4x3, expected ?x2");
  EXPECT_EQ(message_of([&] {
              reference.run(std::vector{Tensor(DataType::int64, {4, 2})});
            }),
            "input 'x' is int64, expected float32");
  EXPECT_EQ(message_of([&] { reference.run({}); }), "0 inputs are given, but the network has 1");
}

TEST(Reference, names_the_node_whose_value_is_not_finite) {
  Graph graph;
  const ValueId y = graph.add(Unary{UnaryKind::log}, "log", {graph.add_input("x", DataType::float32, {1})}, "y");
  graph.value(y).quant = quarter_grid();
  graph.mark_output(y);
  const std::string message =
      message_of([&] { Reference(graph).run(std::vector{Tensor::from<float>({1}, std::vector<float>{-1})}); });
  EXPECT_TRUE(message.starts_with("[Log 'log'] value 'y': ")) << message;
}

// ---- oneDNN against plain loops, threads

Tensor pseudo_random(Shape shape, std::uint32_t seed) {
  Tensor t(DataType::float32, std::move(shape));
  for (float& x : t.mutable_data<float>()) {
    seed = seed * 1664525U + 1013904223U;
    x = static_cast<float>(static_cast<std::int32_t>(seed)) / 2147483648.0F;
  }
  return t;
}

struct ConvCase {
  Shape x, w;
  Conv op;
};

TEST(Reference, convolutions_by_onednn_equal_the_plain_loops) {
  const auto window = [](std::int64_t h, std::int64_t w, std::int64_t stride, std::int64_t dilation,
                         std::vector<std::int64_t> pads) {
    return Window{{h, w}, {stride, stride}, {dilation, dilation}, std::move(pads)};
  };
  const std::vector<ConvCase> cases{{{2, 3, 9, 11}, {16, 3, 3, 3}, {window(3, 3, 2, 1, {1, 1, 1, 1})}},
                                    {{1, 16, 7, 7}, {16, 1, 3, 3}, {window(3, 3, 1, 1, {1, 1, 1, 1}), 16}},
                                    {{1, 8, 6, 5}, {6, 4, 1, 1}, {window(1, 1, 1, 1, {0, 0, 0, 0}), 2}},
                                    {{1, 5, 12, 12}, {7, 5, 3, 2}, {window(3, 2, 1, 2, {0, 2, 1, 0})}},
                                    {{3, 4, 20}, {8, 4, 5}, {Window{{5}, {2}, {1}, {2, 2}}}},
                                    {{1, 1, 1, 1}, {2, 1, 5, 5}, {window(5, 5, 1, 1, {4, 4, 4, 4})}}};
  for (const ConvCase& c : cases) {
    SCOPED_TRACE(to_string(c.x) + " by " + to_string(c.w));
    Graph graph;
    const ValueId x = graph.add_input("x", DataType::float32, c.x);
    const ValueId w = graph.add_constant("w", pseudo_random(c.w, 7));
    const ValueId bias = graph.add_constant("bias", pseudo_random({c.w[0]}, 9));
    graph.mark_output(graph.add(c.op, "conv", {x, w, bias}, "y"));
    const std::vector inputs{pseudo_random(c.x, 1)};
    const auto plain = Reference(graph, {.plain_loops = true, .on_value = {}}).run(inputs);
    EXPECT_LE(relative_error(Reference(graph).run(inputs)[0], plain[0]), 1e-5);
  }
}

TEST(Reference, a_model_by_onednn_equals_the_plain_loops) {
  BITFOLD_NEEDS_DATA();
  for (const char* name : {"lenet-bn", "resnet20-cifar10"}) {
    const Graph graph = load_onnx((data_folder() / "models" / (std::string(name) + ".onnx")).string());
    Shape shape = *graph.value(graph.inputs()[0]).shape;
    shape[0] = 2;
    const std::vector inputs{pseudo_random(shape, 1)};
    const auto plain = Reference(graph, {.plain_loops = true, .on_value = {}}).run(inputs);
    EXPECT_LE(relative_error(Reference(graph).run(inputs)[0], plain[0]), 1e-5) << name;
  }
}

TEST(Reference, is_thread_safe) {
  Graph graph;
  const ValueId x = graph.add_input("x", DataType::float32, {kDynamic, 3, 16, 16});
  const ValueId w = graph.add_constant("w", pseudo_random({8, 3, 3, 3}, 7));
  graph.mark_output(graph.add(Conv{Window{{3, 3}, {1, 1}, {1, 1}, {1, 1, 1, 1}}}, "conv", {x, w}, "y"));
  const Reference reference(graph);
  std::vector<Tensor> results(4);
  std::vector<std::thread> threads;
  for (std::uint32_t i = 0; i < 4; ++i)
    threads.emplace_back([&, i] {
      const std::vector inputs{pseudo_random({1 + i % 2, 3, 16, 16}, i)};
      for (int repeat = 0; repeat < 8; ++repeat) results[i] = reference.run(inputs)[0];
    });
  for (std::thread& t : threads) t.join();
  for (std::uint32_t i = 0; i < 4; ++i)
    EXPECT_LE(relative_error(results[i], reference.run(std::vector{pseudo_random({1 + i % 2, 3, 16, 16}, i)})[0]),
              1e-6);
}

}  // namespace
}  // namespace bitfold
