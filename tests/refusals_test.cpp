// A node that cannot be computed is refused by its operator, its name and the reason. One table for each family of
// operators.
#include <fmt/format.h>
#include <gtest/gtest.h>

#include <optional>
#include <string>
#include <vector>

#include "bitfold/graph.h"
#include "bitfold/reference.h"
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
    verify(g, Stage::imported);
    std::vector<Tensor> zeros;
    for (ValueId id : g.inputs()) zeros.emplace_back(g.value(id).dtype, *g.value(id).shape);
    Reference(g).run(zeros);
  });
  const std::string op = op_name(refusal.op), place = fmt::format("[{} 'the node']", op);
  // A wrong type is found by the list of nodes that cannot be run.
  const std::string in_list = fmt::format("cannot run: 1 x {} (first: {}: {})", op, place, refusal.reason);
  EXPECT_TRUE(message == fmt::format("{} {}", place, refusal.reason) || message == in_list) << message;
}

std::string name_of(const ::testing::TestParamInfo<Refusal>& info) { return info.param.name; }

Window window(std::int64_t kernel, std::int64_t stride = 1, std::int64_t pad = 0) {
  return {.kernel = {kernel, kernel}, .strides = {stride, stride}, .dilations = {1, 1}, .pads = {pad, pad, pad, pad}};
}

INSTANTIATE_TEST_SUITE_P(
    Convolution, Refused,
    ::testing::Values(
        Refusal{"channels",
                Conv{window(3)},
                {f({1, 5, 8, 8}), f({4, 3, 3, 3})},
                "weights have 3 input channels, but the input has 5"},
        Refusal{"groups",
                Conv{window(3), 3},
                {f({1, 6, 8, 8}), f({4, 2, 3, 3})},
                "4 output channels cannot be split into 3 groups"},
        Refusal{"rank",
                Conv{window(3)},
                {f({1, 3, 8}), f({4, 3, 3})},
                "the window has 2 axes (kernel), 2 (strides), 2 (dilations), 4 (pads); the input has 1 spatial ones"},
        Refusal{"kernel",
                Conv{window(3)},
                {f({1, 3, 8, 8}), f({4, 3, 5, 5})},
                "kernel_shape 3x3 differs from the weights' 4x3x5x5"},
        Refusal{"window_larger_than_the_image",
                Conv{window(5)},
                {f({1, 3, 4, 4}), f({4, 3, 5, 5})},
                "a window of 5 (dilated) does not fit an input of 4 padded by 0 and 0"},
        Refusal{
            "stride_of_zero", Conv{window(3, 0)}, {f({1, 3, 8, 8}), f({4, 3, 3, 3})}, "strides 0x0 must be positive"},
        Refusal{"negative_pads",
                Conv{window(3, 1, -1)},
                {f({1, 3, 8, 8}), f({4, 3, 3, 3})},
                "pads -1,-1,-1,-1 must not be negative"},
        Refusal{"bias", Conv{window(3)}, {f({1, 3, 8, 8}), f({4, 3, 3, 3}), f({3})}, "bias has shape 3, expected 4"},
        Refusal{"integers",
                Conv{window(3)},
                {typed(DataType::int32, {1, 3, 8, 8}), f({4, 3, 3, 3})},
                "input 'X' is int32; accepted: float32"},
        Refusal{"missing_weights", Conv{window(3)}, {f({1, 3, 8, 8})}, "has 1 inputs, but accepts 2 to 3"},
        Refusal{"transposed_channels",
                ConvTranspose{window(3)},
                {f({1, 5, 8, 8}), f({3, 4, 3, 3})},
                "weights have 3 input channels, but the input has 5"},
        Refusal{"deformable_offsets",
                DeformConv{window(3), 1, 2},
                {f({1, 3, 8, 8}), f({4, 3, 3, 3}), f({1, 36, 6, 6})},
                "3 channels cannot be split into 2 offset groups"}),
    name_of);

INSTANTIATE_TEST_SUITE_P(
    MatrixProduct, Refused,
    ::testing::Values(
        Refusal{"depth", MatMul{}, {f({2, 3}), f({4, 5})}, "A has 3 columns, but B has 4 rows (shapes 2x3 and 4x5)"},
        Refusal{"batches", MatMul{}, {f({2, 3, 4}), f({3, 4, 5})}, "shapes 2 and 3 do not broadcast"},
        Refusal{"scalar",
                MatMul{},
                {f({}), f({4, 5})},
                "operands of shape scalar and 4x5: scalars cannot be multiplied as matrices"},
        Refusal{"gemm_rank", Gemm{}, {f({2, 3, 4}), f({4, 5})}, "A has shape 2x3x4 and B 4x5, expected matrices"},
        Refusal{"gemm_depth", Gemm{.trans_b = true}, {f({2, 3}), f({3, 5})}, "A has 3 columns, but B has 5 rows"},
        Refusal{"gemm_bias", Gemm{}, {f({2, 3}), f({3, 5}), f({4})}, "shapes 4 and 2x5 do not broadcast"},
        Refusal{"einsum_terms", Einsum{"ij,jk->ik"}, {f({2, 3})}, "equation has 2 terms, but the node has 1 inputs"},
        Refusal{"einsum_sizes",
                Einsum{"ij,jk->ik"},
                {f({2, 3}), f({4, 5})},
                "an index of the equation has the sizes 3 and 4"},
        Refusal{"einsum_output", Einsum{"ij->ijk"}, {f({2, 3})}, "the output's index 'k' is in no input"},
        Refusal{"determinant", Det{}, {f({2, 3})}, "X has shape 2x3, expected square matrices"}),
    name_of);

INSTANTIATE_TEST_SUITE_P(
    Elementwise, Refused,
    ::testing::Values(
        Refusal{"shapes", Binary{BinaryKind::add}, {f({2, 3}), f({2, 4})}, "shapes 2x3 and 2x4 do not broadcast"},
        Refusal{"types",
                Binary{BinaryKind::mul},
                {f({2}), typed(DataType::int64, {2})},
                "inputs 'A' and 'B' are float32 and int64; they must have one type"},
        Refusal{"one_operand", Binary{BinaryKind::add}, {f({2})}, "has 1 inputs, but accepts 2"},
        Refusal{"logic_of_reals",
                Binary{BinaryKind::logical_and},
                {f({2}), f({2})},
                "input 'A' is float32; accepted: boolean"},
        Refusal{"exp_of_integers",
                Unary{UnaryKind::exp},
                {typed(DataType::int32, {2})},
                "input 'X' is int32; accepted: float32"},
        Refusal{"condition", Where{}, {f({2}), f({2}), f({2})}, "input 'condition' is float32; accepted: boolean"},
        Refusal{"where_shapes",
                Where{},
                {typed(DataType::boolean, {2}), f({3}), f({2})},
                "shapes 2 and 3 do not broadcast"},
        Refusal{"shift_of_reals",
                BitShift{},
                {f({2}), f({2})},
                "input 'X' is float32; accepted: int8, uint8, int16, uint16, int32, uint32, int64, uint64"},
        Refusal{"no_operands", Variadic{VariadicKind::sum}, {}, "has 0 inputs, but needs at least 1"},
        Refusal{"bit_width", BitCast{DataType::int8}, {f({2})}, "elements of float32 and int8 differ in width"}),
    name_of);

INSTANTIATE_TEST_SUITE_P(
    Movement, Refused,
    ::testing::Values(
        Refusal{"reshape_count",
                Reshape{},
                {f({2, 3}), ints({4, 2})},
                "cannot reshape 2x3 to 4x2: the element counts differ"},
        Refusal{"reshape_two_unknowns", Reshape{}, {f({2, 3}), ints({-1, -1})}, "shape has -1 twice"},
        Refusal{"reshape_negative",
                Reshape{},
                {f({2, 3}), ints({-2, 3})},
                "shape has -2; a dimension must be -1, 0 or positive"},
        Refusal{
            "transpose_rank", Transpose{{1, 0}}, {f({2, 3, 4})}, "perm has 2 entries, but the input has shape 2x3x4"},
        Refusal{"transpose_twice", Transpose{{0, 0}}, {f({2, 3})}, "perm 0x0 is not a permutation of 2 axes"},
        Refusal{"concat_sizes",
                Concat{0},
                {f({2, 3}), f({2, 4})},
                "input 1 has shape 2x4, but the first has 2x3; they may differ along axis 0 only"},
        Refusal{"concat_axis", Concat{2}, {f({2, 3}), f({2, 3})}, "axis 2 does not exist in a value with 2 axes"},
        Refusal{"squeeze_size", Squeeze{}, {f({2, 3}), ints({0})}, "axis 0 of shape 2x3 is not 1"},
        Refusal{"unsqueeze_twice", Unsqueeze{}, {f({2, 3}), ints({0, 0})}, "axis 0 is given twice"},
        Refusal{"slice_step",
                Slice{},
                {f({4}), ints({0}), ints({2}), ints({0}), ints({0})},
                "a step is 0, which is not allowed"},
        Refusal{"pad_count", Pad{}, {f({2, 3}), ints({1, 1})}, "there are 2 pads for 2 axes; two per axis are needed"},
        Refusal{"expand", Expand{}, {f({2, 3}), ints({2, 4})}, "shapes 2x3 and 2x4 do not broadcast"},
        Refusal{"tile_count",
                Tile{},
                {f({2, 3}), ints({2})},
                "repeats has 1 entries for an input of shape 2x3; expected one per axis"},
        Refusal{"tile_negative", Tile{}, {f({2}), ints({-1})}, "an entry of repeats is -1; it must not be negative"},
        Refusal{"blocks_of_depth", DepthToSpace{2}, {f({1, 6, 2, 2})}, "6 channels cannot be split into blocks of 2x2"},
        Refusal{"blocks_of_space",
                SpaceToDepth{2},
                {f({1, 6, 3, 2})},
                "axis 2 of shape 1x6x3x2 cannot be split into blocks of 2"},
        Refusal{"triangle_of_a_row", Trilu{}, {f({4})}, "input has shape 4, expected matrices"},
        Refusal{"flatten_axis", Flatten{4}, {f({2, 3})}, "axis 4 is outside shape 2x3"}),
    name_of);

INSTANTIATE_TEST_SUITE_P(
    Indexing, Refused,
    ::testing::Values(
        Refusal{"gather_axis", Gather{2}, {f({2, 3}), ints({0})}, "axis 2 does not exist in a value with 2 axes"},
        Refusal{
            "gather_of_reals", Gather{0}, {f({2, 3}), f({1})}, "input 'indices' is float32; accepted: int32, int64"},
        Refusal{"elements_rank",
                GatherElements{0},
                {f({2, 3}), typed(DataType::int64, {2})},
                "indices of shape 2 for data of shape 2x3; both must have the same rank"},
        Refusal{"nd_depth",
                GatherNd{0},
                {f({2, 3}), typed(DataType::int64, {1, 3})},
                "indices of shape 1x3 cannot address data of shape 2x3: their last axis is 0 or too long"},
        Refusal{"scatter_updates",
                ScatterElements{0},
                {f({2, 3}), typed(DataType::int64, {1, 3}), f({1, 2})},
                "updates have shape 1x2, expected that of indices, 1x3"},
        Refusal{"scatter_nd_updates",
                ScatterNd{},
                {f({2, 3}), typed(DataType::int64, {1, 1}), f({1, 2})},
                "updates have shape 1x2, expected 1x3"},
        Refusal{"compress", Compress{}, {f({2, 3}), f({2})}, "input 'condition' is float32; accepted: boolean"}),
    name_of);

INSTANTIATE_TEST_SUITE_P(
    Normalization, Refused,
    ::testing::Values(
        Refusal{"batch_norm",
                BatchNorm{},
                {f({1, 4, 2, 2}), f({3}), f({4}), f({4}), f({4})},
                "parameter 1 has shape 3, but the input has 4 channels"},
        Refusal{"instance_norm",
                InstanceNorm{},
                {f({1, 4, 2, 2}), f({3}), f({4})},
                "parameter 1 has shape 3, but the input has 4 channels"},
        Refusal{"layer_norm_axis", LayerNorm{3}, {f({2, 4}), f({4})}, "axis 3 does not exist in a value with 2 axes"},
        Refusal{"layer_norm_scale", LayerNorm{}, {f({2, 4}), f({3})}, "shapes 2x4 and 3 do not broadcast"},
        Refusal{
            "groups", GroupNorm{3}, {f({1, 4, 2, 2}), f({4}), f({4})}, "4 channels cannot be divided into 3 groups"},
        Refusal{"softmax_axis", Softmax{2}, {f({2, 3})}, "axis 2 does not exist in a value with 2 axes"},
        Refusal{"softmax_of_integers",
                Softmax{},
                {typed(DataType::int32, {2, 3})},
                "input 'X' is int32; accepted: float32"}),
    name_of);

INSTANTIATE_TEST_SUITE_P(
    Reduction, Refused,
    ::testing::Values(
        Refusal{"pool_window",
                Pool{PoolKind::max, window(5)},
                {f({1, 3, 4, 4})},
                "a window of 5 (dilated) does not fit an input of 4 padded by 0 and 0"},
        Refusal{"pool_of_a_row",
                GlobalPool{},
                {f({4})},
                "input has shape 4, expected batch, channels and at least one spatial axis"},
        Refusal{"axis", Reduce{}, {f({2, 3}), ints({2})}, "axis 2 does not exist in a value with 2 axes"},
        Refusal{"argument_axis", ArgReduce{true, 2}, {f({2, 3})}, "axis 2 does not exist in a value with 2 axes"},
        Refusal{
            "cumulative_axis", Cumulative{}, {f({2, 3}), ints({2})}, "axis 2 does not exist in a value with 2 axes"},
        Refusal{"loss_labels",
                NegativeLogLikelihoodLoss{},
                {f({2, 3}), typed(DataType::int64, {3})},
                "a size of the labels is 3, expected 2"}),
    name_of);

INSTANTIATE_TEST_SUITE_P(Recurrence, Refused,
                         ::testing::Values(Refusal{"rank",
                                                   Recurrent{.kind = RecurrentKind::lstm},
                                                   {f({3, 4}), f({1, 8, 4}), f({1, 8, 2})},
                                                   "X, W and R have shapes 3x4, 1x8x4 and 1x8x2, expected 3 axes"},
                                           Refusal{"gates",
                                                   Recurrent{.kind = RecurrentKind::lstm},
                                                   {f({3, 1, 4}), f({1, 6, 4}), f({1, 8, 2})},
                                                   "W has shape 1x6x4, expected 1x8x4"},
                                           Refusal{"depth",
                                                   Recurrent{.kind = RecurrentKind::gru},
                                                   {f({3, 1, 4}), f({1, 6, 5}), f({1, 6, 2})},
                                                   "W has shape 1x6x5, expected 1x6x4"},
                                           Refusal{"activation",
                                                   Recurrent{.activations = {"Cosine"}},
                                                   {f({3, 1, 4}), f({1, 2, 4}), f({1, 2, 2})},
                                                   "activation 'Cosine' is not known"}),
                         name_of);

INSTANTIATE_TEST_SUITE_P(
    Codes, Refused,
    ::testing::Values(Refusal{"scale_count",
                              QuantizeLinear{.axis = 1},
                              {f({2, 3}), f({2})},
                              "scale has shape 2, expected one entry for each of the 3 indices along axis 1"},
                      Refusal{"zero_points",
                              QuantizeLinear{},
                              {f({2, 3}), f({}), typed(DataType::uint8, {3})},
                              "scale has shape scalar, but the zero point has 3"},
                      Refusal{"codes_of_reals",
                              DequantizeLinear{},
                              {f({2, 3}), f({})},
                              "input 'x' is float32; accepted: int8, uint8, int16, uint16, int32, int4, uint4, int2, "
                              "uint2, float8e4m3fn, float8e4m3fnuz, float8e5m2, float8e5m2fnuz, float4e2m1"},
                      Refusal{"axis",
                              DequantizeLinear{.axis = 3},
                              {typed(DataType::int8, {2, 3}), f({3})},
                              "axis 3 does not exist in a value with 2 axes"},
                      Refusal{"depth",
                              MatMulInteger{},
                              {typed(DataType::uint8, {2, 3}), typed(DataType::int8, {4, 5})},
                              "A has 3 columns, but B has 4 rows (shapes 2x3 and 4x5)"},
                      Refusal{"product_of_reals",
                              MatMulInteger{},
                              {f({2, 3}), typed(DataType::int8, {3, 5})},
                              "input 'A' is float32; accepted: int8, uint8"}),
    name_of);

INSTANTIATE_TEST_SUITE_P(
    Images, Refused,
    ::testing::Values(
        Refusal{"grid_rank",
                GridSample{},
                {f({1, 3, 4, 4}), f({1, 4, 4, 3})},
                "input has shape 1x3x4x4 and the grid has 1x4x4x3; expected one position of 2 numbers for each output"},
        Refusal{"region_columns",
                RoiAlign{},
                {f({1, 3, 4, 4}), f({2, 5}), typed(DataType::int64, {2})},
                "rois have shape 2x5, expected 4 columns"},
        Refusal{"region_count",
                RoiAlign{},
                {f({1, 3, 4, 4}), f({2, 4}), typed(DataType::int64, {3})},
                "batch_indices have shape 3, expected one for each of the regions"},
        Refusal{"boxes",
                NonMaxSuppression{},
                {f({1, 6, 5}), f({1, 2, 6})},
                "boxes have shape 1x6x5, scores 1x2x6; expected batch x boxes x 4 and batch x classes x boxes"},
        Refusal{"signal", Dft{}, {f({4})}, "input has shape 4, expected a signal and an axis for complex numbers"}),
    name_of);

}  // namespace
}  // namespace bitfold::testing
