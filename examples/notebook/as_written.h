// The notebook's arithmetic including its mistakes, for comparison.
#pragma once

#include <span>
#include <vector>

namespace notebook {

enum class Mode { asymmetric, symmetric };

/// A quantized array as in the notebook: codes are floats and need not be integers.
struct Quantized {
  std::vector<float> codes;
  float scale = 1, zero_point = 0;
};

/// Cell 3: the zero point keeps its fraction.
Quantized quantize_with_fraction(std::span<const float> x, int bits);

/// Cells 7 and 15. int() truncates the zero point, and `symmetric` wrongly uses the asymmetric scale, (max - min) /
/// (qmax - qmin).
Quantized quantize(std::span<const float> x, int bits, Mode mode);

/// (x - zp) * scale
std::vector<float> dequantize(const Quantized& q);

}  // namespace notebook
