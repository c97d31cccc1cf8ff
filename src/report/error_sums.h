// The distance of a quantized value from the float one:
//   SQNR = 10 log10( sum x^2 / sum (x - y)^2 ), x of the float graph, y of the quantized one
#pragma once

#include <algorithm>
#include <cmath>
#include <limits>
#include <span>

namespace bitfold::report {

struct ErrorSums {
  double signal = 0, noise = 0, max_abs = 0;
  bool is_measured = false;

  /// Outputs whose size depends on the data may differ in length: an element without a counterpart is compared with 0.
  void add(std::span<const float> x, std::span<const float> y) {
    is_measured = true;
    const std::size_t shared = std::min(x.size(), y.size());
    for (std::size_t i = 0; i < shared; ++i) add(x[i], y[i]);
    for (const float value : x.subspan(shared)) add(value, 0);
    for (const float value : y.subspan(shared)) add(0, value);
  }
  double sqnr_db() const {
    if (noise == 0) return std::numeric_limits<double>::infinity();
    return signal == 0 ? -std::numeric_limits<double>::infinity() : 10 * std::log10(signal / noise);
  }

 private:
  void add(double x, double y) {
    const double error = x - y;
    signal += x * x;
    noise += error * error;
    max_abs = std::max(max_abs, std::abs(error));
  }
};

}  // namespace bitfold::report
