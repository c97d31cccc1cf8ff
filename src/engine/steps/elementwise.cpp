#include "engine/steps/elementwise.h"

#include <bit>

#include "engine/magnitudes.h"

namespace bitfold::engine {

ScaleShiftStep::ScaleShiftStep(std::vector<float> factors, std::vector<float> terms, std::int64_t outer,
                               std::int64_t inner)
    : factors_(std::move(factors)), terms_(std::move(terms)), outer_(outer), inner_(inner) {}

void ScaleShiftStep::run(const Team& /*team*/) noexcept {
  const auto channels = static_cast<std::int64_t>(factors_.size());
  const float* x = at<float>(1);
  float* y = at<float>(0);
  const float *factors = factors_.data(), *terms = terms_.data();
  for (std::int64_t o = 0; o < outer_; ++o) {
    if (inner_ == 1) {
      for (std::int64_t c = 0; c < channels; ++c) y[c] = x[c] * factors[c] + terms[c];
    } else {
      for (std::int64_t c = 0; c < channels; ++c)
        for (std::int64_t i = 0; i < inner_; ++i) y[c * inner_ + i] = x[c * inner_ + i] * factors[c] + terms[c];
    }
    x += channels * inner_;
    y += channels * inner_;
  }
}

void ClampStep::run(const Team& /*team*/) noexcept {
  const float* x = at<float>(1);
  float* y = at<float>(0);
  // Copies on the stack, because the compiler must assume that y aliases the members.
  const float low = low_, high = high_;
  for (std::int64_t i = 0; i < count_; ++i) {
    const float raised = x[i] < low ? low : x[i];
    y[i] = raised > high ? high : raised;
  }
}

void FunctionStep::run(const Team& team) noexcept {
  for_each_part(team, threads_, count_, [&](std::int64_t begin, std::int64_t end) {
    kernel_(at<float>(1) + begin, at<float>(0) + begin, end - begin, alpha_, beta_);
  });
}

void AddStep::run(const Team& /*team*/) noexcept {
  float* y = at<float>(0);
  const float *a = at<float>(1), *b = at<float>(2);
  for (std::int64_t i = 0; i < count_; ++i) y[i] = a[i] + b[i];
}

void MagnitudeStep::run(const Team& /*team*/) noexcept {
  const float* x = at<float>(0);
  // The bits of positive floats are ordered like the floats, and those of infinity and NaN are the largest. So limit -
  // bits is negative exactly for values above the limit; or-ing the differences vectorizes on every CPU.
  constexpr std::int32_t kMagnitude = 0x7FFFFFFF, kLimit = std::bit_cast<std::int32_t>(Magnitudes::kChecked);
  std::int32_t differences = 0;
  for (std::int64_t i = 0; i < count_; ++i) differences |= kLimit - (std::bit_cast<std::int32_t>(x[i]) & kMagnitude);
  if (differences < 0) *has_large_values_ = true;
}

}  // namespace bitfold::engine
