#include "engine/steps/elementwise.h"

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

void RectifyStep::run(const Team& /*team*/) noexcept {
  const float* x = at<float>(1);
  float* y = at<float>(0);
  if (is_leaky_) {
    for (std::int64_t i = 0; i < count_; ++i) y[i] = x[i] < 0 ? slope_ * x[i] : x[i];
    return;
  }
  for (std::int64_t i = 0; i < count_; ++i) {
    const float raised = x[i] < low_ ? low_ : x[i];  // written so that NaN stays NaN
    y[i] = raised > high_ ? high_ : raised;
  }
}

void AddStep::run(const Team& /*team*/) noexcept {
  float* y = at<float>(0);
  const float *a = at<float>(1), *b = at<float>(2);
  for (std::int64_t i = 0; i < count_; ++i) y[i] = a[i] + b[i];
}

}  // namespace bitfold::engine
