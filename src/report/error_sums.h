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

  void add(std::span<const float> x, std::span<const float> y) {
    is_measured = true;
    for (std::size_t i = 0; i < x.size(); ++i) {
      const double error = static_cast<double>(x[i]) - y[i];
      signal += static_cast<double>(x[i]) * x[i];
      noise += error * error;
      max_abs = std::max(max_abs, std::abs(error));
    }
  }
  double sqnr_db() const {
    if (noise == 0) return std::numeric_limits<double>::infinity();
    return signal == 0 ? -std::numeric_limits<double>::infinity() : 10 * std::log10(signal / noise);
  }
};

}  // namespace bitfold::report
