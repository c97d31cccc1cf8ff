#include "bitfold/graph.h"

#include <gtest/gtest.h>

#include "bitfold/error.h"

namespace bitfold {
namespace {

TEST(Graph, topological_order_puts_producers_first_and_ties_in_order_of_addition) {
  Graph g;
  const ValueId x = g.add_input("x", DataType::float32, {1, 4});
  const ValueId late = g.add_value({.name = "late"});
  const ValueId y = g.add(Binary{BinaryKind::add}, "sum", {x, late}, "y");
  g.add_node({.name = "relu", .op = Unary{UnaryKind::relu}, .inputs = {x}, .outputs = {late}});
  g.mark_output(y);
  const auto order = g.topological_order();
  ASSERT_EQ(order.size(), 2U);
  EXPECT_EQ(g.node(order[0]).name, "relu");
  EXPECT_EQ(g.node(order[1]).name, "sum");
}

TEST(Graph, a_cycle_is_an_error_that_names_a_node) {
  Graph g;
  const ValueId a = g.add_value({.name = "a"});
  const ValueId b = g.add(Unary{UnaryKind::relu}, "first", {a}, "b");
  g.add_node({.name = "second", .op = Unary{UnaryKind::relu}, .inputs = {b}, .outputs = {a}});
  EXPECT_THROW(g.topological_order(), Error);
}

TEST(Graph, two_producers_of_one_value_are_refused_and_leave_the_graph_unchanged) {
  Graph g;
  const ValueId x = g.add_input("x", DataType::float32, {1});
  const ValueId y = g.add(Unary{UnaryKind::relu}, "first", {x}, "y");
  const Graph before = g;
  EXPECT_THROW(g.add_node({.name = "second", .op = Unary{UnaryKind::relu}, .inputs = {x}, .outputs = {y}}), Error);
  EXPECT_EQ(g, before);
}

TEST(Graph, replace_value_keeps_the_name_of_a_graph_output) {
  Graph g;
  const ValueId x = g.add_input("x", DataType::float32, {1});
  const ValueId h = g.add(Unary{UnaryKind::relu}, "relu", {x}, "h");
  const ValueId y = g.add(Unary{UnaryKind::identity}, "id", {h}, "y");
  g.mark_output(y);
  g.replace_value(y, h);
  g.compact();
  EXPECT_EQ(g.node_count(), 1U);
  EXPECT_EQ(g.value(g.outputs()[0]).name, "y");
  EXPECT_NE(g.producer(g.outputs()[0]), NodeId::none);
}

TEST(Graph, remove_dead_takes_chains_and_their_constants) {
  Graph g;
  const ValueId x = g.add_input("x", DataType::float32, {1});
  const ValueId c = g.add_constant("c", Tensor::from<float>({1}, std::vector<float>{1}));
  const ValueId a = g.add(Binary{}, "add", {x, c}, "a");
  g.add(Unary{UnaryKind::relu}, "relu", {a}, "b");
  g.mark_output(x);
  EXPECT_EQ(g.remove_dead(), 2);
  EXPECT_EQ(g.find("c"), ValueId::none);
}

}  // namespace
}  // namespace bitfold
