#include "kernels/depthwise/depthwise.h"

#include <vector>

namespace bitfold {

std::span<const DepthwiseKernel> depthwise_kernels() {
  static const std::vector<DepthwiseKernel> all = [] {
    std::vector<DepthwiseKernel> rows;
    for (const DepthwiseKernel* kernel : {&kPortableDepthwise, &kAvx2Depthwise, &kAvx512VnniDepthwise})
      if (kernel->run != nullptr) rows.push_back(*kernel);
    return rows;
  }();
  return all;
}

const DepthwiseKernel& select_depthwise_kernel(Isa cap) {
  const DepthwiseKernel* best = &kPortableDepthwise;
  for (const DepthwiseKernel& kernel : depthwise_kernels())
    if (kernel.isa <= cap) best = &kernel;
  return *best;
}

}  // namespace bitfold
