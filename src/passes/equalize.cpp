// Cross-layer equalization over regions (regions.h). Nagel et al. take pairs of layers with an activation in between. A
// region may have several layers on either side and sums inside, as in a residual network; all of them share the
// factors.
#include "bitfold/equalize.h"

#include <algorithm>
#include <cmath>
#include <functional>

#include "passes/noise_model.h"
#include "passes/regions.h"
#include "passes/rewrite.h"

namespace bitfold {
namespace {

using Doubles = std::vector<double>;

constexpr int kMaxSweeps = 100;
constexpr double kSettled = 1e-3;  // tolerance for a factor's logarithm, and for the noise
// Limits the factor of a channel with tiny weights, whose bias would otherwise exceed the other channels.
constexpr double kMaxEqualizingFactor = 1024;

struct State {
  Region region;
  Doubles factors;
  Doubles ranges;  ///< Ranges of the region's values by channel; empty if unknown.
};

class Equalizer {
 public:
  explicit Equalizer(Graph& graph) : graph_(graph) {}

  /// Includes a region, unless a layer reads parts of its channels, or shares its weights with another node, which
  /// would need other factors. `ranges` are those of its values.
  void add(Region region, Doubles ranges) {
    const auto shares_weights = [&](NodeId id) { return !graph_.has_single_consumer(graph_.node(id).inputs[1]); };
    if (std::ranges::any_of(region.producers, shares_weights) || std::ranges::any_of(region.consumers, shares_weights))
      return;
    const auto channels = static_cast<std::size_t>(region.channels);
    for (NodeId id : region.producers) layers_.try_emplace(id, graph_, id);
    for (NodeId id : region.consumers) layers_.try_emplace(id, graph_, id);
    const bool has_parts = std::any_of(region.consumers.begin(), region.consumers.end(),
                                       [&](NodeId id) { return layers_.at(id).in_factors.size() % channels != 0; });
    if (has_parts) return;
    regions_.push_back({std::move(region), Doubles(channels, 1.0), std::move(ranges)});
  }

  const Layers& layers() const { return layers_; }

  /// Calls `improve` for all regions in turn, until it returns less than kSettled for each of them.
  void settle(const std::function<double(State&)>& improve) {
    for (int round = 0; round < kMaxSweeps; ++round) {
      double most = 0;
      for (State& state : regions_) most = std::max(most, improve(state));
      if (most < kSettled) return;
    }
  }

  /// The factor sqrt(r2 / r1) of equation 11 for each channel, with the factors of other regions fixed.
  Doubles weight_balance(const State& state) const {
    Doubles r1(state.factors.size()), r2(state.factors.size()), balance(state.factors.size(), 1.0);
    for (NodeId id : state.region.producers) {
      const EqualizedLayer& layer = layers_.at(id);
      for (const Tap& tap : layer.taps()) r1[tap.out] = std::max(r1[tap.out], layer.max(tap));
    }
    for (NodeId id : state.region.consumers) {
      const EqualizedLayer& layer = layers_.at(id);
      const std::size_t block = layer.in_factors.size() / r2.size();
      for (const Tap& tap : layer.taps()) r2[tap.in / block] = std::max(r2[tap.in / block], layer.max(tap));
    }
    for (std::size_t c = 0; c < balance.size(); ++c)
      if (r1[c] > 0 && r2[c] > 0) balance[c] = std::sqrt(r2[c] / r1[c]);
    return balance;
  }

  void apply(State& state, const Doubles& wanted) {
    for (NodeId id : state.region.producers) {
      Doubles& out = layers_.at(id).out_factors;
      for (std::size_t c = 0; c < out.size(); ++c) out[c] *= wanted[c] / state.factors[c];
    }
    for (NodeId id : state.region.consumers) {
      Doubles& in = layers_.at(id).in_factors;
      const std::size_t block = in.size() / wanted.size();
      for (std::size_t k = 0; k < in.size(); ++k) in[k] *= wanted[k / block] / state.factors[k / block];
    }
    state.factors = wanted;
  }

  std::vector<EqualizedRegion> finish() {
    write_constants();
    std::vector<EqualizedRegion> done;
    for (const State& state : regions_) {
      if (std::all_of(state.factors.begin(), state.factors.end(), [](double f) { return f == 1; })) continue;
      EqualizedRegion equalized{.values = {}, .renamed = {}, .factors = state.factors};
      for (ValueId id : state.region.values) {
        const std::string name = graph_.value(id).name;
        equalized.values.push_back(name);
        equalized.renamed.push_back(graph_.unique_name(name + "_equalized"));
        graph_.rename_value(id, equalized.renamed.back());
      }
      done.push_back(std::move(equalized));
    }
    verify(graph_, Stage::optimized);
    return done;
  }

 private:
  void write_constants() {
    // All new weights are computed before any is set, because layers refer to the present ones.
    std::vector<std::pair<NodeId, Tensor>> weights;
    for (const auto& [id, layer] : layers_)
      if (layer.changes()) weights.emplace_back(id, layer.scaled());
    for (auto& [id, tensor] : weights) {
      const std::string stem = graph_.value(graph_.node(id).inputs[1]).name;
      const Doubles& factors = layers_.at(id).out_factors;
      // The bias is scaled together with the outputs; the weights, already scaled on both sides, are set afterwards.
      scale_and_shift(graph_, *linear_layer(graph_, id), factors, Doubles(factors.size(), 0.0));
      set_constant_input(graph_, id, 1, std::move(tensor), stem);
    }
  }

  Graph& graph_;
  Layers layers_;
  std::vector<State> regions_;
};

// Scales factors to a geometric mean of 1, which keeps the magnitude of values, and limits them to
// kMaxEqualizingFactor. A factor common to all channels has no effect on how well grids are used.
Doubles normalized(Doubles factors) {
  double sum = 0;
  for (double f : factors) sum += std::log(f);
  const double mean = std::exp(sum / static_cast<double>(factors.size()));
  for (double& f : factors) f = std::clamp(f / mean, 1 / kMaxEqualizingFactor, kMaxEqualizingFactor);
  return factors;
}

// If the region contains a Clip, channels that are not clipped must stay unclipped, and clipped channels must stay as
// they are.
Doubles without_clipping(Doubles factors, const State& state) {
  if (!state.region.clips_at) return factors;
  const double limit = static_cast<double>(*state.region.clips_at);
  for (std::size_t c = 0; c < factors.size(); ++c) {
    const double range = state.ranges[c];
    factors[c] = range >= limit || range == 0 ? 1 : std::min(factors[c], limit / range * (1 - 1e-6));
  }
  return factors;
}

// Directions in which factors may move from 1; each is followed as long as it helps.
std::vector<Doubles> directions(const Equalizer& equalizer, const State& state, const NoiseModel& model) {
  const Doubles balance = equalizer.weight_balance(state), sizes = model.value_sizes(state.region);
  const std::size_t channels = state.factors.size();
  Doubles weights(channels, 1.0), flat(channels, 1.0), middle(channels, 1.0);
  for (std::size_t c = 0; c < channels; ++c) weights[c] = state.factors[c] * balance[c];
  // Factors that make the values of all channels equally large relative to the weights that read them.
  Doubles reads(channels);
  for (NodeId id : state.region.consumers) {
    const EqualizedLayer& layer = equalizer.layers().at(id);
    const std::size_t block = layer.in_factors.size() / channels;
    for (const Tap& tap : layer.taps()) reads[tap.in / block] += tap.energy;
  }
  for (std::size_t c = 0; c < channels; ++c) {
    if (state.ranges[c] > 0) flat[c] = 1 / state.ranges[c];
    if (reads[c] > 0 && sizes[c] > 0) middle[c] = std::sqrt(std::sqrt(reads[c]) / sizes[c]);
  }
  Doubles both(channels);
  for (std::size_t c = 0; c < channels; ++c) both[c] = std::sqrt(flat[c] * weights[c]);
  return {weights, flat, middle, both};
}

}  // namespace

std::vector<EqualizedRegion> equalize_weights(Graph& graph) {
  infer_shapes(graph);
  Equalizer equalizer(graph);
  for (Region& region : find_regions(graph))
    if (!region.clips_at) equalizer.add(std::move(region), {});
  equalizer.settle([&](State& state) {
    const Doubles balance = equalizer.weight_balance(state);
    Doubles wanted = state.factors;
    for (std::size_t c = 0; c < wanted.size(); ++c) wanted[c] *= balance[c];
    wanted = normalized(std::move(wanted));
    double most = 0;
    for (std::size_t c = 0; c < wanted.size(); ++c)
      most = std::max(most, std::fabs(std::log(wanted[c] / state.factors[c])));
    equalizer.apply(state, wanted);
    return most;
  });
  return equalizer.finish();
}

std::vector<EqualizedRegion> equalize_noise(Graph& graph, const ChannelTable& table, const EqualizeOptions& options) {
  infer_shapes(graph);
  const NoiseModel model(graph, table, options);
  Equalizer equalizer(graph);
  for (Region& region : find_regions(graph)) {
    if (!model.knows(region)) continue;
    Doubles ranges = model.value_ranges(region);
    equalizer.add(std::move(region), std::move(ranges));
  }
  equalizer.settle([&](State& state) {
    const double before = model.noise(state.region, equalizer.layers(), state.factors);
    double least = before;
    Doubles best = state.factors;
    for (const Doubles& direction : directions(equalizer, state, model))
      for (int step = 1; step <= 8; ++step) {
        Doubles factors = direction;
        for (double& f : factors) f = std::pow(f, step / 8.0);
        factors = without_clipping(normalized(std::move(factors)), state);
        const double noise = model.noise(state.region, equalizer.layers(), factors);
        if (noise >= least) continue;
        least = noise;
        best = std::move(factors);
      }
    equalizer.apply(state, best);
    return before > 0 ? 1 - least / before : 0;
  });
  return equalizer.finish();
}

}  // namespace bitfold
