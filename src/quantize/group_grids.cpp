#include "quantize/group_grids.h"

#include <algorithm>
#include <cmath>
#include <optional>

#include "base/check.h"
#include "bitfold/affine.h"
#include "graph/activation.h"
#include "quantize/choose_grids.h"

namespace bitfold::quantization {
namespace {

// The factor by which the only reader of a value multiplies negative numbers: alpha of a LeakyRelu, otherwise 1.
float negative_gain(const Graph& graph, ValueId id) {
  if (!graph.has_single_consumer(id)) return 1;
  const auto activation = find_activation(graph, graph.consumers(id).front());
  return activation ? std::abs(activation->negative_slope) : 1;
}

int group_bits(const Graph& graph, const GridGroup& group, const Recipe& recipe) {
  std::optional<int> most;
  for (ValueId id : group.members) {
    const LayerRecipe* layer = layer_recipe(graph, graph.producer(id), recipe);
    if (layer != nullptr && layer->activation_bits) most = std::max(most.value_or(0), *layer->activation_bits);
  }
  return most.value_or(recipe.activation_bits);
}

QuantParams group_grid(const Graph& graph, const GridGroup& group, const Calibration& calibration, const Recipe& recipe,
                       Observer observer) {
  const GridSpec spec{.bits = group_bits(graph, group, recipe),
                      .is_signed = recipe.activation_scheme == Scheme::symmetric,
                      .scheme = recipe.activation_scheme};
  ObservedRange all;  // contains 0, as every grid does
  for (ValueId id : group.counted) {
    const auto& statistics = calibration.values.at(graph.value(observed_value(graph, id)).name);
    const ObservedRange range = observe(statistics, observer, spec, recipe.percentile, negative_gain(graph, id));
    all.min = std::min(all.min, range.min);
    all.max = std::max(all.max, range.max);
  }
  try {
    return choose_params(all.min, all.max, spec);
  } catch (const Error& error) {
    fail("value '{}': {}", graph.value(group.members.front()).name, error.what());
  }
}

// The first value of a group that lacks the extremes of single samples; none if all have them.
ValueId lacks_samples(const Graph& graph, const GridGroup& group, const Calibration& calibration) {
  for (ValueId id : group.counted) {
    const auto& statistics = calibration.values.at(graph.value(observed_value(graph, id)).name);
    if (statistics.count > 0 && statistics.sample_count == 0) return id;
  }
  return ValueId::none;
}

}  // namespace

ValueId observed_value(const Graph& graph, ValueId id) {
  const NodeId producer = graph.producer(id);
  const bool is_copy = producer != NodeId::none && std::holds_alternative<Requantize>(graph.node(producer).op);
  return is_copy ? graph.node(producer).inputs[0] : id;
}

void check_calibration(const Graph& graph, const Calibration& calibration, const Plan& plan) {
  for (const GridGroup& group : plan.groups) {
    for (ValueId id : group.counted) {
      const std::string& name = graph.value(observed_value(graph, id)).name;
      check(calibration.values.contains(name),
            "the calibration has no statistics of value '{}': it belongs to another network, or the value was not "
            "finite; calibrate this network with values_to_calibrate()",
            name);
    }
  }
}

const LayerRecipe* layer_recipe(const Graph& graph, NodeId id, const Recipe& recipe) {
  const auto it = id == NodeId::none ? recipe.layers.end() : recipe.layers.find(graph.node(id).name);
  return it == recipe.layers.end() ? nullptr : &it->second;
}

std::vector<QuantParams> group_grids(const Graph& graph, const Plan& plan, const Calibration& calibration,
                                     const Recipe& recipe, BatchSource* samples, const Progress& progress,
                                     std::map<std::string, Observer>& chosen) {
  std::vector<QuantParams> grids;
  if (recipe.observer != Observer::automatic) {
    for (const GridGroup& group : plan.groups) {
      const ValueId lacking = lacks_samples(graph, group, calibration);
      check(recipe.observer != Observer::moving_average || lacking == ValueId::none,
            "value '{}': the calibration lacks the extremes of each sample, which observer moving_average needs: "
            "calibrate again",
            lacking == ValueId::none ? "" : graph.value(lacking).name);
      grids.push_back(group_grid(graph, group, calibration, recipe, *recipe.observer));
    }
    return grids;
  }
  std::vector<GridChoice> choices;
  std::vector<std::vector<Observer>> observers;  // the observer of each candidate
  for (const GridGroup& group : plan.groups) {
    GridChoice& choice = choices.emplace_back();
    choice.members = group.members;
    std::vector<Observer>& proposed_by = observers.emplace_back();
    for (Observer observer : kAutomaticObservers) {
      const bool is_average = observer == Observer::moving_average;
      if (is_average && lacks_samples(graph, group, calibration) != ValueId::none) continue;
      QuantParams grid = group_grid(graph, group, calibration, recipe, observer);
      if (std::count(choice.candidates.begin(), choice.candidates.end(), grid) > 0) continue;
      choice.candidates.push_back(std::move(grid));
      proposed_by.push_back(observer);
    }
  }
  const std::vector<std::size_t> best = choose_grids(graph, choices, *samples, {}, progress);
  for (std::size_t g = 0; g < choices.size(); ++g) {
    grids.push_back(choices[g].candidates[best[g]]);
    for (ValueId id : choices[g].members) chosen[graph.value(id).name] = observers[g][best[g]];
  }
  return grids;
}

}  // namespace bitfold::quantization
