// Matrix products in plain loops, and the parts of Gemm and MatMul that these loops and the reference's oneDNN path
// share.
#pragma once

#include <algorithm>
#include <cstdint>
#include <span>

#include "ops/loops.h"

namespace bitfold::ops {

/// [m, k] x [k, n]; flags mark factors that are stored transposed.
struct Product {
  std::int64_t m = 1, n = 1, k = 1;
  bool trans_a = false, trans_b = false;
};

/// y [m, n] += alpha * A' * B'; sums are accumulated in double and rounded once.
void multiply_add(const Product& product, float alpha, const float* a, const float* b, float* y);

Product gemm_product(const Gemm& op, std::span<const TensorView> in, const TensorView& out);
/// y = beta * C, broadcast; zeros without C.
void fill_with_c(const Gemm& op, std::span<const TensorView> in, const TensorView& out);

/// The shape of numpy.matmul(a, b). Throws Error if the shapes do not fit.
Shape matmul_shape(Shape a, Shape b);

struct BatchedProduct {
  Product one;
  Loops<3> batches;  ///< Offsets of y, a and b.
};
BatchedProduct matmul_product(std::span<const TensorView> in);

/// Whether evaluate_products() evaluates it.
inline bool is_matrix_product(const Op& op) {
  return std::holds_alternative<Gemm>(op) || std::holds_alternative<MatMul>(op);
}
/// Evaluates a Gemm or a MatMul. multiply_add(product, alpha, a, b, y) adds one product to y.
template <class MultiplyAdd>
void evaluate_products(const Op& op, std::span<const TensorView> in, const TensorView& out, MultiplyAdd multiply_add) {
  auto* y = out.as<float>();
  if (const auto* gemm = std::get_if<Gemm>(&op)) {
    fill_with_c(*gemm, in, out);
    return multiply_add(gemm_product(*gemm, in, out), gemm->alpha, in[0].as<float>(), in[1].as<float>(), y);
  }
  const BatchedProduct p = matmul_product(in);
  std::fill_n(y, out.size(), 0.0F);
  p.batches.for_each_row([&](const auto& offsets, std::int64_t count, const auto& steps) {
    for (std::int64_t i = 0; i < count; ++i)
      multiply_add(p.one, 1.0F, in[0].as<float>() + offsets[1] + i * steps[1],
                   in[1].as<float>() + offsets[2] + i * steps[2], y + offsets[0] + i * steps[0]);
  });
}

}  // namespace bitfold::ops
