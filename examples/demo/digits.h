// Images like handwritten digits, drawn by a small program, so that the demo needs no download.
#pragma once

#include <cstdint>
#include <vector>

#include "bitfold/tensor.h"

namespace bitfold::demo {

struct Digits {
  Tensor images;                     ///< uint8 [count, 28, 28]; ink is bright
  std::vector<std::int64_t> labels;  ///< 0..9
};

/// Deterministic: the same seed and count give the same bytes on every machine. Random numbers are integers, and
/// strokes are computed in double without transcendental functions, whose last bit differs between C libraries.
Digits draw_digits(std::int64_t count, std::uint64_t seed);

}  // namespace bitfold::demo
