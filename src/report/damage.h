// Candidates measured against the float network, on samples held in memory.
#pragma once

#include <atomic>
#include <chrono>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "bitfold/batch.h"
#include "bitfold/quantize.h"
#include "bitfold/sensitivity.h"

namespace bitfold::report {

/// Samples taken evenly over a source, with what the float network makes of them.
class SampleSet {
 public:
  /// At most `wanted` samples, and at most 256 MB of them and their outputs. Throws Error when there are none.
  SampleSet(const Graph& float_graph, BatchSource& source, std::int64_t wanted);

  std::int64_t size() const { return static_cast<std::int64_t>(inputs_.size()); }
  /// Runs every sample by itself on one core; may be called from several threads at once.
  Damage damage(const Graph& candidate) const;

 private:
  std::vector<std::vector<Tensor>> inputs_, outputs_;  // by sample
};

/// When to leave off: a time, or a flag that somebody else sets.
class Stop {
 public:
  Stop(double time_budget_s, const std::atomic<bool>* interrupted);
  bool operator()() const;

 private:
  std::optional<std::chrono::steady_clock::time_point> end_;
  const std::atomic<bool>* interrupted_;
};

/// The damage of every recipe, several at a time; absent for those not begun when `stop` said so. `measured` is called
/// after each, under a lock.
std::vector<std::optional<Damage>> measure(const Graph& graph, const Calibration& calibration, const SampleSet& samples,
                                           const std::vector<Recipe>& recipes, int threads, const Stop& stop,
                                           const std::function<void(std::size_t, const Damage&)>& measured);

/// Nodes with weights that the recipe quantizes, in execution order.
struct WeightedLayer {
  std::string node, op;
  std::int64_t weight_count = 0;
};
std::vector<WeightedLayer> weighted_layers(const Graph& graph, const Recipe& recipe);

/// `recipe` with every one of `layers` but number `index` in float.
Recipe alone(const Recipe& recipe, const std::vector<WeightedLayer>& layers, std::size_t index);

}  // namespace bitfold::report
