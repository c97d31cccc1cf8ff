// Rounding the weights of one output channel together, so that their errors cancel in the output.
//
// The squared error of the output over sample inputs x, rows of X, is
//
//   |X (w - w_q)|^2 = (w - w_q)' H (w - w_q),   H = X' X
//
// With H = R' R, R upper triangular, the last weight is rounded first, and each weight before it takes up what the
// errors of those after it do to the output:
//
//   q_j = round( w_j + sum_{k > j} R_jk / R_jj (w_k - q_k) )
//
// which is the order of GPTQ (Frantar et al. 2023, "GPTQ: Accurate Post-Training Quantization for Generative
// Pre-trained Transformers", algorithm 1) and of OBQ (Frantar and Alistarh 2022) with a fixed order, without the
// inverse of H: both leave the same conditional errors, R_jj^2 (t_j - q_j)^2, where t_j is what is rounded.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <span>
#include <vector>

namespace bitfold::quantization {

/// The inputs of one group of a layer, over all samples.
struct InputMoments {
  std::int64_t depth = 0, rows = 0;
  std::vector<double> second;         ///< [depth][depth], sum of x x', x what the quantized network feeds the layer.
  std::vector<double> cross;          ///< [depth][depth], sum of (y - x) x', y what the float network feeds it.
  std::vector<float> rows_x, rows_y;  ///< [rows][depth] of them, where they are kept.

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

/// Rounds channels whose inputs have these moments. Moments of few samples say little in most directions: `damping`
/// times the mean of the diagonal of H is added to it, as in GPTQ.
class HessianRounding {
 public:
  /// `moments` must outlive it.
  explicit HessianRounding(const InputMoments& moments, double damping = 0.01);
  explicit HessianRounding(InputMoments&&, double = 0) = delete;

  /// The real weights that do to the quantized network's inputs what `w` does to the float network's, in the least
  /// squares sense: w H* = w (H + cross), solved with the damped H.
  std::vector<double> adapted(std::span<const double> w) const;
  /// The squared error of the outputs for such errors of the weights, d' H d.
  double error(std::span<const double> differences) const;
  /// Writes a code for each of `w`; returns the squared error that is left, in units of `w` times inputs.
  double round(std::span<const double> w, const ChannelGrid& grid, std::span<int> codes) const;

 private:
  std::int64_t depth_;
  std::vector<std::int64_t> order_;  ///< Inputs by rising energy: the strongest are rounded first, from the end.
  std::vector<double> factor_;       ///< R, [depth][depth], rows in that order.
  const InputMoments& moments_;
};

}  // namespace bitfold::quantization
