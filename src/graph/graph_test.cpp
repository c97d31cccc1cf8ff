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

TEST(Graph, remove_dead_removes_chains_and_their_constants) {
  Graph g;
  const ValueId x = g.add_input("x", DataType::float32, {1});
  const ValueId c = g.add_constant("c", Tensor::from<float>({1}, std::vector<float>{1}));
  const ValueId a = g.add(Binary{}, "add", {x, c}, "a");
  g.add(Unary{UnaryKind::relu}, "relu", {a}, "b");
  g.mark_output(x);
  EXPECT_EQ(g.remove_dead(), 2);
  EXPECT_EQ(g.find("c"), ValueId::none);
}

TEST(Graph, an_id_of_another_graph_is_an_error) {
  Graph g;
  const ValueId x = g.add_input("x", DataType::float32, {1});
  const ValueId y = g.add(Unary{UnaryKind::relu}, "relu", {x}, "y");
  const Graph before = g;
  const auto foreign = static_cast<ValueId>(17);
  const auto foreign_node = static_cast<NodeId>(17);
  const auto expect_error = [](auto&& action) {
    try {
      action();
      FAIL() << "no error";
    } catch (const Error& error) {
      EXPECT_NE(std::string(error.what()).find("does not belong to this graph"), std::string::npos) << error.what();
    }
  };
  for (ValueId id : {foreign, ValueId::none}) {
    expect_error([&] { g.value(id); });
    expect_error([&] { g.producer(id); });
    expect_error([&] { g.consumers(id); });
    expect_error([&] { g.mark_output(id); });
    expect_error([&] { g.replace_uses(x, id); });
    expect_error([&] { g.replace_value(id, x); });
    expect_error([&] { g.rename_value(id, "z"); });
  }
  for (NodeId id : {foreign_node, NodeId::none}) {
    expect_error([&] { g.node(id); });
    expect_error([&] { g.op(id); });
    expect_error([&] { g.set_input(id, 0, x); });
    expect_error([&] { g.add_input_slot(id, x); });
    expect_error([&] { g.remove_node(id); });
  }
  expect_error([&] { g.is_output(foreign); });
  expect_error([&] { g.set_input(NodeId{0}, 0, foreign); });
  expect_error([&] { g.add_input_slot(NodeId{0}, foreign); });
  expect_error([&] { g.add_node({.name = "n", .op = Unary{UnaryKind::relu}, .inputs = {foreign}, .outputs = {}}); });
  expect_error([&] { g.add_node({.name = "n", .op = Unary{UnaryKind::relu}, .inputs = {x}, .outputs = {foreign}}); });
  EXPECT_THROW(g.add(Unary{UnaryKind::relu}, "n", {foreign}, "z"), Error);
  EXPECT_THROW(g.set_input(NodeId{0}, 1, x), Error);
  EXPECT_THROW(g.set_output(NodeId{0}, 1, x), Error);
  EXPECT_EQ(g, before);
  EXPECT_EQ(g.find("y"), y);
}

TEST(Graph, replace_uses_moves_every_consumer_once) {
  Graph g;
  const ValueId x = g.add_input("x", DataType::float32, {1});
  const ValueId y = g.add_input("y", DataType::float32, {1});
  g.add(Binary{BinaryKind::add}, "both", {x, y}, "a");
  g.add(Binary{BinaryKind::mul}, "twice", {x, x}, "b");
  g.replace_uses(x, y);
  EXPECT_TRUE(g.consumers(x).empty());
  EXPECT_EQ(g.consumers(y), (std::vector<NodeId>{NodeId{0}, NodeId{1}}));
  EXPECT_EQ(g.node(NodeId{1}).inputs, (std::vector<ValueId>{y, y}));
}

TEST(Graph, unique_names_are_numbered_from_one) {
  Graph g;
  EXPECT_EQ(g.unique_name("x"), "x");
  for (const char* name : {"x", "x_1", "x_2", "x_3", "x_4"}) g.add_value({.name = name});
  EXPECT_EQ(g.unique_name("x"), "x_5");
  EXPECT_EQ(g.unique_name("x_4"), "x_4_1");
}

// Quadratic work would take minutes here.
TEST(Graph, naming_a_hundred_thousand_values_is_not_quadratic) {
  Graph g;
  const ValueId x = g.add_input("x", DataType::float32, {1});
  for (int i = 0; i < 100'000; ++i) g.add(Unary{UnaryKind::relu}, "relu", {x}, g.unique_name("y"));
  EXPECT_EQ(g.consumers(x).size(), 100'000U);
  EXPECT_NE(g.find("y_99999"), ValueId::none);
}

}  // namespace
}  // namespace bitfold
