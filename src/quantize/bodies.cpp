#include "quantize/bodies.h"

#include <algorithm>

namespace bitfold::quantization {
namespace {

void visit_bodies(const std::string& outer, const Graph& graph,
                  const std::function<void(const std::string&, const Graph&)>& visit) {
  for (NodeId id : graph.nodes()) {
    const Node& node = graph.node(id);
    for (std::size_t b = 0; b < node.bodies.size(); ++b) {
      const std::string prefix = outer + body_prefix(node, b);
      visit(prefix, *node.bodies[b]);
      visit_bodies(prefix, *node.bodies[b], visit);
    }
  }
}

}  // namespace

void for_each_body(const Graph& graph, const std::function<void(const std::string&, const Graph&)>& visit) {
  visit_bodies("", graph, visit);
}

Recipe without_bodies(const Graph& graph, Recipe recipe) {
  std::vector<std::string> prefixes;
  for (NodeId id : graph.nodes())
    for (std::size_t b = 0; b < graph.node(id).bodies.size(); ++b) prefixes.push_back(body_prefix(graph.node(id), b));
  const auto is_in_body = [&](const std::string& name) {
    return std::ranges::any_of(prefixes, [&](const std::string& prefix) { return name.starts_with(prefix); });
  };
  std::erase_if(recipe.skip, is_in_body);
  std::erase_if(recipe.layers, [&](const auto& layer) { return is_in_body(layer.first); });
  return recipe;
}

Recipe recipe_of_body(const std::string& prefix, const Recipe& recipe) {
  Recipe own = recipe;
  if (reads_samples(own.rounding)) own.rounding = Rounding::automatic;
  own.bias_correction = BiasCorrection::none;
  if (own.observer == Observer::automatic) own.observer = Observer::mse;
  own.skip.clear();
  own.layers.clear();
  for (const std::string& name : recipe.skip)
    if (name.starts_with(prefix)) own.skip.push_back(name.substr(prefix.size()));
  for (const auto& [name, layer] : recipe.layers)
    if (name.starts_with(prefix)) own.layers[name.substr(prefix.size())] = layer;
  return own;
}

Calibration calibration_of_body(const std::string& prefix, const Calibration& calibration) {
  Calibration own{.sample_count = calibration.sample_count, .prepared = calibration.prepared};
  for (auto it = calibration.values.lower_bound(prefix);
       it != calibration.values.end() && it->first.starts_with(prefix); ++it)
    own.values[it->first.substr(prefix.size())] = it->second;
  return own;
}

}  // namespace bitfold::quantization
