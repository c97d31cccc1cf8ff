// Float steps that are a single loop over elements.
#pragma once

#include <cstdint>
#include <memory>
#include <utility>
#include <vector>

#include "engine/step.h"
#include "graph/activation.h"

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

/// y = activation(x). Operands: y (write), x (read).
class ActivationStep final : public Step {
 public:
  ActivationStep(const Activation& activation, std::int64_t count) : activation_(activation), count_(count) {}
  void run(const Team& team) noexcept override;

 private:
  Activation activation_;
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

/// Sets a flag if one of `count` reals is outside [-Magnitudes::kChecked, Magnitudes::kChecked]. Operands: x (read).
class MagnitudeStep final : public Step {
 public:
  MagnitudeStep(std::shared_ptr<bool> has_large_values, std::int64_t count)
      : has_large_values_(std::move(has_large_values)), count_(count) {}
  void run(const Team& team) noexcept override;

 private:
  std::shared_ptr<bool> has_large_values_;
  std::int64_t count_;
};

}  // namespace bitfold::engine
