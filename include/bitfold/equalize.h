// Moves scales between layers before quantizing, so that no channel is much narrower than the grid it shares.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "bitfold/graph.h"

namespace bitfold {

/// Statistics of each channel (axis 1) of a value over all samples and positions.
struct ChannelStatistics {
  std::vector<float> min, max;
  std::vector<double> mean_square;
};

/// Statistics by value name.
using ChannelTable = std::map<std::string, ChannelStatistics>;

/// The grids that the network will get.
struct EqualizeOptions {
  int weight_bits = 8, activation_bits = 8;
  bool per_channel = true;  ///< One grid per output channel of weights, instead of one per tensor.
};

/// Values whose channels share scales, because all operators between them commute with scaling.
struct EqualizedRegion {
  std::vector<std::string> values, renamed;  ///< Names before and after ("NAME_equalized").
  std::vector<double> factors;               ///< For each channel, the factor by which its values were multiplied.
};

/// Cross-layer equalization of weights (Nagel et al. 2019, "Data-Free Quantization Through Weight Equalization and Bias
/// Correction", section 4.1). If the weights that compute channel c have the range r1[c], and the weights that read it
/// have the range r2[c], the channel is multiplied by sqrt(r2[c] / r1[c]) (equation 11). This is repeated over all
/// regions until nothing changes. The function stays the same except for float rounding. `graph` satisfies
/// Stage::optimized. A region with a Clip is left out, since only statistics could show that it does not clip.
std::vector<EqualizedRegion> equalize_weights(Graph& graph);

/// The same transformation with factors that minimize the expected noise of the quantized layers' outputs
/// (docs/internals/equalization.md): noise of the weights on both sides, and of the values in between. A region is
/// changed only if that reduces the noise. Values missing from the table count as 0. Regions whose layers read a
/// missing value, and regions with a Clip that clips, are left unchanged.
std::vector<EqualizedRegion> equalize_noise(Graph& graph, const ChannelTable& table, const EqualizeOptions& options);

/// The largest magnitude of each entry of a value's last axis, over all samples; by value name.
using FeatureMaxima = std::map<std::string, std::vector<float>>;

/// SmoothQuant (Xiao et al. 2022, "SmoothQuant: Accurate and Efficient Post-Training Quantization for Large Language
/// Models", equation 4). Let a LayerNormalization be read by products with constant weights. Entry k of its output is
/// divided by s[k] = max |x[k]|^strength / max |w[k]|^(1 - strength) by changing its scale and shift, and row k of the
/// weights is multiplied by s[k]. If the LayerNormalization has other readers, the products get a copy of it. The
/// function stays the same except for float rounding. Changed values are called "NAME_smoothed". Values missing from
/// the table stay unchanged. Throws Error unless 0 <= strength <= 1.
std::vector<EqualizedRegion> smooth_normalizations(Graph& graph, const FeatureMaxima& maxima, double strength = 0.5);
/// Names of the values that smooth_normalizations() can change, for which measure_features() must measure maxima.
std::vector<std::string> smoothable_values(const Graph& graph);

}  // namespace bitfold
