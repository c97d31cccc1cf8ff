// Softmax over an axis that is not the last in memory.
#pragma once

#include <cstdint>

#include "engine/step.h"
#include "engine/steps/parallel.h"
#include "kernels/functions/functions.h"

namespace bitfold::engine {

/// Softmax or LogSoftmax along the middle axis of x [outer, n, inner]. Operands: y (write), x (read).
class SoftmaxStep final : public Step {
 public:
  struct Vectors {
    std::int64_t outer = 1, n = 1, inner = 1;
  };

  SoftmaxStep(const Vectors& vectors, bool log, Isa isa, int threads);
  void run(const Team& team) noexcept override;
  int threads() const override { return threads_; }

 private:
  void run_block(std::int64_t image, std::int64_t first, std::int64_t count) const;

  Vectors vectors_;
  bool log_;
  RealFunctionKernel exp_;
  std::int64_t block_ = 1, blocks_ = 1;  ///< Vectors that are computed together, and the blocks of an image.
  int threads_;
};

}  // namespace bitfold::engine
