// Matrix products by their definition, accumulated in double and rounded once:
//
//   Gemm    y = alpha * A' * B' + beta * C, C broadcast to y
//   MatMul  numpy.matmul: the last two axes multiply, those before broadcast; a vector is a row on the left, a column
//   on the
//           right, and its axis vanishes from y
#include <algorithm>

#include "reference/families.h"
#include "reference/operands.h"
#include "reference/products.h"

namespace bitfold::reference {

Product gemm_product(const Gemm& op, std::span<const TensorView> in, const TensorView& out) {
  const std::int64_t m = out.shape[0], n = out.shape[1], k = in[0].shape[op.trans_a ? 0 : 1];
  return {m, n, k, op.trans_a, op.trans_b};
}

BatchedProduct matmul_product(std::span<const TensorView> in) {
  const auto a = in[0].shape, b = in[1].shape;
  BatchedProduct p;
  p.one.m = a.size() > 1 ? a[a.size() - 2] : 1;
  p.one.n = b.size() > 1 ? b[b.size() - 1] : 1;
  p.one.k = a[a.size() - 1];
  const std::size_t a_rank = a.size() > 2 ? a.size() - 2 : 0, b_rank = b.size() > 2 ? b.size() - 2 : 0;
  const std::size_t rank = std::max(a_rank, b_rank);
  std::array<std::int64_t, kMaxRank> batch{};
  check(rank <= kMaxRank, "a matrix product of rank {}", rank + 2);
  for (std::size_t i = 0; i < rank; ++i) {
    const std::int64_t da = i + a_rank >= rank ? a[i + a_rank - rank] : 1;
    const std::int64_t db = i + b_rank >= rank ? b[i + b_rank - rank] : 1;
    batch[i] = da == 1 ? db : da;
  }
  const std::span wide(batch.data(), rank);
  const Strides sa = broadcast_strides(a.first(a_rank), wide), sb = broadcast_strides(b.first(b_rank), wide);
  const Strides sy = dense_strides(wide);
  for (std::size_t i = 0; i < rank; ++i)
    p.batches.add(batch[i], {sy[i] * p.one.m * p.one.n, sa[i] * p.one.m * p.one.k, sb[i] * p.one.k * p.one.n});
  return p;
}

void fill_with_c(const Gemm& op, std::span<const TensorView> in, const TensorView& out) {
  float* y = out.as<float>();
  if (!is_given(in, 2)) {
    std::fill_n(y, out.size(), 0.0F);
    return;
  }
  const float* c = in[2].as<float>();
  const Strides strides = broadcast_strides(in[2].shape, out.shape);
  for (std::int64_t i = 0; i < out.shape[0]; ++i)
    for (std::int64_t j = 0; j < out.shape[1]; ++j) *y++ = op.beta * c[i * strides[0] + j * strides[1]];
}

namespace {

/// y = alpha * A' * B' + y
void multiply(const Product& p, float alpha, const float* a, const float* b, float* y) {
  constexpr std::int64_t kBlock = 64;
  const std::int64_t a_row = p.trans_a ? 1 : p.k, a_column = p.trans_a ? p.m : 1;
  const std::int64_t b_row = p.trans_b ? 1 : p.n, b_column = p.trans_b ? p.k : 1;
  for (std::int64_t i = 0; i < p.m; ++i)
    for (std::int64_t first = 0; first < p.n; first += kBlock) {
      const std::int64_t count = std::min(kBlock, p.n - first);
      double sums[kBlock] = {};
      for (std::int64_t k = 0; k < p.k; ++k) {
        const double factor = a[i * a_row + k * a_column];
        const float* row = b + k * b_row + first * b_column;
        if (b_column == 1)
          for (std::int64_t j = 0; j < count; ++j) sums[j] += factor * row[j];
        else
          for (std::int64_t j = 0; j < count; ++j) sums[j] += factor * row[j * b_column];
      }
      float* out = y + i * p.n + first;
      for (std::int64_t j = 0; j < count; ++j)
        out[j] = static_cast<float>(static_cast<double>(alpha) * sums[j] + out[j]);
    }
}

void gemm(const Node& node, std::span<const TensorView> in, std::span<const TensorView> out) {
  const auto& op = std::get<Gemm>(node.op);
  fill_with_c(op, in, out[0]);
  multiply(gemm_product(op, in, out[0]), op.alpha, in[0].as<float>(), in[1].as<float>(), out[0].as<float>());
}

void matmul(const Node&, std::span<const TensorView> in, std::span<const TensorView> out) {
  const BatchedProduct p = matmul_product(in);
  float* y = out[0].as<float>();
  std::fill_n(y, out[0].size(), 0.0F);
  p.batches.for_each_row([&](const auto& offsets, std::int64_t count, const auto& steps) {
    for (std::int64_t i = 0; i < count; ++i)
      multiply(p.one, 1, in[0].as<float>() + offsets[1] + i * steps[1], in[1].as<float>() + offsets[2] + i * steps[2],
               y + offsets[0] + i * steps[0]);
  });
}

}  // namespace

OpFunction function_of(const Gemm&) { return gemm; }
OpFunction function_of(const MatMul&) { return matmul; }

}  // namespace bitfold::reference
