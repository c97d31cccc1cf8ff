// Matrix products in plain loops, and the parts of Gemm and MatMul that these loops and the reference's oneDNN path
// share.
#pragma once

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

}  // namespace bitfold::ops
