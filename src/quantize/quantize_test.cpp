#include "bitfold/quantize.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <random>

#include "bitfold/error.h"

namespace bitfold {
namespace {

Tensor random_tensor(Shape shape, unsigned seed, float deviation = 0.1F) {
  std::mt19937 random(seed);
  std::normal_distribution<float> normal(0, deviation);
  Tensor tensor(DataType::float32, std::move(shape));
  for (float& x : tensor.mutable_data<float>()) x = normal(random);
  return tensor;
}

Window window(std::int64_t size) {
  return {.kernel = {size, size}, .strides = {1, 1}, .dilations = {1, 1}, .pads = {0, 0, 0, 0}};
}

// Small networks over images of 4 channels, 8 x 8, and a calibration that says every value lies in [-2, 3] unless told
// otherwise. A node's output is named after it.
class Net {
 public:
  Graph graph;
  Calibration calibration;

  ValueId input(const std::string& name) { return graph.add_input(name, DataType::float32, {1, 4, 8, 8}); }
  ValueId constant(const std::string& name, Tensor tensor) { return graph.add_constant(name, std::move(tensor)); }
  ValueId conv(const std::string& name, ValueId in) {
    const ValueId w = constant(name + ".w", random_tensor({4, 4, 1, 1}, 1));
    const ValueId b = constant(name + ".b", random_tensor({4}, 2));
    return graph.add(Conv{.window = window(1)}, name + "_node", {in, w, b}, name);
  }
  ValueId gemm(const std::string& name, ValueId in, std::int64_t depth, Gemm op = {.trans_b = true}) {
    const ValueId w = constant(name + ".w", random_tensor(op.trans_b ? Shape{3, depth} : Shape{depth, 3}, 3));
    const ValueId b = constant(name + ".b", random_tensor({3}, 4));
    return graph.add(op, name + "_node", {in, w, b}, name);
  }
  ValueId unary(UnaryKind kind, const std::string& name, ValueId in) {
    return graph.add(Unary{kind}, name + "_node", {in}, name);
  }
  ValueId relu(const std::string& name, ValueId in) { return unary(UnaryKind::relu, name, in); }
  ValueId clip(const std::string& name, ValueId in, float lower, float upper) {
    const ValueId lo = constant(name + ".lo", Tensor::from<float>({}, std::vector{lower}));
    const ValueId hi = constant(name + ".hi", Tensor::from<float>({}, std::vector{upper}));
    return graph.add(Clip{}, name + "_node", {in, lo, hi}, name);
  }
  ValueId max_pool(const std::string& name, ValueId in) {
    return graph.add(Pool{PoolKind::max, window(2)}, name + "_node", {in}, name);
  }
  ValueId add(const std::string& name, ValueId a, ValueId b) {
    return graph.add(Binary{BinaryKind::add}, name + "_node", {a, b}, name);
  }

  void seen(const std::string& name, float min, float max) {
    calibration.values[name] = {};
    calibration.values[name].add(std::vector<float>{min, max});
  }
  QuantizeResult quantize(const Recipe& recipe = {}) {
    infer_shapes(graph);
    for (ValueId id : graph.values())
      if (!graph.is_constant(id) && !calibration.values.contains(graph.value(id).name))
        seen(graph.value(id).name, -2, 3);
    return bitfold::quantize(graph, calibration, recipe);
  }
};

const std::optional<QuantParams>& grid(const Graph& graph, const std::string& name) {
  const ValueId id = graph.find(name);
  EXPECT_NE(id, ValueId::none) << name;
  return graph.value(id).quant;
}

LayerDecision decision(const QuantizeResult& result, const std::string& node) {
  for (const auto& d : result.decisions)
    if (d.node == node) return d;
  ADD_FAILURE() << "no decision on " << node;
  return {};
}

std::vector<std::string> op_names(const Graph& graph) {
  std::vector<std::string> names;
  for (NodeId id : graph.topological_order()) names.push_back(op_name(graph.node(id).op));
  return names;
}

using Names = std::vector<std::string>;
constexpr GridSpec kUnsigned8{.bits = 8, .is_signed = false, .scheme = Scheme::asymmetric};

template <class Function>
std::string complaint(const Function& function) {
  try {
    function();
  } catch (const Error& error) {
    return error.what();
  }
  return "none";
}

TEST(Planner, inputs_weights_and_outputs_of_a_convolution_get_grids) {
  Net net;
  net.graph.mark_output(net.conv("c", net.input("x")));
  net.seen("x", -1, 4);
  const auto result = net.quantize();
  EXPECT_EQ(grid(result.graph, "x"), choose_params(-1, 4, kUnsigned8));
  EXPECT_EQ(grid(result.graph, "c"), choose_params(-2, 3, kUnsigned8));
  const auto& weights = grid(result.graph, "c.w");
  EXPECT_EQ(weights, choose_params_per_channel(*net.graph.value(net.graph.find("c.w")).constant, 0,
                                               {.bits = 8, .is_signed = true, .scheme = Scheme::symmetric}));
  const auto& bias = grid(result.graph, "c.b");
  for (std::size_t c = 0; c < 4; ++c) EXPECT_EQ(bias->scale[c], grid(result.graph, "x")->scale[0] * weights->scale[c]);
  EXPECT_EQ(bias->bits, 32);
  EXPECT_TRUE(decision(result, "c_node").quantized);
}

TEST(Planner, a_relu_behind_a_convolution_becomes_its_grid) {
  Net net;
  net.graph.mark_output(net.conv("c2", net.relu("r", net.conv("c1", net.input("x")))));
  net.seen("r", 0, 3);
  const auto result = net.quantize();
  EXPECT_EQ(op_names(result.graph), (Names{"Conv", "Conv"}));
  EXPECT_EQ(result.graph.find("c1"), ValueId::none);
  EXPECT_EQ(grid(result.graph, "r"), choose_params(0, 3, kUnsigned8));
  EXPECT_TRUE(decision(result, "r_node").quantized);
}

TEST(Planner, a_relu_behind_the_last_convolution_goes_too) {
  Net net;
  net.graph.mark_output(net.relu("r", net.conv("c", net.input("x"))));
  net.seen("r", 0, 3);
  const auto result = net.quantize();
  EXPECT_EQ(op_names(result.graph), (Names{"Conv"}));
  EXPECT_EQ(result.graph.value(result.graph.outputs()[0]).name, "r");
}

TEST(Planner, a_clip_alone_behind_its_convolution_goes_unless_the_grid_reaches_beyond) {
  for (const float top : {4.5F, 6.0F, 9.0F}) {
    Net net;
    const ValueId x = net.input("x");
    const ValueId six = net.clip("six", net.conv("c1", x), 0, 6);
    const ValueId both = net.graph.add(Concat{1}, "both_node", {six, net.relu("r", net.conv("c2", x))}, "both");
    const ValueId w = net.constant("w", random_tensor({4, 8, 1, 1}, 9));
    net.graph.mark_output(net.graph.add(Conv{.window = window(1)}, "last", {both, w}, "y"));
    net.seen("both", 0, top);
    const auto result = net.quantize();
    const auto names = op_names(result.graph);
    EXPECT_EQ(std::count(names.begin(), names.end(), "Clip"), top > 6 ? 1 : 0) << top;
    EXPECT_EQ(std::count(names.begin(), names.end(), "Relu"), 0);
    EXPECT_EQ(grid(result.graph, "six"), grid(result.graph, "both"));
    if (top > 6) {
      EXPECT_EQ(grid(result.graph, "c1"), grid(result.graph, "six"));
    }
  }
}

TEST(Planner, a_relu_whose_input_others_read_stays_between_two_grids) {
  Net net;
  const ValueId c = net.conv("c1", net.input("x"));
  net.graph.mark_output(net.conv("c2", net.relu("r", c)));
  net.graph.mark_output(net.conv("c3", c));
  net.seen("r", 0, 3);
  const auto result = net.quantize();
  EXPECT_EQ(grid(result.graph, "c1"), choose_params(-2, 3, kUnsigned8));
  EXPECT_EQ(grid(result.graph, "r"), choose_params(0, 3, kUnsigned8));
  const auto names = op_names(result.graph);
  EXPECT_EQ(std::count(names.begin(), names.end(), "Relu"), 1);
}

TEST(Planner, a_relu_behind_a_pool_clips_in_the_convolution_before) {
  Net net;
  net.graph.mark_output(net.conv("c2", net.relu("r", net.max_pool("p", net.conv("c1", net.input("x"))))));
  net.seen("r", 0, 3);
  const auto result = net.quantize();
  EXPECT_EQ(op_names(result.graph), (Names{"Conv", "MaxPool", "Conv"}));
  EXPECT_EQ(grid(result.graph, "c1"), choose_params(0, 3, kUnsigned8));
  EXPECT_EQ(grid(result.graph, "r"), grid(result.graph, "c1"));
}

TEST(Planner, under_a_symmetric_scheme_a_relu_stays_and_shares_its_grid) {
  Net net;
  net.graph.mark_output(net.conv("c2", net.relu("r", net.conv("c1", net.input("x")))));
  net.seen("r", 0, 3);
  const auto result = net.quantize({.activation_scheme = Scheme::symmetric});
  EXPECT_EQ(op_names(result.graph), (Names{"Conv", "Relu", "Conv"}));
  EXPECT_EQ(grid(result.graph, "c1"), grid(result.graph, "r"));
  EXPECT_EQ(grid(result.graph, "r")->zero_point, std::vector<std::int32_t>{0});
}

TEST(Planner, a_leaky_relu_has_a_grid_on_either_side) {
  Net net;
  const ValueId c = net.conv("c1", net.input("x"));
  const ValueId l = net.graph.add(Parametric{ParametricKind::leaky_relu, 0.1F}, "l_node", {c}, "l");
  net.graph.mark_output(net.conv("c2", l));
  net.seen("l", -0.2F, 3);
  const auto result = net.quantize();
  EXPECT_EQ(grid(result.graph, "c1"), choose_params(-2, 3, kUnsigned8));
  EXPECT_EQ(grid(result.graph, "l"), choose_params(-0.2F, 3, kUnsigned8));
}

TEST(Planner, nodes_that_move_codes_share_the_grid_of_what_they_become) {
  Net net;
  const ValueId p = net.max_pool("p", net.conv("c1", net.input("x")));
  const ValueId t = net.graph.add(Transpose{{0, 1, 3, 2}}, "t_node", {p}, "t");
  net.graph.mark_output(net.conv("c2", t));
  net.seen("p", 0.5F, 3);
  net.seen("t", 0.5F, 3);
  const auto result = net.quantize();
  for (const char* name : {"c1", "p", "t"})
    EXPECT_EQ(grid(result.graph, name), choose_params(0, 3, kUnsigned8)) << name;
}

TEST(Planner, a_value_read_before_and_behind_a_pool_keeps_its_range) {
  Net net;
  const ValueId c = net.conv("c1", net.input("x"));
  net.graph.mark_output(net.conv("c2", net.max_pool("p", c)));
  net.graph.mark_output(net.conv("c3", c));
  net.seen("p", 0.5F, 3);
  const auto result = net.quantize();
  EXPECT_EQ(grid(result.graph, "c1"), choose_params(-2, 3, kUnsigned8));
  EXPECT_EQ(grid(result.graph, "p"), grid(result.graph, "c1"));
}

TEST(Planner, a_sum_has_its_own_grid_and_takes_its_relu_along) {
  Net net;
  const ValueId a = net.conv("a", net.input("x"));
  const ValueId r = net.relu("r", net.add("s", a, net.conv("b", a)));
  net.graph.mark_output(net.conv("c", r));
  net.seen("r", 0, 5);
  const auto result = net.quantize();
  EXPECT_EQ(op_names(result.graph), (Names{"Conv", "Conv", "Add", "Conv"}));
  EXPECT_EQ(result.graph.find("s"), ValueId::none);
  EXPECT_EQ(grid(result.graph, "r"), choose_params(0, 5, kUnsigned8));
}

TEST(Planner, a_product_that_only_float_nodes_read_gives_reals) {
  Net net;
  const ValueId f = net.graph.add(Flatten{}, "f_node", {net.conv("c", net.input("x"))}, "f");
  const ValueId g = net.gemm("g", f, 256);
  net.graph.mark_output(net.graph.add(Softmax{}, "s_node", {g}, "s"));
  const auto result = net.quantize();
  EXPECT_FALSE(grid(result.graph, "g"));
  EXPECT_TRUE(decision(result, "g_node").quantized);
  EXPECT_TRUE(grid(result.graph, "g.b"));
  EXPECT_EQ(grid(result.graph, "f"), grid(result.graph, "c"));
  EXPECT_FALSE(decision(result, "s_node").quantized);
}

TEST(Planner, a_product_that_another_reads_has_a_grid) {
  Net net;
  const ValueId f = net.graph.add(Flatten{}, "f_node", {net.input("x")}, "f");
  const ValueId r = net.relu("r", net.gemm("g1", f, 256));
  net.graph.mark_output(net.gemm("g2", r, 3));
  net.seen("r", 0, 1);
  const auto result = net.quantize();
  EXPECT_EQ(op_names(result.graph), (Names{"Flatten", "Gemm", "Gemm"}));
  EXPECT_EQ(grid(result.graph, "r"), choose_params(0, 1, kUnsigned8));
  EXPECT_FALSE(grid(result.graph, "g2"));
}

TEST(Planner, what_no_product_reads_stays_in_float) {
  Net net;
  const ValueId c = net.conv("c", net.input("x"));
  const ValueId p = net.graph.add(GlobalPool{}, "p_node", {c}, "p");
  net.graph.mark_output(net.graph.add(Flatten{}, "f_node", {p}, "f"));
  const auto result = net.quantize();
  EXPECT_TRUE(grid(result.graph, "c"));
  EXPECT_FALSE(grid(result.graph, "p"));
  EXPECT_FALSE(grid(result.graph, "f"));
  EXPECT_EQ(decision(result, "p_node").reason, "nothing that reads it runs in integers");
}

TEST(Planner, a_pool_of_float_results_stays_in_float) {
  Net net;
  const ValueId e = net.unary(UnaryKind::exp, "e", net.input("x"));
  net.graph.mark_output(net.conv("c", net.max_pool("p", e)));
  const auto result = net.quantize();
  EXPECT_FALSE(grid(result.graph, "e"));
  EXPECT_TRUE(grid(result.graph, "p"));
  EXPECT_NE(decision(result, "p_node").reason.find("'e'"), std::string::npos);
}

TEST(Planner, reals_read_both_ways_become_two_values) {
  Net net;
  const ValueId e = net.unary(UnaryKind::exp, "e", net.input("x"));
  net.graph.mark_output(net.conv("c", e));
  net.graph.mark_output(net.unary(UnaryKind::sin, "s", e));
  net.seen("e", 0, 7);
  const auto result = net.quantize();
  EXPECT_FALSE(grid(result.graph, "e"));
  EXPECT_EQ(grid(result.graph, "e_snapped"), choose_params(0, 7, kUnsigned8));
  const auto names = op_names(result.graph);
  EXPECT_EQ(std::count(names.begin(), names.end(), "Requantize"), 1);
}

TEST(Planner, skipped_nodes_stay_in_float_and_their_neighbours_do_not) {
  Net net;
  net.graph.mark_output(net.conv("c3", net.relu("r", net.conv("c2", net.conv("c1", net.input("x"))))));
  const auto result = net.quantize({.skip = {"c2_node"}});
  EXPECT_FALSE(grid(result.graph, "c2.w"));
  EXPECT_FALSE(grid(result.graph, "c2"));
  EXPECT_TRUE(grid(result.graph, "c1"));
  EXPECT_TRUE(grid(result.graph, "r"));
  EXPECT_TRUE(grid(result.graph, "c3.w"));
  EXPECT_EQ(decision(result, "c2_node").reason, "skipped by the recipe");
}

TEST(Planner, an_unknown_node_to_skip_is_an_error_with_the_nearest_name) {
  Net net;
  net.graph.mark_output(net.conv("c1", net.input("x")));
  const std::string text = complaint([&] { net.quantize({.skip = {"c1_nod"}}); });
  EXPECT_NE(text.find("'c1_nod'; did you mean 'c1_node'?"), std::string::npos) << text;
}

TEST(Layers, take_their_own_weight_bits) {
  Net net;
  net.graph.mark_output(net.conv("c2", net.conv("c1", net.input("x"))));
  const auto result = net.quantize({.weight_bits = 4, .layers = {{"c1_node", {.weight_bits = 8}}}});
  EXPECT_EQ(grid(result.graph, "c1.w")->bits, 8);
  EXPECT_EQ(grid(result.graph, "c2.w")->bits, 4);
}

TEST(Layers, widen_the_whole_group_that_shares_their_grid) {
  Net net;
  const ValueId x = net.input("x");
  const ValueId pooled = net.max_pool("p", net.relu("r", net.conv("c1", x)));
  net.graph.mark_output(net.conv("c2", pooled));
  const auto result = net.quantize({.layers = {{"c1_node", {.activation_bits = 16}}}});
  EXPECT_EQ(grid(result.graph, "x")->bits, 8);
  EXPECT_EQ(grid(result.graph, "r")->bits, 16);
  EXPECT_EQ(grid(result.graph, "p")->bits, 16);
  EXPECT_EQ(grid(result.graph, "c2")->bits, 8);
}

TEST(Layers, in_float_are_skipped) {
  Net net;
  net.graph.mark_output(net.conv("c2", net.conv("c1", net.input("x"))));
  const auto own = net.quantize({.layers = {{"c2_node", {.in_float = true}}}});
  EXPECT_EQ(own.graph, net.quantize({.skip = {"c2_node"}}).graph);
  EXPECT_FALSE(decision(own, "c2_node").quantized);
}

TEST(Layers, that_do_not_exist_or_have_no_weights_are_errors) {
  Net net;
  net.graph.mark_output(net.conv("c2", net.relu("r", net.conv("c1", net.input("x")))));
  const std::string name = complaint([&] { net.quantize({.layers = {{"c1_nod", {.weight_bits = 8}}}}); });
  EXPECT_NE(name.find("did you mean 'c1_node'"), std::string::npos) << name;
  const std::string weights = complaint([&] { net.quantize({.layers = {{"r_node", {.weight_bits = 8}}}}); });
  EXPECT_NE(weights.find("'r_node'"), std::string::npos) << weights;
  EXPECT_THROW(net.quantize({.layers = {{"c1_node", {.weight_bits = 9}}}}), Error);
}

TEST(Planner, weights_that_are_computed_stay_in_float_and_are_named) {
  Net net;
  const ValueId x = net.input("x");
  const ValueId w = net.graph.add_input("w", DataType::float32, {4, 4, 1, 1});
  net.graph.mark_output(net.graph.add(Conv{.window = window(1)}, "c_node", {x, w}, "c"));
  const auto result = net.quantize();
  EXPECT_EQ(decision(result, "c_node").reason, "its weights are not constant");
  EXPECT_FALSE(grid(result.graph, "x"));
}

TEST(Planner, a_calibration_of_another_network_is_an_error_that_names_a_value) {
  Net net;
  net.graph.mark_output(net.conv("c", net.input("x")));
  infer_shapes(net.graph);
  net.seen("x", 0, 1);
  EXPECT_NE(complaint([&] { quantize(net.graph, net.calibration); }).find("'c'"), std::string::npos);
}

TEST(Planner, a_quantized_network_is_refused) {
  Net net;
  net.graph.mark_output(net.conv("c", net.input("x")));
  const auto result = net.quantize();
  EXPECT_NE(complaint([&] { quantize(result.graph, net.calibration); }).find("already"), std::string::npos);
}

TEST(Planner, takes_any_bit_width) {
  for (const int bits : {2, 3, 4, 5, 6, 7, 8, 16}) {
    Net net;
    net.graph.mark_output(net.conv("c2", net.conv("c1", net.input("x"))));
    const int weight_bits = std::min(bits, 8);
    const auto result =
        net.quantize({.weight_bits = weight_bits, .activation_bits = bits, .observer = Observer::min_max});
    EXPECT_EQ(grid(result.graph, "c1"), choose_params(-2, 3, {.bits = bits}));
    EXPECT_EQ(grid(result.graph, "c1.w")->qmax(), (1 << (weight_bits - 1)) - 1);
    EXPECT_EQ(grid(result.graph, "c1.w")->qmin(), 1 - (1 << (weight_bits - 1)));
  }
}

TEST(Planner, does_not_change_the_float_graph) {
  Net net;
  net.graph.mark_output(net.relu("r", net.conv("c", net.input("x"))));
  infer_shapes(net.graph);
  const Graph before = net.graph;
  net.quantize();
  EXPECT_EQ(net.graph, before);
}

// One product with given weights and bias, its input in [0, 2.55]: s_x = 0.01.
struct ProductCase {
  Net net;
  ProductCase(Tensor weights, Tensor bias, Gemm op = {.trans_b = true}) {
    const ValueId x = net.graph.add_input("x", DataType::float32, {1, weights.dim(op.trans_b ? 1 : 0)});
    const ValueId w = net.constant("w", std::move(weights)), b = net.constant("b", std::move(bias));
    net.graph.mark_output(net.graph.add(op, "g", {x, w, b}, "y"));
    net.seen("x", 0, 2.55F);
  }
};

std::vector<double> bias_reals(const Graph& graph) {
  const Tensor reals = dequantize(*graph.value(graph.find("b")).constant, *grid(graph, "b"));
  return {reals.data<float>().begin(), reals.data<float>().end()};
}

TEST(Weights, a_bias_beyond_int32_raises_its_channels_scale_and_no_other) {
  ProductCase product(Tensor::from<float>({2, 2}, std::vector{1e-6F, -1e-6F, 0.5F, 0.25F}),
                      Tensor::from<float>({2}, std::vector{500.0F, 500.0F}));
  const auto result = product.net.quantize();
  const auto& weights = grid(result.graph, "w");
  EXPECT_GT(weights->scale[0], 1e-6F / 127);
  EXPECT_EQ(weights->scale[1], 0.5F / 127);
  const auto reals = bias_reals(result.graph);
  for (double b : reals) EXPECT_NEAR(b, 500, 1e-4);
  const auto codes = result.graph.value(result.graph.find("b")).constant->data<std::int32_t>();
  for (std::int32_t q : codes) EXPECT_LT(std::fabs(static_cast<double>(q)) + 255.0 * 2 * 127, 2147483648.0);
  EXPECT_NE(decision(result, "g").reason.find("1 channels"), std::string::npos);
}

TEST(Weights, accumulators_of_very_long_sums_stay_within_int32) {
  const std::int64_t depth = 80000;
  ProductCase product(Tensor::from<float>({1, depth}, std::vector<float>(depth, 1.0F)),
                      Tensor::from<float>({1}, std::vector{0.0F}));
  const auto result = product.net.quantize();
  std::int64_t sum = 0;
  for (std::int8_t q : result.graph.value(result.graph.find("w")).constant->data<std::int8_t>())
    sum += std::abs(int{q});
  EXPECT_LT(255 * sum, std::int64_t{1} << 31);
  EXPECT_GT(sum, depth * 90);
}

TEST(Weights, a_channel_of_zeros_keeps_its_bias) {
  ProductCase product(Tensor::from<float>({2, 2}, std::vector{0.0F, 0.0F, 0.5F, 0.25F}),
                      Tensor::from<float>({2}, std::vector{0.123456F, 0.0F}));
  EXPECT_NEAR(bias_reals(product.net.quantize().graph)[0], 0.123456, 1e-7);
}

TEST(Weights, tiny_scales_do_not_underflow) {
  ProductCase product(Tensor::from<float>({1, 2}, std::vector{1e-35F, 2e-36F}),
                      Tensor::from<float>({1}, std::vector{0.0F}));
  product.net.seen("x", 0, 1e-20F);
  EXPECT_GT(grid(product.net.quantize().graph, "b")->scale[0], 0);
}

TEST(Weights, alpha_and_beta_of_a_gemm_go_into_its_constants) {
  ProductCase product(Tensor::from<float>({2, 2}, std::vector{0.1F, 0.2F, 0.3F, 0.4F}),
                      Tensor::from<float>({1, 2}, std::vector{1.0F, 2.0F}),
                      {.alpha = 2, .beta = 0.5F, .trans_b = false});
  const auto result = product.net.quantize();
  EXPECT_NEAR(grid(result.graph, "w")->scale[1], 0.8F / 127, 1e-8);
  EXPECT_EQ(grid(result.graph, "w")->axis, 1);
  const auto reals = bias_reals(result.graph);
  EXPECT_NEAR(reals[0], 0.5, 1e-4);
  EXPECT_NEAR(reals[1], 1.0, 1e-4);
  EXPECT_EQ(result.graph.value(result.graph.find("b")).constant->shape(), (Shape{2}));
  const auto* gemm = std::get_if<Gemm>(&result.graph.node(result.graph.topological_order()[0]).op);
  EXPECT_EQ(gemm->alpha, 1);
  EXPECT_EQ(gemm->beta, 1);
}

TEST(Weights, shared_by_two_layers_are_copied) {
  Net net;
  const ValueId x = net.input("x");
  const ValueId w = net.constant("w", random_tensor({4, 4, 1, 1}, 5)), b = net.constant("b", random_tensor({4}, 6));
  const ValueId y = net.graph.add(Conv{.window = window(1)}, "first", {x, w, b}, "y");
  net.graph.mark_output(net.graph.add(Conv{.window = window(1)}, "second", {y, w, b}, "z"));
  net.seen("x", 0, 100);
  const auto result = net.quantize();
  std::vector<float> scales;
  for (NodeId id : result.graph.topological_order()) {
    const auto& inputs = result.graph.node(id).inputs;
    EXPECT_EQ(result.graph.value(inputs[1]).constant->dtype(), DataType::int8);
    scales.push_back(result.graph.value(inputs[2]).quant->scale[0]);
  }
  ASSERT_EQ(scales.size(), 2U);
  EXPECT_NE(scales[0], scales[1]);
}

TEST(Weights, per_tensor_have_one_scale) {
  Net net;
  net.graph.mark_output(net.conv("c", net.input("x")));
  const auto result = net.quantize({.granularity = Granularity::per_tensor});
  EXPECT_EQ(grid(result.graph, "c.w")->scale.size(), 1U);
  EXPECT_EQ(grid(result.graph, "c.w")->axis, -1);
  EXPECT_EQ(grid(result.graph, "c.b")->axis, -1);
}

TEST(Weights, that_are_not_finite_are_refused_by_node) {
  ProductCase product(Tensor::from<float>({1, 2}, std::vector{0.1F, NAN}), Tensor::from<float>({1}, std::vector{0.0F}));
  const std::string text = complaint([&] { product.net.quantize(); });
  EXPECT_EQ(text.find("[Gemm 'g'] weights"), 0U) << text;
}

}  // namespace
}  // namespace bitfold
