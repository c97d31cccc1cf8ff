// Normalizations, Einsum, Det, losses and random numbers.
#include "op_testing.h"

namespace bitfold::testing {
namespace {

TEST(LayerNorm, gives_its_mean_and_inverse_deviation) {
  const std::vector<Tensor> outputs =
      run_op(LayerNorm{}, {floats({2, 3}, {1, 2, 3, 2, 2, 5}), floats({3}, {1, 2, 3})}, 3);
  expect_equal(outputs[0], floats({2, 3}, {-1.2247356F, 0, 3.6742067F, -0.707105F, -1.41421F, 4.24263F}));
  expect_equal(outputs[1], floats({2, 1}, {2, 3}));
  expect_equal(outputs[2], floats({2, 1}, {1.2247356F, 0.707105F}));
}

TEST(RmsNorm, divides_by_the_root_of_the_mean_square) {
  expect_op(RmsNorm{.epsilon = 0}, {floats({2, 2}, {1, 7, 3, 3}), floats({2}, {5, 10})},
            floats({2, 2}, {1, 14, 5, 10}));
  expect_op(RmsNorm{.axis = 0, .epsilon = 0}, {floats({2, 2}, {5, -5, 5, 5}), floats({1}, {2})},
            floats({2, 2}, {2, -2, 2, 2}));
}

TEST(LpNorm, divides_by_the_norm_and_keeps_zeros) {
  const Tensor x = floats({2, 2}, {3, -4, 0, 0});
  expect_op(LpNorm{}, {x}, floats({2, 2}, {0.6F, -0.8F, 0, 0}));
  expect_op(LpNorm{.p = 1}, {x}, floats({2, 2}, {3.0F / 7, -4.0F / 7, 0, 0}));
  expect_op(LpNorm{.axis = 0}, {x}, floats({2, 2}, {1, -1, 0, 0}));
}

TEST(MeanVarianceNorm, normalizes_each_channel) {
  expect_op(MeanVarianceNorm{}, {floats({1, 2, 2, 2}, {1, 2, 3, 4, 4, 4, 4, 4})},
            floats({1, 2, 2, 2}, {-1.3416407F, -0.4472136F, 0.4472136F, 1.3416407F, 0, 0, 0, 0}));
  expect_op(MeanVarianceNorm{.axes = {-1}}, {floats({2, 2}, {1, 3, 0, 8})}, floats({2, 2}, {-1, 1, -1, 1}));
}

TEST(Einsum, multiplies_and_sums_as_its_equation_says) {
  const Tensor a = floats({2, 2}, {1, 2, 3, 4}), row = floats({2}, {1, 2});
  const auto expect = [](const std::string& equation, const Inputs& inputs, const Tensor& expected) {
    SCOPED_TRACE(equation);
    expect_op(Einsum{equation}, inputs, expected);
  };
  expect("ij,jk->ik", {a, a}, floats({2, 2}, {7, 10, 15, 22}));
  expect(" i j , j k ", {a, a}, floats({2, 2}, {7, 10, 15, 22}));
  expect("...ij,...jk", {floats({1, 2, 2}, {1, 2, 3, 4}), a}, floats({1, 2, 2}, {7, 10, 15, 22}));
  expect("ij->j", {a}, floats({2}, {4, 6}));
  expect("ii->i", {a}, floats({2}, {1, 4}));
  expect("ii", {a}, floats({}, {5}));
  expect("ba", {a}, floats({2, 2}, {1, 3, 2, 4}));
  expect("i,j->ji", {row, floats({3}, {1, 2, 3})}, floats({3, 2}, {1, 2, 2, 4, 3, 6}));
  expect("a...,a...->...", {a, a}, floats({2}, {10, 20}));
  expect("i,ij,j->", {row, a, row}, floats({}, {27}));
  expect("ij,ij->ij", {a, floats({1, 2}, {1, 10})}, floats({2, 2}, {1, 20, 3, 40}));
  expect("ij,jk->ik", {floats({2, 0}, {}), floats({0, 2}, {})}, floats({2, 2}, {0, 0, 0, 0}));
  expect("i,i->", {int64s({3, 4}), int64s({5, -6})}, int64s({}, {-9}));
}

TEST(Einsum, refuses_a_wrong_equation_and_names_the_wrong_part) {
  const Tensor a = floats({2, 3}, {1, 2, 3, 4, 5, 6});
  expect_op_error(Einsum{"ij,jk->ik"}, {a}, "[Einsum 'n'] equation has 2 terms, but the node has 1 inputs");
  expect_op_error(Einsum{"ij->ik"}, {a}, "the output's index 'k' is in no input");
  expect_op_error(Einsum{"ij->ii"}, {a}, "the output has the index 'i' twice");
  expect_op_error(Einsum{"ijk->i"}, {a}, "input 0 has rank 2, but its term in the equation has 3 indices");
  expect_op_error(Einsum{"ii->i"}, {a}, "input 0 has sizes 2 and 3 along the diagonal");
  expect_op_error(Einsum{"i2->i"}, {a}, "equation has '2' in the term 'i2'");
  expect_op_error(Einsum{"...i->i"}, {a}, "equation has an ellipsis in an input and none in the output");
  expect_op_error(Einsum{"ij,ij->ij"}, {a, iota({3, 2})}, "an index of the equation has the sizes 2 and 3");
}

TEST(Det, is_computed_for_each_matrix) {
  expect_op(Det{}, {floats({2, 2, 2}, {1, 2, 3, 4, 0, 1, 1, 0})}, floats({2}, {-2, -1}));
  expect_op(Det{}, {floats({3, 3}, {2, 0, 0, 0, 0, 3, 0, 4, 0})}, floats({}, {-24}));
  expect_op(Det{}, {floats({2, 2}, {1, 2, 2, 4})}, floats({}, {0}));
  expect_op_error(Det{}, {iota({2, 3})}, "[Det 'n'] X has shape 2x3, expected square matrices");
}

TEST(NegativeLogLikelihoodLoss, is_a_weighted_mean) {
  const Tensor x = floats({2, 3}, {-1, -2, -3, -2, -2, -5}), weights = floats({3}, {1, 2, 3});
  using Loss = NegativeLogLikelihoodLoss;
  expect_op(Loss{}, {x, int64s({1, 2}), weights}, floats({}, {3.8F}));
  expect_op(Loss{.reduction = LossReduction::none}, {x, int64s({1, 2}), weights}, floats({2}, {4, 15}));
  expect_op(Loss{.reduction = LossReduction::sum}, {x, int64s({1, 2})}, floats({}, {7}));
  expect_op(Loss{.ignore_index = -1}, {x, int64s({1, -1})}, floats({}, {2}));
  expect_op_error(Loss{}, {x, int64s({1, 3})},
                  "[NegativeLogLikelihoodLoss 'n'] label 0 of sample 1 is 3, but there are 3");
}

TEST(SoftmaxCrossEntropyLoss, gives_the_log_probabilities_too) {
  const std::vector<Tensor> outputs = run_op(
      SoftmaxCrossEntropyLoss{}, {floats({2, 3}, {1, 2, 3, 2, 2, 5}), int64s({1, 2}), floats({3}, {1, 2, 3})}, 2);
  expect_equal(outputs[0], floats({}, {0.6199962F}));
  expect_equal(outputs[1],
               floats({2, 3}, {-2.4076059F, -1.4076059F, -0.4076060F, -3.0949229F, -3.0949229F, -0.0949229F}));
  // [N, C, positions]
  expect_op(SoftmaxCrossEntropyLoss{.reduction = LossReduction::none},
            {floats({1, 2, 2}, {0, 1, 0, 1}), int64s({1, 2}, {0, 1})}, floats({1, 2}, {0.6931472F, 0.6931472F}));
}

double mean_of(const Tensor& t) {
  double sum = 0;
  for (float x : t.data<float>()) sum += x;
  return sum / static_cast<double>(t.size());
}

TEST(Random, numbers_have_the_given_distribution) {
  const Tensor normal =
      run_op(RandomTensor{.kind = RandomKind::normal, .a = 3, .b = 2, .shape = {100, 100}, .seed = 1.0F}, {})[0];
  const double mean = mean_of(normal);
  EXPECT_NEAR(mean, 3, 0.08);
  double squares = 0;
  for (float x : normal.data<float>()) squares += (x - mean) * (x - mean);
  EXPECT_NEAR(std::sqrt(squares / 10000), 2, 0.06);
  const Tensor uniform = run_op(RandomLike{.kind = RandomKind::uniform, .a = -1, .b = 3, .seed = 1.0F}, {normal})[0];
  EXPECT_NEAR(mean_of(uniform), 1, 0.05);
  for (float x : uniform.data<float>()) ASSERT_TRUE(x >= -1 && x <= 3);
}

TEST(Random, numbers_repeat_with_a_seed_only) {
  const auto run = [](std::optional<float> seed) { return run_op(RandomTensor{.shape = {8}, .seed = seed}, {})[0]; };
  EXPECT_TRUE(run(2.5F) == run(2.5F));
  EXPECT_FALSE(run(2.5F) == run(3.5F));
  EXPECT_FALSE(run({}) == run({}));
}

TEST(Bernoulli, is_1_with_the_given_probability) {
  Tensor x(DataType::float32, {10000});
  for (float& p : x.mutable_data<float>()) p = 0.25F;
  EXPECT_NEAR(mean_of(run_op(Bernoulli{.seed = 1.0F}, {x})[0]), 0.25, 0.02);
  expect_op(Bernoulli{.dtype = DataType::boolean, .seed = 1.0F}, {floats({2}, {0, 1})}, booleans({2}, {0, 1}));
  expect_op_error(Bernoulli{}, {floats({2}, {0, 1.5F})}, "[Bernoulli 'n'] probability 1 is 1.5");
}

TEST(Multinomial, draws_classes_by_their_probabilities) {
  const Tensor y = run_op(Multinomial{.dtype = DataType::int64, .sample_size = 8000, .seed = 1.0F},
                          {floats({1, 3}, {0, 1.0986123F, -kInfinity})})[0];
  EXPECT_EQ(y.shape(), (Shape{1, 8000}));
  double ones = 0;
  for (std::int64_t c : y.data<std::int64_t>()) {
    ASSERT_TRUE(c == 0 || c == 1);
    ones += static_cast<double>(c);
  }
  EXPECT_NEAR(ones / 8000, 0.75, 0.02);
}

TEST(CumSum, adds_up_many_vectors_next_to_each_other) {
  // Element (k, i) is i + 1, so that sum k is (k + 1) (i + 1).
  constexpr std::int64_t kSteps = 3, kVectors = 131;
  std::vector<float> x, sums, earlier, later;
  for (std::int64_t k = 0; k < kSteps; ++k)
    for (std::int64_t i = 0; i < kVectors; ++i) {
      const auto own = static_cast<float>(i + 1);
      x.push_back(own);
      sums.push_back(static_cast<float>(k + 1) * own);
      earlier.push_back(static_cast<float>(k) * own);
      later.push_back(static_cast<float>(kSteps - 1 - k) * own);
    }
  const Shape shape{1, kSteps, kVectors};
  expect_op(Cumulative{}, {floats(shape, x), int64s({}, {1})}, floats(shape, sums));
  expect_op(Cumulative{.exclusive = true}, {floats(shape, x), int64s({}, {-2})}, floats(shape, earlier));
  expect_op(Cumulative{.exclusive = true, .reverse = true}, {floats(shape, x), int64s({}, {1})}, floats(shape, later));
  expect_op(Cumulative{}, {floats({2, 0, 3}, {}), int64s({}, {1})}, floats({2, 0, 3}, {}));
  expect_op(Cumulative{.reverse = true}, {floats({0, 2}, {}), int64s({}, {0})}, floats({0, 2}, {}));
}

}  // namespace
}  // namespace bitfold::testing
