// The weights of a linear layer under factors that are still being chosen. Internal to passes/.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <vector>

#include "graph/linear_layer.h"

namespace bitfold {

/// The weights from one input channel to one output channel: one kernel.
struct Tap {
  std::size_t out = 0, in = 0;
  double max = 0;     ///< Largest magnitude of the weights.
  double energy = 0;  ///< Sum of the squares of the weights.
  double count = 0;
};

class EqualizedLayer {
 public:
  EqualizedLayer(const Graph& graph, NodeId id)
      : view_(linear_layer(graph, id)->weights), weights_(*plain_constant(graph, graph.node(id).inputs[1])) {
    const auto data = weights_.data<float>();
    view_.for_each([&](std::size_t i, std::int64_t o, std::int64_t k) {
      const auto out = static_cast<std::size_t>(o), in = static_cast<std::size_t>(k);
      if (taps_.empty() || taps_.back().out != out || taps_.back().in != in) taps_.push_back({.out = out, .in = in});
      Tap& tap = taps_.back();
      const double w = std::fabs(data[i]);
      tap.max = std::max(tap.max, w);
      tap.energy += w * w;
      tap.count += 1;
    });
    out_factors.assign(static_cast<std::size_t>(view_.output_count()), 1.0);
    in_factors.assign(static_cast<std::size_t>(view_.input_count()), 1.0);
  }

  /// Weights are multiplied by the factor of their output channel and divided by the factor of their input channel.
  std::vector<double> out_factors, in_factors;

  /// The taps of the float network, with all factors 1.
  const std::vector<Tap>& taps() const { return taps_; }
  double max(const Tap& tap) const { return tap.max * out_factors[tap.out] / in_factors[tap.in]; }

  bool changes() const {
    const auto is_one = [](double f) { return f == 1; };
    return !std::all_of(out_factors.begin(), out_factors.end(), is_one) ||
           !std::all_of(in_factors.begin(), in_factors.end(), is_one);
  }

  Tensor scaled() const {
    Tensor result = weights_;
    const auto data = result.mutable_data<float>();
    view_.for_each([&](std::size_t i, std::int64_t o, std::int64_t k) {
      data[i] = static_cast<float>(data[i] * out_factors[static_cast<std::size_t>(o)] /
                                   in_factors[static_cast<std::size_t>(k)]);
    });
    return result;
  }

 private:
  ops::WeightMatrix view_;
  const Tensor& weights_;
  std::vector<Tap> taps_;
};

}  // namespace bitfold
