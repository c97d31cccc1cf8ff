// Which layers of a network are quantized, or can be.
#include <gtest/gtest.h>

#include "bitfold/report.h"
#include "engine/test_graphs.h"

namespace bitfold {
namespace {

using engine::GraphBuilder;

/// A network whose only layer with weights is in a body of an If.
Graph layer_in_body(bool has_grid) {
  GraphBuilder then_body, else_body;
  const ValueId x = then_body.input({1, 3, 8, 8}, std::nullopt);
  const ValueId w = has_grid ? then_body.weights({4, 3, 1, 1}, 0)
                             : then_body.graph.add_constant("w", then_body.uniform_tensor({4, 3, 1, 1}, -1, 1));
  then_body.output(then_body.node(Conv{engine::window(1, 1, 0), 1}, {x, w}));
  else_body.output(else_body.node(Unary{UnaryKind::relu}, {else_body.input({1, 3, 8, 8}, std::nullopt)}));
  Graph graph;
  const ValueId condition = graph.add_input("condition", DataType::boolean, {});
  const ValueId in = graph.add_input("x", DataType::float32, {1, 3, 8, 8});
  const ValueId y = graph.add_value({.name = "y"});
  Node node{.name = "if", .op = If{}, .inputs = {condition, in}, .outputs = {y}};
  for (const GraphBuilder* body : {&then_body, &else_body})
    node.bodies.push_back(std::make_shared<const Graph>(body->graph));
  graph.add_node(std::move(node));
  graph.mark_output(y);
  return graph;
}

TEST(Support, a_grid_in_a_body_makes_a_network_quantized) {
  for (const bool has_grid : {true, false}) {
    const Support support = check_support(layer_in_body(has_grid));
    EXPECT_EQ(support.is_quantized, has_grid);
    EXPECT_EQ(support.layers, 1);
    EXPECT_EQ(support.quantized_layers, 1) << "it has a grid, or can have one";
  }
}

}  // namespace
}  // namespace bitfold
