// The float steps that are nothing but a loop.
#pragma once

#include <cstdint>
#include <vector>

#include "engine/step.h"

namespace bitfold::engine {

/// y = x * factor[c] + term[c] for x [outer, channels, inner]. Operands: y (write), x (read).
class ScaleShiftStep final : public Step {
 public:
  ScaleShiftStep(std::vector<float> factors, std::vector<float> terms, std::int64_t outer, std::int64_t inner);
  void run(const Team& team) noexcept override;

 private:
  std::vector<float> factors_, terms_;
  std::int64_t outer_, inner_;
};

/// y = clamp(x, low, high), or x < 0 ? slope * x : x. Operands: y (write), x (read).
class RectifyStep final : public Step {
 public:
  static constexpr float kNoSlope = 0;
  RectifyStep(float low, float high, float slope, bool is_leaky, std::int64_t count)
      : low_(low), high_(high), slope_(slope), is_leaky_(is_leaky), count_(count) {}
  void run(const Team& team) noexcept override;

 private:
  float low_, high_, slope_;
  bool is_leaky_;
  std::int64_t count_;
};

/// y = a + b, equal shapes. Operands: y (write), a, b (read).
class AddStep final : public Step {
 public:
  explicit AddStep(std::int64_t count) : count_(count) {}
  void run(const Team& team) noexcept override;

 private:
  std::int64_t count_;
};

}  // namespace bitfold::engine
