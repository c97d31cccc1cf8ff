// Corrects sums of products of codes by the codes' zero points.
#pragma once

#include <cstdint>
#include <memory>
#include <utility>

#include "engine/step.h"
#include "engine/steps/parallel.h"
#include "engine/weight_cache.h"

namespace bitfold::engine {

/// With zero points a of x and b[c] of the weights w, and `depth` products in each sum,
///
///   sum (x - a) (w - b[c])  =  sum x w  -  a sum w  -  b[c] (sum x - a depth)          modulo 2^32
///
/// A row of sums has sum x w for each channel c, then sum x if a weight has a zero point. Operands: y (write) [rows,
/// channels], sums (read) [rows, row_size], a (read): one code, if has_zero_point.
class CodeSumsStep final : public Step {
 public:
  struct Terms {
    std::shared_ptr<const CodeProductFacts> facts;
    std::int64_t rows = 0, row_size = 0;
    bool has_zero_point = false;  ///< Whether x has a zero point.
    bool gives_reals = false;     ///< y is float32 instead of int32.
  };
  CodeSumsStep(Terms terms, int threads)
      : terms_(std::move(terms)),
        threads_(
            useful_threads(threads, 8 * terms_.rows * static_cast<std::int64_t>(terms_.facts->weight_sums.size()))) {}
  void run(const Team& team) noexcept override;
  int threads() const override { return threads_; }

 private:
  template <class T>
  void run_rows(T* y, std::int64_t begin, std::int64_t end) const noexcept;

  Terms terms_;
  int threads_;
};

}  // namespace bitfold::engine
