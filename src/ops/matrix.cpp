// Matrix products by their definition, accumulated in double and rounded once:
//
//   Gemm    y = alpha * A' * B' + beta * C, C broadcast to y
//   MatMul  numpy.matmul: the last two axes are multiplied, the others broadcast; a vector is a row on the left or a
//           column on the right, and its axis is removed from y
#include <algorithm>

#include "ops/operands.h"
#include "ops/operator.h"
#include "ops/products.h"

namespace bitfold::ops {
namespace {

Outputs infer_gemm(const Inputs& in) {
  const auto& op = std::get<Gemm>(in.node.op);
  if (!in.shape(0) || !in.shape(1)) return {real({})};
  const Shape &a = *in.shape(0), &b = *in.shape(1);
  check(a.size() == 2 && b.size() == 2, "A has shape {} and B {}, expected matrices", to_string(a), to_string(b));
  const std::int64_t rows = a[op.trans_a ? 1 : 0], inner_a = a[op.trans_a ? 0 : 1];
  const std::int64_t inner_b = b[op.trans_b ? 1 : 0], columns = b[op.trans_b ? 0 : 1];
  check(inner_a == inner_b || is_unknown(inner_a) || is_unknown(inner_b), "A has {} columns, but B has {} rows",
        inner_a, inner_b);
  if (in.has(2) && in.shape(2)) {
    const Shape& c = *in.shape(2);
    const Shape sum = broadcast(c, {rows, columns});
    const auto fits = [](std::int64_t found, std::int64_t size) { return found == size || is_unknown(size); };
    check(sum.size() == 2 && fits(sum[0], rows) && fits(sum[1], columns), "C of shape {} does not broadcast to {}",
          to_string(c), to_string(Shape{rows, columns}));
  }
  return {real(Shape{rows, columns})};
}

Outputs infer_matmul(const Inputs& in) {
  if (!in.shape(0) || !in.shape(1)) return {real({})};
  return {real(matmul_shape(*in.shape(0), *in.shape(1)))};
}

}  // namespace

Shape matmul_shape(Shape a, Shape b) {
  const std::string shapes = fmt::format("{} and {}", to_string(a), to_string(b));
  check(!a.empty() && !b.empty(), "operands of shape {}: scalars cannot be multiplied as matrices", shapes);
  const bool is_row = a.size() == 1, is_column = b.size() == 1;
  if (is_row) a.insert(a.begin(), 1);
  if (is_column) b.push_back(1);
  const std::int64_t inner_a = a.back(), inner_b = b[b.size() - 2];
  check(inner_a == inner_b || is_unknown(inner_a) || is_unknown(inner_b),
        "A has {} columns, but B has {} rows (shapes {})", inner_a, inner_b, shapes);
  Shape y = broadcast(Shape(a.begin(), a.end() - 2), Shape(b.begin(), b.end() - 2));
  if (!is_row) y.push_back(a[a.size() - 2]);
  if (!is_column) y.push_back(b.back());
  return y;
}

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
  check(rank <= kMaxRank, "a matrix product has rank {}; at most {} is supported", rank + 2, kMaxRank + 2);
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

void multiply_add(const Product& p, float alpha, const float* a, const float* b, float* y) {
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

namespace {

void products(const Node& node, std::span<const TensorView> in, std::span<const TensorView> out) {
  evaluate_products(node.op, in, out[0], multiply_add);
}

std::int64_t gemm_macs(const Node& node, std::span<const Shape> in, std::span<const Shape> out) {
  return in[0].size() == 2 ? product(out[0]) * in[0][std::get<Gemm>(node.op).trans_a ? 0 : 1] : 0;
}
std::int64_t matmul_macs(const Node&, std::span<const Shape> in, std::span<const Shape> out) {
  return in[0].empty() ? 0 : product(out[0]) * in[0].back();
}
std::optional<std::string_view> why_gemm_in_float(const Op& op) {
  if (std::get<Gemm>(op).trans_a) return "its input is transposed";
  return std::nullopt;
}

std::optional<WeightMatrix> view_gemm_weights(const Op& any, const Shape& w) {
  const auto& op = std::get<Gemm>(any);
  if (w.size() != 2) return std::nullopt;
  return WeightMatrix{.outputs = w[op.trans_b ? 0 : 1],
                      .inputs = w[op.trans_b ? 1 : 0],
                      .output_stride = op.trans_b ? w[1] : 1,
                      .input_stride = op.trans_b ? 1 : w[1],
                      .output_axis = op.trans_b ? 0 : 1,
                      .alpha = op.alpha,
                      .beta = op.beta,
                      .has_transposed_input = op.trans_a};
}
std::optional<WeightMatrix> view_matmul_weights(const Op& /*op*/, const Shape& w) {
  auto view = view_gemm_weights(Gemm{}, w);
  if (view) view->is_batched = true;
  return view;
}

}  // namespace

std::vector<OperatorInfo> matrix_operators() {
  return {
      {.name = "Gemm",
       .since = 7,
       .prototype = Gemm{},
       .inputs = {{"A", kReal, 'T'},
                  {"B", kReal, 'T', Presence::required, Use::weights},
                  {"C", kReal, 'T', Presence::optional, Use::bias}},
       .outputs = {{"Y", kReal, 'T'}},
       .fields = {field("alpha", &Gemm::alpha), field("beta", &Gemm::beta), field("transA", &Gemm::trans_a),
                  field("transB", &Gemm::trans_b)},
       .infer = infer_gemm,
       .evaluate = products,
       .role = Role::product,
       .why_in_float = why_gemm_in_float,
       .view_weights = view_gemm_weights,
       .macs = gemm_macs},
      {.name = "MatMul",
       .prototype = MatMul{},
       .inputs = {{"A", kReal, 'T'}, {"B", kReal, 'T', Presence::required, Use::weights}},
       .outputs = {{"Y", kReal, 'T'}},
       .infer = infer_matmul,
       .evaluate = products,
       .role = Role::product,
       .view_weights = view_matmul_weights,
       .macs = matmul_macs},
  };
}

}  // namespace bitfold::ops
