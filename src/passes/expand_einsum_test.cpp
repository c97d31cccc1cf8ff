#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>

#include "bitfold/passes.h"
#include "bitfold/reference.h"
#include "numeric/random_tensor.h"
#include "passes/rewrite.h"

namespace bitfold {
namespace {

struct Case {
  const char* equation;
  std::vector<Shape> shapes;
  bool is_expanded = true;
};

/// Sizes at the `unknown` axes of the first input are not known before running.
Graph einsum(const Case& c, const std::vector<std::size_t>& unknown = {}) {
  Graph g;
  std::vector<ValueId> inputs;
  for (std::size_t i = 0; i < c.shapes.size(); ++i) {
    Shape shape = c.shapes[i];
    if (i == 0)
      for (std::size_t axis : unknown) shape[axis] = kDynamic;
    inputs.push_back(g.add_input("x" + std::to_string(i), DataType::float32, shape));
  }
  g.mark_output(g.add(Einsum{c.equation}, "product", inputs, "y"));
  infer_shapes(g);
  return g;
}

bool has_einsum(const Graph& g) {
  return std::ranges::any_of(g.nodes(), [&](NodeId id) { return std::holds_alternative<Einsum>(g.node(id).op); });
}

void expect_same_function(const Graph& original, const Graph& changed, const Case& c) {
  std::vector<Tensor> inputs;
  for (std::size_t i = 0; i < c.shapes.size(); ++i)
    inputs.push_back(testing::random_tensor(c.shapes[i], static_cast<unsigned>(i) + 1));
  const Tensor expected = Reference(original).run(inputs)[0], got = Reference(changed).run(inputs)[0];
  ASSERT_EQ(got.shape(), expected.shape()) << c.equation;
  for (std::size_t i = 0; i < static_cast<std::size_t>(got.size()); ++i)
    ASSERT_NEAR(got.data<float>()[i], expected.data<float>()[i], 1e-5) << c.equation;
}

const std::vector<Case> kCases{
    {"ij,jk->ik", {{2, 3}, {3, 4}}},
    {"ij,jk", {{2, 3}, {3, 4}}},
    {"bqhd,bkhd->bhqk", {{2, 3, 4, 5}, {2, 6, 4, 5}}},
    {"bhqk,bkhd->bqhd", {{2, 3, 4, 5}, {2, 5, 3, 6}}},
    {"abc,cde->abde", {{2, 3, 4}, {4, 5, 6}}},     // the rows and the columns are two indices each
    {"abcd,cde->abe", {{2, 3, 4, 5}, {4, 5, 6}}},  // the sum is over two indices
    {"bijk,bkl->bilj", {{2, 3, 4, 5}, {2, 5, 6}}},
    {"bchw,cd->bdhw", {{2, 3, 4, 5}, {3, 6}}},
    {"bi,bi->b", {{2, 3}, {2, 3}}},  // no rows and no columns
    {"i,j->ij", {{3}, {4}}},         // no sum
    {"bi,bj->bji", {{2, 3}, {2, 4}}},
    {"i,i->", {{3}, {3}}},
    {"...ij,...jk->...ik", {{2, 3, 4, 5}, {2, 3, 5, 6}}},
    {"nc,cv->nv", {{1, 3}, {3, 4}}},
    {"hij->ij", {{2, 3, 4}}},
    {"hij->jh", {{2, 3, 4}}},
    {"ij->ji", {{2, 3}}},
    {"ij->", {{2, 3}}},
    {"ii->i", {{3, 3}}, false},
    {"ii,ij->ij", {{3, 3}, {3, 4}}, false},           // a diagonal
    {"ij,kl->ik", {{2, 3}, {4, 5}}, false},           // sums of one input alone
    {"bij,bjk->bik", {{1, 3, 4}, {2, 4, 5}}, false},  // broadcasting
    {"ij,jk,kl->il", {{2, 3}, {3, 4}, {4, 5}}, false},
};

TEST(ExpandEinsum, gives_fast_operators_of_the_same_function) {
  for (const Case& c : kCases) {
    const Graph original = einsum(c);
    Graph changed = original;
    EXPECT_EQ(expand_einsum(changed), c.is_expanded ? 1 : 0) << c.equation;
    EXPECT_EQ(has_einsum(changed), !c.is_expanded) << c.equation;
    infer_shapes(changed);
    expect_same_function(original, changed, c);
    Graph optimized = original;
    optimize(optimized);
    expect_same_function(original, optimized, c);
  }
}

TEST(ExpandEinsum, works_with_unknown_sizes_that_no_reshape_needs) {
  const Case attention{"bqhd,bkhd->bhqk", {{2, 3, 4, 5}, {2, 6, 4, 5}}};
  const Case projection{"abc,cde->abde", {{2, 3, 4}, {4, 5, 6}}};
  for (const Case& c : {attention, projection}) {
    const Graph original = einsum(c, {0, 1});
    Graph changed = original;
    EXPECT_EQ(expand_einsum(changed), 1) << c.equation;
    infer_shapes(changed);
    expect_same_function(original, changed, c);
  }
  const Case two_sums{"abcd,bcde->ae", {{2, 3, 4, 5}, {3, 4, 5, 6}}};
  const Graph original = einsum(two_sums, {0});
  Graph changed = original;
  EXPECT_EQ(expand_einsum(changed), 1);
  expect_same_function(original, changed, two_sums);
}

TEST(ExpandEinsum, keeps_a_summed_index_of_unknown_size_that_may_be_broadcast) {
  const Case c{"bij,bjk->bik", {{2, 3, 4}, {2, 4, 5}}};
  Graph g = einsum(c, {2});
  EXPECT_EQ(expand_einsum(g), 0);
}

TEST(ExpandEinsum, keeps_the_name_and_the_grid_of_the_output) {
  Graph g = einsum({"bqhd,bkhd->bhqk", {{2, 3, 4, 5}, {2, 6, 4, 5}}});
  QuantParams grid;
  grid.scale = {0.5F};
  grid.zero_point = {3};
  g.value(g.outputs()[0]).quant = grid;
  EXPECT_EQ(expand_einsum(g), 1);
  EXPECT_EQ(g.value(g.outputs()[0]).name, "y");
  EXPECT_EQ(g.value(g.outputs()[0]).quant, grid);
}

}  // namespace
}  // namespace bitfold
