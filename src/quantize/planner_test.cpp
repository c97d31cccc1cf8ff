#include "quantize/planner.h"

#include <gtest/gtest.h>

#include <algorithm>

#include "quantize/test_net.h"

namespace bitfold {
namespace {

using namespace testing;

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

TEST(Planner, a_relu_after_a_convolution_becomes_its_grid) {
  Net net;
  net.graph.mark_output(net.conv("c2", net.relu("r", net.conv("c1", net.input("x")))));
  net.seen("r", 0, 3);
  const auto result = net.quantize();
  EXPECT_EQ(op_names(result.graph), (Names{"Conv", "Conv"}));
  EXPECT_EQ(result.graph.find("c1"), ValueId::none);
  EXPECT_EQ(grid(result.graph, "r"), choose_params(0, 3, kUnsigned8));
  EXPECT_TRUE(decision(result, "r_node").quantized);
}

TEST(Planner, the_input_of_a_leaky_relu_has_a_grid_unless_the_target_is_bitfold) {
  for (const Target target : {Target::any, Target::bitfold}) {
    Net net;
    const auto leaky = [&](const std::string& name, ValueId in, float alpha) {
      return net.graph.add(Parametric{ParametricKind::leaky_relu, alpha}, name + "_node", {in}, name);
    };
    const ValueId alone = net.conv("c1", net.input("x")), shared = net.conv("c2", leaky("r1", alone, 0.1F));
    const ValueId steep = net.conv("c3", leaky("r2", shared, 0.1F));
    const ValueId read_by_two = net.conv("c4", leaky("r3", steep, 1.5F));
    net.graph.mark_output(net.conv("c5", leaky("r4", read_by_two, 0.1F)));
    net.graph.mark_output(read_by_two);
    const auto result = net.quantize({.target = target});
    const bool is_any = target == Target::any;
    EXPECT_EQ(grid(result.graph, "c1").has_value(), is_any);
    EXPECT_EQ(grid(result.graph, "c2").has_value(), is_any);
    EXPECT_EQ(result.fused_leaky_relu_layers, is_any ? 0 : 2);
    EXPECT_TRUE(grid(result.graph, "c3").has_value());  // a slope above 1 could exceed the multiplier's range
    EXPECT_TRUE(grid(result.graph, "c4").has_value());  // the value is also an output of the network
    for (const char* name : {"r1", "r2", "r3", "r4"}) EXPECT_TRUE(grid(result.graph, name).has_value()) << name;
    EXPECT_TRUE(decision(result, "r1_node").quantized);
  }
}

TEST(Planner, a_relu_after_the_last_convolution_is_removed) {
  Net net;
  net.graph.mark_output(net.relu("r", net.conv("c", net.input("x"))));
  net.seen("r", 0, 3);
  const auto result = net.quantize();
  EXPECT_EQ(op_names(result.graph), (Names{"Conv"}));
  EXPECT_EQ(result.graph.value(result.graph.outputs()[0]).name, "r");
}

TEST(Planner, a_clip_after_its_convolution_is_removed_unless_the_grid_exceeds_it) {
  for (const float top : {4.5F, 6.0F, 9.0F}) {
    Net net;
    const ValueId x = net.input("x");
    const ValueId six = net.clip("six", net.conv("c1", x), 0, 6);
    const ValueId both = net.graph.add(Concat{1}, "both_node", {six, net.relu("r", net.conv("c2", x))}, "both");
    const ValueId w = net.constant("w", random_tensor({4, 8, 1, 1}, 9, 0.1F));
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

TEST(Planner, a_relu_whose_input_has_other_readers_stays) {
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

TEST(Planner, a_relu_after_a_pool_clips_in_the_convolution_before_it) {
  Net net;
  net.graph.mark_output(net.conv("c2", net.relu("r", net.max_pool("p", net.conv("c1", net.input("x"))))));
  net.seen("r", 0, 3);
  const auto result = net.quantize();
  EXPECT_EQ(op_names(result.graph), (Names{"Conv", "MaxPool", "Conv"}));
  EXPECT_EQ(grid(result.graph, "c1"), choose_params(0, 3, kUnsigned8));
  EXPECT_EQ(grid(result.graph, "r"), grid(result.graph, "c1"));
}

TEST(Planner, with_symmetric_activations_a_relu_stays_and_shares_the_grid) {
  Net net;
  net.graph.mark_output(net.conv("c2", net.relu("r", net.conv("c1", net.input("x")))));
  net.seen("r", 0, 3);
  const auto result = net.quantize({.activation_scheme = Scheme::symmetric});
  EXPECT_EQ(op_names(result.graph), (Names{"Conv", "Relu", "Conv"}));
  EXPECT_EQ(grid(result.graph, "c1"), grid(result.graph, "r"));
  EXPECT_EQ(grid(result.graph, "r")->zero_point, std::vector<std::int32_t>{0});
}

TEST(Planner, target_any_puts_grids_on_both_sides_of_a_leaky_relu) {
  Net net;
  const ValueId c = net.conv("c1", net.input("x"));
  const ValueId l = net.graph.add(Parametric{ParametricKind::leaky_relu, 0.1F}, "l_node", {c}, "l");
  net.graph.mark_output(net.conv("c2", l));
  net.seen("l", -0.2F, 3);
  const auto result = net.quantize({.target = Target::any});
  EXPECT_EQ(result.fused_leaky_relu_layers, 0);
  EXPECT_EQ(grid(result.graph, "c1"), choose_params(-2, 3, kUnsigned8));
  EXPECT_EQ(grid(result.graph, "l"), choose_params(-0.2F, 3, kUnsigned8));
}

TEST(Planner, nodes_that_move_codes_share_one_grid) {
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

TEST(Planner, a_pool_whose_indices_are_read_runs_in_float) {
  Net net;
  const ValueId c = net.conv("c1", net.input("x"));
  const ValueId p = net.graph.add_value({.name = "p"}), indices = net.graph.add_value({.name = "indices"});
  net.graph.add_node(
      {.name = "p_node",
       .op = Pool{PoolKind::max, {.kernel = {2, 2}, .strides = {2, 2}, .dilations = {1, 1}, .pads = {0, 0, 0, 0}}},
       .inputs = {c},
       .outputs = {p, indices}});
  net.graph.mark_output(indices);
  net.graph.mark_output(net.conv("c2", p));
  net.seen("p", 0.5F, 3);
  EXPECT_EQ(decision(net.quantize(), "p_node").reason, "one of its outputs is not float32");
}

TEST(Planner, a_value_read_before_and_after_a_pool_keeps_its_range) {
  Net net;
  const ValueId c = net.conv("c1", net.input("x"));
  net.graph.mark_output(net.conv("c2", net.max_pool("p", c)));
  net.graph.mark_output(net.conv("c3", c));
  net.seen("p", 0.5F, 3);
  const auto result = net.quantize();
  EXPECT_EQ(grid(result.graph, "c1"), choose_params(-2, 3, kUnsigned8));
  EXPECT_EQ(grid(result.graph, "p"), grid(result.graph, "c1"));
}

TEST(Planner, a_sum_has_its_own_grid_and_absorbs_its_relu) {
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

TEST(Planner, a_product_read_only_by_float_nodes_has_no_grid) {
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

TEST(Planner, a_product_read_by_a_product_has_a_grid) {
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

TEST(Planner, nodes_that_no_product_reads_stay_in_float) {
  Net net;
  const ValueId c = net.conv("c", net.input("x"));
  const ValueId p = net.graph.add(GlobalPool{}, "p_node", {c}, "p");
  net.graph.mark_output(net.graph.add(Flatten{}, "f_node", {p}, "f"));
  const auto result = net.quantize();
  EXPECT_TRUE(grid(result.graph, "c"));
  EXPECT_FALSE(grid(result.graph, "p"));
  EXPECT_FALSE(grid(result.graph, "f"));
  EXPECT_EQ(decision(result, "p_node").reason, "no node that reads it runs in integers");
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

TEST(Planner, reals_with_snapped_and_unsnapped_readers_become_two_values) {
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

TEST(Planner, computed_weights_stay_in_float_and_are_reported) {
  Net net;
  const ValueId x = net.input("x");
  const ValueId w = net.graph.add_input("w", DataType::float32, {4, 4, 1, 1});
  net.graph.mark_output(net.graph.add(Conv{.window = window(1)}, "c_node", {x, w}, "c"));
  const auto result = net.quantize();
  EXPECT_EQ(decision(result, "c_node").reason, "its weights are not constant");
  EXPECT_FALSE(grid(result.graph, "x"));
}

TEST(Planner, convolutions_over_one_or_two_axes_get_grids_and_those_over_three_do_not) {
  for (const std::size_t axes : {1, 2, 3}) {
    Net net;
    Shape image{1, 4}, filter{4, 4};
    image.resize(2 + axes, 8);
    filter.resize(2 + axes, 1);
    const ValueId x = net.graph.add_input("x", DataType::float32, image);
    const ValueId w = net.constant("w", random_tensor(filter, 1, 0.1F));
    const std::vector<std::int64_t> ones(axes, 1);
    const std::vector<std::int64_t> pads(2 * axes, 0);
    const Window window{.kernel = ones, .strides = ones, .dilations = ones, .pads = pads};
    net.graph.mark_output(net.graph.add(Conv{.window = window}, "c_node", {x, w}, "c"));
    const auto result = net.quantize();
    EXPECT_EQ(decision(result, "c_node").quantized, axes < 3);
    EXPECT_EQ(grid(result.graph, "x").has_value(), axes < 3);
    EXPECT_EQ(decision(result, "c_node").reason,
              axes == 3 ? "its weights have 5 dimensions; only 3 or 4 can run in integers" : "");
  }
}

}  // namespace
}  // namespace bitfold
