#include "bitfold/quantize.h"

#include <gtest/gtest.h>

#include <algorithm>

#include "quantize/test_net.h"

namespace bitfold {
namespace {

using namespace testing;

TEST(Quantize, only_skipped_nodes_stay_in_float) {
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

TEST(Quantize, an_unknown_node_to_skip_is_an_error_with_the_nearest_name) {
  Net net;
  net.graph.mark_output(net.conv("c1", net.input("x")));
  const std::string text = complaint([&] { net.quantize({.skip = {"c1_nod"}}); });
  EXPECT_NE(text.find("'c1_nod'; did you mean 'c1_node'?"), std::string::npos) << text;
}

TEST(Layers, weight_bits_apply_to_the_named_layer) {
  Net net;
  net.graph.mark_output(net.conv("c2", net.conv("c1", net.input("x"))));
  const auto result = net.quantize({.weight_bits = 4, .layers = {{"c1_node", {.weight_bits = 8}}}});
  EXPECT_EQ(grid(result.graph, "c1.w")->bits, 8);
  EXPECT_EQ(grid(result.graph, "c2.w")->bits, 4);
}

TEST(Layers, activation_bits_apply_to_all_values_that_share_the_grid) {
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

TEST(Layers, in_float_equals_skip) {
  Net net;
  net.graph.mark_output(net.conv("c2", net.conv("c1", net.input("x"))));
  const auto own = net.quantize({.layers = {{"c2_node", {.in_float = true}}}});
  EXPECT_EQ(own.graph, net.quantize({.skip = {"c2_node"}}).graph);
  EXPECT_FALSE(decision(own, "c2_node").quantized);
}

TEST(Layers, unknown_layers_and_layers_without_weights_are_errors) {
  Net net;
  net.graph.mark_output(net.conv("c2", net.relu("r", net.conv("c1", net.input("x")))));
  const std::string name = complaint([&] { net.quantize({.layers = {{"c1_nod", {.weight_bits = 8}}}}); });
  EXPECT_NE(name.find("did you mean 'c1_node'"), std::string::npos) << name;
  const std::string weights = complaint([&] { net.quantize({.layers = {{"r_node", {.weight_bits = 8}}}}); });
  EXPECT_NE(weights.find("'r_node'"), std::string::npos) << weights;
  EXPECT_THROW(net.quantize({.layers = {{"c1_node", {.weight_bits = 9}}}}), Error);
}

TEST(Quantize, a_calibration_of_another_network_is_an_error_that_names_a_value) {
  Net net;
  net.graph.mark_output(net.conv("c", net.input("x")));
  infer_shapes(net.graph);
  net.seen("x", 0, 1);
  EXPECT_NE(complaint([&] { quantize(net.graph, net.calibration); }).find("'c'"), std::string::npos);
}

TEST(Quantize, a_quantized_network_is_refused) {
  Net net;
  net.graph.mark_output(net.conv("c", net.input("x")));
  const auto result = net.quantize();
  EXPECT_NE(complaint([&] { quantize(result.graph, net.calibration); }).find("already"), std::string::npos);
}

TEST(Quantize, takes_any_bit_width) {
  for (const int bits : {2, 3, 4, 5, 6, 7, 8, 16}) {
    Net net;
    net.graph.mark_output(net.conv("c2", net.conv("c1", net.input("x"))));
    const int weight_bits = std::min(bits, 8);
    const auto result =
        net.quantize({.weight_bits = weight_bits, .activation_bits = bits, .observer = Observer::min_max});
    EXPECT_EQ(grid(result.graph, "c1"), choose_params(-2, 3, {.bits = bits}));
    EXPECT_EQ(grid(result.graph, "c1.w")->qmax(), (1 << (weight_bits - 1)) - 1);
    // Symmetric codes exclude the lowest one.
    EXPECT_EQ(grid(result.graph, "c1.w")->qmin(), (weight_bits == 8 ? 1 : 0) - (1 << (weight_bits - 1)));
  }
}

TEST(Quantize, does_not_change_the_float_graph) {
  Net net;
  net.graph.mark_output(net.relu("r", net.conv("c", net.input("x"))));
  infer_shapes(net.graph);
  const Graph before = net.graph;
  net.quantize();
  EXPECT_EQ(net.graph, before);
}

}  // namespace
}  // namespace bitfold
