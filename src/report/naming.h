// Names the graph in an error of a function that takes several graphs.
#pragma once

#include <string>
#include <vector>

#include "base/check.h"

namespace bitfold::report {

/// Calls f(), and puts the name of graph `i` in front of what it throws. Graphs may have no names.
template <class F>
auto naming(const std::vector<std::string>& names, std::size_t i, const F& f) {
  try {
    return f();
  } catch (const Error& error) {
    if (i >= names.size()) throw;
    fail("{}: {}", names[i], error.what());
  }
}

}  // namespace bitfold::report
