#include "bitfold/session.h"

#include <gtest/gtest.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <cmath>
#include <cstdlib>
#include <fstream>
#include <limits>
#include <new>
#include <utility>

#include "bitfold/error.h"
#include "bitfold/onnx.h"
#include "bitfold/passes.h"
#include "bitfold/reference.h"
#include "engine/test_graphs.h"
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

void expect_close(const std::vector<Tensor>& got, const std::vector<Tensor>& expected, double tolerance) {
  ASSERT_EQ(got.size(), expected.size());
  for (std::size_t i = 0; i < got.size(); ++i) {
    ASSERT_EQ(got[i].shape(), expected[i].shape());
    double largest = 0, error = 0;
    for (std::size_t j = 0; j < got[i].data<float>().size(); ++j) {
      const double e = expected[i].data<float>()[j], g = got[i].data<float>()[j];
      ASSERT_TRUE(std::isfinite(g));
      largest = std::max(largest, std::abs(e));
      error = std::max(error, std::abs(e - g));
    }
    EXPECT_GT(largest, 0);
    EXPECT_LE(error, tolerance * largest);
  }
}

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

TEST(Session, attention_runs_in_one_dnn_and_equals_the_reference) {
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
    for (const StepInfo& step : session.steps()) EXPECT_TRUE(step.kernel.starts_with("onednn")) << step.kernel;
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

/// Expects an Error whose message contains `part`.
template <class F>
void expect_error(const F& f, const std::string& part) {
  try {
    f();
    ADD_FAILURE() << "no error";
  } catch (const Error& e) {
    EXPECT_NE(std::string(e.what()).find(part), std::string::npos) << e.what();
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

TEST(Session, refuses_inputs_that_do_not_fit) {
  GraphBuilder b = integer_network();
  Session session(b.graph);
  EXPECT_THROW(session.run({}), Error);
  EXPECT_THROW(session.run({{Tensor(DataType::float32, {1, 3, 8, 9})}}), Error);
  EXPECT_THROW(session.run({{Tensor(DataType::uint8, {1, 3, 8, 8})}}), Error);
}

}  // namespace
}  // namespace bitfold::engine
