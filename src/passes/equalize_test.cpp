#include "bitfold/equalize.h"

#include <gtest/gtest.h>

#include <cmath>
#include <random>

#include "bitfold/reference.h"
#include "graph/linear_layer.h"
#include "numeric/random_tensor.h"
#include "passes/noise_model.h"

namespace bitfold {
namespace {

using testing::random_tensor;

/// Normally distributed; each entry of the first axis is multiplied by another power of ten from 0.01 to 100.
Tensor uneven(Shape shape, unsigned seed) {
  std::mt19937 engine(seed);
  std::normal_distribution<float> normal;
  Tensor t(DataType::float32, std::move(shape));
  const auto rows = static_cast<std::size_t>(t.dim(0));
  const auto data = t.mutable_data<float>();
  for (std::size_t i = 0; i < data.size(); ++i)
    data[i] =
        normal(engine) * std::pow(10.0F, static_cast<float>((i / (data.size() / rows) * 7 + seed) % 5) - 2) * 0.5F;
  return t;
}

ValueId constant(Graph& g, const std::string& name, Shape shape, const std::vector<float>& v) {
  return g.add_constant(name, Tensor::from<float>(std::move(shape), v));
}

ValueId add_conv(Graph& g, ValueId x, Shape weights, const std::string& output, std::int64_t group = 1) {
  const std::int64_t kernel = weights[2], outputs = weights[0];
  Conv conv{.window = {.kernel = {kernel, kernel},
                       .strides = {1, 1},
                       .dilations = {1, 1},
                       .pads = std::vector<std::int64_t>(4, kernel / 2)},
            .group = group};
  const auto seed = static_cast<unsigned>(output[0]);
  const ValueId w = g.add_constant("w_" + output, uneven(std::move(weights), seed));
  const ValueId b = g.add_constant("b_" + output, uneven({outputs}, seed + 1));
  return g.add(conv, "conv_" + output, {x, w, b}, output);
}

ValueId add_unary(Graph& g, UnaryKind kind, ValueId x, const std::string& output) {
  return g.add(Unary{.kind = kind}, "unary_" + output, {x}, output);
}

/// Statistics of one run.
ChannelTable measured(const Graph& g, const Tensor& x) {
  ChannelTable table;
  const auto collect = [&](ValueId id, const Tensor& t) {
    ChannelStatistics& s = table[g.value(id).name];
    const auto channels = static_cast<std::size_t>(t.dim(1)), inner = static_cast<std::size_t>(t.size()) / channels;
    for (std::size_t c = 0; c < channels; ++c) {
      const auto data = t.data<float>().subspan(c * inner, inner);
      s.min.push_back(*std::min_element(data.begin(), data.end()));
      s.max.push_back(*std::max_element(data.begin(), data.end()));
      double sum = 0;
      for (float v : data) sum += static_cast<double>(v) * static_cast<double>(v);
      s.mean_square.push_back(sum / static_cast<double>(inner));
    }
  };
  Reference(g, {.plain_loops = true, .on_value = collect}).run(std::vector{x});
  return table;
}

void expect_same_function(const Graph& before, const Graph& after, const Tensor& x) {
  const ReferenceOptions plain{.plain_loops = true, .on_value = {}};
  const auto a = Reference(before, plain).run(std::vector{x}), b = Reference(after, plain).run(std::vector{x});
  ASSERT_EQ(a.size(), b.size());
  for (std::size_t i = 0; i < a.size(); ++i) {
    float largest = 0;
    for (float v : a[i].data<float>()) largest = std::max(largest, std::fabs(v));
    ASSERT_GT(largest, 0);
    for (std::size_t k = 0; k < a[i].data<float>().size(); ++k)
      ASSERT_NEAR(a[i].data<float>()[k], b[i].data<float>()[k], 1e-5F * largest) << "output " << i << " at " << k;
  }
}

std::vector<float> floats(const Graph& g, const std::string& name) {
  const auto data = g.value(g.find(name)).constant->data<float>();
  return {data.begin(), data.end()};
}

// Nagel et al. 2019, equation 11: s = sqrt(r2 / r1), so that both ranges of a channel become sqrt(r1 r2).
TEST(Equalize, weight_ranges_of_two_layers_meet_at_the_geometric_mean) {
  Graph g;
  const ValueId x = g.add_input("x", DataType::float32, {kDynamic, 2});
  const ValueId w1 = constant(g, "w1", {2, 2}, {8, -4, 0.5, 0.25}), b1 = constant(g, "b1", {2}, {8, 0.5});
  const ValueId h = g.add(Gemm{.trans_b = true}, "one", {x, w1, b1}, "h");
  const ValueId a = add_unary(g, UnaryKind::relu, h, "a");
  const ValueId w2 = constant(g, "w2", {1, 2}, {2, -2}), b2 = constant(g, "b2", {1}, {3});
  g.mark_output(g.add(Gemm{.trans_b = true}, "two", {a, w2, b2}, "y"));
  const Graph before = g;

  const auto regions = equalize_weights(g);  // r1 = 8, 0.5; r2 = 2, 2
  ASSERT_EQ(regions.size(), 1);
  EXPECT_EQ(regions[0].values, (std::vector<std::string>{"h", "a"}));
  EXPECT_EQ(regions[0].factors, (std::vector<double>{0.5, 2}));
  EXPECT_EQ(floats(g, "w1"), (std::vector<float>{4, -2, 1, 0.5}));
  EXPECT_EQ(floats(g, "b1"), (std::vector<float>{4, 1}));
  EXPECT_EQ(floats(g, "w2"), (std::vector<float>{4, -1}));
  EXPECT_EQ(floats(g, "b2"), (std::vector<float>{3}));
  EXPECT_TRUE(g.find("a_equalized") != ValueId::none);
  expect_same_function(before, g, random_tensor({5, 2}, 3));
}

/// Contains everything that factors can pass: a depthwise chain, LeakyRelu, pools, a sum of two branches, Flatten.
Graph network() {
  Graph g;
  ValueId v = g.add_input("x", DataType::float32, {1, 3, 8, 8});
  v = add_conv(g, v, {6, 3, 3, 3}, "a");
  v = g.add(Parametric{.kind = ParametricKind::leaky_relu, .alpha = 0.1F}, "leaky", {v}, "a_leaky");
  v = add_conv(g, v, {6, 1, 3, 3}, "b", 6);
  v = add_unary(g, UnaryKind::relu, v, "b_relu");
  v = g.add(Pool{.kind = PoolKind::max,
                 .window = {.kernel = {2, 2}, .strides = {2, 2}, .dilations = {1, 1}, .pads = {0, 0, 0, 0}}},
            "pool", {v}, "pooled");
  const ValueId left = add_conv(g, v, {4, 6, 1, 1}, "c"), right = add_conv(g, v, {4, 3, 3, 3}, "d", 2);
  v = g.add(Binary{.kind = BinaryKind::add}, "add", {left, right}, "sum");
  v = add_unary(g, UnaryKind::relu, v, "sum_relu");
  v = add_conv(g, v, {4, 4, 1, 1}, "e");
  v = g.add(Flatten{.axis = 1}, "flatten", {v}, "flat");
  const ValueId w = g.add_constant("w_f", uneven({5, 64}, 9));
  g.mark_output(g.add(Gemm{.trans_b = true}, "f", {v, w}, "y"));
  return g;
}

TEST(Equalize, keeps_the_function_of_a_network) {
  const Graph before = network();
  const Tensor x = random_tensor({1, 3, 8, 8}, 3);
  Graph weights = before, noise = before;
  EXPECT_EQ(equalize_weights(weights).size(), 4);
  expect_same_function(before, weights, x);
  EXPECT_GE(equalize_noise(noise, measured(before, x), {}).size(), 3);
  expect_same_function(before, noise, x);
}

// The fixed point of equation 11 for every channel of every region, up to a common factor.
TEST(Equalize, weights_converge_to_equal_ranges_on_both_sides_of_each_channel) {
  Graph g = network();
  ASSERT_FALSE(equalize_weights(g).empty());
  Graph again = g;
  for (const EqualizedRegion& region : equalize_weights(again))
    for (double f : region.factors) EXPECT_NEAR(f, 1, 0.01);
  const auto widest = [&](const std::string& name, std::size_t channel, bool is_output) {
    const NodeId id = g.producer(g.find(name));
    const Tensor& w = *plain_constant(g, g.node(id).inputs[1]);
    double most = 0;
    linear_layer(g, id)->weights.for_each([&](std::size_t i, std::int64_t o, std::int64_t k) {
      if (static_cast<std::size_t>(is_output ? o : k) == channel)
        most = std::max(most, std::fabs(static_cast<double>(w.data<float>()[i])));
    });
    return most;
  };
  std::vector<double> ratios;  // ratio of the weight ranges on both sides of each channel between a and b
  for (std::size_t c = 0; c < 6; ++c)
    ratios.push_back(widest("a_equalized", c, true) / widest("b_equalized", c, false));
  for (double ratio : ratios) EXPECT_NEAR(ratio / ratios[0], 1, 0.02);
}

// docs/internals/equalization.md (2) and (3), one reader with two inputs and a single output.
TEST(Equalize, noise_equals_the_formula) {
  Graph g;
  const ValueId x = g.add_input("x", DataType::float32, {1, 1});
  const ValueId w1 = constant(g, "w1", {2, 1}, {1, 1}), w2 = constant(g, "w2", {1, 2}, {1, 0.5});
  const ValueId h = g.add(Gemm{.trans_b = true}, "one", {x, w1}, "h");
  const ValueId a = add_unary(g, UnaryKind::relu, h, "a");
  g.mark_output(g.add(Gemm{.trans_b = true}, "two", {a, w2}, "y"));
  infer_shapes(g);
  const ChannelTable table{{"x", {.min = {0}, .max = {9}, .mean_square = {7}}},
                           {"a", {.min = {0, 0}, .max = {1, 100}, .mean_square = {0.25, 900}}},
                           {"h", {.min = {-50, -50}, .max = {1, 100}, .mean_square = {9, 999}}},  // shares a's grid
                           {"y", {.min = {0}, .max = {1}, .mean_square = {500}}}};
  const auto regions = find_regions(g);
  ASSERT_EQ(regions.size(), 1);
  Layers layers;
  for (NodeId id : g.nodes())
    if (linear_layer(g, id)) layers.try_emplace(id, g, id);
  const auto noise_at = [&](bool per_channel, double f) {
    const NoiseModel model(g, table, {.weight_bits = 4, .activation_bits = 8, .per_channel = per_channel});
    EXPECT_TRUE(model.knows(regions[0]));
    return model.noise(regions[0], layers, {1, f});
  };
  // With f = 0.1: values reach 10, step 10 / 255; the weights that read them are 1 and 5, step 5 / 7.
  const double values = std::pow(10.0 / 255, 2) / 12, read = std::pow(5.0 / 7, 2) / 12;
  const double expected = values * (1 + 100 * 0.25) + read * (0.25 + 0.01 * 900);
  EXPECT_NEAR(noise_at(true, 0.1), expected / 500, 1e-12);
  // With one grid for all channels: the weights that compute the region are 1 and 0.1, step 1 / 7, times x.
  const double computed = std::pow(1.0 / 7, 2) / 12 * 7;
  EXPECT_NEAR(noise_at(false, 0.1), (expected + computed * (1 + 100 * 0.25)) / 500, 1e-12);
  // This is less noise than without equalization.
  EXPECT_LT(noise_at(false, 0.1), noise_at(false, 1));
}

TEST(Equalize, noise_model_equalizes_a_channel_a_hundred_times_wider) {
  Graph g;
  const ValueId x = g.add_input("x", DataType::float32, {1, 3, 8, 8});
  const ValueId h = add_conv(g, x, {5, 3, 3, 3}, "h");
  const ValueId a = add_unary(g, UnaryKind::relu, h, "a");
  g.mark_output(add_conv(g, a, {3, 5, 3, 3}, "y"));
  const Tensor input = random_tensor({1, 3, 8, 8}, 3);
  const ChannelTable table = measured(g, input);
  const EqualizeOptions options{.per_channel = false};
  const auto total = [&](const Graph& graph, const ChannelTable& seen) {
    const NoiseModel model(graph, seen, options);
    Layers layers;
    for (NodeId id : graph.nodes())
      if (linear_layer(graph, id)) layers.try_emplace(id, graph, id);
    return model.noise(find_regions(graph).at(0), layers, std::vector<double>(5, 1.0));
  };
  infer_shapes(g);
  const double before = total(g, table);
  Graph equalized = g;
  ASSERT_EQ(equalize_noise(equalized, table, options).size(), 1);
  expect_same_function(g, equalized, input);
  const double after = total(equalized, measured(equalized, input));
  EXPECT_LT(after, before / 2);
  Graph by_weights = g;
  ASSERT_EQ(equalize_weights(by_weights).size(), 1);
  // the weight-based factors are among the candidates
  EXPECT_LE(after, total(by_weights, measured(by_weights, input)));
}

/// Conv, `between`, Conv.
template <class Between>
Graph pair(const Between& between) {
  Graph g;
  const ValueId x = g.add_input("x", DataType::float32, {1, 2, 4, 4});
  const ValueId h = add_conv(g, x, {3, 2, 3, 3}, "h");
  g.mark_output(add_conv(g, between(g, h), {2, 3, 1, 1}, "y"));
  return g;
}

TEST(Equalize, stops_at_operators_that_do_not_commute_with_factors) {
  Graph sigmoid = pair([](Graph& g, ValueId h) { return add_unary(g, UnaryKind::sigmoid, h, "a"); });
  Graph shifted = pair([](Graph& g, ValueId h) {
    return g.add(Binary{.kind = BinaryKind::add}, "shift", {h, constant(g, "one", {1}, {1})}, "a");
  });
  Graph seen = pair([](Graph& g, ValueId h) {
    g.mark_output(h);  // its values are an output of the network and must not change
    return add_unary(g, UnaryKind::relu, h, "a");
  });
  const Tensor x = random_tensor({1, 2, 4, 4}, 3);
  for (Graph* g : {&sigmoid, &shifted, &seen}) {
    infer_shapes(*g);
    const Graph before = *g;
    EXPECT_TRUE(equalize_weights(*g).empty());
    EXPECT_TRUE(equalize_noise(*g, measured(before, x), {}).empty());
    EXPECT_EQ(*g, before);
  }
}

TEST(Equalize, a_clip_keeps_clipping_the_same_values) {
  const auto relu6 = [](float limit) {
    return [limit](Graph& g, ValueId h) {
      return g.add(Clip{}, "clip", {h, constant(g, "low", {}, {0}), constant(g, "high", {}, {limit})}, "a");
    };
  };
  const Tensor x = random_tensor({1, 2, 4, 4}, 3);
  Graph unknown = pair(relu6(6));
  EXPECT_TRUE(equalize_weights(unknown).empty());

  const ChannelTable open = measured(pair(relu6(1e9F)), x);
  const std::vector<float>& reached = open.at("a").max;
  std::vector<float> sorted = reached;
  std::sort(sorted.begin(), sorted.end());
  ASSERT_GT(sorted[1], 0);
  Graph clipped = pair(relu6(sorted[1] * 1.5F));  // the widest channel is clipped, the others have some headroom
  const Graph before = clipped;
  const auto regions = equalize_noise(clipped, measured(before, x), {.per_channel = false});
  ASSERT_EQ(regions.size(), 1);
  for (std::size_t c = 0; c < 3; ++c) {
    if (reached[c] == sorted[2]) {
      EXPECT_EQ(regions[0].factors[c], 1);
    }
    EXPECT_LT(regions[0].factors[c] * static_cast<double>(std::min(reached[c], sorted[1])), sorted[1] * 1.5F);
  }
  expect_same_function(before, clipped, x);
}

TEST(Equalize, layers_that_share_weights_keep_them) {
  Graph g;
  ValueId v = g.add_input("x", DataType::float32, {1, 3, 4, 4});
  const ValueId w = g.add_constant("w", uneven({3, 3, 1, 1}, 5));
  const Conv conv{.window = {.kernel = {1, 1}, .strides = {1, 1}, .dilations = {1, 1}, .pads = {0, 0, 0, 0}}};
  v = g.add(conv, "one", {v, w}, "h");
  v = add_unary(g, UnaryKind::relu, v, "a");
  g.mark_output(g.add(conv, "two", {v, w}, "y"));
  const Graph before = g;
  EXPECT_TRUE(equalize_weights(g).empty());
  EXPECT_EQ(g.consumers(w).size(), 2U);
  expect_same_function(before, g, random_tensor({1, 3, 4, 4}, 3));
}

}  // namespace
}  // namespace bitfold
