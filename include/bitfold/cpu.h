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

/// How many cores work takes that is not told, or told "all": those that the process may use, or what the environment
/// variable OMP_NUM_THREADS says, or, in threads that called it, limit_threads().
int usable_threads();

/// Sets it for the calling thread only. At least 1.
void limit_threads(int count);

}  // namespace bitfold
