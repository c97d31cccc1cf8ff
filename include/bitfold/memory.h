// Limits the memory that networks may use.
#pragma once

#include <cstddef>

namespace bitfold {

/// Default limit in bytes for the values of a network: the limit_memory() setting, else the memory available at the
/// moment on the machine and in the process's control group. The largest std::size_t if the system does not report it.
std::size_t usable_memory();

/// Sets the limit for the whole process; 0 restores the default.
void limit_memory(std::size_t bytes);

}  // namespace bitfold
