// Makes names unique by adding a number.
#pragma once

#include <fmt/format.h>

#include <cstdint>
#include <string>
#include <string_view>

namespace bitfold {

/// `stem`, or `stem` followed by "_1", "_2", ..., such that `is_taken` is false. Tries a logarithmic number of
/// candidates, so that naming n nodes of one stem takes n log n lookups. If the numbers in use have no gap, the lowest
/// free number is used.
template <class IsTaken>
std::string fresh_name(std::string_view stem, const IsTaken& is_taken) {
  if (!is_taken(std::string(stem))) return std::string(stem);
  const auto numbered = [&](std::int64_t number) { return fmt::format("{}_{}", stem, number); };
  std::int64_t low = 0, high = 1;  // `low` is taken, `high` is free once the loop ends
  while (is_taken(numbered(high))) {
    low = high;
    high *= 2;
  }
  while (high - low > 1) {
    const std::int64_t middle = low + (high - low) / 2;
    (is_taken(numbered(middle)) ? low : high) = middle;
  }
  return numbered(high);
}

}  // namespace bitfold
