// Functions of one real with Google Highway, compiled once per instruction set, and the selection among them.
//
// A function has two forms: apply() on a vector, which is right for numbers in [kLow, kHigh], and exact() on one
// number, with the standard library, for all others: infinity, NaN, and where the vector form does not hold.
#ifdef BITFOLD_PORTABLE
#define HWY_COMPILE_ONLY_SCALAR
#else
#define HWY_DISABLED_TARGETS (HWY_SSSE3 | HWY_SSE4 | HWY_AVX3_DL)
#endif
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/functions/simd.cpp"
#include <hwy/foreach_target.h>  // must come before highway.h
#include <hwy/highway.h>
// Highway's functions differ for each target.
#include <hwy/contrib/math/math-inl.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>

#include "kernels/functions/functions.h"
#include "kernels/select_kernels.h"

HWY_BEFORE_NAMESPACE();
namespace bitfold {
namespace HWY_NAMESPACE {

namespace hn = hwy::HWY_NAMESPACE;

#if HWY_TARGET <= HWY_AVX3
constexpr const char* kName = "functions.avx512";
#elif HWY_TARGET == HWY_AVX2
constexpr const char* kName = "functions.avx2";
#else
constexpr const char* kName = "functions.portable";
#endif

constexpr float kLargest = std::numeric_limits<float>::max(), kInfinity = std::numeric_limits<float>::infinity();

struct Parameters {
  float alpha, beta;
};

/// The domain of functions whose vector form holds for every finite number.
struct Finite {
  static constexpr float kLow = -kLargest, kHigh = kLargest;
};
template <class D>
using Vector = hn::Vec<D>;

// Parts of several functions.

template <class D>
HWY_INLINE Vector<D> constant(D d, float value) {
  return hn::Set(d, value);
}
template <class D>
HWY_INLINE Vector<D> sigmoid_of(D d, Vector<D> x) {
  const auto one = constant(d, 1);
  const auto e = hn::Exp(d, hn::Neg(hn::Abs(x)));  // at most 1
  return hn::Div(hn::IfThenElse(hn::Lt(x, hn::Zero(d)), e, one), hn::Add(one, e));
}
inline float sigmoid_of(float x) {
  const float e = std::exp(-std::abs(x));
  return (x < 0 ? e : 1) / (1 + e);
}
template <class D>
HWY_INLINE Vector<D> hard_sigmoid_of(D d, Vector<D> x, float alpha, float beta) {
  const auto line = hn::Add(hn::Mul(constant(d, alpha), x), constant(d, beta));
  return hn::Max(hn::Zero(d), hn::Min(constant(d, 1), line));
}
inline float hard_sigmoid_of(float x, float alpha, float beta) {
  return std::max(std::min(alpha * x + beta, 1.0F), 0.0F);  // NaN stays NaN
}

/// c[0] + c[1] x + c[2] x^2 + ...
template <class D, std::size_t n>
HWY_INLINE Vector<D> polynomial(D d, Vector<D> x, const std::array<float, n>& c) {
  Vector<D> sum = constant(d, c[n - 1]);
  for (std::size_t i = n - 1; i-- > 0;) sum = hn::MulAdd(sum, x, constant(d, c[i]));
  return sum;
}

/// Below 1, x times a polynomial in x^2; above, 1 - exp(-p(|x|)), where p approximates -log(erfc(|x|)) on [1, 4]. Both
/// polynomials were fitted to the least largest error.
template <class D>
HWY_INLINE Vector<D> erf_of(D d, Vector<D> x) {
  constexpr std::array<float, 7> kSmall{1.12837911F,    -0.37612626F,     0.112836003F,  -0.0268544443F,
                                        0.00518953521F, -0.000802084105F, 7.8891193e-05F};
  constexpr std::array<float, 8> kLarge{-0.000188040227F, 1.12957847F,    0.633219898F,     0.108418576F,
                                        -0.0252082571F,   0.00420456193F, -0.000441336364F, 2.16868502e-05F};
  const auto magnitude = hn::Min(hn::Abs(x), constant(d, 4));
  const auto small = hn::Mul(x, polynomial(d, hn::Mul(magnitude, magnitude), kSmall));
  const auto large = hn::Sub(constant(d, 1), hn::Exp(d, hn::Neg(polynomial(d, magnitude, kLarge))));
  return hn::IfThenElse(hn::Lt(magnitude, constant(d, 1)), small, hn::CopySign(large, x));
}

// The functions.

#define BITFOLD_FUNCTION(name, domain, vector_form, number_form)                      \
  struct name : domain {                                                              \
    template <class D>                                                                \
    static HWY_INLINE Vector<D> apply(D d, Vector<D> x, const Parameters& p) {        \
      (void)d, (void)p;                                                               \
      return vector_form;                                                             \
    }                                                                                 \
    static float exact(float x, const Parameters& p) { return (void)p, number_form; } \
  }

struct AllReals {
  static constexpr float kLow = -kInfinity, kHigh = kInfinity;
};
struct UpTo88 {  // exp(88) is finite
  static constexpr float kLow = -kInfinity, kHigh = 88;
};
struct Within88 {
  static constexpr float kLow = -88, kHigh = 88;
};
struct Positive {
  static constexpr float kLow = std::numeric_limits<float>::min(), kHigh = kLargest;
};
struct FromOne {
  static constexpr float kLow = 1, kHigh = kLargest;
};
struct WithinOne {
  static constexpr float kLow = -1, kHigh = 1;
};
struct BelowOne {
  static constexpr float kLow = -0x1.fffffep-1F, kHigh = 0x1.fffffep-1F;
};
struct Angles {  // Highway's limit is 39,000
  static constexpr float kLow = -30000, kHigh = 30000;
};

BITFOLD_FUNCTION(Abs, AllReals, hn::Abs(x), std::abs(x));
BITFOLD_FUNCTION(Negated, AllReals, hn::Neg(x), -x);
BITFOLD_FUNCTION(Sign, AllReals, hn::IfThenElse(hn::Eq(x, hn::Zero(d)), x, hn::CopySign(constant(d, 1), x)),
                 x > 0   ? 1.0F
                 : x < 0 ? -1.0F
                         : x);
BITFOLD_FUNCTION(SquareRoot, AllReals, hn::Sqrt(x), std::sqrt(x));
BITFOLD_FUNCTION(Reciprocal, AllReals, hn::Div(constant(d, 1), x), 1 / x);
BITFOLD_FUNCTION(Floor, AllReals, hn::Floor(x), std::floor(x));
BITFOLD_FUNCTION(Ceil, AllReals, hn::Ceil(x), std::ceil(x));
BITFOLD_FUNCTION(Round, AllReals, hn::Round(x), std::nearbyint(x));
BITFOLD_FUNCTION(Exponential, UpTo88, hn::Exp(d, x), std::exp(x));
BITFOLD_FUNCTION(Logarithm, Positive, hn::Log(d, x), std::log(x));
BITFOLD_FUNCTION(Sigmoid, Finite, sigmoid_of(d, x), sigmoid_of(x));
BITFOLD_FUNCTION(Tanh, Finite, hn::Tanh(d, x), std::tanh(x));
BITFOLD_FUNCTION(Erf, Finite, erf_of(d, x), std::erf(x));
BITFOLD_FUNCTION(Softplus, Finite, hn::Add(hn::Max(x, hn::Zero(d)), hn::Log1p(d, hn::Exp(d, hn::Neg(hn::Abs(x))))),
                 std::max(x, 0.0F) + std::log1p(std::exp(-std::abs(x))));
BITFOLD_FUNCTION(Softsign, Finite, hn::Div(x, hn::Add(constant(d, 1), hn::Abs(x))), x / (1 + std::abs(x)));
BITFOLD_FUNCTION(HardSwish, Finite, hn::Mul(x, hard_sigmoid_of(d, x, 1.0F / 6, 0.5F)),
                 x* hard_sigmoid_of(x, 1.0F / 6, 0.5F));
BITFOLD_FUNCTION(Gelu, Finite,
                 hn::Mul(hn::Mul(constant(d, 0.5F), x),
                         hn::Add(constant(d, 1), erf_of(d, hn::Mul(x, constant(d, 0.707106781F))))),
                 0.5F * x * (1 + std::erf(x * 0.707106781F)));
BITFOLD_FUNCTION(Sine, Angles, hn::Sin(d, x), std::sin(x));
BITFOLD_FUNCTION(Cosine, Angles, hn::Cos(d, x), std::cos(x));
BITFOLD_FUNCTION(Tangent, Angles, hn::Div(hn::Sin(d, x), hn::Cos(d, x)), std::tan(x));
BITFOLD_FUNCTION(ArcSine, WithinOne, hn::Asin(d, x), std::asin(x));
BITFOLD_FUNCTION(ArcCosine, WithinOne, hn::Acos(d, x), std::acos(x));
BITFOLD_FUNCTION(ArcTangent, Finite, hn::Atan(d, x), std::atan(x));
BITFOLD_FUNCTION(HyperbolicSine, Within88, hn::Sinh(d, x), std::sinh(x));
BITFOLD_FUNCTION(AreaSine, Finite, hn::Asinh(d, x), std::asinh(x));
BITFOLD_FUNCTION(AreaCosine, FromOne, hn::Acosh(d, x), std::acosh(x));
BITFOLD_FUNCTION(AreaTangent, BelowOne, hn::Atanh(d, x), std::atanh(x));
BITFOLD_FUNCTION(Elu, Finite,
                 hn::IfThenElse(hn::Lt(x, hn::Zero(d)),
                                hn::Mul(constant(d, p.alpha), hn::Expm1(d, hn::Min(x, hn::Zero(d)))), x),
                 x < 0 ? p.alpha * std::expm1(x) : x);
BITFOLD_FUNCTION(Selu, Finite,
                 hn::Mul(constant(d, p.beta),
                         hn::IfThenElse(hn::Gt(x, hn::Zero(d)), x,
                                        hn::Mul(constant(d, p.alpha), hn::Expm1(d, hn::Min(x, hn::Zero(d)))))),
                 x > 0 ? p.beta * x : p.beta * p.alpha * std::expm1(x));
BITFOLD_FUNCTION(Celu, Finite,
                 hn::IfThenElse(hn::Lt(x, hn::Zero(d)),
                                hn::Mul(constant(d, p.alpha),
                                        hn::Expm1(d, hn::Min(hn::Div(x, constant(d, p.alpha)), hn::Zero(d)))),
                                x),
                 x < 0 ? p.alpha * std::expm1(x / p.alpha) : x);
BITFOLD_FUNCTION(HardSigmoid, Finite, hard_sigmoid_of(d, x, p.alpha, p.beta), hard_sigmoid_of(x, p.alpha, p.beta));
BITFOLD_FUNCTION(LeakyRelu, AllReals, hn::IfThenElse(hn::Lt(x, hn::Zero(d)), hn::Mul(constant(d, p.alpha), x), x),
                 x < 0 ? p.alpha * x : x);
BITFOLD_FUNCTION(ThresholdedRelu, AllReals, hn::IfThenElseZero(hn::Gt(x, constant(d, p.alpha)), x),
                 x > p.alpha ? x : 0.0F);
BITFOLD_FUNCTION(Swish, Finite, hn::Mul(x, sigmoid_of(d, hn::Mul(constant(d, p.alpha), x))), x* sigmoid_of(p.alpha* x));
#undef BITFOLD_FUNCTION

struct HyperbolicCosine : Within88 {
  template <class D>
  static HWY_INLINE Vector<D> apply(D d, Vector<D> x, const Parameters& /*p*/) {
    const auto half = hn::Mul(constant(d, 0.5F), hn::Exp(d, hn::Abs(x)));
    return hn::Add(half, hn::Div(constant(d, 0.25F), half));
  }
  static float exact(float x, const Parameters& /*p*/) { return std::cosh(x); }
};

/// With e = exp(x), tanh(softplus(x)) = (e^2 + 2 e) / (e^2 + 2 e + 2), which is 1 in float32 from x = 10 on.
struct Mish : Finite {
  template <class D>
  static HWY_INLINE Vector<D> apply(D d, Vector<D> x, const Parameters& /*p*/) {
    const auto e = hn::Exp(d, hn::Min(x, constant(d, 20))), two = constant(d, 2);
    const auto numerator = hn::Mul(e, hn::Add(e, two));
    return hn::Mul(x, hn::Div(numerator, hn::Add(numerator, two)));
  }
  static float exact(float x, const Parameters& /*p*/) {
    return x * std::tanh(std::max(x, 0.0F) + std::log1p(std::exp(-std::abs(x))));
  }
};

struct GeluTanh : Finite {
  static constexpr float kFactor = 0.7978845608F;  // sqrt(2 / pi)
  template <class D>
  static HWY_INLINE Vector<D> apply(D d, Vector<D> x, const Parameters& /*p*/) {
    // Beyond 100, tanh is 1 or -1; the bound keeps the cube finite.
    const auto bounded = hn::Max(constant(d, -100), hn::Min(x, constant(d, 100)));
    const auto cube = hn::Mul(hn::Mul(constant(d, 0.044715F), hn::Mul(bounded, bounded)), bounded);
    const auto inner = hn::Tanh(d, hn::Mul(constant(d, kFactor), hn::Add(bounded, cube)));
    return hn::Mul(hn::Mul(constant(d, 0.5F), x), hn::Add(constant(d, 1), inner));
  }
  static float exact(float x, const Parameters& /*p*/) {
    return 0.5F * x * (1 + std::tanh(kFactor * (x + 0.044715F * x * x * x)));
  }
};

template <class F, class D>
HWY_INLINE void apply_to_vector(D d, const float* x, float* y, const Parameters& p) {
  const auto v = hn::LoadU(d, x);
  const auto inside = hn::And(hn::Ge(v, hn::Set(d, F::kLow)), hn::Le(v, hn::Set(d, F::kHigh)));
  if (HWY_LIKELY(hn::AllTrue(d, inside))) return hn::StoreU(F::apply(d, v, p), d, y);
  for (std::size_t i = 0; i < hn::Lanes(d); ++i) y[i] = F::exact(x[i], p);
}

template <class F>
void run(const float* x, float* y, std::int64_t count, float alpha, float beta) noexcept {
  const hn::ScalableTag<float> d;
  const Parameters p{alpha, beta};
  const auto lanes = static_cast<std::int64_t>(hn::Lanes(d));
  std::int64_t i = 0;
  for (; i + lanes <= count; i += lanes) apply_to_vector<F>(d, x + i, y + i, p);
  if (i == count) return;
  HWY_ALIGN float last[HWY_MAX_BYTES / sizeof(float)];
  std::fill_n(last, lanes, x[count - 1]);
  std::copy(x + i, x + count, last);
  apply_to_vector<F>(d, last, last, p);
  std::copy(last, last + (count - i), y + i);
}

RealFunctionKernel find(RealFunction function) {
  switch (function) {
    case RealFunction::abs:
      return run<Abs>;
    case RealFunction::neg:
      return run<Negated>;
    case RealFunction::sign:
      return run<Sign>;
    case RealFunction::sqrt:
      return run<SquareRoot>;
    case RealFunction::reciprocal:
      return run<Reciprocal>;
    case RealFunction::floor:
      return run<Floor>;
    case RealFunction::ceil:
      return run<Ceil>;
    case RealFunction::round:
      return run<Round>;
    case RealFunction::exp:
      return run<Exponential>;
    case RealFunction::log:
      return run<Logarithm>;
    case RealFunction::sigmoid:
      return run<Sigmoid>;
    case RealFunction::tanh:
      return run<Tanh>;
    case RealFunction::erf:
      return run<Erf>;
    case RealFunction::softplus:
      return run<Softplus>;
    case RealFunction::softsign:
      return run<Softsign>;
    case RealFunction::hard_swish:
      return run<HardSwish>;
    case RealFunction::mish:
      return run<Mish>;
    case RealFunction::gelu:
      return run<Gelu>;
    case RealFunction::gelu_tanh:
      return run<GeluTanh>;
    case RealFunction::sin:
      return run<Sine>;
    case RealFunction::cos:
      return run<Cosine>;
    case RealFunction::tan:
      return run<Tangent>;
    case RealFunction::asin:
      return run<ArcSine>;
    case RealFunction::acos:
      return run<ArcCosine>;
    case RealFunction::atan:
      return run<ArcTangent>;
    case RealFunction::sinh:
      return run<HyperbolicSine>;
    case RealFunction::cosh:
      return run<HyperbolicCosine>;
    case RealFunction::asinh:
      return run<AreaSine>;
    case RealFunction::acosh:
      return run<AreaCosine>;
    case RealFunction::atanh:
      return run<AreaTangent>;
    case RealFunction::elu:
      return run<Elu>;
    case RealFunction::selu:
      return run<Selu>;
    case RealFunction::celu:
      return run<Celu>;
    case RealFunction::hard_sigmoid:
      return run<HardSigmoid>;
    case RealFunction::leaky_relu:
      return run<LeakyRelu>;
    case RealFunction::thresholded_relu:
      return run<ThresholdedRelu>;
    case RealFunction::swish:
      return run<Swish>;
  }
  return nullptr;
}

const RealFunctionKernels* functions_of_target() {
  static const RealFunctionKernels kernels{kName, find};
  return &kernels;
}

}  // namespace HWY_NAMESPACE
}  // namespace bitfold
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace bitfold {

const RealFunctionKernels& real_function_kernels(Isa cap) {
  return select_kernels<RealFunctionKernels>(cap, HWY_CHOOSE_AVX3(functions_of_target),
                                             HWY_CHOOSE_AVX2(functions_of_target),
                                             *HWY_STATIC_DISPATCH(functions_of_target)());
}

}  // namespace bitfold
#endif
