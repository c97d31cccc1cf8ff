// Float steps that are a single loop over elements.
#pragma once

#include <cstdint>
#include <memory>
#include <utility>
#include <vector>

#include "engine/step.h"
#include "engine/steps/parallel.h"
#include "kernels/functions/functions.h"

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

/// y = x limited to [low, high]; NaN stays NaN. Operands: y (write), x (read).
class ClampStep final : public Step {
 public:
  ClampStep(float low, float high, std::int64_t count) : low_(low), high_(high), count_(count) {}
  void run(const Team& team) noexcept override;

 private:
  float low_, high_;
  std::int64_t count_;
};

/// y = f(x). Operands: y (write), x (read).
class FunctionStep final : public Step {
 public:
  FunctionStep(RealFunctionKernel kernel, float alpha, float beta, std::int64_t count, int threads)
      : kernel_(kernel),
        alpha_(alpha),
        beta_(beta),
        count_(count),
        threads_(useful_threads(threads, count * kWorkPerElement)) {}
  void run(const Team& team) noexcept override;
  int threads() const override { return threads_; }

 private:
  static constexpr std::int64_t kWorkPerElement = 32;  // see kWorkPerThread; an exponential takes about 1 ns
  RealFunctionKernel kernel_;
  float alpha_, beta_;
  std::int64_t count_;
  int threads_;
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
