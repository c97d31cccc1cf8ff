// How much memory networks may use.
#pragma once

#include <cstddef>

namespace bitfold {

/// Bytes that a network's values may take where options do not say: what limit_memory() set, else what the machine has
/// available at the moment, within the limit of its control group. The largest number where the system does not tell.
std::size_t usable_memory();

/// Sets it for the whole process; 0: back to what the machine has available.
void limit_memory(std::size_t bytes);

}  // namespace bitfold
