// Movements of codes between QuantizeLinear and DequantizeLinear become movements of reals with grids.
#include <fmt/format.h>
#include <gtest/gtest.h>

#include "bitfold/reference.h"
#include "onnx/attributes.h"
#include "onnx/model_builder.h"

namespace bitfold {
namespace {

using testing::floats;
using testing::ModelBuilder;

Tensor bytes(const Shape& shape, const std::vector<std::uint8_t>& values) {
  return Tensor::from<std::uint8_t>(shape, values);
}
ModelBuilder with_grid() {
  ModelBuilder b;
  b.output("y").constant("s", floats({}, {0.5F})).constant("z", bytes({}, {3}));
  b.constant("other", floats({}, {0.25F}));
  return b;
}
std::size_t count_of(const Graph& graph, const char* type) {
  std::size_t count = 0;
  for (const NodeId id : graph.nodes()) count += op_name(graph.node(id).op) == type ? 1 : 0;
  return count;
}

TEST(MovementOfCodes, gets_the_grid_of_the_nodes_around_it) {
  ModelBuilder b = with_grid();
  b.input("x", {2, 2}).constant("shape", Tensor::from<std::int64_t>({1}, {4}));
  b.node("Relu", "relu", {"x"}, {"r"});
  b.node("QuantizeLinear", "q", {"r", "s", "z"}, {"codes"});
  set_integers(b.node("Transpose", "transpose", {"codes"}, {"turned"}), "perm", {1, 0});
  b.node("Reshape", "reshape", {"turned", "shape"}, {"flat"});
  b.node("DequantizeLinear", "dq", {"flat", "s", "z"}, {"reals"});
  b.node("Exp", "exp", {"reals"}, {"y"});
  const Graph graph = b.load();
  EXPECT_EQ(graph.node_count(), 4u);
  for (const NodeId id : graph.nodes()) {
    const Value& output = graph.value(graph.node(id).outputs[0]);
    EXPECT_EQ(output.dtype, DataType::float32);
    EXPECT_EQ(output.quant.has_value(), output.name != "y") << output.name;
  }
}

TEST(MovementOfCodes, of_a_constant_moves_a_constant_with_a_grid) {
  ModelBuilder b = with_grid();
  b.input("x", {2}, onnx::TensorProto::INT64).constant("table", bytes({3, 1}, {1, 3, 9}));
  b.node("Gather", "gather", {"table", "x"}, {"codes"});
  b.node("DequantizeLinear", "dq", {"codes", "s", "z"}, {"y"});
  const Graph graph = b.load();
  EXPECT_EQ(count_of(graph, "DequantizeLinear"), 0u);
  const Value& table = graph.value(graph.node(graph.nodes().at(0)).inputs[0]);
  ASSERT_TRUE(table.quant && table.constant);
  EXPECT_EQ(table.constant->dtype(), DataType::uint8);
  EXPECT_EQ(Reference(graph).run(std::vector{Tensor::from<std::int64_t>({2}, {2, 0})})[0], floats({2, 1}, {3, -1}));
}

TEST(MovementOfCodes, pads_with_the_code_of_zero) {
  for (const std::uint8_t fill : {3, 4}) {
    ModelBuilder b = with_grid();
    b.input("x", {2}).constant("pads", Tensor::from<std::int64_t>({2}, {1, 0})).constant("fill", bytes({}, {fill}));
    b.node("QuantizeLinear", "q", {"x", "s", "z"}, {"codes"});
    b.node("Pad", "pad", {"codes", "pads", "fill"}, {"padded"});
    b.node("DequantizeLinear", "dq", {"padded", "s", "z"}, {"y"});
    const Graph graph = b.load();
    EXPECT_EQ(count_of(graph, "DequantizeLinear"), fill == 3 ? 0u : 1u);
    EXPECT_EQ(Reference(graph).run(std::vector{floats({2}, {1, 2})})[0],
              floats({3}, {static_cast<float>(fill - 3) * 0.5F, 1, 2}));
  }
}

TEST(MovementOfCodes, is_found_once_if_chains_branch_and_join) {
  constexpr int kRounds = 60;
  ModelBuilder b = with_grid();
  b.input("x", {2}).constant("begin", Tensor::from<std::int64_t>({1}, {0}));
  b.constant("end", Tensor::from<std::int64_t>({1}, {2}));
  b.node("QuantizeLinear", "q", {"x", "s", "z"}, {"codes0"});
  for (int i = 0; i < kRounds; ++i) {
    const std::string codes = fmt::format("codes{}", i), twice = fmt::format("twice{}", i);
    set_integer(b.node("Concat", twice, {codes, codes}, {twice}), "axis", 0);
    b.node("Slice", fmt::format("slice{}", i), {twice, "begin", "end"}, {fmt::format("codes{}", i + 1)});
  }
  b.node("DequantizeLinear", "dq", {fmt::format("codes{}", kRounds), "s", "z"}, {"y"});
  const Graph graph = b.load();
  EXPECT_EQ(count_of(graph, "DequantizeLinear"), 0u);
  EXPECT_EQ(Reference(graph).run(std::vector{floats({2}, {1, -1})})[0], floats({2}, {1, -1}));
}

TEST(MovementOfCodes, is_found_in_long_chains) {
  constexpr int kLength = 20'000;
  ModelBuilder b = with_grid();
  b.input("x", {2, 2});
  b.node("QuantizeLinear", "q", {"x", "s", "z"}, {"codes0"});
  for (int i = 0; i < kLength; ++i)
    b.node("Flatten", fmt::format("flatten{}", i), {fmt::format("codes{}", i)}, {fmt::format("codes{}", i + 1)});
  b.node("DequantizeLinear", "dq", {fmt::format("codes{}", kLength), "s", "z"}, {"y"});
  EXPECT_EQ(count_of(b.load(), "DequantizeLinear"), 0u);
}

TEST(MovementOfCodes, stays_one_of_codes_unless_every_grid_is_the_same) {
  for (const auto& [from, to] : {std::pair{"s", "other"}, {"other", "s"}, {"input", "s"}}) {
    ModelBuilder b = with_grid();
    const bool is_input = from == std::string("input");
    b.input("x", {2, 2}, is_input ? onnx::TensorProto::UINT8 : onnx::TensorProto::FLOAT);
    if (!is_input) b.node("QuantizeLinear", "q", {"x", from, "z"}, {"codes"});
    set_integers(b.node("Transpose", "transpose", {is_input ? "x" : "codes"}, {"turned"}), "perm", {1, 0});
    b.node("DequantizeLinear", "dq", {"turned", to, "z"}, {"y"});
    EXPECT_EQ(count_of(b.load(), "DequantizeLinear"), 1u) << from << " " << to;
  }
}

TEST(MovementOfCodes, stays_one_of_codes_if_the_codes_are_an_output) {
  ModelBuilder b = with_grid();
  b.input("x", {2, 2}).output("turned");
  b.node("QuantizeLinear", "q", {"x", "s", "z"}, {"codes"});
  set_integers(b.node("Transpose", "transpose", {"codes"}, {"turned"}), "perm", {1, 0});
  b.node("DequantizeLinear", "dq", {"turned", "s", "z"}, {"y"});
  const Graph graph = b.load();
  EXPECT_EQ(count_of(graph, "DequantizeLinear"), 1u);
  EXPECT_EQ(Reference(graph).run(std::vector{floats({2, 2}, {0, 1, 2, 3})})[1], bytes({2, 2}, {3, 7, 5, 9}));
}

}  // namespace
}  // namespace bitfold
