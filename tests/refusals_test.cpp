// A node that cannot be computed is refused by its operator, its name and the reason. One table for each family of
// operators.
#include <fmt/format.h>
#include <gtest/gtest.h>

#include <optional>
#include <string>
#include <vector>

#include "bitfold/graph.h"
#include "error_testing.h"

namespace bitfold::testing {
namespace {

/// An input of the refused node: a graph input, or a constant of int64.
struct In {
  Shape shape;
  DataType dtype = DataType::float32;
  std::optional<std::vector<std::int64_t>> numbers = {};
};

In f(Shape shape) { return {std::move(shape)}; }
In typed(DataType dtype, Shape shape) { return {std::move(shape), dtype}; }
In ints(std::vector<std::int64_t> numbers) {
  return {{static_cast<std::int64_t>(numbers.size())}, DataType::int64, std::move(numbers)};
}

struct Refusal {
  const char* name;
  Op op;
  std::vector<In> inputs;
  const char* reason;
};

class Refused : public ::testing::TestWithParam<Refusal> {};

TEST_P(Refused, names_operator_node_and_reason) {
  const Refusal& refusal = GetParam();
  const std::string message = message_of([&] {
    Graph g;
    std::vector<ValueId> inputs;
    for (const In& in : refusal.inputs) {
      const std::string name = fmt::format("x{}", inputs.size());
      inputs.push_back(in.numbers ? g.add_constant(name, Tensor::from<std::int64_t>(in.shape, *in.numbers))
                                  : g.add_input(name, in.dtype, in.shape));
    }
    g.mark_output(g.add(refusal.op, "the node", inputs, "y"));
    infer_shapes(g);
  });
  EXPECT_EQ(message, fmt::format("[{} 'the node'] {}", op_name(refusal.op), refusal.reason));
}

std::string name_of(const ::testing::TestParamInfo<Refusal>& info) { return info.param.name; }

Window window(std::int64_t kernel, std::int64_t stride = 1, std::int64_t pad = 0) {
  return {.kernel = {kernel, kernel}, .strides = {stride, stride}, .dilations = {1, 1}, .pads = {pad, pad, pad, pad}};
}

INSTANTIATE_TEST_SUITE_P(
    Convolution, Refused,
    ::testing::Values(Refusal{"channels", Conv{window(3)}, {f({1, 5, 8, 8}), f({4, 3, 3, 3})}, "?"},
                      Refusal{"groups", Conv{window(3), 3}, {f({1, 6, 8, 8}), f({4, 2, 3, 3})}, "?"},
                      Refusal{"rank", Conv{window(3)}, {f({1, 3, 8}), f({4, 3, 3})}, "?"},
                      Refusal{"kernel", Conv{window(3)}, {f({1, 3, 8, 8}), f({4, 3, 5, 5})}, "?"},
                      Refusal{"window_larger_than_the_image", Conv{window(5)}, {f({1, 3, 4, 4}), f({4, 3, 5, 5})}, "?"},
                      Refusal{"stride_of_zero", Conv{window(3, 0)}, {f({1, 3, 8, 8}), f({4, 3, 3, 3})}, "?"},
                      Refusal{"negative_pads", Conv{window(3, 1, -1)}, {f({1, 3, 8, 8}), f({4, 3, 3, 3})}, "?"},
                      Refusal{"bias", Conv{window(3)}, {f({1, 3, 8, 8}), f({4, 3, 3, 3}), f({3})}, "?"},
                      Refusal{
                          "integers", Conv{window(3)}, {typed(DataType::int32, {1, 3, 8, 8}), f({4, 3, 3, 3})}, "?"},
                      Refusal{"missing_weights", Conv{window(3)}, {f({1, 3, 8, 8})}, "?"},
                      Refusal{"transposed_channels", ConvTranspose{window(3)}, {f({1, 5, 8, 8}), f({3, 4, 3, 3})}, "?"},
                      Refusal{"deformable_offsets",
                              DeformConv{window(3), 1, 2},
                              {f({1, 3, 8, 8}), f({4, 3, 3, 3}), f({1, 36, 6, 6})},
                              "?"}),
    name_of);

INSTANTIATE_TEST_SUITE_P(MatrixProduct, Refused,
                         ::testing::Values(Refusal{"depth", MatMul{}, {f({2, 3}), f({4, 5})}, "?"},
                                           Refusal{"batches", MatMul{}, {f({2, 3, 4}), f({3, 4, 5})}, "?"},
                                           Refusal{"scalar", MatMul{}, {f({}), f({4, 5})}, "?"},
                                           Refusal{"gemm_rank", Gemm{}, {f({2, 3, 4}), f({4, 5})}, "?"},
                                           Refusal{"gemm_depth", Gemm{.trans_b = true}, {f({2, 3}), f({3, 5})}, "?"},
                                           Refusal{"gemm_bias", Gemm{}, {f({2, 3}), f({3, 5}), f({4})}, "?"},
                                           Refusal{"einsum_terms", Einsum{"ij,jk->ik"}, {f({2, 3})}, "?"},
                                           Refusal{"einsum_sizes", Einsum{"ij,jk->ik"}, {f({2, 3}), f({4, 5})}, "?"},
                                           Refusal{"einsum_output", Einsum{"ij->ijk"}, {f({2, 3})}, "?"},
                                           Refusal{"determinant", Det{}, {f({2, 3})}, "?"}),
                         name_of);

INSTANTIATE_TEST_SUITE_P(
    Elementwise, Refused,
    ::testing::Values(Refusal{"shapes", Binary{BinaryKind::add}, {f({2, 3}), f({2, 4})}, "?"},
                      Refusal{"types", Binary{BinaryKind::mul}, {f({2}), typed(DataType::int64, {2})}, "?"},
                      Refusal{"one_operand", Binary{BinaryKind::add}, {f({2})}, "?"},
                      Refusal{"logic_of_reals", Binary{BinaryKind::logical_and}, {f({2}), f({2})}, "?"},
                      Refusal{"exp_of_integers", Unary{UnaryKind::exp}, {typed(DataType::int32, {2})}, "?"},
                      Refusal{"condition", Where{}, {f({2}), f({2}), f({2})}, "?"},
                      Refusal{"where_shapes", Where{}, {typed(DataType::boolean, {2}), f({3}), f({2})}, "?"},
                      Refusal{"shift_of_reals", BitShift{}, {f({2}), f({2})}, "?"},
                      Refusal{"no_operands", Variadic{VariadicKind::sum}, {}, "?"},
                      Refusal{"bit_width", BitCast{DataType::int8}, {f({2})}, "?"}),
    name_of);

INSTANTIATE_TEST_SUITE_P(
    Movement, Refused,
    ::testing::Values(Refusal{"reshape_count", Reshape{}, {f({2, 3}), ints({4, 2})}, "?"},
                      Refusal{"reshape_two_unknowns", Reshape{}, {f({2, 3}), ints({-1, -1})}, "?"},
                      Refusal{"reshape_negative", Reshape{}, {f({2, 3}), ints({-2, 3})}, "?"},
                      Refusal{"transpose_rank", Transpose{{1, 0}}, {f({2, 3, 4})}, "?"},
                      Refusal{"transpose_twice", Transpose{{0, 0}}, {f({2, 3})}, "?"},
                      Refusal{"concat_sizes", Concat{0}, {f({2, 3}), f({2, 4})}, "?"},
                      Refusal{"concat_axis", Concat{2}, {f({2, 3}), f({2, 3})}, "?"},
                      Refusal{"squeeze_size", Squeeze{}, {f({2, 3}), ints({0})}, "?"},
                      Refusal{"unsqueeze_twice", Unsqueeze{}, {f({2, 3}), ints({0, 0})}, "?"},
                      Refusal{"slice_step", Slice{}, {f({4}), ints({0}), ints({2}), ints({0}), ints({0})}, "?"},
                      Refusal{"pad_count", Pad{}, {f({2, 3}), ints({1, 1})}, "?"},
                      Refusal{"expand", Expand{}, {f({2, 3}), ints({2, 4})}, "?"},
                      Refusal{"tile_count", Tile{}, {f({2, 3}), ints({2})}, "?"},
                      Refusal{"tile_negative", Tile{}, {f({2}), ints({-1})}, "?"},
                      Refusal{"blocks_of_depth", DepthToSpace{2}, {f({1, 6, 2, 2})}, "?"},
                      Refusal{"blocks_of_space", SpaceToDepth{2}, {f({1, 6, 3, 2})}, "?"},
                      Refusal{"triangle_of_a_row", Trilu{}, {f({4})}, "?"},
                      Refusal{"flatten_axis", Flatten{4}, {f({2, 3})}, "?"}),
    name_of);

INSTANTIATE_TEST_SUITE_P(
    Indexing, Refused,
    ::testing::Values(
        Refusal{"gather_axis", Gather{2}, {f({2, 3}), ints({0})}, "?"},
        Refusal{"gather_of_reals", Gather{0}, {f({2, 3}), f({1})}, "?"},
        Refusal{"elements_rank", GatherElements{0}, {f({2, 3}), typed(DataType::int64, {2})}, "?"},
        Refusal{"nd_depth", GatherNd{0}, {f({2, 3}), typed(DataType::int64, {1, 3})}, "?"},
        Refusal{"scatter_updates", ScatterElements{0}, {f({2, 3}), typed(DataType::int64, {1, 3}), f({1, 2})}, "?"},
        Refusal{"scatter_nd_updates", ScatterNd{}, {f({2, 3}), typed(DataType::int64, {1, 1}), f({1, 2})}, "?"},
        Refusal{"compress", Compress{}, {f({2, 3}), f({2})}, "?"}),
    name_of);

INSTANTIATE_TEST_SUITE_P(
    Normalization, Refused,
    ::testing::Values(Refusal{"batch_norm", BatchNorm{}, {f({1, 4, 2, 2}), f({3}), f({4}), f({4}), f({4})}, "?"},
                      Refusal{"instance_norm", InstanceNorm{}, {f({1, 4, 2, 2}), f({3}), f({4})}, "?"},
                      Refusal{"layer_norm_axis", LayerNorm{3}, {f({2, 4}), f({4})}, "?"},
                      Refusal{"layer_norm_scale", LayerNorm{}, {f({2, 4}), f({3})}, "?"},
                      Refusal{"groups", GroupNorm{3}, {f({1, 4, 2, 2}), f({4}), f({4})}, "?"},
                      Refusal{"softmax_axis", Softmax{2}, {f({2, 3})}, "?"},
                      Refusal{"softmax_of_integers", Softmax{}, {typed(DataType::int32, {2, 3})}, "?"},
                      Refusal{"size_of_zero", Lrn{0}, {f({1, 4, 2, 2})}, "?"}),
    name_of);

INSTANTIATE_TEST_SUITE_P(
    Reduction, Refused,
    ::testing::Values(Refusal{"pool_window", Pool{PoolKind::max, window(5)}, {f({1, 3, 4, 4})}, "?"},
                      Refusal{"pool_of_a_row", GlobalPool{}, {f({4})}, "?"},
                      Refusal{"axis", Reduce{}, {f({2, 3}), ints({2})}, "?"},
                      Refusal{"axis_twice", Reduce{}, {f({2, 3}), ints({0, 0})}, "?"},
                      Refusal{"argument_axis", ArgReduce{true, 2}, {f({2, 3})}, "?"},
                      Refusal{"cumulative_axis", Cumulative{}, {f({2, 3}), ints({2})}, "?"},
                      Refusal{
                          "loss_labels", NegativeLogLikelihoodLoss{}, {f({2, 3}), typed(DataType::int64, {3})}, "?"}),
    name_of);

INSTANTIATE_TEST_SUITE_P(
    Recurrence, Refused,
    ::testing::Values(
        Refusal{"rank", Recurrent{.kind = RecurrentKind::lstm}, {f({3, 4}), f({1, 8, 4}), f({1, 8, 2})}, "?"},
        Refusal{"gates", Recurrent{.kind = RecurrentKind::lstm}, {f({3, 1, 4}), f({1, 6, 4}), f({1, 8, 2})}, "?"},
        Refusal{"depth", Recurrent{.kind = RecurrentKind::gru}, {f({3, 1, 4}), f({1, 6, 5}), f({1, 6, 2})}, "?"},
        Refusal{"activation", Recurrent{.activations = {"Cosine"}}, {f({3, 1, 4}), f({1, 2, 4}), f({1, 2, 2})}, "?"}),
    name_of);

INSTANTIATE_TEST_SUITE_P(
    Codes, Refused,
    ::testing::Values(
        Refusal{"scale_count", QuantizeLinear{.axis = 1}, {f({2, 3}), f({2})}, "?"},
        Refusal{"zero_points", QuantizeLinear{}, {f({2, 3}), f({}), typed(DataType::uint8, {3})}, "?"},
        Refusal{"codes_of_reals", DequantizeLinear{}, {f({2, 3}), f({})}, "?"},
        Refusal{"axis", DequantizeLinear{.axis = 3}, {typed(DataType::int8, {2, 3}), f({3})}, "?"},
        Refusal{"depth", MatMulInteger{}, {typed(DataType::uint8, {2, 3}), typed(DataType::int8, {4, 5})}, "?"},
        Refusal{"product_of_reals", MatMulInteger{}, {f({2, 3}), typed(DataType::int8, {3, 5})}, "?"}),
    name_of);

INSTANTIATE_TEST_SUITE_P(
    Images, Refused,
    ::testing::Values(
        Refusal{"grid_rank", GridSample{}, {f({1, 3, 4, 4}), f({1, 4, 4, 3})}, "?"},
        Refusal{"region_columns", RoiAlign{}, {f({1, 3, 4, 4}), f({2, 5}), typed(DataType::int64, {2})}, "?"},
        Refusal{"region_count", RoiAlign{}, {f({1, 3, 4, 4}), f({2, 4}), typed(DataType::int64, {3})}, "?"},
        Refusal{"boxes", NonMaxSuppression{}, {f({1, 6, 5}), f({1, 2, 6})}, "?"},
        Refusal{"signal", Dft{}, {f({4})}, "?"}),
    name_of);

}  // namespace
}  // namespace bitfold::testing
