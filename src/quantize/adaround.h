// Rounding all weights of a layer together by gradient descent through what follows it.
//
// AdaRound (Nagel et al. 2020, "Up or Down? Adaptive Rounding for Post-Training Quantization") gives each weight a
// number u in [0, 1] between its two neighbouring codes (eq. 22) and minimizes, over sample inputs x of the quantized
// network,
//
//   | f(W x) - f(s (floor(W / s) + u) x) |^2 + a penalty that drives every u to 0 or 1        (eq. 21 and 25)
//
// f the activation behind the layer. Where we depart:
//
// - The two codes are those around the weights that are best for the quantized network's inputs, and one of them is the
//   code that Hessian-based rounding found, so that the result is never worse than that.
// - The penalty is lambda u (1 - u) instead of eq. 24, with u itself clipped to [0, 1] instead of a rectified sigmoid.
// It
//   is measured in the curvature of the error along u, so that one schedule serves every layer: when lambda reaches
//   that curvature, the sum is concave along each weight, and its minima lie at whole codes.
// - The bias moves, too.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "graph/activation.h"
#include "quantize/hessian_rounding.h"

namespace bitfold::quantization {

/// Codes of one channel and what goes with them.
struct RoundedChannel {
  ChannelGrid grid;
  std::vector<double> real;  ///< What is rounded.
  std::vector<int> codes;
  double bias = 0;
};

struct AdaRoundProblem {
  std::int64_t rows = 0, depth = 0, channels = 0;
  std::span<const float> x;        ///< [rows][depth], inputs in the quantized network.
  std::span<const float> targets;  ///< [rows][channels], the float network's outputs, before the activation.
  Activation activation;
  bool moves_bias = true;
};

struct AdaRoundOptions {
  int iterations = 2000;
  std::int64_t batch = 256;     ///< Rows of one iteration.
  float learning_rate = 0.01F;  ///< Of u, by Adam (Kingma and Ba 2015).
};

/// Changes codes and biases of the channels for which that lessens the squared error over the rows. The same whatever
/// the number of threads.
void adaround(const AdaRoundProblem& problem, std::span<RoundedChannel> channels, const AdaRoundOptions& options = {});

}  // namespace bitfold::quantization
