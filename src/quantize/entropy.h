// How much of a histogram's information a grid loses.
#pragma once

#include <vector>

#include "bitfold/calibrate.h"

namespace bitfold::quantization {

/// The Kullback-Leibler divergence between a value's histogram and what a grid leaves of it (Migacz, "8-bit Inference
/// with TensorRT", 2017), for grids of one kind:
///
///   KL(P || Q) = sum_i P_i ln(P_i / Q_i)
///
/// over the bins that the grid does not clip. P counts the clipped values in the outermost of them; Q counts them
/// nowhere, and spreads what has one code evenly over the bins that hold something of it. Both add up to 1. The bin of
/// 0 is left out: every grid has a code for 0, and what a Relu cuts off is often half of all values.
class Divergence {
 public:
  Divergence(const ValueStatistics& statistics, const GridSpec& spec);

  /// In nats. Infinite where the grid clips everything, or is finer than the histogram, which cannot tell then.
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
