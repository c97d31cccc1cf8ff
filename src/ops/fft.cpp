#include "ops/fft.h"

#include <algorithm>
#include <cmath>
#include <numbers>

namespace bitfold::ops {
namespace {

/// A factor p costs p multiplications per element; a convolution costs about as much as a factor of this size.
constexpr std::size_t kLargestFactor = 64;

/// exp(-2 pi i k / n)
Fft::Complex root(std::size_t k, std::size_t n) {
  return std::polar(1.0, -2 * std::numbers::pi * static_cast<double>(k) / static_cast<double>(n));
}

std::vector<std::size_t> prime_factors(std::size_t n) {
  std::vector<std::size_t> factors;
  for (std::size_t p = 2; p * p <= n; ++p)
    for (; n % p == 0; n /= p) factors.push_back(p);
  if (n > 1) factors.push_back(n);
  return factors;
}

}  // namespace

Fft::Fft(std::size_t length) : length_(length), factors_(prime_factors(length)) {
  if (!factors_.empty() && factors_.back() > kLargestFactor) {
    factors_.clear();
    std::size_t size = 1;
    while (size < 2 * length - 1) size *= 2;
    longer_ = std::make_unique<Fft>(size);
    // chirp[k] = exp(-pi i k^2 / N); k^2 modulo 2N, so that the angle keeps its precision.
    chirp_.resize(length);
    for (std::size_t k = 0, square = 0; k < length; square = (square + 2 * k + 1) % (2 * length), ++k)
      chirp_[k] = root(square, 2 * length);
    response_.assign(size, 0);
    for (std::size_t k = 0; k < length; ++k) response_[k] = response_[(size - k) % size] = std::conj(chirp_[k]);
    longer_->forward(response_);
    copy_.resize(size);
    return;
  }
  roots_.resize(length);
  for (std::size_t k = 0; k < length; ++k) roots_[k] = root(k, length);
  copy_.resize(length);
  terms_.resize(factors_.empty() ? 1 : factors_.back());
}

void Fft::forward(std::span<Complex> x) {
  if (length_ <= 1) return;
  if (longer_ != nullptr) return by_convolution(x);
  std::ranges::copy(x, copy_.begin());
  by_factors(copy_.data(), 1, x.data(), length_, 0);
}

void Fft::inverse(std::span<Complex> x) {
  for (Complex& v : x) v = std::conj(v);
  forward(x);
  for (Complex& v : x) v = std::conj(v) / static_cast<double>(length_);
}

// Transforms every p-th element, for each of the p starts, then combines the p results.
void Fft::by_factors(const Complex* from, std::size_t step, Complex* to, std::size_t length, std::size_t factor) {
  if (length == 1) {
    *to = *from;
    return;
  }
  const std::size_t p = factors_[factor], part = length / p, unit = length_ / length;
  for (std::size_t r = 0; r < p; ++r) by_factors(from + r * step, step * p, to + r * part, part, factor + 1);
  if (p == 2) {
    for (std::size_t k = 0; k < part; ++k) {
      const Complex a = to[k], b = to[k + part] * roots_[k * unit];
      to[k] = a + b;
      to[k + part] = a - b;
    }
    return;
  }
  for (std::size_t k = 0; k < part; ++k) {
    for (std::size_t r = 0; r < p; ++r) terms_[r] = to[r * part + k] * roots_[r * k * unit];
    for (std::size_t q = 0; q < p; ++q) {
      Complex sum = terms_[0];
      for (std::size_t r = 1; r < p; ++r) sum += terms_[r] * roots_[q * r % p * part * unit];
      to[q * part + k] = sum;
    }
  }
}

// k n = (k^2 + n^2 - (k - n)^2) / 2 makes the sum a convolution with exp(pi i n^2 / N).
void Fft::by_convolution(std::span<Complex> x) {
  std::ranges::fill(copy_, Complex{});
  for (std::size_t k = 0; k < length_; ++k) copy_[k] = x[k] * chirp_[k];
  longer_->forward(copy_);
  for (std::size_t k = 0; k < copy_.size(); ++k) copy_[k] *= response_[k];
  longer_->inverse(copy_);
  for (std::size_t k = 0; k < length_; ++k) x[k] = copy_[k] * chirp_[k];
}

}  // namespace bitfold::ops
