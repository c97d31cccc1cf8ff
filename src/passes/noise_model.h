// Predicts the quantization noise after a region for given factors. Internal to passes/.
//
// Rounding is modelled as uniform noise: a grid of step d adds d^2 / 12 to each number (Widrow and Kollar 2008,
// "Quantization Noise", chapter 5). Multiplying a channel by f divides its noise by f^2, in units of the float network.
// With values a[c] of the region, weights w[o][c] that read them, and mean squares E:
//
//   noise = sum over readers   [ sum_oc n[c] |w[o][c]|^2  +  sum_o d_w[o]^2 / 12 sum_c f[c]^2 E a[c]^2 ] / E y^2
//   n[c]  = 1 / f[c]^2 ( sum over values d_a^2 / 12  +  sum over writers d_v[c]^2 / 12 E x^2 )
//
// d_a is the step of the grid for all f[c] a[c]; d_w is that of w[o][c] / f[c], and d_v is that of the weights f[c]
// v[c] that compute the region from x. With one grid per output channel, d_v is proportional to f[c], so this noise
// does not depend on f and is left out.
#pragma once

#include <map>

#include "bitfold/equalize.h"
#include "passes/equalized_layer.h"
#include "passes/regions.h"

namespace bitfold {

using Layers = std::map<NodeId, EqualizedLayer>;

class NoiseModel {
 public:
  NoiseModel(const Graph& graph, const ChannelTable& table, const EqualizeOptions& options)
      : graph_(graph), table_(table), options_(options) {}

  /// Whether the table contains what noise() needs.
  bool knows(const Region& region) const;
  /// The factors of other regions stay fixed.
  double noise(const Region& region, const Layers& layers, const std::vector<double>& factors) const;

  /// The largest range of each channel among the region's values that get a grid of their own.
  std::vector<double> value_ranges(const Region& region) const;
  /// For each channel, the root mean square of the values that the region's consumers read.
  std::vector<double> value_sizes(const Region& region) const;

 private:
  const ChannelStatistics* find(ValueId id) const;
  bool has_own_grid(ValueId id) const;
  double value_step(const ChannelStatistics& statistics, const std::vector<double>& factors) const;
  double consumer_noise(const EqualizedLayer& layer, NodeId id, const std::vector<double>& value_noise,
                        const std::vector<double>& factors) const;
  void add_producer_noise(const EqualizedLayer& layer, NodeId id, const std::vector<double>& factors,
                          std::vector<double>& value_noise) const;

  const Graph& graph_;
  const ChannelTable& table_;
  EqualizeOptions options_;
};

}  // namespace bitfold
