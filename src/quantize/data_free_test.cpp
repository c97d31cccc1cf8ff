#include "bitfold/data_free.h"

#include <gtest/gtest.h>

#include <cmath>

#include "bitfold/error.h"
#include "bitfold/passes.h"
#include "bitfold/reference.h"
#include "quantize/foresee.h"

namespace bitfold {
namespace {

using quantization::foresee;
using quantization::Foreseen;

ValueId constant(Graph& g, const std::string& name, Shape shape, const std::vector<float>& v) {
  return g.add_constant(name, Tensor::from<float>(std::move(shape), v));
}

double deviation(const Tensor& foreseen, std::size_t channel) {
  const auto channels = static_cast<std::size_t>(foreseen.dim(1));
  const double mean = quantization::channel_means(foreseen)[channel];
  double sum = 0;
  for (std::size_t i = channel; i < foreseen.data<float>().size(); i += channels)
    sum += std::pow(static_cast<double>(foreseen.data<float>()[i]) - mean, 2);
  return std::sqrt(sum / static_cast<double>(quantization::kForeseen));
}

// Relu of a standard normal has mean 1 / sqrt(2 pi) and second moment 1 / 2; of m + s z:
// m Phi(m / s) + s phi(m / s) (Nagel et al. 2019, appendix C, equation 38 for an interval from 0).
TEST(Foresee, a_rectified_normal_has_its_known_mean) {
  Graph g;
  const ValueId x = g.add_input("x", DataType::float32, {1, 2, 4, 4});
  const ValueId w = constant(g, "w", {2, 2, 1, 1}, {1, 2, 3, 4});
  const ValueId h =
      g.add(Conv{.window = {.kernel = {1, 1}, .strides = {1, 1}, .dilations = {1, 1}, .pads = {0, 0, 0, 0}}}, "conv",
            {x, w}, "h");
  g.mark_output(g.add(Unary{.kind = UnaryKind::relu}, "relu", {h}, "y"));
  infer_shapes(g);
  const BatchNormTable table{{"h", {.mean = {0, -1}, .deviation = {1, 2}}}};
  const Foreseen values = foresee(g, table, {});
  const auto means = quantization::channel_means(values.at(g.find("y")));
  EXPECT_NEAR(means[0], 1 / std::sqrt(2 * M_PI), 0.01);
  const double phi = std::exp(-0.125) / std::sqrt(2 * M_PI), below = 0.5 * std::erfc(0.5 / std::sqrt(2.0));
  EXPECT_NEAR(means[1], -1 * below + 2 * phi, 0.02);
  const auto raw = quantization::channel_means(values.at(h));
  EXPECT_NEAR(raw[0], 0, 1e-6);
  EXPECT_NEAR(raw[1], -1, 1e-6);
  EXPECT_NEAR(deviation(values.at(h), 1), 2, 0.1);
}

TEST(Foresee, sums_of_independent_values_add_variances) {
  Graph g;
  const ValueId x = g.add_input("x", DataType::float32, {1, 1, 4, 4});
  const ValueId one = constant(g, "one", {1, 1, 1, 1}, {1});
  const Conv conv{.window = {.kernel = {1, 1}, .strides = {1, 1}, .dilations = {1, 1}, .pads = {0, 0, 0, 0}}};
  const ValueId a = g.add(conv, "conv_a", {x, one}, "a"), b = g.add(conv, "conv_b", {x, one}, "b");
  g.mark_output(g.add(Binary{.kind = BinaryKind::add}, "add", {a, b}, "y"));
  infer_shapes(g);
  const BatchNormTable table{{"a", {.mean = {1}, .deviation = {3}}}, {"b", {.mean = {2}, .deviation = {4}}}};
  const Foreseen values = foresee(g, table, {});
  EXPECT_NEAR(quantization::channel_means(values.at(g.find("y")))[0], 3, 1e-5);
  EXPECT_NEAR(deviation(values.at(g.find("y")), 0), 5, 0.3);
}

// y = w x + b with x uniform on [-1, 3]: mean 1 and deviation s = 4 / sqrt(12) in each of two inputs. Weights 3 and -4
// make 5 s of it if they are independent, 7 s if they move together.
TEST(Foresee, a_layer_without_batch_norm_follows_from_its_inputs) {
  Graph g;
  const ValueId x = g.add_input("x", DataType::float32, {1, 2});
  const ValueId w = constant(g, "w", {1, 2}, {3, -4}), b = constant(g, "b", {1}, {10});
  g.mark_output(g.add(Gemm{.trans_b = true}, "fc", {x, w, b}, "y"));
  infer_shapes(g);
  const Foreseen values = foresee(g, {}, {.min = {-1}, .max = {3}});
  EXPECT_NEAR(quantization::channel_means(values.at(g.find("y")))[0], 9, 1e-4);
  EXPECT_NEAR(deviation(values.at(g.find("y")), 0), std::sqrt(5.0 * 7.0 * 16.0 / 12), 0.4);
  EXPECT_THROW(foresee(g, {}, {.min = {0, 0, 0}, .max = {1, 1, 1}}), Error);
  EXPECT_THROW(foresee(g, {}, {.min = {1}, .max = {1}}), Error);
}

TEST(Foresee, refuses_unknown_operators_by_name) {
  Graph g;
  const ValueId x = g.add_input("x", DataType::float32, {1, 2, 4, 4});
  g.mark_output(g.add(Lrn{.size = 3}, "lrn", {x}, "y"));
  infer_shapes(g);
  try {
    foresee(g, {}, {});
    FAIL();
  } catch (const Error& error) {
    EXPECT_NE(std::string(error.what()).find("[LRN 'lrn']"), std::string::npos) << error.what();
  }
}

// The range 0 to 1 holds for probabilities, not for their logarithms.
TEST(Foresee, refuses_the_logarithm_of_a_softmax) {
  for (bool is_log : {false, true}) {
    Graph g;
    const ValueId x = g.add_input("x", DataType::float32, {1, 5});
    g.mark_output(g.add(Softmax{.axis = 1, .log = is_log}, "softmax", {x}, "y"));
    infer_shapes(g);
    if (is_log)
      EXPECT_THROW(foresee(g, {}, {}), Error);
    else
      EXPECT_EQ(quantization::channel_table_of(g, foresee(g, {}, {})).at("y").max, std::vector<float>(5, 1));
  }
}

/// h = x + b1, a = relu(h), y = w2 a: two channels, without padding.
Graph absorbing(float pad = 0) {
  Graph g;
  const auto p = static_cast<std::int64_t>(pad);
  const ValueId x = g.add_input("x", DataType::float32, {1, 2, 4, 4});
  const Conv plain{.window = {.kernel = {1, 1}, .strides = {1, 1}, .dilations = {1, 1}, .pads = {0, 0, 0, 0}}};
  Conv second = plain;
  second.window.pads = {p, p, p, p};
  const ValueId w1 = constant(g, "w1", {2, 2, 1, 1}, {1, 0, 0, 1}), b1 = constant(g, "b1", {2}, {10, 0.5});
  const ValueId h = g.add(plain, "one", {x, w1, b1}, "h");
  const ValueId a = g.add(Unary{.kind = UnaryKind::relu}, "relu", {h}, "a");
  const ValueId w2 = constant(g, "w2", {1, 2, 1, 1}, {2, 5}), b2 = constant(g, "b2", {1}, {1});
  g.mark_output(g.add(second, "two", {a, w2, b2}, "y"));
  return g;
}

// c = max(0, beta - 3 gamma) = 10 - 3 * 2 = 4 of channel 0, nothing of channel 1 (0.5 < 3): b1 - 4, b2 + 2 * 4.
TEST(AbsorbHighBias, moves_the_mean_of_channels_above_zero) {
  Graph g = absorbing();
  BatchNormTable table{{"h", {.mean = {10, 0.5}, .deviation = {2, 1}}}};
  EXPECT_EQ(absorb_high_bias(g, table), 1);
  const auto bias = [&](const char* output) {
    const auto data = g.value(g.node(g.producer(g.find(output))).inputs[2]).constant->data<float>();
    return std::vector<float>(data.begin(), data.end());
  };
  EXPECT_EQ(bias("h"), (std::vector<float>{6, 0.5}));
  EXPECT_EQ(bias("y"), (std::vector<float>{9}));
  EXPECT_EQ(table.at("h").mean, (std::vector<double>{6, 0.5}));
  // The function is the same as long as no value lies below the amount moved; that holds for |x| < 6.
  Tensor x(DataType::float32, {1, 2, 4, 4});
  for (std::size_t i = 0; i < 32; ++i) x.mutable_data<float>()[i] = static_cast<float>(i % 11) - 5;
  const auto before = Reference(absorbing()).run(std::vector{x}), after = Reference(g).run(std::vector{x});
  for (std::size_t i = 0; i < 16; ++i) EXPECT_FLOAT_EQ(before[0].data<float>()[i], after[0].data<float>()[i]);
}

TEST(AbsorbHighBias, leaves_a_layer_that_pads_with_zeros) {
  Graph g = absorbing(1);
  BatchNormTable table{{"h", {.mean = {10, 0.5}, .deviation = {2, 1}}}};
  EXPECT_EQ(absorb_high_bias(g, table), 0);
}

// Channel 1 reaches up to 14 (2 + 6 * 2) and channel 0 up to 16. Channel 0 could move 7, but only the first 2 lower the
// end of the grid.
TEST(AbsorbHighBias, moves_only_as_much_as_narrows_the_grid) {
  Graph g = absorbing();
  BatchNormTable table{{"h", {.mean = {10, 2}, .deviation = {1, 2}}}};
  EXPECT_EQ(absorb_high_bias(g, table), 1);
  EXPECT_EQ(table.at("h").mean, (std::vector<double>{8, 2}));
  BatchNormTable wide{{"h", {.mean = {10, 2}, .deviation = {1, 3}}}};  // 2 + 6 * 3 = 20 > 16
  EXPECT_EQ(absorb_high_bias(g, wide), 0);
}

// With mean 10, a Clip to 11 is out of reach if the deviation is at most 1/3: 10 + 3 * 1/3 = 11.
TEST(AbsorbHighBias, keeps_values_that_a_clip_may_reach) {
  for (const double deviation : {1.0 / 3, 0.5}) {
    Graph g = absorbing();
    const NodeId relu = g.producer(g.find("a"));
    g.op(relu) = Clip{};
    g.add_input_slot(relu, g.add_constant("from", Tensor::from<float>({}, std::vector<float>{0})));
    g.add_input_slot(relu, g.add_constant("to", Tensor::from<float>({}, std::vector<float>{11})));
    BatchNormTable table{{"h", {.mean = {10, 0.5}, .deviation = {deviation, 0.25}}}};
    EXPECT_EQ(absorb_high_bias(g, table), deviation < 0.4 ? 1 : 0) << deviation;
  }
}

// Values above the Clip's bound of 6 do not count, so the end falls from 6 to 5.5, the end of the other channel (1 + 6
// * 0.75).
TEST(AbsorbHighBias, ignores_values_above_the_clip_bound) {
  const auto absorbed = [](double other_deviation) {
    Graph g = absorbing();
    const NodeId relu = g.producer(g.find("a"));
    g.op(relu) = Clip{};
    g.add_input_slot(relu, g.add_constant("from", Tensor::from<float>({}, std::vector<float>{0})));
    g.add_input_slot(relu, g.add_constant("to", Tensor::from<float>({}, std::vector<float>{6})));
    BatchNormTable table{{"h", {.mean = {5, 1}, .deviation = {0.25, other_deviation}}}};
    absorb_high_bias(g, table);
    return 5 - table.at("h").mean[0];
  };
  EXPECT_EQ(absorbed(0.75), 1);  // 5 + 6 * 0.25 - 5.5
  EXPECT_EQ(absorbed(1), 0);     // 1 + 6 > 6: the other channel reaches the bound in any case
}

/// A bottleneck with a residual sum: v = x + (3, -1), t = 2 v + (1, 1), s = v + t, y = (1, 1) s. `relu` reads s as
/// well.
Graph bottleneck(bool relu) {
  Graph g;
  const ValueId x = g.add_input("x", DataType::float32, {1, 2, 4, 4});
  const Conv plain{.window = {.kernel = {1, 1}, .strides = {1, 1}, .dilations = {1, 1}, .pads = {0, 0, 0, 0}}};
  const ValueId v =
      g.add(plain, "one", {x, constant(g, "w1", {2, 2, 1, 1}, {1, 0, 0, 1}), constant(g, "b1", {2}, {3, -1})}, "v");
  const ValueId t =
      g.add(plain, "two", {v, constant(g, "w2", {2, 2, 1, 1}, {2, 0, 0, 2}), constant(g, "b2", {2}, {1, 1})}, "t");
  const ValueId s = g.add(Binary{BinaryKind::add}, "sum", {v, t}, "s");
  g.mark_output(g.add(plain, "three", {s, constant(g, "w3", {1, 2, 1, 1}, {1, 1})}, "y"));
  if (relu) g.mark_output(g.add(Unary{.kind = UnaryKind::relu}, "relu", {s}, "z"));
  infer_shapes(g);
  return g;
}

// Means of v are (3, -1), of t = 2 v + 1 (7, -1): both biases vanish, and what y reads was (10, -2) higher.
TEST(AbsorbHighBias, moves_the_whole_mean_without_a_rectifier) {
  Graph g = bottleneck(false);
  BatchNormTable table{{"v", {.mean = {3, -1}, .deviation = {1, 1}}}, {"t", {.mean = {7, -1}, .deviation = {2, 2}}}};
  EXPECT_EQ(absorb_high_bias(g, table), 4);
  const auto bias = [&](const char* output) {
    const auto data = g.value(g.node(g.producer(g.find(output))).inputs[2]).constant->data<float>();
    return std::vector<float>(data.begin(), data.end());
  };
  EXPECT_EQ(bias("v"), (std::vector<float>{0, 0}));
  EXPECT_EQ(bias("t"), (std::vector<float>{0, 0}));  // 1 + 2 * 3 - 7, 1 + 2 * -1 + 1
  EXPECT_EQ(bias("y"), (std::vector<float>{8}));     // (3 + 7) + (-1 + -1)
  EXPECT_EQ(table.at("t").mean, (std::vector<double>{0, 0}));
  Tensor x(DataType::float32, {1, 2, 4, 4});
  for (std::size_t i = 0; i < 32; ++i) x.mutable_data<float>()[i] = static_cast<float>(i % 11) - 5;
  const auto before = Reference(bottleneck(false)).run(std::vector{x}), after = Reference(g).run(std::vector{x});
  for (std::size_t i = 0; i < 16; ++i) EXPECT_FLOAT_EQ(before[0].data<float>()[i], after[0].data<float>()[i]);
  BatchNormTable anew{{"v", {.mean = {3, -1}, .deviation = {1, 1}}}, {"t", {.mean = {7, -1}, .deviation = {2, 2}}}};
  Graph rectified = bottleneck(true);
  EXPECT_EQ(absorb_high_bias(rectified, anew), 0);
}

// Weights 0.6 and 0.6 of a grid whose step is 1 (the third is 127): their error is 0.4 each, times means 3 and 5. What
// is left of it is less than half a unit of the bias.
TEST(DataFree, subtracts_the_predicted_mean_error_from_the_bias) {
  Graph g;
  const ValueId x = g.add_input("x", DataType::float32, {1, 3});
  const ValueId w = constant(g, "w", {1, 3}, {0.6F, 0.6F, 127}), b = constant(g, "b", {1}, {0});
  g.mark_output(g.add(Gemm{.trans_b = true}, "fc", {x, w, b}, "y"));
  const InputRange range{.min = {2, 4, -1}, .max = {4, 6, 1}};
  const auto bias_of = [&](BiasCorrection correction) {
    const Recipe recipe{.rounding = Rounding::nearest, .bias_correction = correction};
    const Graph q = quantize(calibrate_without_data(g, {}, range, recipe), nullptr).graph;
    const Value& value = q.value(q.node(q.producer(q.find("y"))).inputs[2]);
    return static_cast<double>(value.constant->data<std::int32_t>()[0]) * static_cast<double>(value.quant->scale[0]);
  };
  EXPECT_EQ(bias_of(BiasCorrection::none), 0);
  EXPECT_NEAR(bias_of(BiasCorrection::automatic), -0.4 * (3 + 5), 0.05);
}

TEST(DataFree, refuses_recipes_that_need_samples) {
  const Graph g = absorbing();
  EXPECT_THROW(calibrate_without_data(g, {}, {}, {.rounding = Rounding::gptq}), Error);
  EXPECT_THROW(calibrate_without_data(g, {}, {}, {.bias_correction = BiasCorrection::empirical}), Error);
  EXPECT_THROW(calibrate_without_data(g, {}, {}, {.observer = Observer::automatic}), Error);
}

TEST(DataFree, is_the_same_every_time) {
  const Graph g = absorbing();
  const BatchNormTable table{{"h", {.mean = {10, 0.5}, .deviation = {2, 1}}}};
  EXPECT_EQ(quantize(calibrate_without_data(g, table), nullptr).graph,
            quantize(calibrate_without_data(g, table), nullptr).graph);
}

}  // namespace
}  // namespace bitfold
