#include "kernels/functions/functions.h"

#include <gtest/gtest.h>

#include <bit>
#include <cmath>
#include <functional>
#include <limits>
#include <vector>

#include "kernels/guarded_buffer.h"

namespace bitfold {
namespace {

constexpr double kAlpha = 0.75, kBeta = 1.25;
constexpr float kInfinity = std::numeric_limits<float>::infinity();

double sigmoid(double x) { return 1 / (1 + std::exp(-x)); }
double softplus(double x) { return std::max(x, 0.0) + std::log1p(std::exp(-std::abs(x))); }
double hard_sigmoid(double x, double alpha, double beta) { return std::max(0.0, std::min(1.0, alpha * x + beta)); }

struct Definition {
  const char* name;
  RealFunction function;
  std::function<double(double)> of;
  double relative = 4e-7;   ///< Bound of the error, relative to the result.
  double absolute = 1e-37;  ///< Added to the bound; results below float32's normal numbers may be 0.
};

const std::vector<Definition>& definitions() {
  using F = RealFunction;
  static const std::vector<Definition> all{
      {"abs", F::abs, [](double x) { return std::abs(x); }, 0},
      {"neg", F::neg, [](double x) { return -x; }, 0},
      {"sign", F::sign, [](double x) { return x > 0   ? 1
                                              : x < 0 ? -1
                                                      : x; }, 0},
      {"sqrt", F::sqrt, [](double x) { return std::sqrt(x); }, 6e-8},
      {"reciprocal", F::reciprocal, [](double x) { return 1 / x; }, 6e-8},
      {"floor", F::floor, [](double x) { return std::floor(x); }, 0},
      {"ceil", F::ceil, [](double x) { return std::ceil(x); }, 0},
      {"round", F::round, [](double x) { return std::nearbyint(x); }, 0},
      {"exp", F::exp, [](double x) { return std::exp(x); }},
      {"log", F::log, [](double x) { return std::log(x); }},
      {"sigmoid", F::sigmoid, sigmoid},
      {"tanh", F::tanh, [](double x) { return std::tanh(x); }, 6e-7},
      {"erf", F::erf, [](double x) { return std::erf(x); }},
      {"softplus", F::softplus, softplus},
      {"softsign", F::softsign, [](double x) { return x / (1 + std::abs(x)); }},
      {"hard_swish", F::hard_swish, [](double x) { return x * hard_sigmoid(x, 1.0F / 6, 0.5); }, 4e-7, 1e-6},
      {"mish", F::mish, [](double x) { return x * std::tanh(softplus(x)); }},
      // The sum 1 + erf(x) or 1 + tanh(x) loses digits where it is close to 0.
      {"gelu", F::gelu, [](double x) { return 0.5 * x * std::erfc(-x * std::sqrt(0.5)); }, 4e-7, 1e-6},
      {"gelu_tanh", F::gelu_tanh,
       [](double x) { return 0.5 * x * (1 + std::tanh(0.7978845608 * (x + 0.044715 * x * x * x))); }, 4e-7, 1e-6},
      // The argument is reduced modulo pi in float32.
      {"sin", F::sin, [](double x) { return std::sin(x); }, 4e-7, 2e-7},
      {"cos", F::cos, [](double x) { return std::cos(x); }, 4e-7, 2e-7},
      {"tan", F::tan, [](double x) { return std::tan(x); }, 1e-3, 1e-6},
      {"asin", F::asin, [](double x) { return std::asin(x); }},
      {"acos", F::acos, [](double x) { return std::acos(x); }},
      {"atan", F::atan, [](double x) { return std::atan(x); }},
      {"sinh", F::sinh, [](double x) { return std::sinh(x); }, 6e-7},
      {"cosh", F::cosh, [](double x) { return std::cosh(x); }, 6e-7},
      {"asinh", F::asinh, [](double x) { return std::asinh(x); }, 6e-7},
      {"acosh", F::acosh, [](double x) { return std::acosh(x); }, 6e-7},
      {"atanh", F::atanh, [](double x) { return std::atanh(x); }, 6e-7},
      {"elu", F::elu, [](double x) { return x < 0 ? kAlpha * std::expm1(x) : x; }, 6e-7},
      {"selu", F::selu, [](double x) { return kBeta * (x > 0 ? x : kAlpha * std::expm1(x)); }, 6e-7},
      {"celu", F::celu, [](double x) { return x < 0 ? kAlpha * std::expm1(x / kAlpha) : x; }, 6e-7},
      {"hard_sigmoid", F::hard_sigmoid, [](double x) { return hard_sigmoid(x, kAlpha, kBeta); }, 4e-7, 1e-6},
      {"leaky_relu", F::leaky_relu, [](double x) { return x < 0 ? kAlpha * x : x; }, 6e-8},
      {"thresholded_relu", F::thresholded_relu, [](double x) { return x > kAlpha ? x : 0; }, 0},
      // An exponential multiplies the rounding error of alpha x by x.
      {"swish", F::swish, [](double x) { return x * sigmoid(kAlpha * x); }, 4e-7, 1e-6},
  };
  return all;
}

/// Numbers of all magnitudes and both signs, dense between -12 and 12, then zeros, limits, infinities and NaN.
std::vector<float> arguments() {
  std::vector<float> all;
  for (int i = -12'000; i <= 12'000; ++i) all.push_back(static_cast<float>(i) * 1.00013e-3F);
  for (float magnitude = 1e-30F; magnitude < 1e30F; magnitude *= 1.13F)
    for (float sign : {-1.0F, 1.0F}) all.push_back(sign * magnitude);
  using Limits = std::numeric_limits<float>;
  for (float x : {0.0F, 1.0F, 0.99999994F, 87.9F, 88.1F, 89.5F, 103.0F, 104.5F, 29'999.0F, 30'001.0F, Limits::max(),
                  Limits::min(), Limits::denorm_min(), kInfinity, Limits::quiet_NaN()})
    for (float sign : {-1.0F, 1.0F}) all.push_back(sign * x);
  return all;
}

class RealFunctions : public ::testing::TestWithParam<int> {
 protected:
  void SetUp() override {
    if (GetParam() > static_cast<int>(detected_isa())) GTEST_SKIP();
  }
  RealFunctionKernel kernel(RealFunction function) const {
    return real_function_kernels(static_cast<Isa>(GetParam())).find(function);
  }
};

TEST_P(RealFunctions, equal_their_definitions) {
  const std::vector<float> x = arguments();
  std::vector<float> y(x.size());
  for (const Definition& d : definitions()) {
    kernel(d.function)(x.data(), y.data(), static_cast<std::int64_t>(x.size()), kAlpha, kBeta);
    int wrong = 0;
    for (std::size_t i = 0; i < x.size() && wrong < 5; ++i) {
      const double expected = d.of(x[i]);
      const auto rounded = static_cast<float>(expected);
      if (std::isnan(x[i])) continue;  // see the next test
      const bool is_close = std::abs(y[i] - expected) <= d.relative * std::abs(expected) + d.absolute;
      if (y[i] == rounded || (std::isnan(y[i]) && std::isnan(rounded)) || is_close) continue;
      ADD_FAILURE() << d.name << "(" << x[i] << ") is " << y[i] << " instead of " << rounded;
      ++wrong;
    }
  }
}

TEST_P(RealFunctions, keep_nan) {
  const std::vector<float> x(37, std::numeric_limits<float>::quiet_NaN());
  for (const Definition& d : definitions()) {
    if (d.function == RealFunction::thresholded_relu) continue;
    std::vector<float> y(x.size());
    kernel(d.function)(x.data(), y.data(), static_cast<std::int64_t>(x.size()), kAlpha, kBeta);
    for (float value : y) EXPECT_TRUE(std::isnan(value)) << d.name;
  }
}

TEST_P(RealFunctions, do_not_depend_on_the_place_in_the_array_and_stay_within_it) {
  for (const Definition& d : definitions()) {
    for (std::int64_t count : {0, 1, 3, 4, 7, 8, 15, 16, 17, 33}) {
      std::vector<float> x;
      for (std::int64_t i = 0; i < count; ++i) x.push_back(0.03F * static_cast<float>(i) - 0.4F);
      testing::GuardedBuffer<float> from(x), to(count);
      kernel(d.function)(from.data(), to.data(), count, kAlpha, kBeta);
      for (std::int64_t i = 0; i < count; ++i) {
        float alone = 0;
        kernel(d.function)(&x[static_cast<std::size_t>(i)], &alone, 1, kAlpha, kBeta);
        if (std::isnan(alone)) continue;
        EXPECT_EQ(to.data()[i], alone) << d.name << " of " << x[static_cast<std::size_t>(i)];
      }
      kernel(d.function)(from.data(), from.data(), count, kAlpha, kBeta);
      for (std::int64_t i = 0; i < count; ++i)
        EXPECT_EQ(std::bit_cast<std::uint32_t>(from.data()[i]), std::bit_cast<std::uint32_t>(to.data()[i])) << d.name;
    }
  }
}

INSTANTIATE_TEST_SUITE_P(EveryIsa, RealFunctions, ::testing::Range(0, static_cast<int>(Isa::amx) + 1));

}  // namespace
}  // namespace bitfold
