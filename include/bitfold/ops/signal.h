// Spectra and windows of signals.
#pragma once

#include "bitfold/tensor.h"

namespace bitfold {

// Inputs in brackets are optional.

/// x [batch, ..., 1 or 2 (real, imaginary)], [length], [axis]
struct Dft {
  bool inverse = false;
  bool onesided = false;
  bool operator==(const Dft&) const = default;
};
/// signal [batch, length, 1 or 2], frame step, [window], [frame length]
struct Stft {
  bool onesided = true;
  bool operator==(const Stft&) const = default;
};
enum class WindowKind { hann, hamming, blackman };
/// size -> the window function's values
struct WindowFunction {
  WindowKind kind = WindowKind::hann;
  bool periodic = true;
  DataType dtype = DataType::float32;
  bool operator==(const WindowFunction&) const = default;
};
/// mel bins, DFT length, sample rate, lower and upper edge in Hz -> [DFT length / 2 + 1, mel bins]
struct MelWeightMatrix {
  DataType dtype = DataType::float32;
  bool operator==(const MelWeightMatrix&) const = default;
};

}  // namespace bitfold
