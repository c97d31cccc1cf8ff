// NaN and infinities matter only where a grid is needed; there the message names the value, the node and the sample.
#include "quantize/non_finite.h"

#include <fmt/format.h>

#include <cmath>
#include <limits>

#include "bitfold/passes.h"
#include "error_testing.h"
#include "quantize/memory_source.h"
#include "quantize/test_net.h"

namespace bitfold {
namespace {

using testing::MemorySource;
using testing::message_of;
using testing::random_tensor;

constexpr float kInfinity = std::numeric_limits<float>::infinity();

/// x -> Log -> MatMul 'first' -> Relu -> MatMul 'second'
Graph logarithms(const Tensor& first = random_tensor({4, 8}, 1)) {
  Graph g;
  const ValueId x = g.add_input("x", DataType::float32, {kDynamic, 4});
  const ValueId l = g.add(Unary{UnaryKind::log}, "log", {x}, "l");
  const ValueId h = g.add(MatMul{}, "first", {l, g.add_constant("v", first)}, "h");
  const ValueId r = g.add(Unary{UnaryKind::relu}, "relu", {h}, "r");
  g.mark_output(g.add(MatMul{}, "second", {r, g.add_constant("w", random_tensor({8, 4}, 2))}, "y"));
  return g;
}

/// Positive samples, with `odd` in the second element of sample 3.
Tensor samples_with(float odd) {
  Tensor samples = random_tensor({6, 4}, 3);
  for (float& x : samples.mutable_data<float>()) x = std::fabs(x) + 0.1F;
  samples.mutable_data<float>()[3 * 4 + 1] = odd;
  return samples;
}

std::string refusal(const Graph& graph, const Tensor& samples, const Recipe& recipe = {}) {
  return message_of([&] {
    MemorySource source(samples);
    quantize(graph, &source, recipe);
  });
}

const char* const kLogOfZero =
    "calibration sample 3: [Log 'log'] value 'l' is minus infinite at index 1, so it cannot have a grid; leave the "
    "nodes that compute and read it in float (--skip 'first')";

TEST(NonFinite, a_computed_value_that_needs_a_grid_is_refused_with_every_observer) {
  for (const Observer observer : {Observer::min_max, Observer::mse, Observer::entropy, Observer::percentile,
                                  Observer::moving_average, Observer::automatic})
    EXPECT_EQ(refusal(logarithms(), samples_with(0), {.observer = observer}), kLogOfZero) << to_string(observer);
  EXPECT_NE(refusal(logarithms(), samples_with(-1)).find("value 'l' is NaN at index 1"), std::string::npos);
}

TEST(NonFinite, the_flags_of_the_message_help) {
  // The infinity then reaches r, which needs a grid too.
  EXPECT_EQ(refusal(logarithms(), samples_with(0), {.skip = {"first"}}),
            "calibration sample 3: [Relu 'relu'] value 'r' is infinite at index 1, so it cannot have a grid; leave the "
            "nodes that compute and read it in float (--skip 'relu' --skip 'second')");
  EXPECT_EQ(refusal(logarithms(), samples_with(0), {.skip = {"first", "relu", "second"}}), "no error");
}

TEST(NonFinite, an_input_that_needs_a_grid_is_refused) {
  Graph g;
  const ValueId x = g.add_input("x", DataType::float32, {kDynamic, 4});
  g.mark_output(g.add(MatMul{}, "first", {x, g.add_constant("v", random_tensor({4, 8}, 1))}, "h"));
  EXPECT_EQ(refusal(g, samples_with(kInfinity)),
            "calibration sample 3: input 'x' is infinite at index 1, so it cannot have a grid; check the data and "
            "its preprocessing, or leave the nodes that read it in float (--skip 'first')");
}

TEST(NonFinite, an_overflow_in_float16_is_refused_by_the_cast) {
  Graph g;
  const ValueId x = g.add_input("x", DataType::float32, {kDynamic, 4});
  const ValueId half = g.add(Cast{DataType::float16}, "to_half", {x}, "half");
  g.value(half).dtype = DataType::float16;
  const ValueId back = g.add(Cast{DataType::float32}, "from_half", {half}, "back");
  g.mark_output(g.add(MatMul{}, "first", {back, g.add_constant("v", random_tensor({4, 8}, 1))}, "h"));
  EXPECT_EQ(refusal(g, samples_with(1e6F)),
            "calibration sample 3: [Cast 'from_half'] value 'back' is infinite at index 1, so it cannot have a grid; "
            "leave the nodes that compute and read it in float (--skip 'first')");
}

TEST(NonFinite, values_in_float_may_be_infinite) {
  Graph g;
  const ValueId x = g.add_input("x", DataType::float32, {kDynamic, 4});
  const ValueId h = g.add(MatMul{}, "first", {x, g.add_constant("v", random_tensor({4, 4}, 1))}, "h");
  const ValueId l = g.add(Unary{UnaryKind::log}, "log", {h}, "l");  // NaN for most elements
  g.mark_output(g.add(IsInf{}, "check", {l}, "y"));
  for (const Granularity granularity : {Granularity::per_channel, Granularity::per_tensor})
    EXPECT_EQ(refusal(g, samples_with(0), {.granularity = granularity}), "no error");
}

TEST(NonFinite, weights_are_refused_by_node_and_name_before_calibration) {
  for (const auto& [bad, word] : {std::pair{NAN, "NaN"}, std::pair{kInfinity, "infinite"}}) {
    Tensor first = random_tensor({4, 8}, 1);
    first.mutable_data<float>()[5] = bad;
    const std::string expected = fmt::format(
        "[MatMul 'first'] weights 'v': an element is {}, at index 5; leave the node in float (--skip 'first')", word);
    const Graph g = logarithms(first);
    EXPECT_EQ(refusal(g, samples_with(1)), expected);
    EXPECT_EQ(refusal(g, samples_with(1), {.granularity = Granularity::per_tensor}), expected) << "with equalization";
    EXPECT_EQ(message_of([&] { quantize(g, nullptr, {}, {.input_range = {{1}, {2}}}); }), expected) << "without data";
  }
}

TEST(NonFinite, a_bias_is_refused_by_node_and_name) {
  Graph g;
  const ValueId x = g.add_input("x", DataType::float32, {kDynamic, 4});
  Tensor bias = random_tensor({8}, 2);
  bias.mutable_data<float>()[7] = -kInfinity;
  g.mark_output(
      g.add(Gemm{}, "first", {x, g.add_constant("v", random_tensor({4, 8}, 1)), g.add_constant("b", bias)}, "h"));
  EXPECT_EQ(refusal(g, samples_with(1)),
            "[Gemm 'first'] bias 'b': an element is minus infinite, at index 7; leave the node in float (--skip "
            "'first')");
}

TEST(NonFinite, a_value_predicted_without_data_is_refused) {
  EXPECT_EQ(message_of([&] {
              quantize(logarithms(), nullptr, {}, {.input_range = {{0}, {1}}});
            }),
            "[Log 'log'] value 'l' is predicted to be minus infinite, so it cannot have a grid; leave the nodes that "
            "compute and read it in float (--skip 'first')");
}

TEST(NonFinite, smoothing_leaves_out_infinite_normalizations) {
  Graph g;
  const ValueId x = g.add_input("x", DataType::float32, {kDynamic, 4});
  Tensor scale = random_tensor({4}, 5);
  scale.mutable_data<float>()[2] = kInfinity;
  const ValueId n = g.add(LayerNorm{}, "norm", {x, g.add_constant("s", scale)}, "n");
  g.mark_output(g.add(MatMul{}, "first", {n, g.add_constant("v", random_tensor({4, 8}, 1))}, "h"));
  EXPECT_NE(refusal(g, samples_with(1), {.smooth = 0.5}).find("[LayerNormalization 'norm'] value 'n' is "),
            std::string::npos);
}

TEST(NonFinite, every_observer_finds_a_grid_for_the_largest_floats) {
  ValueStatistics statistics;
  const float most = std::numeric_limits<float>::max();
  statistics.add_sample(std::vector<float>{-most, -1, 1, most});
  for (const Observer observer :
       {Observer::min_max, Observer::mse, Observer::entropy, Observer::percentile, Observer::moving_average}) {
    const ObservedRange range = observe(statistics, observer, testing::kUnsigned8, 99.99, 1);
    EXPECT_TRUE(std::isfinite(range.min) && std::isfinite(range.max)) << to_string(observer);
    EXPECT_TRUE(std::isfinite(choose_params(range.min, range.max, testing::kUnsigned8).scale[0]));
  }
}

}  // namespace
}  // namespace bitfold
