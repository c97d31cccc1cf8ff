// Elementwise operators, reductions, normalizations.
#include "op_testing.h"

namespace bitfold::testing {
namespace {

const Tensor kPoints = floats({7}, {-3, -1, -0.5F, 0, 0.5F, 2.5F, 4});

struct UnaryCase {
  UnaryKind kind;
  std::vector<float> expected;  // at kPoints
};

TEST(Unary, kinds_give_onnx_values) {
  const std::vector<UnaryCase> cases{
      {UnaryKind::identity, {-3, -1, -0.5F, 0, 0.5F, 2.5F, 4}},
      {UnaryKind::relu, {0, 0, 0, 0, 0.5F, 2.5F, 4}},
      {UnaryKind::sigmoid, {0.0474258661F, 0.268941432F, 0.377540708F, 0.5F, 0.622459292F, 0.924141824F, 0.982013762F}},
      {UnaryKind::tanh, {-0.995054722F, -0.761594176F, -0.462117165F, 0, 0.462117165F, 0.986614347F, 0.999329209F}},
      {UnaryKind::exp, {0.0497870669F, 0.36787945F, 0.606530666F, 1, 1.64872122F, 12.1824942F, 54.5981483F}},
      {UnaryKind::log, {kNan, kNan, kNan, -kInfinity, -0.693147182F, 0.916290760F, 1.38629436F}},
      {UnaryKind::sqrt, {kNan, kNan, kNan, 0, 0.707106769F, 1.58113885F, 2}},
      {UnaryKind::reciprocal, {-0.333333343F, -1, -2, kInfinity, 2, 0.4F, 0.25F}},
      {UnaryKind::abs, {3, 1, 0.5F, 0, 0.5F, 2.5F, 4}},
      {UnaryKind::neg, {3, 1, 0.5F, 0, -0.5F, -2.5F, -4}},
      {UnaryKind::sign, {-1, -1, -1, 0, 1, 1, 1}},
      {UnaryKind::floor, {-3, -1, -1, 0, 0, 2, 4}},
      {UnaryKind::ceil, {-3, -1, 0, 0, 1, 3, 4}},
      {UnaryKind::round, {-3, -1, 0, 0, 0, 2, 4}},
      {UnaryKind::erf, {-0.999977887F, -0.842700779F, -0.520499885F, 0, 0.520499885F, 0.999593079F, 1}},
      {UnaryKind::softplus,
       {0.0485873558F, 0.313261688F, 0.474076986F, 0.693147182F, 0.974076986F, 2.57888985F, 4.01814985F}},
      {UnaryKind::softsign, {-0.75F, -0.5F, -0.333333343F, 0, 0.333333343F, 0.714285731F, 0.8F}},
      {UnaryKind::hard_swish, {0, -0.333333313F, -0.208333328F, 0, 0.291666657F, 2.29166675F, 4}},
      {UnaryKind::mish, {-0.145647451F, -0.30340144F, -0.220743775F, 0, 0.375245243F, 2.47139239F, 3.99741268F}},
      {UnaryKind::gelu, {-0.00404968858F, -0.158655256F, -0.154268771F, 0, 0.345731229F, 2.48447609F, 3.99987316F}},
      {UnaryKind::sin, {-0.141120002F, -0.841470957F, -0.47942555F, 0, 0.47942555F, 0.598472118F, -0.756802499F}},
      {UnaryKind::cos, {-0.989992499F, 0.540302277F, 0.87758255F, 1, 0.87758255F, -0.801143587F, -0.653643608F}}};
  for (const UnaryCase& c : cases) expect_op(Unary{c.kind}, {kPoints}, floats({7}, c.expected));
}

TEST(Unary, trigonometric_and_hyperbolic_functions_give_known_values) {
  const auto expect = [](UnaryKind kind, const std::vector<float>& x, const std::vector<float>& y) {
    const auto size = std::ssize(x);
    expect_op(Unary{kind}, {floats({size}, x)}, floats({size}, y));
  };
  using K = UnaryKind;
  expect(K::tan, {-3, -1, 2.5F, 4}, {0.142546549F, -1.55740774F, -0.747022331F, 1.1578213F});
  expect(K::atan, {-3, -1, 2.5F, 4}, {-1.24904585F, -0.785398126F, 1.19028997F, 1.3258177F});
  expect(K::sinh, {-3, -0.5F, 4}, {-10.0178747F, -0.521095276F, 27.2899189F});
  expect(K::cosh, {-3, -0.5F, 4}, {10.0676622F, 1.12762594F, 27.3082314F});
  expect(K::asinh, {-3, -0.5F, 4}, {-1.81844652F, -0.481211841F, 2.0947125F});
  expect(K::asin, {-0.9F, 0.25F, 1, 2}, {-1.11976957F, 0.252680272F, 1.57079637F, kNan});
  expect(K::acos, {-0.9F, 0.25F, 1, 2}, {2.69056582F, 1.31811595F, 0, kNan});
  expect(K::atanh, {-0.9F, 0.25F, 1}, {-1.47221935F, 0.255412817F, kInfinity});
  expect(K::acosh, {0, 1, 1.5F, 4}, {kNan, 0, 0.962423682F, 2.063437F});
}

TEST(Unary, nan_and_infinities_are_found) {
  const Tensor x = floats({4}, {1, kNan, kInfinity, -kInfinity});
  expect_op(Unary{UnaryKind::is_nan}, {x}, booleans({4}, {0, 1, 0, 0}));
  expect_op(IsInf{}, {x}, booleans({4}, {0, 0, 1, 1}));
  expect_op(IsInf{.detect_negative = false}, {x}, booleans({4}, {0, 0, 1, 0}));
  expect_op(IsInf{.detect_positive = false}, {x}, booleans({4}, {0, 0, 0, 1}));
}

TEST(Unary, gelu_by_tanh_gives_onnx_values) {
  expect_op(GeluTanh{}, {kPoints},
            floats({7}, {-0.00363752246F, -0.158807963F, -0.154285997F, 0, 0.345714003F, 2.48491573F, 3.99992990F}));
}

TEST(Unary, extreme_inputs_do_not_overflow) {
  expect_op(Unary{UnaryKind::sigmoid}, {floats({2}, {-1000, 1000})}, floats({2}, {0, 1}));
  expect_op(Unary{UnaryKind::softplus}, {floats({2}, {-1000, 1000})}, floats({2}, {0, 1000}));
}

TEST(Unary, computes_integers_and_booleans) {
  constexpr std::int64_t kLowest = std::numeric_limits<std::int64_t>::min();
  expect_op(Unary{UnaryKind::neg}, {int64s({3, -4, kLowest})}, int64s({-3, 4, kLowest}));
  expect_op(Unary{UnaryKind::abs}, {int64s({3, -4})}, int64s({3, 4}));
  expect_op(Unary{UnaryKind::sign}, {int64s({3, -4, 0})}, int64s({1, -1, 0}));
  expect_op(Unary{UnaryKind::logical_not}, {booleans({2}, {0, 1})}, booleans({2}, {1, 0}));
}

TEST(Parametric, kinds_give_onnx_values) {
  using Kind = ParametricKind;
  const auto expect = [](Parametric op, const std::vector<float>& values) {
    expect_op(op, {kPoints}, floats({7}, values));
  };
  expect({Kind::leaky_relu, 0.1F}, {-0.3F, -0.1F, -0.05F, 0, 0.5F, 2.5F, 4});
  expect({Kind::elu, 2}, {-1.90042591F, -1.2642411F, -0.786938667F, 0, 0.5F, 2.5F, 4});
  expect({Kind::selu, 1.67326319F, 1.05070102F},
         {-1.6705687F, -1.11133075F, -0.691758156F, 0, 0.525350511F, 2.62675261F, 4.20280409F});
  expect({Kind::celu, 2}, {-1.55373967F, -0.786938667F, -0.442398429F, 0, 0.5F, 2.5F, 4});
  expect({Kind::hard_sigmoid, 0.3F, 0.4F}, {0, 0.1F, 0.25F, 0.4F, 0.55F, 1, 1});
  expect({Kind::thresholded_relu, 1}, {0, 0, 0, 0, 0, 2.5F, 4});
  expect({Kind::swish, 1.5F},
         {-0.0329608284F, -0.182425529F, -0.160410643F, 0, 0.339589357F, 2.44255662F, 3.99010968F});
  expect({Kind::shrink, 1.5F, 0.5F}, {-2.5F, 0, 0, 0, 0, 2, 3.5F});
  expect_op(Parametric{Kind::shrink, 1.5F, 1.5F}, {int64s({-4, -1, 0, 2, 7})}, int64s({-2, 0, 0, 0, 5}));
}

TEST(Clip, bounds_may_be_absent_and_max_overrides_min) {
  const Tensor x = floats({3}, {-1, 0.5F, 3});
  expect_op(Clip{}, {x, floats({}, {0}), floats({}, {1})}, floats({3}, {0, 0.5F, 1}));
  expect_op(Clip{}, {x, std::nullopt, floats({}, {1})}, floats({3}, {-1, 0.5F, 1}));
  expect_op(Clip{}, {x, floats({}, {0})}, floats({3}, {0, 0.5F, 3}));
  expect_op(Clip{}, {x, floats({}, {2}), floats({}, {1})}, floats({3}, {1, 1, 1}));
  expect_op(Clip{}, {int64s({-5, 5}), int64s({}, {0})}, int64s({0, 5}));
}

TEST(Binary, broadcasts_both_sides) {
  const Tensor column = floats({2, 1}, {10, 20}), row = floats({3}, {1, 2, 3});
  expect_op(Binary{BinaryKind::add}, {column, row}, floats({2, 3}, {11, 12, 13, 21, 22, 23}));
  expect_op(Binary{BinaryKind::sub}, {row, column}, floats({2, 3}, {-9, -8, -7, -19, -18, -17}));
  expect_op(Binary{BinaryKind::mul}, {floats({}, {2}), row}, floats({3}, {2, 4, 6}));
  expect_op(Binary{BinaryKind::div}, {row, floats({1, 1}, {2})}, floats({1, 3}, {0.5F, 1, 1.5F}));
  expect_op(Binary{BinaryKind::add}, {iota({2, 1, 2}), floats({1, 2, 1}, {10, 20})},
            floats({2, 2, 2}, {11, 12, 21, 22, 13, 14, 23, 24}));
}

TEST(Binary, integer_division_truncates_and_mod_takes_the_divisors_sign) {
  const Tensor a = int64s({7, -7, 7, -7}), b = int64s({3, 3, -3, -3});
  expect_op(Binary{BinaryKind::div}, {a, b}, int64s({2, -2, -2, 2}));
  expect_op(Binary{BinaryKind::mod}, {a, b}, int64s({1, 2, -2, -1}));
  expect_op(Binary{BinaryKind::mod, true}, {a, b}, int64s({1, -1, 1, -1}));
  expect_op(Binary{BinaryKind::mod, true}, {floats({2}, {7.5F, -7.5F}), floats({1}, {2})}, floats({2}, {1.5F, -1.5F}));
}

TEST(Binary, integers_of_every_width_wrap) {
  const auto bytes = [](const std::vector<std::int8_t>& values) {
    return Tensor::from<std::int8_t>({static_cast<std::int64_t>(values.size())}, values);
  };
  const auto words = [](const std::vector<std::uint16_t>& values) {
    return Tensor::from<std::uint16_t>({static_cast<std::int64_t>(values.size())}, values);
  };
  expect_op(Binary{BinaryKind::add}, {bytes({127, -128}), bytes({1, -1})}, bytes({-128, 127}));
  expect_op(Binary{BinaryKind::mul}, {words({65535}), words({65535})}, words({1}));
  expect_op(Binary{BinaryKind::div}, {bytes({-128, -7}), bytes({-1, 2})}, bytes({-128, -3}));
  expect_op(Binary{BinaryKind::less}, {bytes({-1}), bytes({1})}, booleans({1}, {1}));
  expect_op(Binary{BinaryKind::less}, {words({65535}), words({1})}, booleans({1}, {0}));
}

TEST(Binary, mod_of_reals_takes_the_divisors_sign) {
  const Tensor a = floats({8}, {7.5F, -7.5F, 7.5F, -7.5F, 6, -6, 5, -5}),
               b = floats({8}, {2, 2, -2, -2, 3, 3, kInfinity, kInfinity});
  expect_op(Binary{BinaryKind::mod}, {a, b}, floats({8}, {1.5F, 0.5F, -0.5F, -1.5F, 0, 0, 5, kInfinity}));
  const Tensor zeros = run_op(Binary{BinaryKind::mod}, {floats({2}, {-6, 6}), floats({2}, {3, -3})}).at(0);
  EXPECT_FALSE(std::signbit(zeros.data<float>()[0]));
  EXPECT_TRUE(std::signbit(zeros.data<float>()[1]));
  const Tensor nan = run_op(Binary{BinaryKind::mod}, {floats({2}, {1, kInfinity}), floats({2}, {0, 2})}).at(0);
  for (float x : nan.data<float>()) EXPECT_TRUE(std::isnan(x));
}

TEST(Binary, bitwise_operators_combine_bits) {
  const Tensor a = int64s({12, -1}), b = int64s({10, 6});
  expect_op(Binary{BinaryKind::bitwise_and}, {a, b}, int64s({8, 6}));
  expect_op(Binary{BinaryKind::bitwise_or}, {a, b}, int64s({14, -1}));
  expect_op(Binary{BinaryKind::bitwise_xor}, {a, b}, int64s({6, -7}));
  expect_op(Unary{UnaryKind::bitwise_not}, {a}, int64s({-13, 0}));
}

TEST(BitShift, by_the_whole_width_leaves_copies_of_the_sign) {
  const Tensor x = int64s({5, -5, 5, -5, -5}), by = int64s({1, 1, 64, 64, -1});
  expect_op(BitShift{true}, {x, by}, int64s({10, -10, 0, 0, 0}));
  expect_op(BitShift{false}, {x, by}, int64s({2, -3, 0, -1, -1}));
  const Tensor bytes = Tensor::from<std::uint8_t>({2}, std::vector<std::uint8_t>{255, 255});
  expect_op(BitShift{true}, {bytes, Tensor::from<std::uint8_t>({2}, std::vector<std::uint8_t>{4, 8})},
            Tensor::from<std::uint8_t>({2}, std::vector<std::uint8_t>{240, 0}));
}

TEST(SwiGlu, gates_the_second_input) {
  expect_op(SwiGlu{}, {floats({3}, {-1, 0, 1000}), floats({3}, {2, 3, 4})}, floats({3}, {-0.537882864F, 0, 4000}));
  try {
    run_op(SwiGlu{}, {floats({2}, {1, 2}), floats({1}, {1})});
    FAIL();
  } catch (const Error& error) {
    EXPECT_STREQ(error.what(), "[SwiGLU 'n'] inputs have shapes 2 and 1, which must be equal");
  }
}

TEST(Binary, integer_extremes_wrap_and_zero_divisors_are_an_error) {
  constexpr std::int64_t kLowest = std::numeric_limits<std::int64_t>::min();
  expect_op(Binary{BinaryKind::div}, {int64s({kLowest}), int64s({-1})}, int64s({kLowest}));
  expect_op(Binary{BinaryKind::mod}, {int64s({kLowest}), int64s({-1})}, int64s({0}));
  expect_op(Binary{BinaryKind::sub}, {int64s({kLowest}), int64s({1})},
            int64s({std::numeric_limits<std::int64_t>::max()}));
  EXPECT_THROW(run_op(Binary{BinaryKind::div}, {int64s({1}), int64s({0})}), Error);
  EXPECT_THROW(run_op(Binary{BinaryKind::mod}, {int64s({1}), int64s({0})}), Error);
}

TEST(Binary, power_has_the_type_of_its_base) {
  expect_op(Binary{BinaryKind::pow}, {floats({3}, {2, 3, 4}), int64s({3, 2, -1})}, floats({3}, {8, 9, 0.25F}));
  expect_op(Binary{BinaryKind::pow}, {int64s({2, -3}), int64s({3, 3})}, int64s({8, -27}));
}

TEST(Binary, powers_with_one_exponent_equal_those_of_the_standard_library) {
  using Limits = std::numeric_limits<float>;
  std::vector<float> bases;
  for (float x : {0.0F, 1.0F, 0.3F, 3.0F, 1e-13F, 7e12F, Limits::max(), Limits::min(), Limits::denorm_min(), kInfinity})
    for (float sign : {-1.0F, 1.0F}) bases.push_back(sign * x);
  for (int i = 1; i < 500; ++i) bases.push_back(0.0137F * static_cast<float>(i));
  const Tensor x = floats({std::ssize(bases)}, bases);
  for (float exponent : {2.0F, 3.0F, 4.0F, 5.0F, 1.0F, 0.0F, -1.0F, -2.0F, 0.5F, -0.5F, 1.5F}) {
    const Tensor y = run_op(Binary{BinaryKind::pow}, {x, floats({}, {exponent})})[0];
    for (std::size_t i = 0; i < bases.size(); ++i) {
      SCOPED_TRACE(fmt::format("{} to the power of {}", bases[i], exponent));
      const float got = y.data<float>()[i], expected = std::pow(bases[i], exponent);
      EXPECT_EQ(std::isnan(got), std::isnan(expected));
      if (std::isnan(expected)) continue;
      EXPECT_EQ(std::signbit(got), std::signbit(expected));
      EXPECT_GE(got, std::nextafter(expected, -kInfinity));
      EXPECT_LE(got, std::nextafter(expected, kInfinity));
    }
  }
  expect_op(Binary{BinaryKind::pow}, {floats({2}, {kNan, 2}), int64s({1}, {3})}, floats({2}, {kNan, 8}));
}

TEST(Binary, computes_comparisons_and_logical_operators) {
  const Tensor a = floats({3}, {1, 2, 3}), b = floats({3}, {2, 2, 2});
  expect_op(Binary{BinaryKind::equal}, {a, b}, booleans({3}, {0, 1, 0}));
  expect_op(Binary{BinaryKind::less}, {a, b}, booleans({3}, {1, 0, 0}));
  expect_op(Binary{BinaryKind::less_or_equal}, {a, b}, booleans({3}, {1, 1, 0}));
  expect_op(Binary{BinaryKind::greater}, {a, b}, booleans({3}, {0, 0, 1}));
  expect_op(Binary{BinaryKind::greater_or_equal}, {a, b}, booleans({3}, {0, 1, 1}));
  const Tensor p = booleans({4}, {0, 0, 1, 1}), q = booleans({4}, {0, 1, 0, 1});
  expect_op(Binary{BinaryKind::logical_and}, {p, q}, booleans({4}, {0, 0, 0, 1}));
  expect_op(Binary{BinaryKind::logical_or}, {p, q}, booleans({4}, {0, 1, 1, 1}));
  expect_op(Binary{BinaryKind::logical_xor}, {p, q}, booleans({4}, {0, 1, 1, 0}));
  expect_op(Binary{BinaryKind::equal}, {p, q}, booleans({4}, {1, 0, 0, 1}));
}

TEST(Variadic, takes_any_number_of_broadcast_operands) {
  const Inputs three{floats({2, 1}, {1, 4}), floats({2}, {3, 0}), floats({}, {2})};
  expect_op(Variadic{VariadicKind::sum}, three, floats({2, 2}, {6, 3, 9, 6}));
  expect_op(Variadic{VariadicKind::mean}, three, floats({2, 2}, {2, 1, 3, 2}));
  expect_op(Variadic{VariadicKind::min}, three, floats({2, 2}, {1, 0, 2, 0}));
  expect_op(Variadic{VariadicKind::max}, three, floats({2, 2}, {3, 2, 4, 4}));
  expect_op(Variadic{VariadicKind::max}, {floats({2}, {1, kNan}), floats({2}, {kNan, 1})}, floats({2}, {kNan, kNan}));
}

TEST(PRelu, slopes_broadcast_to_channels) {
  expect_op(PRelu{}, {floats({1, 2, 2}, {-1, 2, -3, 4}), floats({2, 1}, {0.5F, 0.1F})},
            floats({1, 2, 2}, {-0.5F, 2, -0.3F, 4}));
}

TEST(Where, selects_with_broadcasting) {
  expect_op(Where{}, {booleans({2, 1}, {1, 0}), floats({2}, {1, 2}), floats({}, {9})}, floats({2, 2}, {1, 2, 9, 9}));
  expect_op(Where{}, {booleans({2}, {1, 0}), int64s({1, 2}), int64s({3, 4})}, int64s({1, 4}));
}

TEST(Reduce, kinds_give_onnx_values) {
  using Kind = ReduceKind;
  const auto expect = [](Kind kind, float first, float second) {
    expect_op(Reduce{kind, false}, {floats({2, 3}, {1, -2, 3, -4, 5, 6}), int64s({1})}, floats({2}, {first, second}));
  };
  expect(Kind::sum, 2, 7);
  expect(Kind::mean, 0.666666687F, 2.33333325F);
  expect(Kind::max, 3, 6);
  expect(Kind::min, -2, -4);
  expect(Kind::prod, -6, -120);
  expect(Kind::l1, 6, 15);
  expect(Kind::l2, 3.7416575F, 8.77496433F);
  expect(Kind::sum_square, 14, 77);
  expect(Kind::log_sum_exp, 3.13284516F, 6.31329489F);
  expect(Kind::log_sum, 0.693147182F, 1.9459101F);
}

TEST(Reduce, axes_may_be_several_negative_or_absent) {
  const Tensor x = iota({2, 2, 2});
  expect_op(Reduce{ReduceKind::sum}, {x, int64s({0, -1})}, floats({1, 2, 1}, {14, 22}));
  expect_op(Reduce{ReduceKind::sum, false}, {x, int64s({0})}, floats({2, 2}, {6, 8, 10, 12}));
  expect_op(Reduce{ReduceKind::sum}, {x}, floats({1, 1, 1}, {36}));
  expect_op(Reduce{ReduceKind::sum, true, true}, {x}, x);
  expect_op(Reduce{ReduceKind::l1, true, true}, {floats({2}, {-1, 2})}, floats({2}, {1, 2}));
}

TEST(Reduce, large_values_do_not_overflow_log_sum_exp) {
  expect_op(Reduce{ReduceKind::log_sum_exp, false}, {floats({2}, {1000, 1000})}, floats({}, {1000.69315F}));
}

TEST(ArgReduce, ties_go_to_the_first_or_the_last) {
  const Tensor x = floats({1, 4}, {1, 3, 3, 0});
  expect_op(ArgReduce{true, -1, true, false}, {x}, int64s({1, 1}, {1}));
  expect_op(ArgReduce{true, -1, false, true}, {x}, int64s({1}, {2}));
  expect_op(ArgReduce{false, 1, false, false}, {x}, int64s({1}, {3}));
}

TEST(Softmax, runs_along_an_axis_without_overflow) {
  expect_op(Softmax{1}, {floats({1, 3, 2}, {1, 2, 3, 1000, 0, -1000})},
            floats({1, 3, 2}, {0.11419519F, 0, 0.843794703F, 1, 0.0420100652F, 0}));
  expect_op(Softmax{-1, true}, {floats({3}, {1, 2, 3})}, floats({3}, {-2.40760589F, -1.40760589F, -0.407605946F}));
}

TEST(Softmax, flattened_form_normalizes_over_all_axes_from_the_given_one) {
  expect_op(Softmax{1, false, true}, {floats({1, 2, 2}, {0, 1, 2, 3})},
            floats({1, 2, 2}, {0.0320586041F, 0.0871443227F, 0.236882836F, 0.643914282F}));
}

TEST(BatchNorm, normalizes_with_given_moments) {
  expect_op(
      BatchNorm{0},
      {iota({1, 2, 2}), floats({2}, {1, 2}), floats({2}, {0.5F, -1}), floats({2}, {1, 2}), floats({2}, {4, 0.25F})},
      floats({1, 2, 2}, {0.5F, 1, 3, 7}));
}

TEST(InstanceNorm, normalizes_each_plane) {
  expect_op(InstanceNorm{}, {floats({1, 2, 3}, {1, 2, 4, -1, 0, 3}), floats({2}, {1, 2}), floats({2}, {0.5F, -1})},
            floats({1, 2, 3}, {-0.569041371F, 0.232739687F, 1.8363018F, -2.9611578F, -1.78446317F, 1.74562097F}));
}

TEST(GroupNorm, normalizes_groups_of_channels) {
  // The channels 1 2 | 3 4 are one group each of the first image; one group of both gives other moments.
  const Tensor x = floats({1, 4, 2}, {1, 3, 5, 7, -2, 0, 0, 2}), scale = floats({4}, {1, 2, 1, 0.5F}),
               bias = floats({4}, {0, 1, 0, -1});
  expect_op(
      GroupNorm{2, 0}, {x, scale, bias},
      floats({1, 4, 2}, {-1.34164079F, -0.447213595F, 1.89442719F, 3.68328157F, -1.41421356F, 0, -1, -0.292893219F}));
  expect_op(GroupNorm{1, 0.25F}, {floats({1, 2, 1}, {1, 3}), floats({2}, {1, 1}), floats({2}, {0, 0})},
            floats({1, 2, 1}, {-0.894427191F, 0.894427191F}));
}

TEST(GroupNorm, channels_must_divide_into_the_groups) {
  try {
    run_op(GroupNorm{.num_groups = 2}, {iota({1, 3, 2}), iota({3}), iota({3})});
    FAIL();
  } catch (const Error& error) {
    EXPECT_STREQ(error.what(), "[GroupNormalization 'n'] 3 channels cannot be divided into 2 groups");
  }
}

TEST(LayerNorm, normalizes_rows) {
  expect_op(LayerNorm{}, {floats({2, 3}, {1, 2, 4, -1, 0, 3}), floats({3}, {1, 2, 3}), floats({3}, {0.5F, 0, -1})},
            floats({2, 3}, {-0.569041371F, -0.534520566F, 3.00890541F, -0.480578959F, -0.784463108F, 3.11843204F}));
  expect_op(LayerNorm{1}, {floats({1, 2, 1}, {1, 3}), floats({2, 1}, {1, 1})},
            floats({1, 2, 1}, {-0.999995F, 0.999995F}));
}

TEST(Lrn, sums_squares_over_neighbouring_channels) {
  expect_op(Lrn{3, 0.3F, 0.5F, 2}, {iota({1, 4, 1, 1})},
            floats({1, 4, 1, 1}, {0.632455528F, 1.0846523F, 1.3552618F, 1.88561809F}));
}

}  // namespace
}  // namespace bitfold::testing
