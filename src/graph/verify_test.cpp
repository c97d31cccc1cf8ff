#include <gtest/gtest.h>

#include <functional>
#include <limits>

#include "bitfold/error.h"
#include "bitfold/graph.h"

namespace bitfold {
namespace {

/// A correctly quantized convolution of two channels.
struct QuantizedConv {
  Graph g;
  ValueId x, w, b, y;
  QuantizedConv() {
    x = g.add_input("x", DataType::float32, {1, 1, 2, 2});
    g.value(x).quant = QuantParams{.scale = {0.5F}, .zero_point = {3}};
    w = g.add_constant("w", Tensor::from<std::int8_t>({2, 1, 1, 1}, std::vector<std::int8_t>{127, -127}));
    g.value(w).dtype = DataType::float32;
    g.value(w).quant = QuantParams{
        .scale = {0.1F, 0.2F}, .zero_point = {0, 0}, .bits = 8, .is_signed = true, .narrow = true, .axis = 0};
    b = g.add_constant("b", Tensor::from<std::int32_t>({2}, std::vector<std::int32_t>{100000, -5}));
    g.value(b).dtype = DataType::float32;
    g.value(b).quant = QuantParams{
        .scale = {0.5F * 0.1F, 0.5F * 0.2F}, .zero_point = {0, 0}, .bits = 32, .is_signed = true, .axis = 0};
    const Window window{.kernel = {1, 1}, .strides = {1, 1}, .dilations = {1, 1}, .pads = {0, 0, 0, 0}};
    y = g.add(Conv{window}, "conv", {x, w, b}, "y");
    g.value(y).quant = QuantParams{.scale = {0.25F}, .zero_point = {0}};
    g.mark_output(y);
  }
};

std::string refusal(const Graph& g, Stage stage) {
  try {
    verify(g, stage);
  } catch (const Error& e) {
    return e.what();
  }
  return "";
}

TEST(Verify, accepts_a_valid_graph) { EXPECT_EQ(refusal(QuantizedConv().g, Stage::quantized), ""); }

struct BrokenGrid {
  const char* name;
  std::function<void(QuantizedConv&)> damage;
  const char* message;
};

class VerifyQuantized : public ::testing::TestWithParam<BrokenGrid> {};

TEST_P(VerifyQuantized, names_the_fault_of_an_invalid_grid) {
  QuantizedConv c;
  GetParam().damage(c);
  EXPECT_EQ(refusal(c.g, Stage::imported), "");
  EXPECT_EQ(refusal(c.g, Stage::quantized), GetParam().message);
}

INSTANTIATE_TEST_SUITE_P(
    Grids, VerifyQuantized,
    ::testing::Values(
        BrokenGrid{"a_scale_of_zero", [](auto& c) { c.g.value(c.y).quant->scale[0] = 0; },
                   "[Conv 'conv'] output 'y' has scale 0 at 0; it must be positive and finite"},
        BrokenGrid{"an_infinite_scale",
                   [](auto& c) { c.g.value(c.x).quant->scale[0] = std::numeric_limits<float>::infinity(); },
                   "graph input 'x' has scale inf at 0; it must be positive and finite"},
        BrokenGrid{"a_zero_point_off_the_codes", [](auto& c) { c.g.value(c.y).quant->zero_point[0] = 256; },
                   "[Conv 'conv'] output 'y' has zero_point 256 at 0, outside [0, 255]"},
        BrokenGrid{"odd_bits", [](auto& c) { c.g.value(c.y).quant->bits = 17; },
                   "[Conv 'conv'] output 'y' has a grid of 17 bits; it must have 2 to 16, or 32"},
        BrokenGrid{"codes_of_another_type", [](auto& c) { c.g.value(c.w).quant->is_signed = false; },
                   "constant 'w' has codes of type int8; a grid of unsigned 8 bits needs uint8"},
        BrokenGrid{"a_code_off_the_grid", [](auto& c) { c.g.value(c.w).quant->bits = 4; },
                   "constant 'w' has code 127 at 0, outside [-7, 7]"},
        BrokenGrid{"too_few_scales",
                   [](auto& c) {
                     c.g.value(c.w).quant->scale.pop_back();
                     c.g.value(c.w).quant->zero_point.pop_back();
                   },
                   "constant 'w' has 1 scales for 2 channels"},
        BrokenGrid{"blocks_without_an_axis",
                   [](auto& c) {
                     c.g.value(c.w).quant->axis = -1;
                     c.g.value(c.w).quant->block_size = 2;
                   },
                   "constant 'w' has blocks of 2 elements, but no axis"},
        BrokenGrid{"negative_blocks", [](auto& c) { c.g.value(c.w).quant->block_size = -2; },
                   "constant 'w' has blocks of -2 elements; the size must not be negative"},
        BrokenGrid{"too_few_scales_for_blocks", [](auto& c) { c.g.value(c.w).quant->block_size = 2; },
                   "constant 'w' has 2 scales for blocks of shape 1x1x1x1"},
        BrokenGrid{"blocks_of_a_computed_value",
                   [](auto& c) {
                     c.g.value(c.y).quant->axis = 1;
                     c.g.value(c.y).quant->block_size = 2;
                   },
                   "[Conv 'conv'] output 'y' has a grid in blocks of 2 elements; only constants can have one"},
        BrokenGrid{"a_bias_zero_point", [](auto& c) { c.g.value(c.b).quant->zero_point[1] = 1; },
                   "[Conv 'conv'] bias 'b' has zero_point 1 at channel 1, expected 0"}),
    [](const auto& made) { return std::string(made.param.name); });

TEST(Verify, requires_the_bias_on_the_accumulators_grid) {
  QuantizedConv c;
  c.g.value(c.b).quant->scale[1] *= 1.00001F;
  EXPECT_NE(refusal(c.g, Stage::quantized).find("[Conv 'conv'] bias 'b' has scale"), std::string::npos);
}

TEST(Verify, refuses_two_nodes_of_one_name) {
  Graph g;
  const ValueId x = g.add_input("x", DataType::float32, {1});
  g.add(Unary{UnaryKind::relu}, "n", {x}, "a");
  g.add(Unary{UnaryKind::exp}, "n", {x}, "b");
  EXPECT_EQ(refusal(g, Stage::imported), "[Exp 'n'] has the same name as [Relu 'n']");
}

TEST(Verify, refuses_a_value_that_nothing_produces) {
  Graph g;
  g.add(Unary{UnaryKind::relu}, "relu", {g.add_value(Value{"h"})}, "y");
  EXPECT_EQ(refusal(g, Stage::imported), "[Relu 'relu'] reads 'h', which nothing produces");
}

TEST(Verify, counts_inputs) {
  Graph g;
  const ValueId x = g.add_input("x", DataType::float32, {1, 1, 1});
  g.add(Conv{}, "conv", {x}, "y");
  EXPECT_EQ(refusal(g, Stage::imported), "[Conv 'conv'] has 1 inputs, but accepts 2 to 3");
  Graph h;
  h.add(Binary{}, "add", {h.add_input("x", DataType::float32, {1}), ValueId::none}, "y");
  EXPECT_EQ(refusal(h, Stage::imported), "[Add 'add'] lacks input 1 ('B'), which is not optional");
}

TEST(Verify, detects_graphs_that_are_not_optimized) {
  Graph g;
  const ValueId c = g.add_constant("c", Tensor::from<float>({1}, std::vector<float>{1}));
  const ValueId e = g.add(Unary{UnaryKind::exp}, "exp", {c}, "e");
  g.mark_output(g.add(Binary{}, "add", {e, g.add_input("x", DataType::float32, {1})}, "y"));
  EXPECT_EQ(refusal(g, Stage::imported), "");
  EXPECT_EQ(refusal(g, Stage::optimized), "[Exp 'exp'] has only constant inputs: it could be computed now");
}

}  // namespace
}  // namespace bitfold
