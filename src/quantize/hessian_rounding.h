// Rounds the weights of one output channel together, so that their errors cancel in the output.
//
// The squared error of the output over sample inputs x, rows of X, is
//
//   |X (w - w_q)|^2 = (w - w_q)' H (w - w_q),   H = X' X
//
// With H = R' R, R upper triangular, the last weight is rounded first, and each weight before it compensates for the
// output errors of those after it:
//
//   q_j = round( w_j + sum_{k > j} R_jk / R_jj (w_k - q_k) )
//
// which is the order of GPTQ (Frantar et al. 2023, "GPTQ: Accurate Post-Training Quantization for Generative
// Pre-trained Transformers", algorithm 1) and of OBQ (Frantar and Alistarh 2022) with a fixed order, without the
// inverse of H: both leave the same conditional errors, R_jj^2 (t_j - q_j)^2, where t_j is the number to round.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <span>
#include <vector>

namespace bitfold::quantization {

/// Second moments of the inputs of one group of a layer, over all samples.
struct InputMoments {
  std::int64_t depth = 0, rows = 0;
  std::vector<double> second;         ///< [depth][depth], sum of x x', x the input in the quantized network.
  std::vector<double> cross;          ///< [depth][depth], sum of (y - x) x', y the input in the float network.
  std::vector<float> rows_x, rows_y;  ///< [rows][depth], if they are kept.

  explicit InputMoments(std::int64_t k);
};

/// The grid of one channel: codes qmin .. qmax, real = scale * (code - zero_point).
struct ChannelGrid {
  double scale = 1;
  int zero_point = 0, qmin = -128, qmax = 127;

  int nearest(double real) const {
    return static_cast<int>(
        std::clamp(std::nearbyint(real / scale) + zero_point, static_cast<double>(qmin), static_cast<double>(qmax)));
  }
  double real(int code) const { return scale * (code - zero_point); }
};

/// Rounds channels whose inputs have these moments. `damping` times the mean of H's diagonal is added to the diagonal,
/// as in GPTQ: moments of few samples are unreliable in most directions.
class HessianRounding {
 public:
  /// `moments` must outlive this object.
  explicit HessianRounding(const InputMoments& moments, double damping = 0.01);
  explicit HessianRounding(InputMoments&&, double = 0) = delete;

  /// The real weights whose outputs for the quantized network's inputs are closest, in the least squares sense, to
  /// those of `w` for the float network's inputs: w* H = w (H + cross), solved with the damped H.
  std::vector<double> adapted(std::span<const double> w) const;
  /// The squared error of the outputs for given errors d of the weights, d' H d.
  double error(std::span<const double> differences) const;
  /// Writes a code for each of `w`; returns the remaining squared error of the outputs.
  double round(std::span<const double> w, const ChannelGrid& grid, std::span<int> codes) const;

 private:
  std::int64_t depth_;
  /// Inputs in order of rising energy. Rounding starts at the end, with the strongest input.
  std::vector<std::int64_t> order_;
  std::vector<double> factor_;  ///< R, [depth][depth], rows in that order.
  const InputMoments& moments_;
};

}  // namespace bitfold::quantization
