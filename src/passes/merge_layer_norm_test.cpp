#include <gtest/gtest.h>

#include <cmath>

#include "bitfold/passes.h"
#include "bitfold/reference.h"
#include "passes/rewrite.h"

namespace bitfold {
namespace {

struct Written {
  bool has_affine = true, squares_by_mul = false, subtracts_twice = false;
  std::int64_t axis = -1;
  float exponent = 2;
  std::size_t epsilon_rank = 0;
};

/// LayerNormalization over the last axis of [2, 3, 4], written out as exporters do.
Graph written_out(const Written& how) {
  Graph g;
  const auto floats = [&](const char* name, std::vector<float> v) {
    const Shape shape = v.size() == 1 ? Shape{} : Shape{std::ssize(v)};
    return g.add_constant(name, Tensor::from<float>(shape, v));
  };
  const ValueId x = g.add_input("x", DataType::float32, Shape{2, 3, 4});
  const ValueId axes = g.add_constant("axes", Tensor::from<std::int64_t>({1}, std::vector<std::int64_t>{how.axis}));
  const auto difference = [&](const std::string& name) {
    const ValueId mean = g.add(Reduce{}, name + "_mean", {x, axes}, name + "_mean");
    return g.add(Binary{BinaryKind::sub}, name, {x, mean}, name);
  };
  const ValueId d = difference("d"), other = how.subtracts_twice ? difference("d2") : d;
  const ValueId square =
      how.squares_by_mul ? g.add(Binary{BinaryKind::mul}, "square", {other, other}, "square")
                         : g.add(Binary{BinaryKind::pow}, "square", {other, floats("two", {how.exponent})}, "square");
  const ValueId variance = g.add(Reduce{}, "variance", {square, axes}, "variance");
  const ValueId epsilon = g.add_constant(
      "epsilon", Tensor::from<float>(Shape(how.epsilon_rank, std::int64_t{1}), std::vector<float>{1e-3F}));
  const ValueId sum = g.add(Binary{BinaryKind::add}, "sum", {variance, epsilon}, "sum");
  const ValueId root = g.add(Unary{UnaryKind::sqrt}, "root", {sum}, "root");
  ValueId y = g.add(Binary{BinaryKind::div}, "n", {d, root}, "n");
  if (how.has_affine) {
    y = g.add(Binary{BinaryKind::mul}, "scaled", {floats("scale", {1, -2, 0.5F, 3}), y}, "scaled");
    y = g.add(Binary{BinaryKind::add}, "y", {y, floats("shift", {0, 1, 2, -3})}, "y");
  }
  g.mark_output(y);
  infer_shapes(g);
  return g;
}

std::vector<std::string> ops(const Graph& g) {
  std::vector<std::string> names;
  for (NodeId id : g.topological_order()) names.push_back(op_name(g.node(id).op));
  return names;
}

std::vector<float> run(const Graph& g) {
  std::vector<float> x;
  for (int i = 0; i < 24; ++i) x.push_back(static_cast<float>((i * 7) % 11) - 4.5F);
  const std::vector<Tensor> inputs{Tensor::from<float>({2, 3, 4}, x)};
  const Tensor y = Reference(g).run(inputs)[0];
  return {y.data<float>().begin(), y.data<float>().end()};
}

TEST(MergeLayerNorm, merges_the_formula_that_exporters_write_out) {
  for (const Written& how : {Written{}, Written{.has_affine = false}, Written{.squares_by_mul = true},
                             Written{.subtracts_twice = true}, Written{.axis = 2}}) {
    const Graph before = written_out(how);
    Graph after = before;
    optimize(after);
    EXPECT_EQ(ops(after), std::vector<std::string>{"LayerNormalization"});
    const std::vector<float> a = run(before), b = run(after);
    for (std::size_t i = 0; i < a.size(); ++i) EXPECT_NEAR(a[i], b[i], 1e-5) << i;
    EXPECT_EQ(after.value(after.outputs()[0]).name, before.value(before.outputs()[0]).name);
  }
}

TEST(MergeLayerNorm, keeps_a_normalization_with_a_grid_inside) {
  Graph g = written_out({});
  g.value(g.find("variance")).quant = QuantParams{.scale = {0.5F}, .zero_point = {0}};
  EXPECT_EQ(merge_layer_norm(g), 0);
}

TEST(MergeLayerNorm, leaves_other_formulas_alone) {
  for (const Written& how : {Written{.axis = 1}, Written{.exponent = 3}, Written{.epsilon_rank = 4}}) {
    Graph g = written_out(how);
    const auto before = ops(g).size();
    optimize(g);
    EXPECT_EQ(ops(g).size(), before);
  }
}

}  // namespace
}  // namespace bitfold
