// What a layer's error over samples says of its bias.
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

/// Writes what group `g` of the layer makes of `count` rows [count][depth]: z [count][channels].
void layer_outputs(const ProductView& view, const LayerReals& layer, std::int64_t g, const std::vector<float>& rows,
                   std::int64_t count, std::vector<float>& z);

/// What to add to the biases of product `id` of the quantized network, whose weights and biases are `rounded`, so that
/// its outputs behind `activation` are, on average over the samples, those of the float network, where they are
/// `exact`. See bias_correction.cpp for the equations. By channel.
std::vector<double> bias_changes(PairedRuns& runs, NodeId id, const ProductView& view, const Activation& activation,
                                 const LayerReals& exact, const LayerReals& rounded);

}  // namespace bitfold::quantization
