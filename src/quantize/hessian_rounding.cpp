#include "quantize/hessian_rounding.h"

#include <algorithm>
#include <cmath>
#include <numeric>

namespace bitfold::quantization {
namespace {

std::size_t square(std::int64_t k) { return static_cast<std::size_t>(k * k); }

}  // namespace

InputMoments::InputMoments(std::int64_t k) : depth(k), second(square(k)), cross(square(k)) {}

HessianRounding::HessianRounding(const InputMoments& moments, double damping)
    : depth_(moments.depth),
      order_(static_cast<std::size_t>(moments.depth)),
      factor_(square(moments.depth)),
      moments_(moments) {
  const std::int64_t n = depth_;
  const auto h = [&](std::int64_t i, std::int64_t j) { return moments.second[static_cast<std::size_t>(i * n + j)]; };
  std::iota(order_.begin(), order_.end(), std::int64_t{0});
  std::stable_sort(order_.begin(), order_.end(), [&](std::int64_t a, std::int64_t b) { return h(a, a) < h(b, b); });
  double trace = 0;
  for (std::int64_t i = 0; i < n; ++i) trace += h(i, i);
  // If all inputs are 0, a diagonal of ones gives rounding to nearest.
  const double added = trace > 0 ? damping * trace / static_cast<double>(n) : 1;

  // Cholesky, row by row: R_ij = (H_ij - sum_{k < i} R_ki R_kj) / R_ii
  std::vector<double>& r = factor_;
  for (std::int64_t i = 0; i < n; ++i)
    for (std::int64_t j = i; j < n; ++j)
      r[static_cast<std::size_t>(i * n + j)] =
          h(order_[static_cast<std::size_t>(i)], order_[static_cast<std::size_t>(j)]) + (i == j ? added : 0);
  for (std::int64_t i = 0; i < n; ++i) {
    double* row = r.data() + i * n;
    // The damping keeps every pivot positive; it is far larger than rounding errors.
    const double pivot = std::sqrt(std::max(row[i], added * 1e-6));
    row[i] = pivot;
    for (std::int64_t j = i + 1; j < n; ++j) row[j] /= pivot;
#pragma omp parallel for schedule(dynamic, 16) if (n - i > 256)
    for (std::int64_t k = i + 1; k < n; ++k) {
      double* below = r.data() + k * n;
      const double f = row[k];
      for (std::int64_t j = k; j < n; ++j) below[j] -= f * row[j];
    }
  }
}

std::vector<double> HessianRounding::adapted(std::span<const double> w) const {
  const std::int64_t n = depth_;
  // change H = w cross: two triangular systems, R' z = b and R x = z.
  std::vector<double> b(static_cast<std::size_t>(n)), result(w.begin(), w.end());
  std::vector<double> product(static_cast<std::size_t>(n));
  for (std::int64_t k = 0; k < n; ++k) {
    const double* row = moments_.cross.data() + k * n;
    for (std::int64_t j = 0; j < n; ++j)
      product[static_cast<std::size_t>(j)] += w[static_cast<std::size_t>(k)] * row[j];
  }
  for (std::int64_t i = 0; i < n; ++i)
    b[static_cast<std::size_t>(i)] = product[static_cast<std::size_t>(order_[static_cast<std::size_t>(i)])];
  for (std::int64_t i = 0; i < n; ++i) {
    const double* row = factor_.data() + i * n;
    const double z = b[static_cast<std::size_t>(i)] /= row[i];
    for (std::int64_t j = i + 1; j < n; ++j) b[static_cast<std::size_t>(j)] -= row[j] * z;
  }
  for (std::int64_t i = n; i-- > 0;) {
    const double* row = factor_.data() + i * n;
    double x = b[static_cast<std::size_t>(i)];
    for (std::int64_t j = i + 1; j < n; ++j) x -= row[j] * b[static_cast<std::size_t>(j)];
    b[static_cast<std::size_t>(i)] = x / row[i];
    result[static_cast<std::size_t>(order_[static_cast<std::size_t>(i)])] += b[static_cast<std::size_t>(i)];
  }
  return result;
}

double HessianRounding::error(std::span<const double> differences) const {
  double sum = 0;
  for (std::int64_t i = 0; i < depth_; ++i) {
    double row = 0;
    for (std::int64_t k = i; k < depth_; ++k)
      row += factor_[static_cast<std::size_t>(i * depth_ + k)] *
             differences[static_cast<std::size_t>(order_[static_cast<std::size_t>(k)])];
    sum += row * row;
  }
  return sum;
}

double HessianRounding::round(std::span<const double> w, const ChannelGrid& grid, std::span<int> codes) const {
  const std::int64_t n = depth_;
  std::vector<double> errors(static_cast<std::size_t>(n));  // w - w_q, in order
  double left = 0;
  for (std::int64_t i = n; i-- > 0;) {
    const double* row = factor_.data() + i * n;
    double carried = 0;
    for (std::int64_t k = i + 1; k < n; ++k) carried += row[k] * errors[static_cast<std::size_t>(k)];
    const auto at = static_cast<std::size_t>(order_[static_cast<std::size_t>(i)]);
    const double target = w[at] + carried / row[i];
    codes[at] = grid.nearest(target);
    const double real = grid.real(codes[at]);
    errors[static_cast<std::size_t>(i)] = w[at] - real;
    left += (row[i] * (target - real)) * (row[i] * (target - real));
  }
  return left;
}

}  // namespace bitfold::quantization
