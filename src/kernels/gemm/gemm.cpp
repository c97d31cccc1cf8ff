// Selects the kernel for a product.
#include "kernels/gemm/gemm.h"

#include <algorithm>
#include <vector>

namespace bitfold {

std::span<const GemmKernel> gemm_kernels() {
  static const std::vector<GemmKernel> all = [] {
    std::vector<GemmKernel> rows;
    for (const GemmTable* table : {&kPortableGemm, &kAvx2Gemm, &kAvx512VnniGemm, &kAmxGemm})
      rows.insert(rows.end(), table->kernels, table->kernels + table->count);
    return rows;
  }();
  return all;
}

namespace {

// Cost of a step: a multiplication per register of a tile, or a load per row and per column of it, edges included. The
// larger of the two bounds the time of a step.
double vector_cost(const GemmKernel& kernel, const GemmSize& size) {
  const std::int64_t columns = (size.channel_count + kernel.nr - 1) / kernel.nr;
  const std::int64_t rows = (size.pixel_count + kernel.mr - 1) / kernel.mr;
  const std::int64_t registers = kernel.nr / (kernel.isa >= Isa::avx512vnni ? 16 : 8);
  const std::int64_t multiplications = size.pixel_count * columns * registers;
  const std::int64_t loads = columns * (size.pixel_count + rows * registers);
  // Fewer than 4 accumulators cannot hide the 4 or 5 cycles of latency of a multiplication.
  const std::int64_t latency = rows * columns * 4;
  const auto cost =
      static_cast<double>(std::max({multiplications, loads, latency}) * size.run_count * size.group_count);
  if (kernel.sum_pairs == nullptr) return cost;
  // Measured: kernels that sum pairs take a quarter less time. Computing the pairs of a window costs one multiplication
  // for every 8 groups of a run and two for every window.
  const std::int64_t vectors = size.run_count * ((size.group_count + 7) / 8);
  return 0.75 * cost + static_cast<double>(size.pixel_count) * static_cast<double>(vectors + 2);
}

std::int64_t tile_count(const GemmSize& size) {
  return size.row_count * ((size.pixel_count + kTilePixels - 1) / kTilePixels) * ((size.channel_count + 15) / 16);
}

// The CPU does two of the operations that vector_cost() counts in each cycle.
double vector_cycles(const GemmKernel& kernel, const GemmSize& size) {
  return vector_cost(kernel, size) * static_cast<double>(size.row_count) / 2;
}

// Measured: a product of tiles takes 18 cycles however full they are. Converting a tile's accumulators to outputs takes
// 20 cycles more than converting those of vector registers. A call takes 300 cycles.
constexpr double kProductCycles = 18, kTileCycles = 20, kCallCycles = 300;
// Pixels multiplied in one pass over the weights. A second call would be a second pass.
constexpr std::int64_t kPassPixels = 64;

double products_of_tiles(const GemmSize& size) {
  const std::int64_t chunks = size.run_count * (size.group_count / amx_chunk_groups(size.group_count));
  return static_cast<double>(tile_count(size) * chunks);
}

double tile_cycles(const GemmKernel& kernel, const GemmSize& size) {
  const std::int64_t calls = (size.channel_count + kernel.nr - 1) / kernel.nr;
  return kProductCycles * products_of_tiles(size) + kTileCycles * static_cast<double>(tile_count(size)) +
         kCallCycles * static_cast<double>(calls);
}

}  // namespace

std::int64_t amx_chunk_groups(std::int64_t group_count) {
  std::int64_t groups = 16;
  while (group_count % groups != 0) --groups;
  return groups;
}

MemoryRange MemoryRange::share(std::int64_t begin_part, std::int64_t end_part, std::int64_t count) const {
  return PrefetchRanges{*this, {}}.share(begin_part, end_part, count).own;
}

PrefetchRanges PrefetchRanges::share(std::int64_t begin, std::int64_t end, std::int64_t count) const {
  if (begin >= end) return {};
  if (begin == 0 && end >= count) return *this;
  const std::int64_t own_bytes = own.end - own.begin, next_bytes = next.end - next.begin;
  const auto at = [&](std::int64_t part) { return (own_bytes + next_bytes) * std::min(part, count) / count; };
  const std::int64_t from = at(begin), to = at(end);
  return {{own.begin + std::min(from, own_bytes), own.begin + std::min(to, own_bytes)},
          {next.begin + std::max(from - own_bytes, std::int64_t{0}),
           next.begin + std::max(to - own_bytes, std::int64_t{0})}};
}

PrefetchRanges PrefetchRanges::share_passes(std::int64_t begin, std::int64_t end, std::int64_t count) const {
  return {begin == 0 && end > 0 ? own : MemoryRange{}, next.share(begin, end, count)};
}

bool separate_call_pays(const GemmKernel& kernel, const GemmSize& left_out, std::int64_t pixels_in_all) {
  if (!kernel.takes_rows) return true;
  // A step is two tiles of pixels. A single tile takes as long, and reads all weights, which may be far away.
  if (left_out.pixel_count <= kTilePixels) return false;
  return pixels_in_all > kPassPixels && kProductCycles * products_of_tiles(left_out) > kCallCycles;
}

const GemmKernel& select_gemm_kernel(const GemmSize& size, Isa cap) {
  // Chooses the fastest instruction set, then the least cost. Tiles must also be faster by kMargin.
  const GemmKernel* best = &gemm_kernels()[0];
  double best_cost = vector_cost(*best, size);
  for (const GemmKernel& kernel : gemm_kernels().subspan(1)) {
    if (kernel.isa > cap || (kernel.nr < kBlockChannels && size.channel_count > kernel.nr)) continue;
    if (size.takes_pairs && *size.takes_pairs != (kernel.sum_pairs != nullptr)) continue;
    if (kernel.isa == Isa::amx) {
      constexpr double kMargin = 1.25;  // required gain; smaller differences are within the error of the estimates
      if (kMargin * tile_cycles(kernel, size) < vector_cycles(*best, size)) return kernel;
      continue;
    }
    const double cost = vector_cost(kernel, size);
    if (kernel.isa > best->isa || (kernel.isa == best->isa && cost < best_cost)) {
      best = &kernel;
      best_cost = cost;
    }
  }
  return *best;
}

}  // namespace bitfold
