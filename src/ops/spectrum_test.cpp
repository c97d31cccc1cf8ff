// DFT, STFT, windows and mel weights.
#include <complex>
#include <numbers>
#include <random>

#include "op_testing.h"
#include "ops/fft.h"

namespace bitfold::testing {
namespace {

using Complex = std::complex<double>;

Tensor int64_scalar(std::int64_t value) { return int64s({}, {value}); }

std::vector<Complex> by_definition(const std::vector<Complex>& x) {
  const std::size_t n = x.size();
  std::vector<Complex> y(n);
  for (std::size_t k = 0; k < n; ++k)
    for (std::size_t i = 0; i < n; ++i)
      y[k] += x[i] * std::polar(1.0, -2 * std::numbers::pi * static_cast<double>(i * k % n) / static_cast<double>(n));
  return y;
}

// Powers of two, products of small primes, large primes, and both together.
TEST(Fft, equals_the_definition_for_every_kind_of_length) {
  std::mt19937 random(7);
  std::uniform_real_distribution<double> number(-1, 1);
  for (std::size_t n : {1, 2, 3, 4, 5, 8, 12, 15, 49, 64, 67, 97, 101, 134, 210, 400, 512, 1009}) {
    std::vector<Complex> x(n);
    for (Complex& v : x) v = {number(random), number(random)};
    std::vector<Complex> y = x;
    ops::Fft fft(n);
    fft.forward(y);
    const std::vector<Complex> expected = by_definition(x);
    for (std::size_t k = 0; k < n; ++k) ASSERT_LT(std::abs(y[k] - expected[k]), 1e-11) << n << " " << k;
    fft.inverse(y);
    for (std::size_t k = 0; k < n; ++k) ASSERT_LT(std::abs(y[k] - x[k]), 1e-13) << n << " " << k;
  }
}

TEST(Dft, transforms_along_its_axis) {
  const Tensor x = floats({1, 4, 1}, {1, 2, 3, 4});
  const Tensor y = floats({1, 4, 2}, {10, 0, -2, 2, -2, 0, -2, -2});
  expect_op(Dft{}, {x}, y);
  expect_op(Dft{}, {x, {}, int64_scalar(1)}, y);
  expect_op(Dft{}, {floats({2, 2, 1}, {1, 5, 2, 7}), {}, int64_scalar(0)},
            floats({2, 2, 2}, {3, 0, 12, 0, -1, 0, -2, 0}));
  expect_op(Dft{.inverse = true}, {y}, floats({1, 4, 2}, {1, 0, 2, 0, 3, 0, 4, 0}));
}

TEST(Dft, pads_or_cuts_to_its_length) {
  const Tensor x = floats({1, 3, 1}, {1, 2, 3});
  expect_op(Dft{}, {x, int64_scalar(4)}, floats({1, 4, 2}, {6, 0, -2, -2, 2, 0, -2, 2}));
  expect_op(Dft{}, {x, int64_scalar(2)}, floats({1, 2, 2}, {3, 0, -1, 0}));
}

TEST(Dft, one_sided_transforms_of_real_numbers_invert_each_other) {
  const Tensor even = floats({1, 4, 1}, {1, 2, 3, 4}), odd = floats({1, 3, 1}, {1, 2, 3});
  for (const Tensor& x : {even, odd}) {
    const Tensor spectrum = run_op(Dft{.onesided = true}, {x})[0];
    EXPECT_EQ(spectrum.shape(), (Shape{1, x.dim(1) / 2 + 1, 2}));
    expect_op(Dft{.inverse = true, .onesided = true}, {spectrum, int64_scalar(x.dim(1))}, x);
  }
  expect_op(Dft{.inverse = true, .onesided = true}, {run_op(Dft{.onesided = true}, {even})[0]}, even);
}

TEST(Dft, refuses_the_axis_of_complex_numbers) {
  try {
    run_op(Dft{}, {iota({1, 3, 1}), {}, int64_scalar(-1)});
    ADD_FAILURE() << "nothing was thrown";
  } catch (const Error& error) {
    EXPECT_NE(std::string(error.what()).find("[DFT 'n'] axis -1 holds the parts of complex numbers"), std::string::npos)
        << error.what();
  }
}

TEST(Stft, weights_each_frame_by_the_window) {
  const Tensor x = floats({1, 5, 1}, {0, 1, 2, 3, 4});
  expect_op(Stft{}, {x, int64_scalar(2), floats({3}, {0.5F, 1, 0.5F})},
            floats({1, 2, 2, 2}, {2, 0, -1, 0, 6, 0, -1.5F, -0.8660254F}));
  expect_op(Stft{.onesided = false}, {x, int64_scalar(3), {}, int64_scalar(2)},
            floats({1, 2, 2, 2}, {1, 0, -1, 0, 7, 0, -1, 0}));
}

TEST(WindowFunction, gives_periodic_and_symmetric_windows) {
  const Inputs size{int64_scalar(5)};
  const auto window = [](WindowKind kind, bool periodic) { return WindowFunction{.kind = kind, .periodic = periodic}; };
  expect_op(window(WindowKind::hann, true), size, floats({5}, {0, 0.3454915F, 0.9045085F, 0.9045085F, 0.3454915F}));
  expect_op(window(WindowKind::hann, false), size, floats({5}, {0, 0.5F, 1, 0.5F, 0}));
  expect_op(window(WindowKind::hamming, true), size,
            floats({5}, {0.0869565F, 0.4024052F, 0.9128121F, 0.9128121F, 0.4024052F}));
  expect_op(window(WindowKind::blackman, false), size, floats({5}, {0, 0.34F, 1, 0.34F, 0}));
  expect_op(window(WindowKind::hann, false), {int64_scalar(1)}, floats({1}, {1}));
}

TEST(MelWeightMatrix, has_one_triangle_for_each_bin) {
  const Inputs inputs{int64_scalar(3), int64_scalar(16), int64_scalar(8000), floats({}, {0}), floats({}, {4000})};
  expect_op(MelWeightMatrix{}, inputs,
            floats({9, 3}, {1, 0, 0, 0, 1, 0, 0, 0.5F, 0.5F, 0, 0, 1, 0, 0, 0.5F, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0}));
}

TEST(MelWeightMatrix, refuses_frequencies_beyond_the_spectrum) {
  try {
    run_op(MelWeightMatrix{},
           {int64_scalar(3), int64_scalar(16), int64_scalar(8000), floats({}, {0}), floats({}, {40000})});
    ADD_FAILURE() << "nothing was thrown";
  } catch (const Error& error) {
    EXPECT_NE(std::string(error.what()).find("lies outside a spectrum of 9 rows"), std::string::npos) << error.what();
  }
}

}  // namespace
}  // namespace bitfold::testing
