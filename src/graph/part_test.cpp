#include "bitfold/part.h"

#include <gtest/gtest.h>

#include <algorithm>

#include "bitfold/error.h"

namespace bitfold {
namespace {

using Names = std::vector<std::string>;

/// x -> a -> h -> [acme.Wobble] -> u -> b -> y, and h -> c -> z. All computed nodes but one are Relus and Tanhs.
Graph around_an_unknown_operator() {
  Graph g;
  g.opset = 17;
  const ValueId x = g.add_input("x", DataType::float32, {kDynamic, 4});
  const ValueId h = g.add(Unary{UnaryKind::relu}, "a", {x}, "h");
  const ValueId u = g.add_value({.name = "u", .dtype = DataType::unknown, .shape = Shape{kDynamic, 4}});
  g.add_node({.name = "w", .op = Opaque{.domain = "acme", .type = "Wobble"}, .inputs = {h}, .outputs = {u}});
  g.mark_output(g.add(Unary{UnaryKind::tanh}, "b", {u}, "y"));
  g.mark_output(g.add(Unary{UnaryKind::tanh}, "c", {h}, "z"));
  return g;
}

Names value_names(const Graph& graph, const std::vector<ValueId>& ids) {
  Names names;
  for (ValueId id : ids) names.push_back(graph.value(id).name);
  return names;
}

Names node_names(const Graph& graph) {
  Names names;
  for (NodeId id : graph.nodes()) names.push_back(graph.node(id).name);
  return names;
}

std::string refusal(const Graph& graph, const Cut& cut) {
  try {
    extract_part(graph, cut);
  } catch (const Error& error) {
    return error.what();
  }
  return "none";
}

void expect_words(const std::string& text, const Names& words) {
  for (const std::string& word : words) EXPECT_NE(text.find(word), std::string::npos) << word << " is not in: " << text;
}

TEST(Part, a_network_that_can_be_run_is_a_part_with_all_nodes) {
  Graph g;
  const ValueId x = g.add_input("x", DataType::float32, {2});
  g.mark_output(g.add(Unary{UnaryKind::relu}, "r", {x}, "y"));
  g.add(Unary{UnaryKind::tanh}, "unused", {x}, "dead");
  const Part part = extract_part(g);
  EXPECT_TRUE(part.left.empty());
  EXPECT_EQ(node_names(part.graph), (Names{"r", "unused"}));
  EXPECT_EQ(value_names(part.graph, part.graph.outputs()), Names{"y"});
  EXPECT_EQ(describe_left(part.left), "");
}

TEST(Part, ends_where_an_operator_cannot_be_run) {
  const Part part = extract_part(around_an_unknown_operator());
  EXPECT_EQ(node_names(part.graph), (Names{"a", "c"}));
  EXPECT_EQ(value_names(part.graph, part.graph.inputs()), Names{"x"});
  EXPECT_EQ(value_names(part.graph, part.graph.outputs()), (Names{"z", "h"}));
  EXPECT_EQ(part.graph.opset, 17);
  ASSERT_EQ(part.left.size(), 2U);
  EXPECT_EQ(part.left[0].node, "w");
  EXPECT_EQ(part.left[0].op, "acme.Wobble");
  EXPECT_EQ(part.left[0].cause, LeftBecause::cannot_run);
  EXPECT_EQ(part.left[1].node, "b");
  EXPECT_EQ(part.left[1].cause, LeftBecause::not_reached);
  EXPECT_EQ(part.left[1].reason, "it needs the output of [acme.Wobble 'w']");
  EXPECT_EQ(describe_left(part.left),
            "1 node is left as it is, because it cannot be run: 1 x acme.Wobble (first: [acme.Wobble 'w']); 1 node "
            "after it stays in float");
}

TEST(Part, may_start_at_the_output_of_an_operator_that_cannot_be_run) {
  const Part part = extract_part(around_an_unknown_operator(), {.inputs_at = {"u"}});
  EXPECT_EQ(node_names(part.graph), Names{"b"});
  EXPECT_EQ(part.graph.value(part.graph.inputs()[0]).dtype, DataType::float32);
  EXPECT_EQ(part.graph.value(part.graph.inputs()[0]).shape, (Shape{kDynamic, 4}));
  EXPECT_EQ(value_names(part.graph, part.graph.outputs()), Names{"y"});
  ASSERT_EQ(part.left.size(), 3U);
  for (const LeftNode& left : part.left) EXPECT_EQ(left.cause, LeftBecause::outside) << left.node;
  EXPECT_EQ(part.left[2].reason, "it needs the input 'x'");
  const Part all = extract_part(around_an_unknown_operator(), {.inputs_at = {"u", "x"}});
  EXPECT_EQ(node_names(all.graph), (Names{"a", "b", "c"}));
  EXPECT_EQ(value_names(all.graph, all.graph.inputs()), (Names{"u", "x"}));
}

TEST(Part, ends_at_the_given_values) {
  const Part part = extract_part(around_an_unknown_operator(), {.outputs_at = {"h"}});
  EXPECT_EQ(node_names(part.graph), Names{"a"});
  EXPECT_EQ(value_names(part.graph, part.graph.outputs()), Names{"h"});
  ASSERT_EQ(part.left.size(), 3U);
  EXPECT_EQ(part.left[2].reason, "no output of the part needs it");
}

TEST(Part, names_that_cannot_be_used_are_errors_with_the_cause) {
  Graph g = around_an_unknown_operator();
  const ValueId one = g.add_constant("one", Tensor::from<float>({1}, std::vector{1.0F}));
  g.mark_output(g.add(Binary{BinaryKind::add}, "sum", {g.find("h"), one}, "layer_sum"));
  expect_words(refusal(g, {.outputs_at = {"layer_sun"}}),
               {"outputs_at: the network has no value 'layer_sun'; did you mean 'layer_sum'?"});
  expect_words(refusal(g, {.inputs_at = {"layer_sun"}}), {"inputs_at:", "'layer_sum'"});
  expect_words(refusal(g, {.inputs_at = {"one"}}), {"inputs_at: 'one' is a constant"});
  expect_words(refusal(g, {.inputs_at = {"h", "h"}}), {"'h' is named twice"});
  expect_words(refusal(g, {.outputs_at = {"y"}}), {"'y' cannot be computed", "the output of [acme.Wobble 'w']"});
  expect_words(refusal(g, {.outputs_at = {"u"}}), {"'u' cannot be computed", "[acme.Wobble 'w'] cannot be run"});
  expect_words(refusal(g, {.inputs_at = {"u"}, .outputs_at = {"z"}}), {"'z' cannot be computed", "the input 'x'"});
  expect_words(refusal(g, {.outputs_at = {"x"}}), {"'x' is an input of the part"});
  expect_words(refusal(g, {.inputs_at = {"y"}}), {"no node lies between the given values"});
}

TEST(Part, an_operator_in_a_body_that_cannot_be_run_excludes_the_whole_node) {
  const auto branch = [](const Op& op, const std::string& name) {
    Graph body;
    const ValueId x = body.add_input(name + "_x", DataType::float32, {2});
    body.mark_output(body.add(op, name, {x}, name + "_y"));
    return std::make_shared<const Graph>(std::move(body));
  };
  Graph g;
  const ValueId x = g.add_input("x", DataType::float32, {2});
  const ValueId r = g.add(Unary{UnaryKind::relu}, "r", {x}, "h");
  const ValueId condition = g.add_input("c", DataType::boolean, {});
  const ValueId y = g.add_value({.name = "y"});
  g.add_node({.name = "if",
              .op = If{},
              .inputs = {condition, r, r},
              .outputs = {y},
              .bodies = {branch(Unary{UnaryKind::tanh}, "then"), branch(Opaque{"acme", "Wobble", {}}, "else")}});
  g.mark_output(y);
  const Part part = extract_part(g);
  EXPECT_EQ(node_names(part.graph), Names{"r"});
  ASSERT_EQ(part.left.size(), 1U);
  EXPECT_EQ(part.left[0].cause, LeftBecause::cannot_run);
  expect_words(part.left[0].reason, {"its body contains 1 x acme.Wobble", "'else'"});
}

TEST(PutBack, an_unchanged_part_gives_the_same_network) {
  Graph g = around_an_unknown_operator();
  g.compact();
  for (const Cut& cut : {Cut{}, Cut{.inputs_at = {"u"}}, Cut{.outputs_at = {"h"}}, Cut{.inputs_at = {"h", "u"}}}) {
    const Part part = extract_part(g, cut);
    const Graph whole = put_back(part, part.graph);
    Names names = node_names(whole);
    std::ranges::sort(names);
    EXPECT_EQ(names, (Names{"a", "b", "c", "w"}));
    EXPECT_EQ(value_names(whole, whole.inputs()), Names{"x"});
    EXPECT_EQ(value_names(whole, whole.outputs()), (Names{"y", "z"}));
    for (NodeId id : whole.nodes()) {
      const Node& node = whole.node(id);
      const NodeId original = g.producer(g.find(whole.value(node.outputs[0]).name));
      EXPECT_EQ(value_names(whole, node.inputs), value_names(g, g.node(original).inputs)) << node.name;
      EXPECT_EQ(node.op, g.node(original).op);
    }
  }
}

TEST(PutBack, readers_outside_the_part_do_not_see_the_grid_of_its_input) {
  const QuantParams grid{.scale = {0.5F}, .zero_point = {3}};
  const Part shared = extract_part(around_an_unknown_operator(), {.inputs_at = {"h"}});
  Graph changed = shared.graph;
  changed.value(changed.inputs()[0]).quant = grid;
  const Graph whole = put_back(shared, changed);
  EXPECT_FALSE(whole.value(whole.find("h")).quant);
  const Node& reader = whole.node(whole.producer(whole.find("z")));
  EXPECT_EQ(whole.value(reader.inputs[0]).quant, grid);
  EXPECT_EQ(op_name(whole.node(whole.producer(reader.inputs[0])).op), "Requantize");

  const Part alone = extract_part(around_an_unknown_operator(), {.inputs_at = {"u"}});
  changed = alone.graph;
  changed.value(changed.inputs()[0]).quant = grid;
  const Graph direct = put_back(alone, changed);
  EXPECT_EQ(direct.value(direct.find("u")).quant, grid);
  EXPECT_EQ(direct.node_count(), 4U);
}

}  // namespace
}  // namespace bitfold
