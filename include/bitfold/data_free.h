// Quantizing without any data: what values hold is foreseen from what BatchNorms keep of their training.
#pragma once

#include <string>
#include <vector>

#include "bitfold/batch_norm_table.h"
#include "bitfold/graph.h"
#include "bitfold/quantize.h"

namespace bitfold {

/// The least and the largest number of each channel of the graph's inputs; one entry stands for all channels.
struct InputRange {
  std::vector<float> min{0}, max{1};
};

/// The default without data: ranges cover all that is foreseen, because real values have longer tails than normal ones.
inline Recipe data_free_recipe() { return {.observer = Observer::min_max}; }

struct DataFreeResult {
  QuantizeResult quantized;
  Graph float_graph;  ///< What was quantized: equalized, with high biases absorbed.
  Calibration calibration;
  std::vector<EqualizedRegion> regions;
  std::size_t absorbed_channels = 0;
};

/// Equalizes (Equalization::automatic is noise), absorbs high biases, foresees what every value holds
/// (docs/internals/data_free.md), quantizes with that, and takes the mean error that remains off the biases
/// (BiasCorrection::automatic is analytic: Nagel et al. 2019, section 4.2.1). `graph` satisfies Stage::optimized and
/// has kept the names of the table. Throws Error naming the node whose output cannot be foreseen, the input whose
/// channels the range does not fit, or what in the recipe needs samples.
DataFreeResult quantize_data_free(const Graph& graph, const BatchNormTable& table, const InputRange& range,
                                  const Recipe& recipe = data_free_recipe());

}  // namespace bitfold
