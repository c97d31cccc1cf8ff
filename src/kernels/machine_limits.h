// What this CPU can do at the moment, on one thread: what benchmarks hold their figures against. Measured beside each
// of them, because clocks change and other machines share the memory. Part of the benchmarks' program only.
#pragma once

#include <benchmark/benchmark.h>

#include <cstdint>

#include "bitfold/peaks.h"

namespace bitfold::limits {

/// The environment sets BITFOLD_BENCH_PLAIN: nothing but times is wanted. Peaks are 0 then, no bandwidth is counted,
/// and nothing is measured beside another library.
bool is_plain();

/// As in bitfold/peaks.h; 0 where nothing but times is wanted.
double integer_peak(Isa isa);
double float_peak(Isa isa);

/// Bytes per second, read and written together, of a loop that does nothing but move: for each `reads` vectors read it
/// writes `writes` of them. The best of a few passes with plain and with non-temporal stores, from one page at a time
/// and from several. The ratios of the kernels: 1:0, 4:1, 1:4, 1:1, 2:1, 1:2; throws on others.
double bandwidth(int reads, int writes, const void* from, void* to, std::int64_t bytes_read);

/// Counters of a benchmark whose every iteration moves as many bytes: GB/s, and the part of bandwidth().
void count_bandwidth(benchmark::State& state, int reads, int writes, const void* from, void* to,
                     std::int64_t bytes_read);

}  // namespace bitfold::limits
