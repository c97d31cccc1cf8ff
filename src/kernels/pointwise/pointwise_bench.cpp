// Residual adds, tables and pools of real networks on every instruction set. Results are compared with the portable
// kernels before they are timed.
#include <benchmark/benchmark.h>

#include <cstdint>
#include <string>
#include <vector>

#include "kernels/machine_limits.h"
#include "kernels/pointwise/pointwise.h"

namespace bitfold {
namespace {

using Bytes = std::vector<std::uint8_t>;

Bytes some_codes(std::int64_t n, std::size_t step) {
  Bytes codes(static_cast<std::size_t>(n));
  for (std::size_t i = 0; i < codes.size(); ++i) codes[i] = static_cast<std::uint8_t>(i * step);
  return codes;
}

/// Times run(kernels, y), which produces `n` codes, and compares with a loop that only moves memory with the same ratio
/// of reads and writes.
template <class Run>
void compare_and_time(benchmark::State& state, const PointwiseKernels& kernels, std::int64_t n, const Bytes& x,
                      int reads, int writes, Run run) {
  Bytes y(static_cast<std::size_t>(n)), expected(y.size());
  run(pointwise_kernels(Isa::portable), expected.data());
  run(kernels, y.data());
  if (y != expected) return state.SkipWithError("differs from the portable kernel");
  for (auto _ : state) {
    run(kernels, y.data());
    benchmark::ClobberMemory();
  }
  limits::count_bandwidth(state, reads, writes, x.data(), y.data(),
                          writes == 0 ? static_cast<std::int64_t>(x.size()) : n * reads / writes);
}

void add(benchmark::State& state, const PointwiseKernels& kernels) {
  const std::int64_t n = 32 * 32 * 16;
  const Bytes x = some_codes(2 * n, 7);
  const BinaryGrids grids = prepared(kernels, CodeBinary::add, {{0.0213F, 104}, {0.04F, 7}, {0.05F, 90}});
  compare_and_time(state, kernels, n, x, 2, 1, [&](const PointwiseKernels& k, std::uint8_t* y) {
    k.binary(CodeBinary::add, x.data(), x.data() + n, y, n, grids);
  });
}

void lookup(benchmark::State& state, const PointwiseKernels& kernels) {
  const std::int64_t n = 56 * 56 * 128;
  const Bytes x = some_codes(n, 7), table = some_codes(256, 3);
  compare_and_time(state, kernels, n, x, 1, 1,
                   [&](const PointwiseKernels& k, std::uint8_t* y) { k.lookup(x.data(), y, n, table.data()); });
}

void max_pool(benchmark::State& state, const PointwiseKernels& kernels) {
  const PoolShape shape{16, 224, 224, 112, 112, 2, 2, 2, 2};
  const Bytes x = some_codes(224 * 224 * 16, 7);
  compare_and_time(state, kernels, 112 * 112 * 16, x, 4, 1,
                   [&](const PointwiseKernels& k, std::uint8_t* y) { k.max_pool(x.data(), y, shape, 0, 112); });
}

void global_average_pool(benchmark::State& state, const PointwiseKernels& kernels) {
  const PoolShape shape{1000, 14, 14, 1, 1, 14, 14};
  const AveragePool pool{{0.02F, 100, 0, 255}, {0.01F, 90, 0, 255}};
  const Bytes x = some_codes(14 * 14 * 1000, 7);
  compare_and_time(state, kernels, 1000, x, 1, 0,
                   [&](const PointwiseKernels& k, std::uint8_t* y) { k.average_pool(x.data(), y, shape, pool, 0, 1); });
}

const bool kRegistered = [] {
  using Benchmark = void (*)(benchmark::State&, const PointwiseKernels&);
  constexpr std::pair<const char*, Benchmark> kBenchmarks[] = {{"add 32x32x16", add},
                                                               {"lookup 56x56x128", lookup},
                                                               {"max_pool 224x224x16 2x2/2", max_pool},
                                                               {"global_average_pool 14x14x1000", global_average_pool}};
  for (const auto& [name, run] : kBenchmarks)
    for (Isa isa : {Isa::portable, Isa::avx2, Isa::avx512vnni})
      if (isa <= detected_isa())
        benchmark::RegisterBenchmark((std::string("pointwise/") + std::string(to_string(isa)) + "/" + name).c_str(),
                                     run, pointwise_kernels(isa));
  return true;
}();

}  // namespace
}  // namespace bitfold
