// The bodies of If, Loop and Scan: calibrated while the outer network runs, and quantized as networks of their own. The
// names of their values and nodes have the prefix of body_prefix().
#pragma once

#include <functional>
#include <map>
#include <string>

#include "bitfold/quantize.h"

namespace bitfold::quantization {

/// Calls visit(prefix, body) for every body of the graph, nested ones after the body around them.
void for_each_body(const Graph& graph, const std::function<void(const std::string& prefix, const Graph& body)>& visit);

/// The recipe without those entries of `skip` and `layers` that name nodes of bodies.
Recipe without_bodies(const Graph& graph, Recipe recipe);
/// The recipe of one body. `skip` and `layers` keep only the body's nodes, and settings that need samples are replaced,
/// because a body has only statistics.
Recipe recipe_of_body(const std::string& prefix, const Recipe& recipe);
/// The statistics of one body's values, with the prefix removed from the names.
Calibration calibration_of_body(const std::string& prefix, const Calibration& calibration);

}  // namespace bitfold::quantization
