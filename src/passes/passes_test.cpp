#include "bitfold/passes.h"

#include <gtest/gtest.h>

#include <cmath>
#include <random>

#include "bitfold/error.h"
#include "bitfold/reference.h"
#include "passes/rewrite.h"

namespace bitfold {
namespace {

Tensor noise(Shape shape, unsigned seed, float low = -1, float high = 1) {
  std::mt19937 engine(seed);
  Tensor t(DataType::float32, std::move(shape));
  for (float& v : t.mutable_data<float>())
    v = low + (high - low) * static_cast<float>(engine() >> 8) / static_cast<float>(1 << 24);
  return t;
}

ValueId integers(Graph& g, const std::string& name, const std::vector<std::int64_t>& v) {
  return g.add_constant(name, Tensor::from<std::int64_t>({std::ssize(v)}, v));
}
ValueId scalar(Graph& g, const std::string& name, float v) {
  return g.add_constant(name, Tensor::from<float>({}, std::vector<float>{v}));
}

Window window(std::int64_t kernel) {
  return {.kernel = {kernel, kernel}, .strides = {1, 1}, .dilations = {1, 1}, .pads = {1, 1, 1, 1}};
}

/// Inputs: x, gamma, beta, mean and variance of `channels`.
ValueId add_batch_norm(Graph& g, ValueId x, std::int64_t channels, const std::string& output) {
  std::vector<ValueId> in{x};
  for (unsigned i = 0; i < 4; ++i)
    in.push_back(
        g.add_constant(g.unique_name("bn" + std::to_string(i)), noise({channels}, 40 + i, i == 3 ? 0.1F : -1.5F, 2)));
  return g.add(BatchNorm{}, g.unique_name("bn_of_" + output), in, output);
}

std::vector<std::string> ops(const Graph& g) {
  std::vector<std::string> names;
  for (NodeId id : g.topological_order()) names.push_back(op_name(g.node(id).op));
  return names;
}
using Ops = std::vector<std::string>;

/// Optimizes a copy and expects outputs within 1e-5 of the largest output. Returns the copy.
Graph optimized(const Graph& g) {
  Graph o = g;
  optimize(o);
  std::vector<Tensor> inputs;
  for (ValueId id : g.inputs()) {
    Shape shape = *g.value(id).shape;
    for (auto& d : shape) d = d == kDynamic ? 3 : d;
    inputs.push_back(noise(shape, 7, -2, 2));
  }
  const ReferenceOptions plain{.plain_loops = true, .on_value = {}};
  const auto before = Reference(g, plain).run(inputs), after = Reference(o, plain).run(inputs);
  EXPECT_EQ(before.size(), after.size());
  for (std::size_t i = 0; i < before.size(); ++i) {
    EXPECT_EQ(before[i].shape(), after[i].shape());
    const auto a = before[i].data<float>(), b = after[i].data<float>();
    float largest = 0;
    for (float v : a) largest = std::max(largest, std::abs(v));
    for (std::size_t k = 0; k < a.size(); ++k)
      EXPECT_NEAR(a[k], b[k], 1e-5F * largest) << "output " << i << " at " << k;
    EXPECT_EQ(g.value(g.outputs()[i]).name, o.value(o.outputs()[i]).name);
  }
  return o;
}

struct FoldCase {
  const char* name;
  Op op;
  Shape x, w;
  std::int64_t channels;
  bool has_bias;
};

class FoldBatchNorm : public ::testing::TestWithParam<FoldCase> {};

TEST_P(FoldBatchNorm, computes_the_same_without_the_batch_norm) {
  const FoldCase& c = GetParam();
  Graph g;
  const ValueId x = g.add_input("x", DataType::float32, c.x);
  std::vector<ValueId> in{x, g.add_constant("layer.weight", noise(c.w, 1))};
  if (c.has_bias) in.push_back(g.add_constant("layer.bias", noise({c.channels}, 2)));
  const ValueId h = g.add(c.op, "layer", in, "h");
  const ValueId n = add_batch_norm(g, h, c.channels, "normalized");
  g.mark_output(g.add(Unary{UnaryKind::relu}, "relu", {n}, "y"));
  const Graph o = optimized(g);
  ASSERT_EQ(o.node_count(), 2U);
  const Node& layer = o.node(o.topological_order()[0]);
  EXPECT_EQ(layer.name, "layer");
  EXPECT_EQ(o.value(layer.outputs[0]).name, "normalized");
  EXPECT_NE(o.find("layer.bias"), ValueId::none);
}

INSTANTIATE_TEST_SUITE_P(
    Layers, FoldBatchNorm,
    ::testing::Values(
        FoldCase{"conv", Conv{window(3)}, {kDynamic, 3, 5, 5}, {4, 3, 3, 3}, 4, false},
        FoldCase{"conv_bias", Conv{window(3)}, {2, 3, 5, 5}, {4, 3, 3, 3}, 4, true},
        FoldCase{"grouped", Conv{window(3), 2}, {1, 4, 5, 5}, {6, 2, 3, 3}, 6, true},
        FoldCase{"depthwise", Conv{window(3), 4}, {1, 4, 5, 5}, {4, 1, 3, 3}, 4, false},
        FoldCase{"transposed", ConvTranspose{window(3), 1, {}, {}}, {1, 3, 5, 5}, {3, 4, 3, 3}, 4, true},
        FoldCase{"transposed_grouped", ConvTranspose{window(3), 2, {}, {}}, {1, 4, 5, 5}, {4, 3, 3, 3}, 6, false},
        FoldCase{"gemm", Gemm{}, {kDynamic, 5}, {5, 4}, 4, true},
        FoldCase{"gemm_scaled", Gemm{.alpha = 0.5F, .beta = 2, .trans_b = true}, {2, 5}, {4, 5}, 4, true},
        FoldCase{"matmul", MatMul{}, {kDynamic, 5}, {5, 4}, 4, false}),
    [](const auto& made) { return std::string(made.param.name); });

/// Conv -> BatchNorm -> output "y", with access to the convolution's output and weight.
struct ConvAndNorm {
  Graph g;
  ValueId x, w, h;
  ConvAndNorm() {
    x = g.add_input("x", DataType::float32, {1, 3, 5, 5});
    w = g.add_constant("w", noise({3, 3, 3, 3}, 1));
    h = g.add(Conv{window(3)}, "conv", {x, w}, "h");
    g.mark_output(add_batch_norm(g, h, 3, "y"));
  }
};

TEST(FoldBatchNorm, leaves_a_layer_whose_output_has_other_readers) {
  ConvAndNorm c;
  c.g.mark_output(c.g.add(Unary{UnaryKind::relu}, "relu", {c.h}, "z"));
  EXPECT_EQ(ops(optimized(c.g)), (Ops{"Conv", "BatchNormalization", "Relu"}));
}

TEST(FoldBatchNorm, leaves_a_layer_whose_output_is_a_graph_output) {
  ConvAndNorm c;
  c.g.mark_output(c.h);
  EXPECT_EQ(ops(optimized(c.g)), (Ops{"Conv", "BatchNormalization"}));
}

TEST(FoldBatchNorm, copies_a_weight_shared_by_two_layers) {
  ConvAndNorm c;
  c.g.mark_output(c.g.add(Conv{window(3)}, "other", {c.x, c.w}, "z"));
  const Graph o = optimized(c.g);
  EXPECT_EQ(ops(o), (Ops{"Conv", "Conv"}));
  EXPECT_EQ(*o.value(o.find("w")).constant, noise({3, 3, 3, 3}, 1));
}

TEST(FoldBatchNorm, leaves_a_value_with_a_grid) {
  ConvAndNorm c;
  c.g.value(c.h).quant = QuantParams{.scale = {0.1F}, .zero_point = {0}};
  optimize(c.g);
  EXPECT_EQ(ops(c.g), (Ops{"Conv", "BatchNormalization"}));
}

TEST(FoldBatchNorm, leaves_a_batch_norm_without_a_layer_before_it) {
  Graph g;
  const ValueId x = g.add_input("x", DataType::float32, {1, 3, 5, 5});
  g.mark_output(add_batch_norm(g, x, 3, "y"));
  EXPECT_EQ(ops(optimized(g)), (Ops{"BatchNormalization"}));
}

TEST(FoldScale, folds_products_and_sums_per_channel_into_the_layer) {
  Graph g;
  const ValueId x = g.add_input("x", DataType::float32, {kDynamic, 3, 5, 5});
  ValueId h = g.add(Conv{window(3)}, "conv", {x, g.add_constant("w", noise({4, 3, 3, 3}, 1))}, "h");
  h = g.add(Binary{BinaryKind::mul}, "mul", {h, g.add_constant("m", noise({4, 1, 1}, 2))}, "h1");
  h = g.add(Binary{BinaryKind::sub}, "sub", {g.add_constant("s", noise({1, 4, 1, 1}, 3)), h}, "h2");
  h = g.add(Binary{BinaryKind::div}, "div", {h, scalar(g, "d", 3)}, "h3");
  g.mark_output(h);
  EXPECT_EQ(ops(optimized(g)), (Ops{"Conv"}));
}

TEST(FoldScale, leaves_constants_along_other_axes) {
  Graph g;
  const ValueId x = g.add_input("x", DataType::float32, {1, 3, 5, 5});
  const ValueId h = g.add(Conv{window(3)}, "conv", {x, g.add_constant("w", noise({5, 3, 3, 3}, 1))}, "h");
  g.mark_output(g.add(Binary{BinaryKind::mul}, "mul", {h, g.add_constant("m", noise({5}, 2))}, "y"));
  EXPECT_EQ(ops(optimized(g)), (Ops{"Conv", "Mul"}));
}

TEST(FoldScale, turns_a_matrix_product_and_its_bias_into_a_gemm) {
  Graph g;
  const ValueId x = g.add_input("x", DataType::float32, {kDynamic, 5});
  const ValueId h = g.add(MatMul{}, "fc", {x, g.add_constant("w", noise({5, 4}, 1))}, "h");
  g.mark_output(g.add(Binary{BinaryKind::add}, "add", {g.add_constant("b", noise({4}, 2)), h}, "y"));
  EXPECT_EQ(ops(optimized(g)), (Ops{"Gemm"}));
}

TEST(FoldConstants, computes_nodes_with_constant_inputs) {
  Graph g;
  const ValueId x = g.add_input("x", DataType::float32, {2, 3});
  const ValueId t = g.add(Transpose{{1, 0}}, "transpose", {g.add_constant("c", noise({3, 2}, 1))}, "t");
  const ValueId e = g.add(Unary{UnaryKind::exp}, "exp", {t}, "e");
  g.mark_output(g.add(Binary{BinaryKind::mul}, "mul", {x, e}, "y"));
  EXPECT_EQ(ops(optimized(g)), (Ops{"Mul"}));
}

TEST(FoldConstants, leaves_nodes_that_expand_small_constants_to_large_ones) {
  Graph g;
  const ValueId x = g.add_input("x", DataType::float32, {1});
  const ValueId shape = integers(g, "shape", {1 << 13, 1 << 13});
  const ValueId large = g.add(Expand{}, "expand", {scalar(g, "c", 2), shape}, "large");
  g.mark_output(g.add(Binary{BinaryKind::mul}, "mul", {x, large}, "y"));
  optimize(g);
  EXPECT_EQ(ops(g), (Ops{"Expand", "Mul"}));
}

TEST(FoldConstants, flatten_as_shape_arithmetic_becomes_one_reshape) {
  Graph g;
  const ValueId x = g.add_input("x", DataType::float32, {kDynamic, 4, 3, 2});
  const ValueId shape = g.add(ShapeOf{}, "shape", {x}, "s");
  const ValueId batch = g.add(Gather{}, "gather", {shape, integers(g, "zero", {0})}, "n");
  const ValueId target = g.add(Concat{}, "concat", {batch, integers(g, "rest", {-1})}, "t");
  g.mark_output(g.add(Reshape{}, "reshape", {x, target}, "y"));
  const Graph o = optimized(g);
  EXPECT_EQ(ops(o), (Ops{"Reshape"}));
  EXPECT_EQ(o.value(o.outputs()[0]).shape, (Shape{kDynamic, 24}));
}

TEST(RemoveIdentity, removes_nodes_that_return_their_input) {
  Graph g;
  const ValueId x = g.add_input("x", DataType::float32, {kDynamic, 4});
  ValueId h = g.add(Unary{UnaryKind::exp}, "exp", {x}, "h0");
  h = g.add(Unary{UnaryKind::identity}, "identity", {h}, "h1");
  h = g.add(Cast{DataType::float32}, "cast", {h}, "h2");
  h = g.add(Pad{}, "pad", {h, integers(g, "pads", {0, 0, 0, 0})}, "h3");
  h = g.add(Unsqueeze{}, "unsqueeze", {h, integers(g, "axis", {1})}, "h4");
  h = g.add(Squeeze{}, "squeeze", {h, integers(g, "axis2", {1})}, "h5");
  h = g.add(Transpose{{1, 0}}, "turn", {h}, "h6");
  h = g.add(Transpose{{1, 0}}, "back", {h}, "h7");
  h = g.add(Binary{BinaryKind::mul}, "mul", {scalar(g, "one", 1), h}, "h8");
  h = g.add(Concat{0}, "concat", {h}, "h9");
  h = g.add(Slice{}, "slice",
            {h, integers(g, "starts", {0}), integers(g, "ends", {std::numeric_limits<std::int64_t>::max()})}, "h10");
  h = g.add(Clip{}, "clip", {h}, "y");
  g.mark_output(h);
  EXPECT_EQ(ops(optimized(g)), (Ops{"Exp"}));
}

TEST(RemoveIdentity, leaves_an_identity_between_a_graph_input_and_output) {
  Graph g;
  g.mark_output(g.add(Unary{UnaryKind::identity}, "identity", {g.add_input("x", DataType::float32, {2})}, "y"));
  EXPECT_EQ(ops(optimized(g)), (Ops{"Identity"}));
}

TEST(RemoveIdentity, keeps_nodes_that_broadcast_pad_or_crop) {
  Graph g;
  const ValueId x = g.add_input("x", DataType::float32, {1, 4});
  ValueId h = g.add(Binary{BinaryKind::add}, "add", {x, g.add_constant("z", Tensor(DataType::float32, {3, 1}))}, "h0");
  h = g.add(Slice{}, "slice", {h, integers(g, "starts", {0}), integers(g, "ends", {-1})}, "h1");
  h = g.add(Pad{}, "pad", {h, integers(g, "pads", {0, 1, 0, -1})}, "h2");
  g.mark_output(h);
  EXPECT_EQ(ops(optimized(g)), (Ops{"Add", "Slice", "Pad"}));
}

TEST(MergeActivations, writes_relu_in_canonical_form) {
  Graph g;
  const ValueId x = g.add_input("x", DataType::float32, {2, 4});
  g.mark_output(g.add(Clip{}, "a", {x, scalar(g, "lo", 0)}, "ya"));
  g.mark_output(g.add(Variadic{VariadicKind::max}, "b", {scalar(g, "lo2", 0), x}, "yb"));
  g.mark_output(g.add(Parametric{.kind = ParametricKind::leaky_relu, .alpha = 0}, "c", {x}, "yc"));
  g.mark_output(g.add(PRelu{}, "d", {x, scalar(g, "slope", 0.25F)}, "yd"));
  EXPECT_EQ(ops(optimized(g)), (Ops{"Relu", "Relu", "Relu", "LeakyRelu"}));
}

TEST(MergeActivations, merges_a_chain_into_one_clip) {
  Graph g;
  const ValueId x = g.add_input("x", DataType::float32, {2, 4});
  ValueId h = g.add(Unary{UnaryKind::relu}, "relu", {x}, "h");
  h = g.add(Variadic{VariadicKind::min}, "min", {h, scalar(g, "six", 1.5F)}, "h2");
  g.mark_output(g.add(Clip{}, "clip", {h, scalar(g, "lo", -1), scalar(g, "hi", 1)}, "y"));
  const Graph o = optimized(g);
  EXPECT_EQ(ops(o), (Ops{"Clip"}));
}

TEST(MergeActivations, keeps_an_activation_with_other_readers) {
  Graph g;
  const ValueId x = g.add_input("x", DataType::float32, {2, 4});
  const ValueId h = g.add(Unary{UnaryKind::relu}, "relu", {x}, "h");
  g.mark_output(h);
  g.mark_output(g.add(Clip{}, "clip", {h, scalar(g, "lo", -1), scalar(g, "hi", 1)}, "y"));
  EXPECT_EQ(ops(optimized(g)), (Ops{"Relu", "Clip"}));
}

TEST(Optimize, rejects_unknown_passes_and_suggests_the_nearest) {
  Graph g;
  try {
    optimize(g, {.skip = {"fold_batchnorm"}});
    FAIL() << "no error";
  } catch (const Error& e) {
    EXPECT_STREQ(e.what(), "unknown pass 'fold_batchnorm'; did you mean 'fold_batch_norm'?");
  }
}

TEST(Optimize, skips_passes_by_name) {
  ConvAndNorm c;
  const auto records = optimize(c.g, {.skip = {"fold_batch_norm"}});
  EXPECT_EQ(ops(c.g), (Ops{"Conv", "BatchNormalization"}));
  EXPECT_EQ(records.size(), standard_passes().size() - 1);
}

TEST(Optimize, changes_nothing_the_second_time) {
  ConvAndNorm c;
  optimize(c.g);
  const Graph once = c.g;
  for (const PassRecord& record : optimize(c.g)) EXPECT_EQ(record.change_count, 0) << record.name;
  EXPECT_EQ(c.g, once);
}

}  // namespace
}  // namespace bitfold
