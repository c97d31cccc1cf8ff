// If, Loop and Scan through Reference: values, shapes, captured values, and what is refused.
#include <gtest/gtest.h>

#include <functional>

#include "bitfold/passes.h"
#include "error_testing.h"
#include "op_testing.h"

namespace bitfold::testing {
namespace {

using testing::message_of;

Tensor scalar(std::int64_t value) { return int64s({}, {value}); }
Tensor flag(bool value) { return booleans({}, {value ? 1 : 0}); }

/// y = condition ? x + k : x * x, k a captured input.
Graph branches() {
  return parse_graph(R"(graph "branches"
input "condition" boolean []
input "x" float32 [?]
input "k" float32 [1]
value "y" float32 [?]
node If "if" ("condition", "x", "k") -> ("y") {}
body
graph "then"
input "x" float32 [?]
input "k" float32 [1]
value "sum" float32
node Add "add" ("x", "k") -> ("sum") {}
output "sum"
end
body
graph "else"
input "x" float32 [?]
input "k" float32 [1]
value "square" float32
node Mul "mul" ("x", "x") -> ("square") {}
output "square"
end
output "y"
)");
}

/// Fibonacci numbers: carries a and b, collects a.
Graph fibonacci() {
  return parse_graph(R"(graph "fibonacci"
input "count" int64 []
const "one" float32 [1] = 1
value "a" float32
value "b" float32
value "all" float32
node Loop "loop" ("count", -, "one", "one") -> ("a", "b", "all") {captured=0}
body
graph "step"
input "i" int64 []
input "go" boolean []
input "a_in" float32 [1]
input "b_in" float32 [1]
value "go_on" boolean
value "b_out" float32
value "kept" float32
node Identity "go_on_node" ("go") -> ("go_on") {}
node Add "sum" ("a_in", "b_in") -> ("b_out") {}
node Identity "keep" ("a_in") -> ("kept") {}
output "go_on"
output "b_in"
output "b_out"
output "kept"
end
output "a"
output "all"
)");
}

TEST(Control, if_runs_the_branch_of_its_condition_with_captured_values) {
  const Reference reference(branches());
  const Tensor x = floats({3}, {1, 2, 3}), k = floats({1}, {10});
  EXPECT_EQ(reference.run(std::vector{flag(true), x, k}).front(), floats({3}, {11, 12, 13}));
  EXPECT_EQ(reference.run(std::vector{flag(false), x, k}).front(), floats({3}, {1, 4, 9}));
}

TEST(Control, loop_carries_values_and_collects_outputs) {
  const Reference reference(fibonacci());
  const std::vector<Tensor> y = reference.run(std::vector{scalar(6)});
  EXPECT_EQ(y[0], floats({1}, {13}));
  EXPECT_EQ(y[1], floats({6, 1}, {1, 1, 2, 3, 5, 8}));
}

TEST(Control, loop_without_iterations_collects_outputs_of_the_inferred_type_and_shape) {
  const std::vector<Tensor> y = Reference(fibonacci()).run(std::vector{scalar(0)});
  EXPECT_EQ(y[0], floats({1}, {1}));
  EXPECT_EQ(y[1], floats({0, 1}, {}));
  const Reference flags(parse_graph(R"(graph "flags"
input "count" int64 []
input "x" boolean [?,2]
value "all" boolean
node Loop "loop" ("count", -, "x") -> ("all") {captured=1}
body
graph "step"
input "i" int64 []
input "go" boolean []
input "x_in" boolean [?,2]
value "go_on" boolean
value "kept" boolean
node Identity "go_on_node" ("go") -> ("go_on") {}
node Identity "keep" ("x_in") -> ("kept") {}
output "go_on"
output "kept"
end
output "all"
)"));
  EXPECT_EQ(flags.run(std::vector{scalar(0), booleans({3, 2}, {1, 0, 1, 0, 1, 0})}).front(), booleans({0, 3, 2}, {}));
}

TEST(Control, scan_walks_its_inputs_in_either_direction) {
  Graph graph = parse_graph(R"(graph "sums"
input "start" float32 [1]
input "x" float32 [?,1]
value "total" float32
value "sums" float32
node Scan "scan" ("start", "x") -> ("total", "sums") {num_scan_inputs=1 captured=0 scan_input_directions=[1]}
body
graph "step"
input "before" float32 [1]
input "item" float32 [1]
value "after" float32
node Add "add" ("before", "item") -> ("after") {}
value "copy" float32
node Identity "id" ("after") -> ("copy") {}
output "after"
output "copy"
end
output "total"
output "sums"
)");
  const std::vector<Tensor> y = Reference(graph).run(std::vector{floats({1}, {100}), floats({3, 1}, {1, 2, 3})});
  EXPECT_EQ(y[0], floats({1}, {106}));
  EXPECT_EQ(y[1], floats({3, 1}, {103, 105, 106}));
}

TEST(Control, text_form_keeps_bodies) {
  Graph graph = branches();
  EXPECT_EQ(print_graph(parse_graph(print_graph(graph))), print_graph(graph));
  EXPECT_EQ(parse_graph(print_graph(graph)), graph);
}

TEST(Control, shapes_are_inferred_through_bodies) {
  Graph graph = branches();
  const auto infos = infer_values(graph, std::vector<Shape>{{}, {5}, {1}});
  const ValueInfo& y = infos[static_cast<std::size_t>(graph.find("y"))];
  EXPECT_EQ(y.dtype, DataType::float32);
  EXPECT_EQ(y.shape, Shape{5});
  Graph loop = fibonacci();
  infer_shapes(loop);
  EXPECT_EQ(loop.value(loop.find("a")).shape, Shape{1});
  EXPECT_EQ(loop.value(loop.find("all")).shape, (Shape{kDynamic, 1}));
}

TEST(Control, values_of_bodies_are_reported_with_their_prefix) {
  std::vector<std::string> seen;
  const Graph graph = branches();
  const Reference reference(graph, {.on_body_value = [&](const std::string& prefix, ValueId, const Tensor& t) {
                              seen.push_back(prefix + to_string(t.shape()));
                            }});
  reference.run(std::vector{flag(false), floats({2}, {1, 2}), floats({1}, {1})});
  EXPECT_EQ(seen, (std::vector<std::string>{"if.1/2", "if.1/1", "if.1/2"}));
}

TEST(Control, operators_in_bodies_are_checked_before_anything_runs) {
  Graph graph = branches();
  auto bodies = graph.node(graph.nodes().front()).bodies;
  Graph broken = *bodies[1];
  broken.op(broken.nodes().front()) = Opaque{"", "NoSuchOperator", {}};
  bodies[1] = std::make_shared<const Graph>(std::move(broken));
  graph.set_bodies(graph.nodes().front(), bodies);
  EXPECT_EQ(message_of([&] { Reference r(graph); }), "cannot run: 1 x NoSuchOperator (first: [NoSuchOperator 'mul'])");
}

TEST(Control, a_loop_that_could_never_end_is_refused) {
  Graph graph = fibonacci();
  graph.set_input(graph.nodes().front(), 0, ValueId::none);
  EXPECT_NE(message_of([&] { Reference(graph).run(std::vector{scalar(1)}); }).find("it would never end"),
            std::string::npos);
}

TEST(Control, passes_optimize_bodies) {
  Graph graph = branches();
  const NodeId id = graph.nodes().front();
  auto bodies = graph.node(id).bodies;
  Graph body = *bodies[0];
  const ValueId e = body.add(Unary{UnaryKind::exp}, "exp", {body.add_constant("zero", floats({1}, {0}))}, "one");
  const ValueId y = body.add(Binary{BinaryKind::add}, "again", {body.outputs().front(), e}, "y");
  body.clear_outputs();
  body.mark_output(y);
  bodies[0] = std::make_shared<const Graph>(std::move(body));
  graph.set_bodies(id, bodies);
  optimize(graph);
  // the Exp of a constant was folded into a constant
  EXPECT_EQ(graph.node(graph.nodes().front()).bodies[0]->node_count(), 2U);
  const Tensor x = floats({1}, {1}), k = floats({1}, {10});
  EXPECT_EQ(Reference(graph).run(std::vector{flag(true), x, k}).front(), floats({1}, {12}));
}

}  // namespace
}  // namespace bitfold::testing
