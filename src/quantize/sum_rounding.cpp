// Rounding to nearest minimizes the error of each weight, but the error of a layer's output is
//
//   sum_k e_k x_k,   e_k = s (q_k - z) - w_k
//
// The inputs x_k of one kernel are neighbouring pixels, nearly equal and, after a Relu, never negative. So the output
// error is close to mean(x) * sum_k e_k, and that sum should be small. Elements are therefore moved to the code on the
// other side of their real value until the errors of each kernel, and then of each output channel, add up to at most
// half a step. Elements closest to the middle between two codes move first, because their own errors grow least.
//
// This is the flipping of SQuant (Guo et al., "SQuant: On-the-Fly Data-Free Quantization via Diagonal Hessian
// Approximation", ICLR 2022, section 3.3, algorithms 2 to 4), which derives it from a Hessian that is constant within a
// kernel and within a channel. Unlike there, the channel step chooses among all elements that have not moved, instead
// of one candidate per kernel.
#include "quantize/sum_rounding.h"

#include <algorithm>
#include <cmath>
#include <vector>

#include "base/first_failure.h"

namespace bitfold::quantization {
namespace {

// Errors in steps of the grid. An element moves at most once, so that it keeps one of its two neighbouring codes.
struct Element {
  std::size_t index;
  float error;
  bool has_moved = false;
};

// Moves elements of [first, last) until their errors add up to at most half a step. `movable` is scratch memory.
template <class Code>
void cancel(std::vector<Element>& elements, std::size_t first, std::size_t last, std::span<Code> codes, int qmin,
            int qmax, std::vector<Element*>& movable) {
  double sum = 0;
  for (std::size_t i = first; i < last; ++i) sum += elements[i].error;
  const auto count = static_cast<std::size_t>(std::nearbyint(std::abs(sum)));
  if (count == 0) return;
  const int sign = sum > 0 ? 1 : -1;
  movable.clear();
  for (std::size_t i = first; i < last; ++i) {
    Element& e = elements[i];
    const int moved = int{codes[e.index]} - sign;
    // Moving an element whose error has the sum's sign shrinks the sum by a step, and leaves it an error below a step.
    if (!e.has_moved && e.error * static_cast<float>(sign) > 0 && moved >= qmin && moved <= qmax) movable.push_back(&e);
  }
  const std::size_t moves = std::min(count, movable.size());
  // Ties by position: the result must not depend on the sorting algorithm.
  std::partial_sort(movable.begin(), movable.begin() + static_cast<std::ptrdiff_t>(moves), movable.end(),
                    [](const Element* a, const Element* b) {
                      const float x = std::abs(a->error), y = std::abs(b->error);
                      return x != y ? x > y : a->index < b->index;
                    });
  for (std::size_t i = 0; i < moves; ++i) {
    Element& e = *movable[i];
    codes[e.index] = static_cast<Code>(codes[e.index] - sign);
    e.error -= static_cast<float>(sign);
    e.has_moved = true;
  }
}

template <class Code>
void keep_sums(const Tensor& weights, int axis, std::int64_t kernel_size, const QuantParams& grid, Tensor& codes) {
  const auto w = weights.data<float>();
  const auto q = codes.mutable_data<Code>();
  std::size_t inner = 1;
  for (int d = axis + 1; d < weights.rank(); ++d) inner *= static_cast<std::size_t>(weights.dim(d));
  const auto channels = static_cast<std::size_t>(weights.dim(axis));
  const std::size_t outer = inner * channels == 0 ? 0 : w.size() / (inner * channels);
  const auto kernel = static_cast<std::size_t>(kernel_size);
  constexpr std::size_t kWorthThreads = 16384;  // weights
  FirstFailure failure;
#pragma omp parallel if (w.size() > kWorthThreads)
  {
    std::vector<Element> elements;
    std::vector<Element*> movable;
#pragma omp for schedule(dynamic, 4)
    for (std::size_t c = 0; c < channels; ++c)
      failure.watch(c, [&] {
        const std::size_t slot = grid.per_channel() ? c : 0;
        elements.clear();
        for (std::size_t o = 0; o < outer; ++o)
          for (std::size_t i = 0; i < inner; ++i) {
            const std::size_t index = (o * channels + c) * inner + i;
            const float error = static_cast<float>(int{q[index]} - grid.zero_point[slot]) - w[index] / grid.scale[slot];
            // The error of a clipped weight is not a rounding error, so other weights should not compensate for it.
            const bool is_clipped = std::abs(error) > 0.5F + 1e-3F;
            elements.push_back({index, is_clipped ? 0 : error, is_clipped});
          }
        const bool has_kernels = kernel > 1 && elements.size() % kernel == 0;
        for (std::size_t k = 0; has_kernels && k < elements.size(); k += kernel)
          cancel<Code>(elements, k, k + kernel, q, grid.qmin(), grid.qmax(), movable);
        cancel<Code>(elements, 0, elements.size(), q, grid.qmin(), grid.qmax(), movable);
      });
  }
  failure.rethrow();
}

}  // namespace

Tensor quantize_keeping_sums(const Tensor& weights, int axis, std::int64_t kernel_size, const QuantParams& grid) {
  Tensor codes = quantize(weights, grid);
  if (codes.dtype() == DataType::int8)
    keep_sums<std::int8_t>(weights, axis, kernel_size, grid, codes);
  else if (codes.dtype() == DataType::uint8)
    keep_sums<std::uint8_t>(weights, axis, kernel_size, grid, codes);
  return codes;
}

}  // namespace bitfold::quantization
