// Empirical bias correction of one layer.
#pragma once

#include <vector>

#include "graph/activation.h"
#include "quantize/layer_rows.h"
#include "quantize/paired_runs.h"

namespace bitfold::quantization {

/// A layer's weights [groups][channels][depth] and bias [groups][channels], as reals.
struct LayerReals {
  std::vector<float> weights, bias;
};

/// Computes the outputs z [count][channels] of group `g` for input rows x [count][depth].
void layer_outputs(const ops::WeightMatrix& view, const LayerReals& layer, std::int64_t g,
                   const std::vector<float>& rows, std::int64_t count, std::vector<float>& z);

/// The amounts to add to the biases of product `id` of the quantized network, so that on average over the samples its
/// outputs after `activation` equal those of the float network. `exact` and `rounded` are the layer's weights and
/// biases in the float and the quantized network. bias_correction.cpp has the equations.
std::vector<double> bias_changes(PairedRuns& runs, NodeId id, const ops::WeightMatrix& view,
                                 const Activation& activation, const LayerReals& exact, const LayerReals& rounded);

}  // namespace bitfold::quantization
