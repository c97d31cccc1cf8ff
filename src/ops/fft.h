// The discrete Fourier transform of any length, in double.
#pragma once

#include <complex>
#include <cstddef>
#include <memory>
#include <span>
#include <vector>

namespace bitfold::ops {

/// Transforms of one length, in time O(n log n): by the factors of the length if they are small, otherwise as a
/// convolution of a longer length (Bluestein's algorithm).
class Fft {
 public:
  using Complex = std::complex<double>;

  explicit Fft(std::size_t length);
  std::size_t length() const { return length_; }
  /// X[k] = sum of x[n] exp(-2 pi i k n / N), in place.
  void forward(std::span<Complex> x);
  /// x[n] = 1 / N sum of X[k] exp(2 pi i k n / N), in place.
  void inverse(std::span<Complex> x);

 private:
  void by_factors(const Complex* from, std::size_t step, Complex* to, std::size_t length, std::size_t factor);
  void by_convolution(std::span<Complex> x);

  std::size_t length_;
  std::vector<std::size_t> factors_;  // empty if the transform is a convolution
  std::vector<Complex> roots_;        // exp(-2 pi i k / N)
  std::vector<Complex> copy_, terms_;
  std::unique_ptr<Fft> longer_;
  std::vector<Complex> chirp_, response_;
};

}  // namespace bitfold::ops
