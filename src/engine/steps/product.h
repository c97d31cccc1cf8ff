// Matrix products of two computed values.
#pragma once

#include <cstring>

#include "engine/step.h"
#include "onednn/plain.h"

namespace bitfold::engine {

/// y[i] = a[i] times b[i] for `batch` matrices. Operands: y (write), a, b (read).
class ProductStep final : public Step {
 public:
  ProductStep(const onednn::PlainProduct& product, std::int64_t batch) : product_(product), batch_(batch) {}

  void run() noexcept override {
    const auto& [m, n, k, trans_a, trans_b] = product_;
    std::memset(at<float>(0), 0, static_cast<std::size_t>(batch_ * m * n) * sizeof(float));
    for (std::int64_t i = 0; i < batch_; ++i)
      onednn::multiply_add(product_, 1, at<float>(1) + i * m * k, at<float>(2) + i * k * n, at<float>(0) + i * m * n);
  }

 private:
  onednn::PlainProduct product_;
  std::int64_t batch_;
};

}  // namespace bitfold::engine
