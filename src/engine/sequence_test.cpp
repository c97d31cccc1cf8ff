// Sequences, optionals and strings inside networks: Reference and Session give the same values.
#include <gtest/gtest.h>

#include "bitfold/error.h"
#include "bitfold/reference.h"
#include "bitfold/session.h"
#include "error_testing.h"
#include "op_testing.h"

namespace bitfold::testing {
namespace {

/// The outputs, which must be equal in both executors, in several runs of one session.
std::vector<Tensor> run(const Graph& graph, const std::vector<Tensor>& inputs) {
  const std::vector<Tensor> expected = Reference(graph).run(inputs);
  Session session(graph);
  for (int i = 0; i < 2; ++i) EXPECT_EQ(session.run(inputs), expected);
  EXPECT_EQ(parse_graph(print_graph(graph)), graph);
  return expected;
}

Tensor sequence(std::vector<Tensor> items) { return Tensor::container(DataType::sequence, std::move(items)); }

TEST(Sequence, is_split_changed_and_joined_between_float_layers) {
  const Graph graph = parse_graph(R"(graph "g"
input "x" float32 [3,2]
const "two" float32 [1] = 2
const "last" int64 [] = -1
const "first" int64 [] = 0
value "doubled" float32
value "rows" sequence
value "row" float32
value "fewer" sequence
value "turned" sequence
value "joined" float32
value "y" float32
value "n" int64
node Mul "mul" ("x", "two") -> ("doubled") {}
node SplitToSequence "split" ("doubled", -) -> ("rows") {axis=0 keepdims=1}
node SequenceAt "at" ("rows", "last") -> ("row") {}
node SequenceErase "erase" ("rows", "last") -> ("fewer") {}
node SequenceInsert "insert" ("fewer", "row", "first") -> ("turned") {}
node ConcatFromSequence "join" ("turned") -> ("joined") {axis=0 new_axis=0}
node Relu "relu" ("joined") -> ("y") {}
node SequenceLength "length" ("fewer") -> ("n") {}
output "y"
output "n"
)");
  const auto outputs = run(graph, {floats({3, 2}, {1, -2, 3, -4, 5, -6})});
  EXPECT_EQ(outputs[0], floats({3, 2}, {10, 0, 2, 0, 6, 0}));
  EXPECT_EQ(outputs[1], int64s({}, {2}));
}

/// Collects the first i + 1 elements of x in a sequence that a Loop carries.
Graph prefixes() {
  return parse_graph(R"(graph "prefixes"
input "n" int64 []
input "x" float32 [?]
value "empty" sequence
value "all" sequence
node SequenceEmpty "make" () -> ("empty") {dtype=float32}
node Loop "loop" ("n", -, "empty", "x") -> ("all") {captured=1}
body
graph "body"
input "i" int64 []
input "go" boolean []
input "before" sequence of float32
input "x" float32 [?]
const "zero" int64 [1] = 0
const "one" int64 [1] = 1
value "end" int64
value "part" float32
value "after" sequence
value "goes_on" boolean
node Add "add" ("i", "one") -> ("end") {}
node Slice "slice" ("x", "zero", "end", -, -) -> ("part") {}
node SequenceInsert "insert" ("before", "part", -) -> ("after") {}
node Identity "identity" ("go") -> ("goes_on") {}
output "goes_on"
output "after"
end
output "all"
)");
}

TEST(Loop, carries_a_sequence) {
  const Tensor x = floats({3}, {1, 2, 3});
  for (std::int64_t n : {0, 1, 3}) {
    std::vector<Tensor> items;
    for (std::int64_t i = 1; i <= n; ++i) {
      std::vector<float> part{1, 2, 3};
      part.resize(static_cast<std::size_t>(i));
      items.push_back(floats({i}, part));
    }
    const auto outputs = run(prefixes(), {int64s({}, {n}), x});
    ASSERT_EQ(outputs.size(), 1u);
    EXPECT_EQ(outputs[0], sequence(items));
  }
}

Graph optional_input() {
  return parse_graph(R"(graph "optional"
input "x" optional of float32
input "y" float32 [2]
value "has" boolean
value "z" float32
node OptionalHasElement "has_element" ("x") -> ("has") {}
node If "if" ("has", "x", "y") -> ("z") {}
body
graph "then"
input "x" optional of float32
input "y" float32 [2]
value "held" float32
value "sum" float32
node OptionalGetElement "get" ("x") -> ("held") {}
node Add "add" ("held", "y") -> ("sum") {}
output "sum"
end
body
graph "else"
input "x" optional of float32
input "y" float32 [2]
value "copy" float32
node Identity "identity" ("y") -> ("copy") {}
output "copy"
end
output "z"
)");
}

TEST(Optional, selects_a_branch) {
  const Tensor y = floats({2}, {10, 20}), x = floats({2}, {1, 2});
  EXPECT_EQ(run(optional_input(), {Tensor::container(DataType::optional, {x}), y})[0], floats({2}, {11, 22}));
  EXPECT_EQ(run(optional_input(), {Tensor::container(DataType::optional, {}), y})[0], y);
}

TEST(Optional, an_input_must_hold_the_declared_type) {
  const std::vector<Tensor> inputs{Tensor::container(DataType::optional, {int64s({1})}), floats({2}, {1, 2})};
  const std::string message = "input 'x' holds tensors of float32, got int64";
  expect_error([&] { Reference(optional_input()).run(inputs); }, message);
  expect_error([&] { Session(optional_input()).run(inputs); }, message);
}

TEST(Sequence, errors_name_the_node) {
  const Graph graph = parse_graph(R"(graph "g"
input "s" sequence of float32
input "i" int64 []
value "y" float32
node SequenceAt "at" ("s", "i") -> ("y") {}
output "y"
)");
  const std::vector<Tensor> inputs{sequence({floats({1}, {1})}), int64s({}, {1})};
  const std::string message = "[SequenceAt 'at'] position 1 is outside a sequence of length 1";
  expect_error([&] { Reference(graph).run(inputs); }, message);
  expect_error([&] { Session(graph).run(inputs); }, message);
}

TEST(Sequence, holds_tensors_of_one_type) {
  expect_error(
      [] {
        infer_values(parse_graph(R"(graph "g"
input "s" sequence of float32
input "x" int64 [2]
value "t" sequence
node SequenceInsert "insert" ("s", "x", -) -> ("t") {}
output "t"
)"));
      },
      "[SequenceInsert 'insert'] a sequence of float32 cannot hold a tensor of int64");
}

TEST(Session, runs_strings_beside_float_layers) {
  const Graph graph = parse_graph(R"(graph "g"
input "words" string [?]
input "x" float32 [2]
const "suffix" string [1] = "!"
value "loud" string
value "length" int64
value "y" float32
node StringConcat "concat" ("words", "suffix") -> ("loud") {}
node Relu "relu" ("x") -> ("y") {}
node Size "size" ("loud") -> ("length") {}
output "loud"
output "length"
output "y"
)");
  const auto words = Tensor::from<std::string>({2}, std::vector<std::string>{"a", "b"});
  const auto outputs = run(graph, {words, floats({2}, {-1, 1})});
  EXPECT_EQ(outputs[0], Tensor::from<std::string>({2}, std::vector<std::string>{"a!", "b!"}));
  EXPECT_EQ(outputs[1], int64s({}, {2}));
  EXPECT_EQ(outputs[2], floats({2}, {0, 1}));
  Session session(graph);
  std::vector<Tensor> given{Tensor(DataType::string, {2}), Tensor(DataType::int64, {}), Tensor(DataType::float32, {2})};
  session.run(std::vector<Tensor>{words, floats({2}, {-1, 1})}, given);
  EXPECT_EQ(given, outputs);
}

}  // namespace
}  // namespace bitfold::testing
