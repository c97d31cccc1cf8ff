// CPU resources Bitfold may use: instruction sets and cores.
#pragma once

#include <string_view>

namespace bitfold {

/// Instruction sets, from the slowest, which every CPU has, to the fastest. Each includes all earlier ones.
enum class Isa { portable, avx2, avx512vnni, amx };

/// The best instruction set that this CPU and its operating system support.
Isa detected_isa();

/// detected_isa(), limited by the environment variable BITFOLD_ISA (portable, avx2, avx512vnni, amx). Throws Error if
/// BITFOLD_ISA has any other value.
Isa isa_cap();

std::string_view to_string(Isa isa);

/// The inverse of to_string(). Throws Error listing the valid words.
Isa parse_isa(std::string_view word);

/// Default thread count of the calling thread: the last limit_threads(), else OMP_NUM_THREADS, else the cores available
/// to the process.
int usable_threads();

/// Sets usable_threads() for the calling thread. Throws Error unless count is 1 to kMaxThreads.
void limit_threads(int count);

inline constexpr int kMaxThreads = 1024;

/// Resolves an option `threads`: 0 means usable_threads(). Throws Error unless it is 0 to kMaxThreads.
int thread_count(int threads);

}  // namespace bitfold
