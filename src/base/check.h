// Raising bitfold::Error with a formatted message.
#pragma once

#include <fmt/format.h>

#include <utility>

#include "bitfold/error.h"

namespace bitfold {

/// Throws Error. The message must say where, what was found, and what was expected.
template <class... Args>
[[noreturn]] void fail(fmt::format_string<Args...> format, Args&&... args) {
  throw Error(fmt::format(format, std::forward<Args>(args)...));
}

/// Throws Error unless `condition` holds: for what the world did wrong (files, options, data).
/// A mistake of the programmer is an assert, not a check.
template <class... Args>
void check(bool condition, fmt::format_string<Args...> format, Args&&... args) {
  if (!condition) fail(format, std::forward<Args>(args)...);
}

}  // namespace bitfold
