// Rounds all weights of a layer together by gradient descent through its activation.
//
// AdaRound (Nagel et al. 2020, "Up or Down? Adaptive Rounding for Post-Training Quantization") gives each weight a
// number u in [0, 1] between its two neighbouring codes (eq. 22) and minimizes, over sample inputs x of the quantized
// network,
//
//   | f(W x) - f(s (floor(W / s) + u) x) |^2 + a penalty that drives every u to 0 or 1        (eq. 21 and 25)
//
// with f the layer's activation. Differences from the paper:
//
// - The two codes are the neighbours of the weight that is best for the quantized network's inputs. One of them is the
//   code that Hessian-based rounding found, so that the result is never worse than that.
// - The penalty is lambda u (1 - u) instead of eq. 24, and u is clipped to [0, 1] instead of a rectified sigmoid.
// Lambda
//   is in units of the error's curvature along u, so that one schedule serves every layer: from that curvature on, the
//   sum is concave along each weight, and its minima are whole codes.
// - The bias is optimized, too.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "graph/activation.h"
#include "quantize/hessian_rounding.h"

namespace bitfold::quantization {

/// The codes, grid and bias of one channel.
struct RoundedChannel {
  ChannelGrid grid;
  std::vector<double> real;  ///< The weights to round.
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
  std::int64_t batch = 256;     ///< Rows per iteration.
  float learning_rate = 0.01F;  ///< Step of u in Adam (Kingma and Ba 2015).
};

/// Improves the codes and biases in place. A channel is changed only if this reduces its squared error over the rows.
/// The result does not depend on the number of threads.
void adaround(const AdaRoundProblem& problem, std::span<RoundedChannel> channels, const AdaRoundOptions& options = {});

}  // namespace bitfold::quantization
