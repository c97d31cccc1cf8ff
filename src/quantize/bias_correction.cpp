// Empirical bias correction (Nagel et al. 2019, section 4.2) subtracts the mean error of a layer's outputs. But the
// error after the activation f matters: most outputs of a convolution are negative, and a Relu turns them into zeros
// that have no error. So the bias changes by the b that minimizes, to first order,
//
//   sum over rows ( f(z) - f(z_q + b) )^2,   z = w y + bias,   z_q = w_q x + bias_q,
//
// with y and x the layer's inputs in the float and the quantized network:
//
//   b = sum s^2 (z - z_q) / sum s^2,   s = f'(z)                                                      (1)
//
// Errors of one image are correlated, and where large activations are clipped a few images decide the mean. b is
// therefore shrunk by its own noise: with v the variance of (1) over samples, it is multiplied by max(0, 1 - v / b^2)
// (James and Stein 1961).
#include "quantize/bias_correction.h"

#include <algorithm>
#include <cmath>

#include "onednn/plain.h"

namespace bitfold::quantization {
namespace {

/// The sums of (1) over one group of samples, by channel.
struct Sums {
  std::vector<double> errors, slopes;
};

/// Sums over groups of samples from which (1) and its variance follow, for one channel.
struct Spread {
  std::int64_t count = 0;
  double e = 0, s = 0, e_e = 0, e_s = 0, s_s = 0;

  void add(double error, double slope) {
    ++count;
    e += error;
    s += slope;
    e_e += error * error;
    e_s += error * slope;
    s_s += slope * slope;
  }

  double shrunk_mean() const {
    if (!(s > 0)) return 0;
    const double mean = e / s;
    if (count < 2 || mean == 0) return mean;
    const double squares = std::max(0.0, e_e - 2 * mean * e_s + mean * mean * s_s);  // sum of squares of e - mean * s
    const auto n = static_cast<double>(count);
    const double variance = squares / (s * s) * n / (n - 1);
    return mean * std::max(0.0, 1 - variance / (mean * mean));
  }
};

}  // namespace

void layer_outputs(const ops::WeightMatrix& view, const LayerReals& layer, std::int64_t g,
                   const std::vector<float>& rows, std::int64_t count, std::vector<float>& z) {
  const float* bias = layer.bias.data() + g * view.outputs;
  z.clear();
  for (std::int64_t r = 0; r < count; ++r) z.insert(z.end(), bias, bias + view.outputs);
  onednn::multiply_add({count, view.outputs, view.depth(), false, true}, 1, rows.data(),
                       layer.weights.data() + g * view.outputs * view.depth(), z.data());
}

std::vector<double> bias_changes(PairedRuns& runs, NodeId id, const ops::WeightMatrix& view,
                                 const Activation& activation, const LayerReals& exact, const LayerReals& rounded) {
  const LayerRows rows(runs.graph(), id, LayerRows::kMaxPerSample * runs.group());
  const auto channels = static_cast<std::size_t>(view.groups * view.outputs);
  std::vector<Sums> under_way(static_cast<std::size_t>(runs.threads()));
  std::vector<Spread> all(channels);
  runs.run(
      id,
      [&](std::int64_t part, const Tensor& y, const Tensor& x) {
        Sums& sums = under_way[static_cast<std::size_t>(part)];
        sums = {std::vector<double>(channels), std::vector<double>(channels)};
        std::vector<float> taken, z, z_q;
        for (std::int64_t g = 0; g < view.groups; ++g) {
          const std::int64_t count = rows.read(y, g, taken);
          layer_outputs(view, exact, g, taken, count, z);
          rows.read(x, g, taken);
          layer_outputs(view, rounded, g, taken, count, z_q);
          for (std::int64_t r = 0; r < count; ++r)
            for (std::int64_t c = 0; c < view.outputs; ++c) {
              const auto at = static_cast<std::size_t>(r * view.outputs + c);
              const auto channel = static_cast<std::size_t>(g * view.outputs + c);
              const float weight = activation.derivative(z[at]) * activation.derivative(z[at]);
              sums.errors[channel] += weight * (z[at] - z_q[at]);
              sums.slopes[channel] += weight;
            }
        }
      },
      [&](std::int64_t parts) {
        for (std::int64_t part = 0; part < parts; ++part) {
          const Sums& sums = under_way[static_cast<std::size_t>(part)];
          for (std::size_t c = 0; c < channels; ++c) all[c].add(sums.errors[c], sums.slopes[c]);
        }
      });
  std::vector<double> changes;
  for (const Spread& spread : all) changes.push_back(spread.shrunk_mean());
  return changes;
}

}  // namespace bitfold::quantization
