// Quantizing the part of a network that can be run, and the part between given values.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>

#include "bitfold/data_free.h"
#include "bitfold/quantize.h"
#include "bitfold/reference.h"
#include "quantize/memory_source.h"
#include "quantize/test_net.h"

namespace bitfold {
namespace {

using namespace testing;

/// x -> c1 -> r1 -> [acme.Wobble] -> u -> c2 -> y, and r1 -> c3 -> z.
Graph with_unknown_operator() {
  Net net;
  const ValueId r1 = net.relu("r1", net.conv("c1", net.input("x")));
  const ValueId u = net.graph.add_value({.name = "u", .dtype = DataType::unknown, .shape = Shape{1, 4, 8, 8}});
  net.graph.add_node({.name = "wobble",
                      .op = Opaque{.domain = "acme", .type = "Wobble", .attributes = {"abc"}},
                      .inputs = {r1},
                      .outputs = {u}});
  net.graph.mark_output(net.conv("c2", u));
  net.graph.mark_output(net.conv("c3", r1));
  return std::move(net.graph);
}

MemorySource samples() { return MemorySource(random_tensor({16, 4, 8, 8}, 7)); }

double noise_db(const Graph& real, const Graph& quantized, const Shape& shape) {
  double noise = 0, power = 0;
  for (unsigned seed = 100; seed < 104; ++seed) {
    const std::vector<Tensor> inputs{random_tensor(shape, seed)};
    const Tensor a = Reference(real).run(inputs)[0], b = Reference(quantized).run(inputs)[0];
    for (std::size_t i = 0; i < a.data<float>().size(); ++i) {
      noise += std::pow(a.data<float>()[i] - b.data<float>()[i], 2);
      power += std::pow(a.data<float>()[i], 2);
    }
  }
  return 10 * std::log10(power / noise);
}

TEST(QuantizePart, the_part_before_an_unknown_operator_is_quantized) {
  const Graph graph = with_unknown_operator();
  MemorySource source = samples();
  std::string warning;
  for (const Recipe& recipe : {Recipe{}, Recipe{.weight_bits = 4, .rounding = Rounding::gptq},
                               Recipe{.granularity = Granularity::per_tensor, .observer = Observer::automatic}}) {
    const QuantizeResult result =
        quantize(graph, source, recipe, {.warn = [&](const std::string& text) { warning = text; }});
    EXPECT_TRUE(decision(result, "c1_node").quantized);
    EXPECT_TRUE(decision(result, "c3_node").quantized);
    EXPECT_FALSE(decision(result, "c2_node").quantized);
    EXPECT_EQ(decision(result, "c2_node").reason, "it needs the output of [acme.Wobble 'wobble']");
    EXPECT_EQ(decision(result, "wobble").reason, "it cannot be run");
    EXPECT_EQ(warning,
              "1 node is left as it is, because it cannot be run: 1 x acme.Wobble (first: [acme.Wobble 'wobble']); 1 "
              "node after it stays in float");
    ASSERT_EQ(result.left.size(), 2U);
    // The whole network, with the unknown operator as it was.
    const Graph& whole = result.graph;
    const Node& wobble = whole.node(whole.producer(whole.find("u")));
    EXPECT_EQ(wobble.op, graph.node(graph.producer(graph.find("u"))).op);
    EXPECT_EQ(whole.value(wobble.inputs[0]).name, "r1");
    EXPECT_TRUE(grid(whole, "c1.w"));
    EXPECT_TRUE(grid(whole, "c3"));
    EXPECT_FALSE(grid(whole, "c2.w"));
    EXPECT_FALSE(grid(whole, "u"));
    // The part can be measured.
    ASSERT_TRUE(result.part);
    verify(*result.part, Stage::quantized);
    EXPECT_GT(noise_db(extract_part(graph).graph, *result.part, {1, 4, 8, 8}), recipe.weight_bits == 4 ? 14 : 30);
  }
}

TEST(QuantizePart, the_part_between_given_values_is_quantized_with_samples_of_them) {
  const Graph graph = with_unknown_operator();
  MemorySource source = samples();
  const QuantizeResult result = quantize(graph, source, {}, {.cut = {.inputs_at = {"u"}, .outputs_at = {"c2"}}});
  EXPECT_TRUE(decision(result, "c2_node").quantized);
  EXPECT_FALSE(decision(result, "c1_node").quantized);
  EXPECT_EQ(decision(result, "c1_node").reason, "it needs the input 'x'");
  EXPECT_TRUE(grid(result.graph, "u"));
  EXPECT_FALSE(grid(result.graph, "c1.w"));
  EXPECT_EQ(result.graph.inputs().size(), 1U);
  EXPECT_EQ(result.graph.outputs().size(), 2U);
  EXPECT_GT(noise_db(extract_part(graph, {.inputs_at = {"u"}}).graph, *result.part, {1, 4, 8, 8}), 30);
}

TEST(QuantizePart, a_cut_through_a_network_that_can_be_run_keeps_its_function) {
  Net net;
  net.graph.mark_output(net.conv("c3", net.relu("r2", net.conv("c2", net.conv("c1", net.input("x"))))));
  MemorySource source = samples();
  const QuantizeResult result = quantize(net.graph, source, {}, {.cut = {.inputs_at = {"c1"}, .outputs_at = {"r2"}}});
  EXPECT_FALSE(grid(result.graph, "c1.w"));
  EXPECT_TRUE(grid(result.graph, "c2.w"));
  EXPECT_FALSE(grid(result.graph, "c3.w"));
  EXPECT_GT(noise_db(net.graph, result.graph, {1, 4, 8, 8}), 25);
}

TEST(QuantizePart, the_recipe_may_name_nodes_outside_the_part) {
  MemorySource source = samples();
  Recipe recipe{.skip = {"wobble", "c3_node"}};
  recipe.layers["c2_node"].weight_bits = 4;
  const QuantizeResult result = quantize(with_unknown_operator(), source, recipe);
  EXPECT_EQ(decision(result, "c3_node").reason, "skipped by the recipe");
  EXPECT_NE(complaint([&] {
              quantize(with_unknown_operator(), source, Recipe{.skip = {"c3_nod"}});
            }).find("did you mean 'c3_node'"),
            std::string::npos);
}

TEST(QuantizePart, an_unknown_operator_that_nothing_reads_is_removed) {
  Net net;
  const ValueId r1 = net.relu("r1", net.conv("c1", net.input("x")));
  net.graph.add(Opaque{"acme", "Wobble", {}}, "wobble", {r1}, "unused");
  net.graph.mark_output(net.conv("c2", r1));
  MemorySource source = samples();
  const QuantizeResult result = quantize(net.graph, source);
  EXPECT_TRUE(result.left.empty());
  EXPECT_FALSE(result.part);
  EXPECT_TRUE(grid(result.graph, "c2.w"));
}

TEST(QuantizePart, saved_statistics_and_no_data_work_on_the_part_too) {
  MemorySource source = samples();
  const Graph graph = with_unknown_operator();
  const CalibratedNetwork network = calibrate_network(graph, &source);
  const CalibratedNetwork again = calibrate_network(graph, network.calibration);
  const QuantizeResult saved = quantize(again, nullptr);
  EXPECT_TRUE(decision(saved, "c1_node").quantized);
  EXPECT_EQ(saved.left.size(), 2U);
  const QuantizeResult data_free = quantize(graph, nullptr);
  EXPECT_TRUE(decision(data_free, "c1_node").quantized);
  EXPECT_EQ(data_free.left.size(), 2U);
}

TEST(QuantizePart, a_network_of_which_nothing_can_be_run_is_an_error_that_names_the_operator) {
  Graph graph;
  const ValueId x = graph.add_input("x", DataType::float32, {1, 4, 8, 8});
  graph.mark_output(graph.add(Opaque{"acme", "Wobble", {}}, "wobble", {x}, "y"));
  MemorySource source = samples();
  EXPECT_EQ(complaint([&] { quantize(graph, source); }), "cannot run: 1 x acme.Wobble (first: [acme.Wobble 'wobble'])");
}

}  // namespace
}  // namespace bitfold
