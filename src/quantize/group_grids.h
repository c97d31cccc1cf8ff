// Chooses the grid of each group of values from the statistics.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "bitfold/calibrate.h"
#include "bitfold/progress.h"
#include "bitfold/recipe.h"
#include "quantize/planner.h"

namespace bitfold {
class BatchSource;
}

namespace bitfold::quantization {

/// The value whose statistics to use for `id`: its input if a Requantize computes it, otherwise `id` itself.
ValueId observed_value(const Graph& graph, ValueId id);

/// Throws Error if a value that gets a grid has no statistics.
void check_calibration(const Graph& graph, const Calibration& calibration, const Plan& plan);

/// The recipe's settings for one node; null if it has none.
const LayerRecipe* layer_recipe(const Graph& graph, NodeId id, const Recipe& recipe);

/// One grid for each group. With Observer::automatic, `samples` must be given, and `chosen` receives the observer of
/// each value by name.
std::vector<QuantParams> group_grids(const Graph& graph, const Plan& plan, const Calibration& calibration,
                                     const Recipe& recipe, BatchSource* samples, const Progress& progress,
                                     std::map<std::string, Observer>& chosen);

}  // namespace bitfold::quantization
