// Nodes of opsets 1 to 6 take the present form of their operators.
#include <gtest/gtest.h>

#include "bitfold/error.h"
#include "bitfold/reference.h"
#include "onnx/attributes.h"
#include "onnx/model_builder.h"

namespace bitfold {
namespace {

using testing::floats;
using testing::ModelBuilder;

Tensor run(const Graph& graph, const std::vector<Tensor>& inputs) { return Reference(graph).run(inputs)[0]; }

Tensor zeros(const Shape& shape) { return Tensor(DataType::float32, shape); }

TEST(EarlyOpset, the_second_operand_is_broadcast_along_the_given_axes) {
  for (const bool is_constant : {true, false}) {
    ModelBuilder b(6);
    b.input("x", {1, 2, 2}).output("y");
    if (is_constant)
      b.constant("c", floats({2}, {10, 20}));
    else
      b.input("c", {2});
    onnx::NodeProto& add = b.node("Add", "add", {"x", "c"}, {"y"});
    set_integer(add, "broadcast", 1);
    set_integer(add, "axis", 1);
    std::vector<Tensor> inputs{zeros({1, 2, 2})};
    if (!is_constant) inputs.push_back(floats({2}, {10, 20}));
    EXPECT_EQ(run(b.load(), inputs), floats({1, 2, 2}, {10, 10, 20, 20})) << is_constant;
  }
}

TEST(EarlyOpset, without_an_axis_the_last_axes_are_broadcast) {
  ModelBuilder b(6);
  b.input("x", {1, 2, 2}).output("y").constant("c", floats({2}, {10, 20}));
  set_integer(b.node("Sub", "sub", {"x", "c"}, {"y"}), "broadcast", 1);
  EXPECT_EQ(run(b.load(), {zeros({1, 2, 2})}), floats({1, 2, 2}, {-10, -20, -10, -20}));
}

TEST(EarlyOpset, an_axis_outside_the_shape_is_an_error) {
  ModelBuilder b(6);
  b.input("x", {1, 2, 2}).output("y").constant("c", floats({2}, {10, 20}));
  onnx::NodeProto& add = b.node("Add", "add", {"x", "c"}, {"y"});
  set_integer(add, "broadcast", 1);
  set_integer(add, "axis", 3);
  try {
    b.load();
    FAIL();
  } catch (const Error& error) {
    EXPECT_STREQ(error.what(), "test.onnx: [Add 'add'] has axis 3 for inputs of shape 1x2x2 and 2");
  }
}

TEST(EarlyOpset, prelu_has_a_slope_for_each_channel) {
  ModelBuilder b(6);
  b.input("x", {1, 2, 2}).output("y").constant("slope", floats({2}, {0.5F, 0.25F}));
  b.node("PRelu", "prelu", {"x", "slope"}, {"y"});
  EXPECT_EQ(run(b.load(), {floats({1, 2, 2}, {-4, 1, -4, 1})}), floats({1, 2, 2}, {-2, 1, -1, 1}));
}

TEST(EarlyOpset, names_of_overwritten_inputs_are_dropped) {
  ModelBuilder b(1);
  b.input("x", {2}).output("y");
  set_integers(b.node("Relu", "relu", {"x"}, {"y"}), "consumed_inputs", {0});
  EXPECT_EQ(run(b.load(), {floats({2}, {-1, 1})}), floats({2}, {0, 1}));
}

TEST(EarlyOpset, batch_norm_with_is_test_is_read) {
  ModelBuilder b(6);
  b.input("x", {1, 1, 2}).output("y");
  for (const char* name : {"scale", "bias", "mean", "variance"}) b.constant(name, floats({1}, {1}));
  onnx::NodeProto& norm = b.node("BatchNormalization", "bn", {"x", "scale", "bias", "mean", "variance"}, {"y"});
  set_integer(norm, "is_test", 1);
  set_real(norm, "epsilon", 0);
  EXPECT_EQ(run(b.load(), {floats({1, 1, 2}, {3, 5})}), floats({1, 1, 2}, {3, 5}));
}

TEST(EarlyOpset, attributes_become_inputs_or_numbers) {
  {
    ModelBuilder b(1);
    b.input("x", {2, 2}).output("y");
    set_integers(b.node("Reshape", "reshape", {"x"}, {"y"}), "shape", {4});
    EXPECT_EQ(run(b.load(), {zeros({2, 2})}), zeros({4}));
  }
  {
    ModelBuilder b(5);
    b.input("x", {2}).output("y");
    set_word(b.node("Cast", "cast", {"x"}, {"y"}), "to", "INT32");
    EXPECT_EQ(run(b.load(), {floats({2}, {1.5F, 2})}),
              Tensor::from<std::int32_t>({2}, std::vector<std::int32_t>{1, 2}));
  }
  {
    ModelBuilder b(1);
    b.input("x", {1, 1}).output("y");
    set_integers(b.node("Pad", "pad", {"x"}, {"y"}), "paddings", {0, 1, 0, 0});
    EXPECT_EQ(run(b.load(), {floats({1, 1}, {5})}), floats({1, 2}, {0, 5}));
  }
  {
    ModelBuilder b(5);
    b.input("x", {1, 2}).output("y").constant("tiles", floats({}, {2})).constant("axis", floats({}, {1}));
    b.node("Tile", "tile", {"x", "tiles", "axis"}, {"y"});
    EXPECT_EQ(run(b.load(), {floats({1, 2}, {5, 6})}), floats({1, 4}, {5, 6, 5, 6}));
  }
  {
    ModelBuilder b(1);
    b.input("x", {1, 1, 1, 2}).output("y");
    onnx::NodeProto& upsample = b.node("Upsample", "up", {"x"}, {"y"});
    set_real(upsample, "width_scale", 1);
    set_real(upsample, "height_scale", 2);
    EXPECT_EQ(run(b.load(), {floats({1, 1, 1, 2}, {5, 6})}), floats({1, 1, 2, 2}, {5, 6, 5, 6}));
  }
}

TEST(EarlyOpset, concat_joins_axis_1_by_default) {
  ModelBuilder b(3);
  b.input("x", {1, 1}).output("y");
  b.node("Concat", "concat", {"x", "x"}, {"y"});
  EXPECT_EQ(run(b.load(), {floats({1, 1}, {5})}), floats({1, 2}, {5, 5}));
}

TEST(EarlyOpset, operators_introduced_in_opset_7_are_not_known) {
  ModelBuilder b(6);
  b.input("x", {2}).output("y");
  b.node("Cos", "cos", {"x"}, {"y"});
  const Graph graph = b.load();
  const auto* opaque = std::get_if<Opaque>(&graph.node(graph.nodes().at(0)).op);
  ASSERT_NE(opaque, nullptr);
  EXPECT_EQ(opaque->reason, "opset 6 does not have it, 7 is the first");
}

TEST(EarlyOpset, the_graph_is_written_in_opset_7_or_later) {
  ModelBuilder b(6);
  b.input("x", {2}).output("y");
  b.node("Relu", "relu", {"x"}, {"y"});
  const Graph graph = b.load();
  EXPECT_EQ(graph.opset, 6);
}

}  // namespace
}  // namespace bitfold
