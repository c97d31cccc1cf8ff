#include "quantize/choose_grids.h"

#include <gtest/gtest.h>

#include <cmath>

#include "bitfold/error.h"
#include "bitfold/quantize.h"
#include "numeric/random_tensor.h"
#include "quantize/memory_source.h"

namespace bitfold::quantization {
namespace {

using testing::MemorySource;
using testing::random_tensor;

// y = w x with x of two numbers; the second number is large and its weight is `weight`.
Graph two_inputs(float weight) {
  Graph g;
  const ValueId x = g.add_input("x", DataType::float32, {kDynamic, 2});
  const ValueId w = g.add_constant("w", Tensor::from<float>({2, 1}, std::vector<float>{1, weight}));
  g.mark_output(g.add(MatMul{}, "product", {x, w}, "y"));
  infer_shapes(g);
  return g;
}

// (0.5, 8), 20 times: squared error alone would always cover the 8.
MemorySource one_large() {
  std::vector<float> values;
  for (int i = 0; i < 20; ++i) values.insert(values.end(), {0.5F, 8});
  return MemorySource(Tensor::from<float>({20, 2}, values));
}

const QuantParams kWide{.scale = {4}, .zero_point = {0}, .bits = 2};      // 0, 4, 8, 12
const QuantParams kFine{.scale = {0.25F}, .zero_point = {0}, .bits = 2};  // 0, 0.25, 0.5, 0.75

TEST(ChooseGrids, selects_by_the_error_at_the_outputs) {
  MemorySource samples = one_large();
  // y = 0.5 + 8 w. On the wide grid 8 w, on the fine one 0.5 + 0.75 w: errors of 0.5 and of 7.25 w.
  for (const auto& [weight, best] : {std::pair(1.0F, 0U), {0.1F, 0U}, {0.05F, 1U}, {0.0F, 1U}}) {
    const Graph graph = two_inputs(weight);
    const GridChoice choice{.members = {graph.find("x")}, .candidates = {kWide, kFine}};
    EXPECT_EQ(choose_grids(graph, {choice}, samples), std::vector<std::size_t>{best}) << weight;
  }
}

TEST(ChooseGrids, the_first_candidate_stays_unless_another_is_clearly_better) {
  const Graph graph = two_inputs(0);
  MemorySource samples = one_large();
  // 0.5 becomes 0.4. Errors squared: 0.01 against 0.0098 (2 % less) and 0.0081 (19 % less).
  const QuantParams first{.scale = {0.4F}, .zero_point = {0}, .bits = 2};
  for (const auto& [scale, best] : {std::pair(0.401F, 0U), {0.41F, 1U}}) {
    const QuantParams other{.scale = {scale}, .zero_point = {0}, .bits = 2};
    const GridChoice choice{.members = {graph.find("x")}, .candidates = {first, other}};
    EXPECT_EQ(choose_grids(graph, {choice}, samples), std::vector<std::size_t>{best}) << scale;
  }
}

// x -> conv -> relu -> conv, where x and the two values after it each choose between a coarse grid and a fine one.
TEST(ChooseGrids, does_not_depend_on_threads_or_the_graphs_batch) {
  const auto network = [](std::int64_t batch) {
    Graph g;
    const ValueId x = g.add_input("x", DataType::float32, {batch, 3, 6, 6});
    const Window window{.kernel = {3, 3}, .strides = {1, 1}, .dilations = {1, 1}, .pads = {1, 1, 1, 1}};
    const ValueId c =
        g.add(Conv{.window = window}, "c1", {x, g.add_constant("w1", random_tensor({4, 3, 3, 3}, 1))}, "c");
    const ValueId r = g.add(Unary{UnaryKind::relu}, "relu", {c}, "r");
    g.mark_output(g.add(Conv{.window = window}, "c2", {r, g.add_constant("w2", random_tensor({2, 4, 3, 3}, 2))}, "y"));
    infer_shapes(g);
    return g;
  };
  MemorySource samples(random_tensor({24, 3, 6, 6}, 3));
  const QuantParams coarse{.scale = {0.5F}, .zero_point = {8}, .bits = 4};
  const QuantParams fine{.scale = {0.03F}, .zero_point = {128}, .bits = 8};
  const QuantParams fine_from_0{.scale = {0.1F}, .zero_point = {0}, .bits = 8};
  for (const std::int64_t batch : {kDynamic, std::int64_t{1}, std::int64_t{4}}) {
    const Graph graph = network(batch);
    const std::vector<GridChoice> choices{{{graph.find("x")}, {coarse, fine}},
                                          {{graph.find("c"), graph.find("r")}, {fine_from_0, coarse}}};
    for (const int threads : {1, 2, 3})
      EXPECT_EQ(choose_grids(graph, choices, samples, {.threads = threads}), (std::vector<std::size_t>{1, 0}))
          << batch << " " << threads;
  }
}

TEST(ChooseGrids, without_samples_is_an_error) {
  const Graph graph = two_inputs(1);
  MemorySource none(Tensor(DataType::float32, {0, 2}));
  EXPECT_THROW(choose_grids(graph, {}, none), Error);
}

TEST(AutomaticObserver, selects_and_reports_the_range_with_the_least_output_error) {
  // Inputs 0.5 and 8 on a grid of 2 bits. Only 0.5 affects the output. mse covers the 8, percentile does not.
  const Graph graph = two_inputs(0);
  std::vector<float> values;
  for (int i = 0; i < 64; ++i) values.insert(values.end(), {0.5F, i == 63 ? 8.0F : 0.5F});
  MemorySource samples(Tensor::from<float>({64, 2}, values));
  const Calibration calibration = calibrate(graph, samples);
  const auto chosen =
      quantize(graph, calibration, {.activation_bits = 2, .observer = Observer::automatic, .percentile = 98}, samples);
  ASSERT_TRUE(chosen.observers.contains("x"));
  const auto grid_of = [&](Observer observer) {
    const auto result = quantize(graph, calibration, {.activation_bits = 2, .observer = observer, .percentile = 98});
    return result.graph.value(result.graph.find("x")).quant;
  };
  const auto& grid = chosen.graph.value(chosen.graph.find("x")).quant;
  EXPECT_EQ(grid, grid_of(chosen.observers.at("x")));
  EXPECT_NE(grid, grid_of(Observer::mse));
  const float code = std::nearbyint(0.5F / grid->scale[0]);
  EXPECT_NEAR(code * grid->scale[0], 0.5F, 0.02F);
}

TEST(AutomaticObserver, skips_moving_average_if_the_calibration_lacks_it) {
  const Graph graph = two_inputs(1);
  MemorySource samples = one_large();
  Calibration calibration;
  for (const char* name : {"x", "y"}) calibration.values[name].add(std::vector<float>{0, 8});
  const auto result = quantize(graph, calibration, {.observer = Observer::automatic}, samples);
  EXPECT_NE(result.observers.at("x"), Observer::moving_average);
  try {
    quantize(graph, calibration, {.observer = Observer::moving_average});
    FAIL();
  } catch (const Error& error) {
    EXPECT_NE(std::string(error.what()).find("value 'x'"), std::string::npos) << error.what();
  }
}

TEST(AutomaticObserver, without_samples_is_a_clear_error) {
  const Graph graph = two_inputs(1);
  MemorySource samples = one_large();
  const Calibration calibration = calibrate(graph, samples);
  const Recipe recipe{.observer = Observer::automatic};
  EXPECT_TRUE(needs_samples(recipe));
  try {
    quantize(graph, calibration, recipe);
    FAIL();
  } catch (const Error& error) {
    EXPECT_NE(std::string(error.what()).find("observer 'auto' needs sample inputs"), std::string::npos) << error.what();
  }
}

}  // namespace
}  // namespace bitfold::quantization
