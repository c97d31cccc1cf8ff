#include "bitfold/session.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstdlib>
#include <limits>
#include <utility>

#include "bitfold/onnx.h"
#include "bitfold/passes.h"
#include "bitfold/reference.h"
#include "engine/session_testing.h"
#include "engine/test_graphs.h"
#include "error_testing.h"
#include "testing.h"

namespace bitfold::engine {
namespace {

using testing::expect_error;

class FloatModel : public ::testing::TestWithParam<const char*> {};

TEST_P(FloatModel, equals_the_reference_with_and_without_optimizing) {
  BITFOLD_NEEDS_DATA();
  GraphBuilder b;
  Graph graph = load_onnx((bitfold::testing::data_folder() / "models" / GetParam()).string());
  std::vector<Tensor> inputs;
  for (ValueId id : graph.inputs()) {
    Shape shape = *graph.value(id).shape;
    for (auto& d : shape) d = d == kDynamic ? 2 : d;
    inputs.push_back(b.uniform_tensor(shape, 0, 1));
  }
  const auto expected = Reference(graph).run(inputs);
  expect_close(Session(graph).run(inputs), expected, 1e-4);
  optimize(graph);
  expect_close(Session(graph, {.threads = 2}).run(inputs), expected, 1e-4);
}

INSTANTIATE_TEST_SUITE_P(All, FloatModel,
                         ::testing::Values("lenet.onnx", "lenet-bn.onnx", "resnet20-cifar10.onnx", "darknet-tiny.onnx",
                                           "vww-mobilenetv1.onnx", "ultraface-rfb-320.onnx", "conv-bn-relu.onnx"));

TEST(Session, every_batch_size_gives_the_same_results_and_shares_packed_weights) {
  GraphBuilder b = integer_network();
  Session session(b.graph);
  const Tensor image = b.uniform_tensor({1, 3, 8, 8}, -2, 2);
  const Tensor one = session.run({{image}})[0];
  const std::size_t packed = session.packed_weight_bytes();
  EXPECT_GT(packed, 0U);
  for (const std::int64_t batch : {3, 5, 2, 7, 1, 3}) {
    Tensor many(DataType::float32, {batch, 3, 8, 8});
    for (std::size_t i = 0; i < many.data<float>().size(); ++i)
      many.mutable_data<float>()[i] = image.data<float>()[i % 192];
    const Tensor out = session.run({{many}})[0];
    for (std::size_t i = 0; i < out.data<float>().size(); ++i)
      ASSERT_EQ(out.data<float>()[i], one.data<float>()[i % 10]);
  }
  EXPECT_EQ(session.packed_weight_bytes(), packed);
}

TEST(Session, keeps_codes_of_intermediate_values_in_the_graphs_own_layout) {
  GraphBuilder b = integer_network();
  Session session(b.graph, {.keep_values = true});
  const std::vector<Tensor> inputs{b.uniform_tensor({2, 3, 8, 8}, -2, 2)};
  session.run(inputs);
  // name of the pool's output
  const std::string name = b.graph.value(b.graph.node(b.graph.nodes()[2]).outputs[0]).name;
  const Tensor codes = session.value(name);
  EXPECT_EQ(codes.dtype(), DataType::uint8);
  EXPECT_EQ(codes.shape(), (Shape{2, 8, 4, 4}));
  Tensor expected;
  Reference(b.graph, {.on_value =
                          [&](ValueId id, const Tensor& reals) {
                            if (b.graph.value(id).name == name) expected = quantize(reals, *b.graph.value(id).quant);
                          }})
      .run(inputs);
  std::int64_t unequal = 0;
  for (std::size_t i = 0; i < codes.data<std::uint8_t>().size(); ++i) {
    const int difference = codes.data<std::uint8_t>()[i] - expected.data<std::uint8_t>()[i];
    ASSERT_LE(std::abs(difference), 1);
    unequal += difference != 0 ? 1 : 0;
  }
  EXPECT_LE(unequal, 1);
  EXPECT_THROW(session.value("no such value"), Error);
}

TEST(Session, keeps_reals_of_a_moved_value_without_a_grid) {
  GraphBuilder b;
  const ValueId x = b.input({2, 3}, unsigned_grid(0.5F, 3));
  const ValueId moved = b.node(Transpose{{1, 0}}, {x});
  b.output(b.node(Unary{UnaryKind::exp}, {moved}));
  infer_shapes(b.graph);
  Session session(b.graph, {.keep_values = true});
  const Tensor reals = Tensor::from<float>({2, 3}, std::vector<float>{-1, 0, 1, 2, 3, 4});
  session.run(std::vector<Tensor>{reals});
  EXPECT_EQ(session.value(b.graph.value(moved).name),
            Tensor::from<float>({3, 2}, std::vector<float>{-1, 2, 0, 3, 1, 4}));
}

bool has_step(const Session& session, const std::string& kernel) {
  const auto& steps = session.steps();
  return std::any_of(steps.begin(), steps.end(), [&](const StepInfo& s) { return s.kernel.find(kernel) == 0; });
}

TEST(Session, a_single_convolution_reads_and_writes_planes) {
  if (isa_cap() < Isa::avx2) GTEST_SKIP() << "this CPU has no AVX2";
  for (const bool is_leaky : {false, true}) {
    GraphBuilder b;
    const ValueId x = b.input({2, 3, 19, 21}, std::nullopt);
    const ValueId w = b.graph.add_constant("w", b.uniform_tensor({7, 3, 3, 4}, -1, 1));
    const Window window{{3, 4}, {2, 1}, {1, 2}, {2, 1, 0, 3}, AutoPad::none};
    const ValueId c = b.node(Conv{window, 1}, {x, w});
    b.output(b.node(is_leaky ? Op{Parametric{ParametricKind::leaky_relu, 0.1F}} : Op{Unary{UnaryKind::relu}}, {c}));
    infer_shapes(b.graph);
    const std::vector<Tensor> inputs{b.uniform_tensor({2, 3, 19, 21}, -1, 1)};
    Session session(b.graph, {.threads = 2});
    expect_close(session.run(inputs), Reference(b.graph, {.plain_loops = true}).run(inputs), 1e-5);
    EXPECT_TRUE(has_step(session, "planar"));
  }
}

TEST(Session, attention_has_fast_steps_and_equals_the_reference) {
  for (const int threads : {1, 2}) {
    GraphBuilder b;
    const ValueId q = b.input({2, 3, 17, 8}, std::nullopt), k = b.input({2, 3, 8, 19}, std::nullopt);
    const ValueId v = b.input({2, 3, 19, 5}, std::nullopt);
    const ValueId weights = b.node(Softmax{}, {b.node(MatMul{}, {q, k})});
    const ValueId gamma = b.graph.add_constant("gamma", b.uniform_tensor({5}, 0.5F, 2));
    const ValueId beta = b.graph.add_constant("beta", b.uniform_tensor({5}, -1, 1));
    const ValueId mixed = b.node(MatMul{}, {weights, v});
    b.output(b.node(Unary{UnaryKind::gelu}, {b.node(LayerNorm{-1, 1e-3F}, {mixed, gamma, beta})}));
    infer_shapes(b.graph);
    const std::vector<Tensor> inputs{b.uniform_tensor({2, 3, 17, 8}, -1, 1), b.uniform_tensor({2, 3, 8, 19}, -1, 1),
                                     b.uniform_tensor({2, 3, 19, 5}, -3, 3)};
    Session session(b.graph, {.threads = threads});
    expect_close(session.run(inputs), Reference(b.graph, {.plain_loops = true}).run(inputs), 1e-5);
    for (const StepInfo& step : session.steps()) EXPECT_FALSE(step.kernel.starts_with("reference")) << step.op;
  }
}

TEST(Session, products_with_shared_factors_run_in_onednn) {
  struct Case {
    Shape a, b;
    bool is_a_constant;
  };
  for (const Case& c :
       {Case{{4, 5}, {3, 5, 6}, true}, Case{{4, 5}, {2, 3, 5, 6}, false}, Case{{2, 3, 4, 5}, {5, 6}, false},
        Case{{1, 1, 4, 5}, {2, 3, 5, 6}, true}, Case{{3, 4, 5}, {1, 5, 6}, false}, Case{{1, 4, 5}, {1, 5, 6}, false}}) {
    GraphBuilder b;
    std::vector<Tensor> inputs{b.uniform_tensor(c.b, -1, 1)};
    const ValueId right = b.input(c.b, std::nullopt);
    ValueId left = ValueId::none;
    if (c.is_a_constant) {
      left = b.graph.add_constant("a", b.uniform_tensor(c.a, -1, 1));
    } else {
      left = b.input(c.a, std::nullopt);
      inputs.push_back(b.uniform_tensor(c.a, -1, 1));
    }
    b.output(b.node(MatMul{}, {left, right}));
    infer_shapes(b.graph);
    Session session(b.graph);
    expect_close(session.run(inputs), Reference(b.graph, {.plain_loops = true}).run(inputs), 1e-5);
    EXPECT_TRUE(has_step(session, "onednn")) << to_string(c.a) << " x " << to_string(c.b);
  }
}

TEST(Session, an_output_with_readers_that_is_listed_twice_is_correct) {
  GraphBuilder b;
  const ValueId x = b.input({2, 3, 20, 20}, std::nullopt);
  const ValueId w = b.graph.add_constant("w", b.uniform_tensor({4, 3, 3, 3}, -1, 1));
  const ValueId c = b.node(Conv{window(3, 1, 1), 1}, {x, w});
  const ValueId r = b.node(Unary{UnaryKind::relu}, {c});
  const ValueId f = b.node(Flatten{1}, {r});
  for (const ValueId id : {r, c, f}) b.output(id);
  infer_shapes(b.graph);
  const std::vector<Tensor> inputs{b.uniform_tensor({2, 3, 20, 20}, -1, 1)};
  const auto expected = Reference(b.graph).run(inputs);
  Session session(b.graph);
  std::vector<Tensor> outputs = session.run(inputs);
  expect_close(outputs, expected, 1e-5);
  outputs[2] = outputs[1] = outputs[0];  // share memory until they are written
  outputs[1] = Tensor(DataType::float32, outputs[0].shape());
  outputs[2] = Tensor(DataType::float32, expected[2].shape());
  session.run(inputs, outputs);
  expect_close(outputs, expected, 1e-5);
  expect_close(Session(b.graph, {.keep_values = true}).run(inputs), expected, 1e-5);
}

TEST(Session, a_residual_network_is_placed_within_a_tenth_of_the_lower_bound) {
  for (const bool is_integer : {true, false}) {
    // Residual blocks of two sizes: the input of each stays live until the block's sum.
    GraphBuilder b;
    const auto grid = [&](float scale) { return is_integer ? std::optional(unsigned_grid(scale, 128)) : std::nullopt; };
    const auto weights = [&](Shape shape) {
      return is_integer ? b.weights(shape, 0)
                        : b.graph.add_constant(b.graph.unique_name("w"), b.uniform_tensor(shape, -1, 1));
    };
    ValueId x = b.input({1, 16, 24, 24}, grid(0.02F));
    for (int block = 0; block < 4; ++block) {
      const std::int64_t wide = block % 2 == 0 ? 48 : 24;
      const ValueId c = b.node(Conv{window(1, 1, 0), 1}, {x, weights({wide, 16, 1, 1})}, grid(0.05F));
      const ValueId d = b.node(Conv{window(3, 1, 1), 1}, {c, weights({16, wide, 3, 3})}, grid(0.05F));
      x = b.node(Binary{BinaryKind::add}, {x, d}, grid(0.06F));
    }
    b.output(b.node(Flatten{1}, {x}, grid(0.06F)));
    infer_shapes(b.graph);
    const Session session(b.graph);
    EXPECT_GE(session.arena_bytes(), session.arena_lower_bound());
    EXPECT_LE(session.arena_bytes() * 10, session.arena_lower_bound() * 11);
  }
}

TEST(Session, refuses_all_operators_it_cannot_run_by_name) {
  GraphBuilder b;
  const ValueId x = b.input({1, 4}, std::nullopt);
  const ValueId h = b.node(Opaque{"", "Fancy", {}}, {x});
  b.output(b.node(Opaque{"com.example", "Strange", {}}, {h}));
  try {
    Session session(b.graph);
    FAIL() << "no error";
  } catch (const Error& e) {
    EXPECT_NE(std::string(e.what()).find("Fancy"), std::string::npos);
    EXPECT_NE(std::string(e.what()).find("Strange"), std::string::npos);
  }
}

TEST(Session, limits_the_number_of_threads) {
  GraphBuilder b = integer_network();
  expect_error([&] { Session(b.graph, {.threads = 1'000'000}); }, "threads is 1000000; expected 0 (all cores) to 1024");
  expect_error([&] { Session(b.graph, {.threads = -1}); }, "threads is -1");
}

TEST(Session, a_moved_from_session_is_an_error) {
  GraphBuilder b = integer_network();
  Session session(b.graph);
  const std::vector<Tensor> inputs{b.uniform_tensor({1, 3, 8, 8}, -2, 2)};
  std::vector<Tensor> outputs = session.run(inputs);
  const Session other = std::move(session);
  const std::string part = "this Session has been moved from";
  // NOLINTBEGIN(bugprone-use-after-move,clang-analyzer-cplusplus.Move)
  expect_error([&] { (void)session.run(inputs); }, part);
  expect_error([&] { session.run(inputs, outputs); }, part);
  expect_error([&] { (void)session.sharing_weights(); }, part);
  expect_error([&] { (void)session.steps(); }, part);
  expect_error([&] { (void)session.arena_bytes(); }, part);
  expect_error([&] { (void)session.packed_weight_bytes(); }, part);
  expect_error([&] { (void)session.value("y"); }, part);
  expect_error([&] { (void)session.keeps("y"); }, part);
  // NOLINTEND(bugprone-use-after-move,clang-analyzer-cplusplus.Move)
}

TEST(Session, runs_a_split_of_which_some_outputs_are_absent) {
  for (const std::size_t absent : {0U, 1U}) {
    GraphBuilder b;
    const ValueId x = b.input({kDynamic, 4, 8}, std::nullopt);
    const ValueId half = b.node(Split{1}, {x});
    const NodeId split = b.graph.producer(half);
    b.graph.remove_node(split);
    Node node{"split", Split{1}, {x}, {ValueId::none, ValueId::none}};
    node.outputs[1 - absent] = half;
    b.graph.add_node(node);
    b.output(b.node(Unary{UnaryKind::relu}, {half}));
    infer_shapes(b.graph);
    const std::vector<Tensor> inputs{b.uniform_tensor({2, 4, 8}, -1, 1)};
    EXPECT_EQ(Session(b.graph).run(inputs), Reference(b.graph).run(inputs));
  }
}

/// A Conv, an activation and a second Conv; runs in Reference if there are no options.
std::vector<Tensor> through_activation(const Op& op, const Tensor& image, const Tensor& weights, bool has_residual,
                                       const SessionOptions* options) {
  GraphBuilder b;
  const ValueId x = b.input({kDynamic, image.dim(1), 8, 8}, std::nullopt);
  ValueId y = b.node(Conv{window(3, 1, 1), 1}, {x, b.graph.add_constant("w", weights)});
  if (has_residual) y = b.node(Binary{BinaryKind::add}, {y, b.node(Unary{UnaryKind::neg}, {x})});
  std::vector<ValueId> inputs{y};
  if (std::holds_alternative<Clip>(op)) inputs = {y, b.scalar(-1), b.scalar(1)};
  y = b.node(op, inputs);
  b.output(b.node(Conv{window(1, 1, 0), 1},
                  {y, b.graph.add_constant(
                          "v", Tensor::from<float>({1, weights.dim(0), 1, 1},
                                                   std::vector<float>(static_cast<std::size_t>(weights.dim(0)), 1)))}));
  b.output(y);
  infer_shapes(b.graph);
  return options == nullptr ? Reference(b.graph, {.plain_loops = true}).run({{image}})
                            : Session(b.graph, *options).run({{image}});
}

TEST(Session, nan_passes_fused_and_separate_relu_and_clip) {
  const float nan = std::numeric_limits<float>::quiet_NaN();
  struct Case {
    const char* name;
    float in_image, in_weights;
  };
  GraphBuilder b;
  for (const Case& c : {Case{"a weight is NaN", 1, nan},
                        {"a weight is infinite", 0, INFINITY},
                        {"a pixel is NaN", nan, 1},
                        {"a pixel is infinite", -INFINITY, 1}})
    for (const Op& op : {Op(Unary{UnaryKind::relu}), Op(Clip{}), Op(Parametric{ParametricKind::leaky_relu, 0.1F})})
      for (const std::int64_t channels : {3, 6})
        for (const int threads : {1, 2}) {
          Tensor image = b.uniform_tensor({2, channels, 8, 8}, -1, 1),
                 weights = b.uniform_tensor({channels, channels, 3, 3}, -1, 1);
          image.mutable_data<float>()[35] = c.in_image;
          image.mutable_data<float>()[36] = c.in_image;
          weights.mutable_data<float>()[3] = c.in_weights;
          weights.mutable_data<float>()[4] = -c.in_weights;
          const SessionOptions options{.threads = threads};
          for (const bool has_residual : {false, true}) {
            const auto expected = through_activation(op, image, weights, has_residual, nullptr);
            const auto got = through_activation(op, image, weights, has_residual, &options);
            std::int64_t differ = 0, nans = 0;
            for (std::size_t o = 0; o < 2; ++o)
              for (std::size_t i = 0; i < got[o].data<float>().size(); ++i) {
                const bool is_nan = std::isnan(expected[o].data<float>()[i]);
                nans += is_nan ? 1 : 0;
                differ += is_nan != std::isnan(got[o].data<float>()[i]) ? 1 : 0;
              }
            EXPECT_EQ(differ, 0) << c.name << ", " << op_name(op) << ", of " << nans;
            EXPECT_GT(nans, 0) << c.name << ", " << op_name(op);
          }
        }
}

TEST(Session, errors_of_a_run_name_the_node) {
  GraphBuilder b;
  const ValueId x = b.input({4, 2}, std::nullopt);
  const ValueId i = b.graph.add_input("i", DataType::int64, {1});
  const ValueId y = b.node(Gather{0}, {x, i});
  b.output(y);
  infer_shapes(b.graph);
  Session session(b.graph);
  const Tensor index = Tensor::from<std::int64_t>({1}, std::vector<std::int64_t>{7});
  expect_error([&] { (void)session.run({{b.uniform_tensor({4, 2}, -1, 1), index}}); }, "[Gather 'Gather_node']");
}

TEST(Session, refuses_inputs_that_do_not_fit) {
  GraphBuilder b = integer_network();
  Session session(b.graph);
  EXPECT_THROW(session.run({}), Error);
  EXPECT_THROW(session.run({{Tensor(DataType::float32, {1, 3, 8, 9})}}), Error);
  EXPECT_THROW(session.run({{Tensor(DataType::uint8, {1, 3, 8, 8})}}), Error);
}

}  // namespace
}  // namespace bitfold::engine
