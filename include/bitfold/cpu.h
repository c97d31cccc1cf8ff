// What of the CPU may be used: which instruction sets, how many cores.
#pragma once

#include <string_view>

namespace bitfold {

/// From the slowest that every CPU has to the fastest. Each level includes those before it.
enum class Isa { portable, avx2, avx512vnni, amx };

/// The best level this CPU and its operating system support.
Isa detected_isa();

/// detected_isa(), lowered by the environment variable BITFOLD_ISA (portable, avx2, avx512vnni, amx)
/// when it names a lower level. Throws Error when BITFOLD_ISA is set to anything else.
Isa isa_cap();

std::string_view to_string(Isa isa);

/// Throws Error naming the valid words.
Isa parse_isa(std::string_view word);

/// Default thread count of the calling thread: the last limit_threads(), else OMP_NUM_THREADS, else the cores available
/// to the process.
int usable_threads();

/// Sets usable_threads() for the calling thread. Throws Error unless count is 1 to kMaxThreads.
void limit_threads(int count);

inline constexpr int kMaxThreads = 1024;

/// The thread count that an option `threads` asks for: 0 stands for usable_threads(). Throws Error unless it is 0 to
/// kMaxThreads.
int thread_count(int threads);

}  // namespace bitfold
