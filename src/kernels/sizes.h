// Arithmetic of sizes.
#pragma once

#include <cstdint>

namespace bitfold {

/// Of a >= 0 and b > 0.
constexpr std::int64_t divide_up(std::int64_t a, std::int64_t b) { return (a + b - 1) / b; }

/// Rows or columns that a window of `kernel` taps covers.
constexpr std::int64_t window_reach(std::int64_t kernel, std::int64_t dilation) { return (kernel - 1) * dilation + 1; }

}  // namespace bitfold
