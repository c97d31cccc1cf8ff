// Quantizing the bodies of If, Loop and Scan.
#include "quantize/bodies.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>

#include "bitfold/reference.h"
#include "bitfold/session.h"
#include "numeric/random_tensor.h"
#include "quantize/memory_source.h"

namespace bitfold {
namespace {

constexpr std::int64_t kIn = 32, kOut = 16;

Graph layer_body(const std::string& name, unsigned seed) {
  Graph body;
  body.name = name;
  const ValueId x = body.add_input("x", DataType::float32, {1, kIn});
  const ValueId w = body.add_constant(name + "_w", testing::random_tensor({kIn, kOut}, seed));
  const ValueId h = body.add(MatMul{}, name + "_product", {x, w}, name + "_h");
  const ValueId relu = body.add(Unary{UnaryKind::relu}, name + "_relu", {h}, name + "_r");
  const ValueId v = body.add_constant(name + "_v", testing::random_tensor({kOut, kOut}, seed + 1));
  body.mark_output(body.add(MatMul{}, name + "_second", {relu, v}, name + "_y"));
  return body;
}

/// y = sum(x) > limit ? then(x) : else(x), two layers each.
Graph two_branches(float limit = 0) {
  Graph graph;
  graph.name = "branches";
  const ValueId x = graph.add_input("x", DataType::float32, {1, kIn});
  const ValueId sum = graph.add(Reduce{.kind = ReduceKind::sum, .keepdims = false}, "sum", {x}, "total");
  const ValueId bound = graph.add_constant("limit", Tensor::from<float>({}, std::vector{limit}));
  const ValueId condition = graph.add(Binary{BinaryKind::greater}, "compare", {sum, bound}, "condition");
  const ValueId y = graph.add_value({.name = "y"});
  graph.add_node({.name = "if",
                  .op = If{},
                  .inputs = {condition, x},
                  .outputs = {y},
                  .bodies = {std::make_shared<const Graph>(layer_body("then", 1)),
                             std::make_shared<const Graph>(layer_body("else", 7))}});
  graph.mark_output(y);
  infer_shapes(graph);
  return graph;
}

testing::MemorySource samples() { return testing::MemorySource(testing::random_tensor({512, kIn}, 100)); }

NodeId branch_node(const Graph& graph) {
  for (NodeId id : graph.nodes())
    if (!graph.node(id).bodies.empty()) return id;
  return NodeId::none;
}

int grid_count(const Graph& graph) {
  const std::vector<ValueId> values = graph.values();
  return static_cast<int>(std::ranges::count_if(values, [&](ValueId id) { return graph.value(id).quant.has_value(); }));
}

TEST(Bodies, are_calibrated_and_quantized_like_networks) {
  const Graph graph = two_branches();
  testing::MemorySource source = samples();
  const QuantizeResult result = quantize(graph, source);
  const Node& node = result.graph.node(branch_node(result.graph));
  for (const auto& body : node.bodies) {
    int codes = 0;
    for (ValueId id : body->values()) codes += body->is_constant(id) && body->value(id).quant ? 1 : 0;
    EXPECT_EQ(codes, 2) << body->name;
  }
  const auto is_quantized = [&](const std::string& name) {
    return std::ranges::any_of(result.decisions, [&](const LayerDecision& d) { return d.node == name && d.quantized; });
  };
  EXPECT_TRUE(is_quantized("if.0/then_product"));
  EXPECT_TRUE(is_quantized("if.1/else_second"));
  double noise = 0, power = 0;
  for (unsigned seed = 900; seed < 908; ++seed) {  // the samples take both branches
    const std::vector<Tensor> inputs{testing::random_tensor({1, kIn}, seed)};
    const Tensor real = Reference(graph).run(inputs).front();
    const Tensor simulated = Reference(result.graph).run(inputs).front();
    const Tensor run = Session(result.graph).run(inputs).front();
    for (std::size_t i = 0; i < real.data<float>().size(); ++i) {
      noise += std::pow(real.data<float>()[i] - run.data<float>()[i], 2);
      power += std::pow(real.data<float>()[i], 2);
      EXPECT_NEAR(run.data<float>()[i], simulated.data<float>()[i], 1e-4F);
    }
  }
  EXPECT_LT(noise, power * 1e-3);  // 30 dB
}

TEST(Bodies, bodies_that_no_sample_ran_stay_in_float) {
  testing::MemorySource source = samples();
  const QuantizeResult result = quantize(two_branches(-1e6F), source);
  const auto found = std::ranges::find(result.decisions, "if.1/else_product", &LayerDecision::node);
  ASSERT_NE(found, result.decisions.end());
  EXPECT_FALSE(found->quantized);
  EXPECT_EQ(found->reason, "no sample ran this body");
  EXPECT_EQ(grid_count(*result.graph.node(branch_node(result.graph)).bodies[1]), 0);
  EXPECT_GT(grid_count(*result.graph.node(branch_node(result.graph)).bodies[0]), 0);
}

TEST(Bodies, take_skip_and_layers_under_their_prefix) {
  testing::MemorySource source = samples();
  Recipe recipe{.skip = {"if.0/then_product"}};
  recipe.layers["if.1/else_second"].weight_bits = 4;
  const QuantizeResult result = quantize(two_branches(), source, recipe);
  const auto skipped = std::ranges::find(result.decisions, "if.0/then_product", &LayerDecision::node);
  ASSERT_NE(skipped, result.decisions.end());
  EXPECT_FALSE(skipped->quantized);
  const Graph& body = *result.graph.node(branch_node(result.graph)).bodies[1];
  EXPECT_EQ(body.value(body.find("else_v")).quant->bits, 4);
  EXPECT_EQ(result.recipe.skip, recipe.skip);
  Recipe unknown{.skip = {"if.0/nothing"}};
  EXPECT_THROW(quantize(two_branches(), source, unknown), Error);
}

}  // namespace
}  // namespace bitfold
