// Which kernel multiplies what.
#include "kernels/gemm/gemm.h"

#include <algorithm>
#include <vector>

namespace bitfold {

std::span<const GemmKernel> gemm_kernels() {
  static const std::vector<GemmKernel> all = [] {
    std::vector<GemmKernel> rows;
    for (const GemmTable* table : {&kPortableGemm, &kAvx2Gemm, &kAvx512VnniGemm})
      rows.insert(rows.end(), table->kernels, table->kernels + table->count);
    return rows;
  }();
  return all;
}

const GemmKernel& select_gemm_kernel(std::int64_t pixel_count, std::int64_t channel_count, Isa cap) {
  // The fastest instruction set first; then the least time, counting a multiplication per register of a tile and a load
  // per row and per column of it, edges included: what the wider of both takes is the time of one step.
  const GemmKernel* best = nullptr;
  std::int64_t best_cost = 0;
  for (const GemmKernel& kernel : gemm_kernels()) {
    if (kernel.isa > cap) continue;
    const std::int64_t columns = (channel_count + kernel.nr - 1) / kernel.nr;
    const std::int64_t rows = (pixel_count + kernel.mr - 1) / kernel.mr;
    const std::int64_t registers = kernel.nr / kBlockChannels;
    const std::int64_t multiplications = pixel_count * columns * registers;
    const std::int64_t loads = columns * (pixel_count + rows * registers);
    // Fewer than 4 accumulators cannot hide the 4 or 5 cycles that one multiplication takes.
    const std::int64_t latency = rows * columns * 4;
    const std::int64_t cost = std::max({multiplications, loads, latency});
    if (best == nullptr || kernel.isa > best->isa || (kernel.isa == best->isa && cost < best_cost)) {
      best = &kernel;
      best_cost = cost;
    }
  }
  return *best;
}

}  // namespace bitfold
