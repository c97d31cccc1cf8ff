#include "bitfold/calibrate.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>

#include "bitfold/error.h"
#include "bitfold/quantize.h"
#include "numeric/random_tensor.h"
#include "quantize/memory_source.h"

namespace bitfold {
namespace {

using testing::MemorySource;
using testing::random_tensor;

// x [batch,3,9,9] -> conv -> relu -> flatten -> gemm
Graph small_network(std::int64_t batch) {
  Graph g;
  const ValueId x = g.add_input("x", DataType::float32, {batch, 3, 9, 9});
  const ValueId w = g.add_constant("w", random_tensor({5, 3, 3, 3}, 1));
  const Window window{.kernel = {3, 3}, .strides = {1, 1}, .dilations = {1, 1}, .pads = {0, 0, 0, 0}};
  const ValueId c = g.add(Conv{.window = window}, "conv", {x, w}, "c");
  const ValueId r = g.add(Unary{UnaryKind::relu}, "relu", {c}, "r");
  const ValueId f = g.add(Flatten{}, "flatten", {r}, "f");
  const ValueId v = g.add_constant("v", random_tensor({7, 245}, 2));
  g.mark_output(g.add(Gemm{.trans_b = true}, "gemm", {f, v}, "y"));
  infer_shapes(g);
  return g;
}

template <class Function>
std::string complaint(const Function& function) {
  try {
    function();
  } catch (const Error& error) {
    return error.what();
  }
  return "none";
}

TEST(Calibrate, sees_every_value_of_every_sample) {
  const Graph graph = small_network(kDynamic);
  const Tensor samples = random_tensor({11, 3, 9, 9}, 3);
  MemorySource source(samples);
  const Calibration calibration = calibrate(graph, source);
  EXPECT_EQ(calibration.sample_count, 11);
  std::vector<std::string> names;
  for (const auto& [name, ignored] : calibration.values) names.push_back(name);
  EXPECT_EQ(names, (std::vector<std::string>{"c", "f", "r", "x", "y"}));
  ValueStatistics inputs;
  for (std::size_t s = 0; s < 11; ++s) inputs.add_sample(samples.data<float>().subspan(s * 243, 243));
  EXPECT_EQ(calibration.values.at("x"), inputs);
  EXPECT_EQ(calibration.values.at("c").count, 11 * 5 * 7 * 7);
  EXPECT_EQ(calibration.values.at("r").min, 0);
  EXPECT_EQ(calibration.values.at("r").max, calibration.values.at("c").max);
  EXPECT_EQ(calibration.values.at("f"), calibration.values.at("r"));
}

TEST(Calibrate, keeps_statistics_of_the_named_values_only) {
  const Graph graph = small_network(kDynamic);
  MemorySource source(random_tensor({5, 3, 9, 9}, 11));
  const Calibration all = calibrate(graph, source),
                    some = calibrate(graph, source, {.values = std::vector<std::string>{"r", "x"}});
  ASSERT_EQ(some.values.size(), 2U);
  for (const auto& [name, statistics] : some.values) EXPECT_EQ(statistics, all.values.at(name));
}

TEST(Calibrate, values_to_calibrate_suffice_for_the_recipe) {
  const Graph graph = small_network(kDynamic);
  MemorySource source(random_tensor({5, 3, 9, 9}, 12));
  const Calibration all = calibrate(graph, source);
  for (const Observer observer : {Observer::mse, Observer::moving_average}) {
    const Recipe recipe{.observer = observer};
    const Calibration some = calibrate(graph, source, {.values = values_to_calibrate(graph, recipe)});
    EXPECT_FALSE(some.values.contains("c"));  // "c" shares the grid of "r", whose statistics are used
    EXPECT_EQ(quantize(graph, some, recipe).graph, quantize(graph, all, recipe).graph);
  }
}

TEST(Calibrate, does_not_depend_on_batch_size_or_threads) {
  const Graph graph = small_network(kDynamic);
  MemorySource source(random_tensor({13, 3, 9, 9}, 4));
  const Calibration expected = calibrate(graph, source, {.batch_size = 1, .threads = 1});
  for (const std::int64_t batch_size : {0, 2, 5, 13, 100})
    for (const int threads : {1, 2, 3})
      EXPECT_EQ(calibrate(graph, source, {.batch_size = batch_size, .threads = threads}), expected)
          << batch_size << " " << threads;
}

TEST(Calibrate, merging_two_halves_equals_the_whole) {
  const Graph graph = small_network(kDynamic);
  const Tensor all = random_tensor({8, 3, 9, 9}, 5);
  const auto part = [&](std::size_t first) {
    return MemorySource(Tensor::from<float>({4, 3, 9, 9}, all.data<float>().subspan(first * 4 * 243, 4 * 243)));
  };
  MemorySource whole(all), first = part(0), second = part(1);
  Calibration merged = calibrate(graph, second);
  merged.merge(calibrate(graph, first));
  EXPECT_EQ(merged, calibrate(graph, whole));
}

TEST(Calibrate, fills_a_fixed_batch_with_its_last_sample) {
  const Graph graph = small_network(4);
  MemorySource source(random_tensor({6, 3, 9, 9}, 6));
  const Calibration calibration = calibrate(graph, source);
  EXPECT_EQ(calibration.sample_count, 6);
  EXPECT_EQ(calibration.values.at("y").count, 8 * 7);
  EXPECT_EQ(calibration.values.at("y").sample_count, 8);
  EXPECT_EQ(calibrate(graph, source, {.batch_size = 1, .threads = 1}), calibration);
}

TEST(Calibrate, a_fixed_batch_counts_each_of_its_samples) {
  MemorySource source(random_tensor({8, 3, 9, 9}, 10));
  EXPECT_EQ(calibrate(small_network(4), source).values.at("x"), calibrate(small_network(1), source).values.at("x"));
}

TEST(Calibrate, without_samples_is_an_error) {
  MemorySource source(Tensor(DataType::float32, {0, 3, 9, 9}));
  EXPECT_NE(complaint([&] { calibrate(small_network(kDynamic), source); }).find("no samples"), std::string::npos);
}

TEST(Calibrate, a_nan_in_the_data_names_sample_and_input) {
  Tensor samples = random_tensor({5, 3, 9, 9}, 7);
  samples.mutable_data<float>()[3 * 243 + 17] = NAN;
  MemorySource source(samples);
  const std::string text = complaint([&] { calibrate(small_network(kDynamic), source); });
  for (const char* word : {"sample 3", "'x'", "NaN at index 17"}) EXPECT_NE(text.find(word), std::string::npos) << text;
}

TEST(Calibrate, a_value_that_overflows_names_its_node) {
  Tensor samples = random_tensor({2, 3, 9, 9}, 8);
  samples.mutable_data<float>()[243] = 3e38F;
  samples.mutable_data<float>()[244] = 3e38F;
  MemorySource source(samples);
  for (const auto& names : {std::optional<std::vector<std::string>>{}, std::optional(std::vector<std::string>{"c"})}) {
    const std::string text = complaint([&] { calibrate(small_network(kDynamic), source, {.values = names}); });
    for (const char* word : {"calibration sample 1", "[Conv 'conv']", "value 'c' is ", "at index", "--skip 'conv'"})
      EXPECT_NE(text.find(word), std::string::npos) << text;
  }
}

TEST(Calibrate, ignores_infinities_of_values_not_requested) {
  Tensor samples = random_tensor({4, 3, 9, 9}, 8);
  samples.mutable_data<float>()[243] = -3e38F;
  samples.mutable_data<float>()[244] = 3e38F;
  MemorySource source(samples);
  const Graph graph = small_network(kDynamic);
  CalibrateOptions options{.values = std::vector<std::string>{"x"}};
  EXPECT_EQ(calibrate(graph, source, options).values.size(), 1U);
  options.keeps_others = true;
  Calibration kept;
  for (const int threads : {1, 2}) {
    options.threads = threads;
    const Calibration calibration = calibrate(graph, source, options);
    EXPECT_TRUE(calibration.values.contains("x"));
    EXPECT_FALSE(calibration.values.contains("c"));
    if (threads > 1) {
      EXPECT_EQ(calibration, kept);
    }
    kept = calibration;
  }
}

TEST(Calibrate, an_empty_list_of_values_keeps_none) {
  MemorySource source(random_tensor({4, 3, 9, 9}, 8));
  EXPECT_TRUE(calibrate(small_network(kDynamic), source, {.values = std::vector<std::string>{}}).values.empty());
}

TEST(Calibrate, can_be_cancelled) {
  MemorySource source(random_tensor({4, 3, 9, 9}, 8));
  const std::atomic<bool> cancel{true};
  EXPECT_THROW(calibrate(small_network(kDynamic), source, {.progress = {.cancel = &cancel}}), Cancelled);
}

TEST(Calibrate, reports_progress_up_to_the_end) {
  MemorySource source(random_tensor({9, 3, 9, 9}, 9));
  std::vector<std::int64_t> seen;
  const auto note = [&](std::string_view phase, std::int64_t done, std::int64_t total) {
    EXPECT_EQ(phase, "calibrating");
    EXPECT_EQ(total, 9);
    seen.push_back(done);
  };
  calibrate(small_network(kDynamic), source, {.batch_size = 4, .progress = {.report = note}});
  EXPECT_EQ(seen, (std::vector<std::int64_t>{4, 8, 9}));
}

// Between two convolutions, values are in the order preferred by the CPU's kernels; the reported index is the tensor's.
TEST(Calibrate, names_the_index_of_an_infinite_element_in_the_order_of_the_tensor) {
  Graph g;
  const Window plain{.kernel = {1, 1}, .strides = {1, 1}, .dilations = {1, 1}, .pads = {0, 0, 0, 0}};
  const ValueId x = g.add_input("x", DataType::float32, {1, 2, 4, 4});
  std::vector<float> large(32, 1);
  large[2 * 9] = 3e38F;  // the weight from channel 0 to channel 9
  const ValueId w = g.add_constant("w", Tensor::from<float>({16, 2, 1, 1}, large));
  const ValueId c = g.add(Conv{.window = plain}, "conv", {x, w}, "c");
  const ValueId r = g.add(Unary{UnaryKind::relu}, "relu", {c}, "r");
  const ValueId v = g.add_constant("v", random_tensor({16, 16, 1, 1}, 1));
  g.mark_output(g.add(Conv{.window = plain}, "second", {r, v}, "y"));
  infer_shapes(g);
  Tensor sample(DataType::float32, {1, 2, 4, 4});
  sample.mutable_data<float>()[5] = 2;
  MemorySource source(sample);
  const std::string text = complaint([&] { calibrate(g, source); });
  for (const char* word : {"'c'", "index 149"})  // 9 * 16 + 5
    EXPECT_NE(text.find(word), std::string::npos) << text;
}

}  // namespace
}  // namespace bitfold
