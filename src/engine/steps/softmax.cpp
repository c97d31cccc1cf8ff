#include "engine/steps/softmax.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>

namespace bitfold::engine {
namespace {

constexpr std::int64_t kBlock = 256;
constexpr std::int64_t kWorkPerElement = 64;  // see kWorkPerThread; an exponential and four passes take about 2 ns

/// Short vectors beside each other lie in memory as rows of `width` numbers. Several rows are one longer row, in which
/// the numbers of a vector are `width` apart.
std::int64_t joined_rows(std::int64_t width) { return std::max<std::int64_t>(1, kBlock / 4 / width); }

/// Combines the numbers of each vector in a joined row, and gives the result to all of them.
template <class T, class F>
void combine_joined(T* row, std::int64_t width, std::int64_t rows, F combine) {
  for (std::int64_t r = 1; r < rows; ++r)
    for (std::int64_t i = 0; i < width; ++i) row[i] = combine(row[i], row[r * width + i]);
  for (std::int64_t r = 1; r < rows; ++r) std::copy_n(row, width, row + r * width);
}

}  // namespace

SoftmaxStep::SoftmaxStep(const Vectors& vectors, bool log, Isa isa, int threads)
    : vectors_(vectors),
      log_(log),
      exp_(real_function_kernels(isa).find(RealFunction::exp)),
      block_(std::min(vectors.inner, kBlock)),
      blocks_((vectors.inner + block_ - 1) / block_),
      threads_(useful_threads(threads, vectors.outer * vectors.n * vectors.inner * kWorkPerElement)) {}

void SoftmaxStep::run(const Team& team) noexcept {
  for_each_part(team, threads_, vectors_.outer * blocks_, [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t i = begin; i < end; ++i) {
      const std::int64_t first = i % blocks_ * block_;
      run_block(i / blocks_, first, std::min(block_, vectors_.inner - first));
    }
  });
}

void SoftmaxStep::run_block(std::int64_t image, std::int64_t first, std::int64_t count) const {
  const std::int64_t n = vectors_.n, start = image * n * vectors_.inner + first;
  const std::int64_t joined = count == vectors_.inner ? std::min(joined_rows(count), n) : 1, width = joined * count;
  const std::int64_t step = joined * vectors_.inner;
  const float* x = at<float>(1) + start;
  float* y = at<float>(0) + start;
  // Calls row(offset, width) for each joined row; the last one may be shorter.
  const auto for_each_joined = [&](auto row) {
    for (std::int64_t k = 0, offset = 0; k < n; k += joined, offset += step)
      row(offset, std::min(joined, n - k) * count);
  };

  std::array<float, kBlock> top, shift;
  std::array<double, kBlock> sum;
  std::fill_n(top.begin(), width, -std::numeric_limits<float>::infinity());
  for_each_joined([&](std::int64_t offset, std::int64_t size) {
    for (std::int64_t i = 0; i < size; ++i) top.data()[i] = std::max(top.data()[i], x[offset + i]);
  });
  combine_joined(top.data(), count, joined, [](float a, float b) { return std::max(a, b); });

  std::fill_n(sum.begin(), width, 0.0);
  std::array<float, kBlock> powers;
  for_each_joined([&](std::int64_t offset, std::int64_t size) {
    for (std::int64_t i = 0; i < size; ++i) y[offset + i] = x[offset + i] - top.data()[i];
    float* result = log_ ? powers.data() : y + offset;
    exp_(y + offset, result, size, 0, 0);
    for (std::int64_t i = 0; i < size; ++i) sum.data()[i] += static_cast<double>(result[i]);
  });
  combine_joined(sum.data(), count, joined, [](double a, double b) { return a + b; });

  for (std::int64_t i = 0; i < width; ++i)
    shift.data()[i] = static_cast<float>(log_ ? std::log(sum.data()[i]) : 1 / sum.data()[i]);
  for_each_joined([&](std::int64_t offset, std::int64_t size) {
    if (log_)
      for (std::int64_t i = 0; i < size; ++i) y[offset + i] -= shift.data()[i];
    else
      for (std::int64_t i = 0; i < size; ++i) y[offset + i] *= shift.data()[i];
  });
}

}  // namespace bitfold::engine
