// The notebook's arithmetic as it stands there, mistakes included, to compare with.
#pragma once

#include <span>
#include <vector>

namespace notebook {

enum class Mode { asymmetric, symmetric };

/// A quantized array the way the notebook has it: codes are floats, and may lie between integers.
struct Quantized {
  std::vector<float> codes;
  float scale = 1, zero_point = 0;
};

/// Cell 3: the zero point keeps its fraction.
Quantized quantize_with_fraction(std::span<const float> x, int bits);

/// Cells 7 and 15. The zero point is truncated by int(); `symmetric` divides the whole range by the whole range of
/// codes.
Quantized quantize(std::span<const float> x, int bits, Mode mode);

/// (x - zp) * scale
std::vector<float> dequantize(const Quantized& q);

}  // namespace notebook
