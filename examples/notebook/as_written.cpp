#include "as_written.h"

#include <algorithm>
#include <cmath>

namespace notebook {
namespace {

// x_int = torch.round(x / scale) + zp;  torch.clamp(x_int, q_min, q_max)
std::vector<float> codes_of(std::span<const float> x, float scale, float zero_point, float q_min, float q_max) {
  std::vector<float> codes;
  for (float v : x) codes.push_back(std::clamp(std::nearbyint(v / scale) + zero_point, q_min, q_max));
  return codes;
}

}  // namespace

Quantized quantize_with_fraction(std::span<const float> x, int bits) {
  const float q_min = 0, q_max = static_cast<float>((1 << bits) - 1);
  const auto [x_min, x_max] = std::minmax_element(x.begin(), x.end());
  const float scale = (*x_max - *x_min) / (q_max - q_min);
  const float zero_point = q_min - *x_min / scale;
  return {codes_of(x, scale, zero_point, q_min, q_max), scale, zero_point};
}

Quantized quantize(std::span<const float> x, int bits, Mode mode) {
  const auto levels = static_cast<float>(1 << bits);
  const float q_min = mode == Mode::asymmetric ? 0 : -levels / 2;
  const float q_max = mode == Mode::asymmetric ? levels - 1 : levels / 2 - 1;
  const auto [x_min, x_max] = std::minmax_element(x.begin(), x.end());
  const float scale = (*x_max - *x_min) / (q_max - q_min);
  const float zero_point = mode == Mode::symmetric ? 0 : std::trunc(std::clamp(q_min - *x_min / scale, q_min, q_max));
  return {codes_of(x, scale, zero_point, q_min, q_max), scale, zero_point};
}

std::vector<float> dequantize(const Quantized& q) {
  std::vector<float> x;
  for (float code : q.codes) x.push_back((code - q.zero_point) * q.scale);
  return x;
}

}  // namespace notebook
