// Functions that throw bitfold::Error with a formatted message.
#pragma once

#include <fmt/format.h>

#include <utility>

#include "bitfold/error.h"

namespace bitfold {

/// Throws Error. The message must say where the fault is, what was found and what was expected.
template <class... Args>
[[noreturn]] void fail(fmt::format_string<Args...> format, Args&&... args) {
  throw Error(fmt::format(format, std::forward<Args>(args)...));
}

/// Throws Error unless `condition` holds. For faults of the input (files, options, data); a programming mistake is an
/// assert instead.
template <class... Args>
void check(bool condition, fmt::format_string<Args...> format, Args&&... args) {
  if (!condition) fail(format, std::forward<Args>(args)...);
}

}  // namespace bitfold
