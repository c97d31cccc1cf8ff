// Values that a loop carries unchanged become constants of its body.
#include <gtest/gtest.h>

#include "bitfold/error.h"
#include "bitfold/graph.h"
#include "bitfold/passes.h"
#include "bitfold/reference.h"
#include "passes/rewrite.h"

namespace bitfold {
namespace {

/// h = h * w repeated `count` times; `carried` is what the body returns for w, `last` an output of the network.
Graph loop(const std::string& carried, const std::string& last = "h", const std::string& start = "w") {
  return parse_graph(R"(graph "loop"
input "count" int64 []
input "x" float32 [1,2]
input "v" float32 [2,2]
const "w" float32 [2,2] = 1 2 -1 3
value "h" float32
value "w_end" float32
value "all" float32
value "sum" float32
node Loop "loop" ("count", -, "x", ")" +
                     start + R"(") -> ("h", "w_end", "all") {captured=0}
body
graph "step"
input "i" int64 []
input "go" boolean []
input "h_in" float32 [1,2]
input "w_in" float32 [2,2]
value "go_on" boolean
value "h_out" float32
value "same" float32
value "same_too" float32
value "other" float32
value "kept" float32
node Identity "go_on_node" ("go") -> ("go_on") {}
node MatMul "product" ("h_in", "w_in") -> ("h_out") {}
node Identity "first" ("w_in") -> ("same") {}
node Identity "second" ("same") -> ("same_too") {}
node Add "change" ("w_in", "w_in") -> ("other") {}
node Identity "keep" ("h_out") -> ("kept") {}
output "go_on"
output "h_out"
output ")" + carried +
                     R"("
output "kept"
end
node Add "add" ("h", "w_end") -> ("sum") {}
output ")" + last + R"("
output "sum"
output "all"
)");
}

std::vector<Tensor> results(const Graph& graph) {
  const std::vector<Tensor> inputs{Tensor::from<std::int64_t>({}, std::vector<std::int64_t>{3}),
                                   Tensor::from<float>({1, 2}, std::vector<float>{1, -2}),
                                   Tensor::from<float>({2, 2}, std::vector<float>{1, 0, 2, 1})};
  return Reference(graph).run(inputs);
}

const Node& node_named(const Graph& graph, const std::string& name) {
  for (NodeId id : graph.nodes())
    if (graph.node(id).name == name) return graph.node(id);
  throw Error("no such node");
}

TEST(FoldInvariants, a_carried_constant_becomes_a_constant_of_the_body) {
  for (const char* carried : {"w_in", "same", "same_too"}) {
    Graph graph = loop(carried);
    const std::vector<Tensor> before = results(graph);
    EXPECT_EQ(fold_invariants(graph), 1);
    verify(graph, Stage::imported);
    const Node& node = node_named(graph, "loop");
    EXPECT_EQ(node.inputs.size(), 3U);
    EXPECT_EQ(node.outputs.size(), 2U);
    const Graph& body = *node.bodies[0];
    EXPECT_EQ(body.inputs().size(), 3U);
    EXPECT_EQ(body.outputs().size(), 3U);
    EXPECT_TRUE(body.is_constant(node_named(body, "product").inputs[1]));
    EXPECT_EQ(graph.value(node_named(graph, "add").inputs[1]).name, "w") << "its end is its start";
    EXPECT_EQ(results(graph), before);
    EXPECT_EQ(fold_invariants(graph), 0);
    Graph whole = loop(carried);
    optimize(whole);
    EXPECT_EQ(results(whole), before);
  }
}

TEST(FoldInvariants, a_value_that_changes_or_begins_with_computed_data_is_carried_on) {
  for (Graph graph : {loop("other"), loop("w_in", "h", "v"), loop("w_in", "w_end")}) {
    const std::vector<Tensor> before = results(graph);
    EXPECT_EQ(fold_invariants(graph), 0);
    EXPECT_EQ(node_named(graph, "loop").inputs.size(), 4U);
    EXPECT_EQ(results(graph), before);
  }
}

TEST(FoldInvariants, a_scan_keeps_its_other_states) {
  Graph graph = parse_graph(R"(graph "scan"
input "x" float32 [?,1]
input "shift" float32 [1]
const "zero" float32 [1] = 0
const "gain" float32 [1] = 2
value "gain_end" float32
value "total" float32
value "sums" float32
node Scan "scan" ("gain", "zero", "x", "shift") -> ("gain_end", "total", "sums") {num_scan_inputs=1 captured=1}
body
graph "step"
input "g" float32 [1]
input "before" float32 [1]
input "item" float32 [1]
input "k" float32 [1]
value "scaled" float32
value "shifted" float32
value "after" float32
value "copy" float32
node Mul "scale" ("item", "g") -> ("scaled") {}
node Add "add_k" ("scaled", "k") -> ("shifted") {}
node Add "add" ("before", "shifted") -> ("after") {}
node Identity "id" ("after") -> ("copy") {}
output "g"
output "after"
output "copy"
end
output "total"
output "sums"
)");
  const auto run = [](const Graph& g) {
    return Reference(g).run(std::vector{Tensor::from<float>({3, 1}, std::vector<float>{1, 2, 3}),
                                        Tensor::from<float>({1}, std::vector<float>{10})});
  };
  EXPECT_EQ(fold_invariants(graph), 1);
  EXPECT_EQ(node_named(graph, "scan").inputs.size(), 3U);
  const std::vector<Tensor> y = run(graph);
  EXPECT_EQ(y[0], Tensor::from<float>({1}, std::vector<float>{42}));
  EXPECT_EQ(y[1], Tensor::from<float>({3, 1}, std::vector<float>{12, 26, 42}));
}

}  // namespace
}  // namespace bitfold
