#include "passes/noise_model.h"

#include <algorithm>
#include <cmath>

#include "graph/activation.h"

namespace bitfold {
namespace {

using Doubles = std::vector<double>;

double square(double x) { return x * x; }

// The entry of `one` for position `index` of `count`. Each entry applies to an equal block of positions, for layers
// that read whole blocks of each channel.
double entry(const Doubles& one, std::size_t index, std::size_t count) { return one[index / (count / one.size())]; }

}  // namespace

const ChannelStatistics* NoiseModel::find(ValueId id) const {
  const auto found = table_.find(graph_.value(id).name);
  return found == table_.end() ? nullptr : &found->second;
}

// A value that is read only by a Relu or a Clip shares the grid of that node's output.
bool NoiseModel::has_own_grid(ValueId id) const {
  if (!graph_.has_single_consumer(id)) return true;
  return !find_clamp(graph_, graph_.consumers(id).front());
}

bool NoiseModel::knows(const Region& region) const {
  const auto channels = static_cast<std::size_t>(region.channels);
  for (ValueId id : region.values) {
    const ChannelStatistics* statistics = find(id);
    if (statistics != nullptr && statistics->max.size() % channels != 0) return false;
  }
  return std::all_of(region.consumers.begin(), region.consumers.end(),
                     [&](NodeId id) { return find(graph_.node(id).inputs[0]) != nullptr; });
}

Doubles NoiseModel::value_ranges(const Region& region) const {
  Doubles ranges(static_cast<std::size_t>(region.channels));
  for (ValueId id : region.values) {
    const ChannelStatistics* statistics = has_own_grid(id) ? find(id) : nullptr;
    if (statistics == nullptr) continue;
    const std::size_t count = statistics->max.size();
    for (std::size_t i = 0; i < count; ++i) {
      double& range = ranges[i / (count / ranges.size())];
      range = std::max({range, std::fabs(double{statistics->min[i]}), std::fabs(double{statistics->max[i]})});
    }
  }
  return ranges;
}

Doubles NoiseModel::value_sizes(const Region& region) const {
  Doubles sizes(static_cast<std::size_t>(region.channels));
  for (NodeId id : region.consumers) {
    const Doubles& powers = find(graph_.node(id).inputs[0])->mean_square;
    for (std::size_t i = 0; i < powers.size(); ++i) {
      double& size = sizes[i / (powers.size() / sizes.size())];
      size = std::max(size, std::sqrt(powers[i]));
    }
  }
  return sizes;
}

double NoiseModel::value_step(const ChannelStatistics& statistics, const Doubles& factors) const {
  double low = 0, high = 0;  // every grid contains 0
  const std::size_t count = statistics.max.size();
  for (std::size_t i = 0; i < count; ++i) {
    const double factor = entry(factors, i, count);
    low = std::min(low, factor * statistics.min[i]);
    high = std::max(high, factor * statistics.max[i]);
  }
  return (high - low) / (std::ldexp(1.0, options_.activation_bits) - 1);
}

double NoiseModel::noise(const Region& region, const Layers& layers, const Doubles& factors) const {
  double variance = 0;
  for (ValueId id : region.values)
    if (const ChannelStatistics* statistics = has_own_grid(id) ? find(id) : nullptr)
      variance += square(value_step(*statistics, factors)) / 12;
  Doubles value_noise(factors.size());
  for (std::size_t c = 0; c < factors.size(); ++c) value_noise[c] = variance / square(factors[c]);
  if (!options_.per_channel)
    for (NodeId id : region.producers) add_producer_noise(layers.at(id), id, factors, value_noise);
  double sum = 0;
  for (NodeId id : region.consumers) sum += consumer_noise(layers.at(id), id, value_noise, factors);
  return sum;
}

// Applies only to weights with one grid for all output channels.
void NoiseModel::add_producer_noise(const EqualizedLayer& layer, NodeId id, const Doubles& factors,
                                    Doubles& value_noise) const {
  const ChannelStatistics* inputs = find(graph_.node(id).inputs[0]);
  if (inputs == nullptr || inputs->mean_square.size() != layer.in_factors.size()) return;
  double largest = 0;
  Doubles power(factors.size());
  for (const Tap& tap : layer.taps()) {
    largest = std::max(largest, tap.max * factors[tap.out] / layer.in_factors[tap.in]);
    power[tap.out] += tap.count * square(layer.in_factors[tap.in]) * inputs->mean_square[tap.in];
  }
  const double step = largest / (std::ldexp(1.0, options_.weight_bits - 1) - 1);
  for (std::size_t c = 0; c < factors.size(); ++c) value_noise[c] += square(step) / 12 * power[c] / square(factors[c]);
}

double NoiseModel::consumer_noise(const EqualizedLayer& layer, NodeId id, const Doubles& value_noise,
                                  const Doubles& factors) const {
  const ChannelStatistics& inputs = *find(graph_.node(id).inputs[0]);
  const std::size_t ins = layer.in_factors.size(), outs = layer.out_factors.size();
  if (inputs.mean_square.size() != ins) return 0;
  Doubles largest(outs), power(outs);
  double from_values = 0, expected = 0, overall = 0;
  for (const Tap& tap : layer.taps()) {
    const double factor = entry(factors, tap.in, ins), x = inputs.mean_square[tap.in];
    largest[tap.out] = std::max(largest[tap.out], tap.max / factor);
    overall = std::max(overall, tap.max * layer.out_factors[tap.out] / factor);
    power[tap.out] += tap.count * square(factor) * x;
    from_values += entry(value_noise, tap.in, ins) * tap.energy;
    expected += x * tap.energy;
  }
  const double levels = std::ldexp(1.0, options_.weight_bits - 1) - 1;
  double from_weights = 0;
  for (std::size_t o = 0; o < outs; ++o) {
    const double range = options_.per_channel ? largest[o] : overall / layer.out_factors[o];
    from_weights += square(range / levels) / 12 * power[o];
  }
  if (const ChannelStatistics* outputs = find(graph_.node(id).outputs[0])) {
    expected = 0;
    for (double x : outputs->mean_square) expected += x;
  }
  return expected > 0 ? (from_values + from_weights) / expected : 0;
}

}  // namespace bitfold
