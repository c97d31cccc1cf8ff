// The information that a histogram loses when its values are quantized.
#pragma once

#include <vector>

#include "bitfold/calibrate.h"

namespace bitfold::quantization {

/// The Kullback-Leibler divergence between a value's histogram P and its quantized histogram Q (Migacz, "8-bit
/// Inference with TensorRT", 2017), for grids of one spec:
///
///   KL(P || Q) = sum_i P_i ln(P_i / Q_i)
///
/// over the bins that the grid does not clip. P counts clipped values in the outermost of these bins. Q does not count
/// them, and spreads the values of each code evenly over the non-empty bins of that code. Both add up to 1. The bin of
/// 0 is left out: every grid has a code for 0, and after a Relu often half of all values are 0.
class Divergence {
 public:
  Divergence(const ValueStatistics& statistics, const GridSpec& spec);

  /// The divergence in nats. Infinite if the grid clips every bin or is finer than the histogram.
  double operator()(float lo, float hi) const;

 private:
  struct Occupied {
    float middle;
    double count;
    double log_term;  ///< count ln(count)
  };

  GridSpec spec_;
  double bin_width_, total_ = 0;
  std::vector<Occupied> bins_;  // ascending
};

}  // namespace bitfold::quantization
