// Measures candidates against the float network on samples held in memory.
#pragma once

#include <chrono>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "bitfold/batch.h"
#include "bitfold/quantize.h"
#include "bitfold/sensitivity.h"

namespace bitfold::report {

/// Samples taken evenly from a source, with the float network's outputs for them.
class SampleSet {
 public:
  /// Keeps at most `wanted` samples, and at most 256 MB of samples and outputs. Throws Error if there are no samples.
  SampleSet(const Graph& float_graph, BatchSource& source, std::int64_t wanted);

  std::int64_t size() const { return static_cast<std::int64_t>(inputs_.size()); }
  /// Runs every sample separately on one core; several threads may call it at once.
  Damage damage(const Graph& candidate) const;

 private:
  bool has_whole_samples_;
  std::vector<std::int64_t> numbers_;                  // the samples' numbers in the source
  std::vector<std::vector<Tensor>> inputs_, outputs_;  // one entry per sample
};

/// When to stop: at a time, or when the caller sets a flag.
class Stop {
 public:
  Stop(double time_budget_s, Progress progress);
  bool operator()() const;

 private:
  std::optional<std::chrono::steady_clock::time_point> end_;
  Progress progress_;
};

/// The damage of every recipe, several measured at a time. Entries are empty for recipes that were not started before
/// `stop`. `measured` is called after each, under a lock.
std::vector<std::optional<Damage>> measure(const Graph& graph, const Calibration& calibration, const SampleSet& samples,
                                           const std::vector<Recipe>& recipes, int threads, const Stop& stop,
                                           const std::function<void(std::size_t, const Damage&)>& measured);

/// A node with weights that the recipe quantizes; listed in execution order.
struct WeightedLayer {
  std::string node, op;
  std::int64_t weight_count = 0;
};
std::vector<WeightedLayer> weighted_layers(const Graph& graph, const Recipe& recipe);

/// `recipe` with all of `layers` in float except number `index`.
Recipe alone(const Recipe& recipe, const std::vector<WeightedLayer>& layers, std::size_t index);

}  // namespace bitfold::report
