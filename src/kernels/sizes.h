// Arithmetic on sizes.
#pragma once

#include <cstdint>

namespace bitfold {

/// Requires a >= 0 and b > 0.
constexpr std::int64_t divide_up(std::int64_t a, std::int64_t b) { return (a + b - 1) / b; }

/// Rows or columns spanned by a window of `kernel` taps.
constexpr std::int64_t window_extent(std::int64_t kernel, std::int64_t dilation) { return (kernel - 1) * dilation + 1; }

}  // namespace bitfold
