// The current limits of one thread of this CPU; benchmarks are compared with them. They are measured beside each
// benchmark, because clock rates change and other machines share the memory. Part of the benchmark program only.
#pragma once

#include <benchmark/benchmark.h>

#include <cstdint>

#include "bitfold/peaks.h"

namespace bitfold::limits {

/// Whether the environment sets BITFOLD_BENCH_PLAIN: only times are measured. Peaks are then 0, bandwidth is not
/// counted, and nothing is compared with another library.
bool is_plain();

/// integer_peak() of bitfold/peaks.h, or 0 if only times are measured.
double integer_peak(Isa isa);
double float_peak(Isa isa);

/// Bytes per second, read and written together, of a loop that only copies: it writes `writes` vectors for each `reads`
/// vectors it reads. The best of a few passes with plain and with non-temporal stores, from one page at a time and from
/// several. Supports the ratios of the kernels: 1:0, 4:1, 1:4, 1:1, 2:1, 1:2; throws on others.
double bandwidth(int reads, int writes, const void* from, void* to, std::int64_t bytes_read);

/// Adds counters to a benchmark whose every iteration moves this many bytes: GB/s, and the share of bandwidth().
void count_bandwidth(benchmark::State& state, int reads, int writes, const void* from, void* to,
                     std::int64_t bytes_read);

}  // namespace bitfold::limits
