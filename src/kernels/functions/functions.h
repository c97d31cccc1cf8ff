// Functions of one real, applied to arrays of float32 with vector instructions.
#pragma once

#include <cstdint>

#include "bitfold/cpu.h"

namespace bitfold {

/// As defined by the ONNX operator of the same name.
enum class RealFunction {
  abs,
  neg,
  sign,
  sqrt,
  reciprocal,
  floor,
  ceil,
  round,
  exp,
  log,
  sigmoid,
  tanh,
  erf,
  softplus,
  softsign,
  hard_swish,
  mish,
  gelu,
  gelu_tanh,
  sin,
  cos,
  tan,
  asin,
  acos,
  atan,
  sinh,
  cosh,
  asinh,
  acosh,
  atanh,
  elu,               ///< alpha
  selu,              ///< alpha; beta is gamma
  celu,              ///< alpha, which must be positive
  hard_sigmoid,      ///< alpha, beta
  leaky_relu,        ///< alpha
  thresholded_relu,  ///< alpha
  swish,             ///< alpha
};

/// y[i] = f(x[i]) for i in [0, count); y may be x. The relative error is at most a few units in the last place (see
/// functions_test.cpp). Infinity and NaN give what the standard library gives.
using RealFunctionKernel = void (*)(const float* x, float* y, std::int64_t count, float alpha, float beta) noexcept;

struct RealFunctionKernels {
  const char* name;
  RealFunctionKernel (*find)(RealFunction function);
};

/// The fastest kernels that `cap` allows; `cap` must not exceed what the CPU supports.
const RealFunctionKernels& real_function_kernels(Isa cap);

}  // namespace bitfold
