// The mean of a layer's output error is taken off its bias (empirical bias correction, Nagel et al. 2019, section 4.2):
//
//   b' = b + w mean(y) - w_q mean(x)
//
// y what the float network feeds the layer, x what the quantized one does. Both means are of the rows that the rounding
// saw, so that the two agree on what is left.
#include "quantize/reconstruct.h"

#include <algorithm>
#include <cmath>
#include <optional>

#include "quantize/hessian_rounding.h"
#include "quantize/layer_inputs.h"
#include "quantize/weights.h"

namespace bitfold::quantization {
namespace {

/// Codes of one channel and what goes with them.
struct Channel {
  double scale = 1, bias = 0;
  std::vector<int> codes;
};

class Reconstruction {
 public:
  Reconstruction(const Graph& float_graph, Graph& graph, NodeId id, const ProductView& view)
      : graph_(graph),
        node_(graph.node(id)),
        view_(view),
        float_(float_constants(float_graph, id)),
        grid_(*graph.value(node_.inputs[1]).quant),
        input_(*graph.value(node_.inputs[0]).quant),
        codes_(*graph.value(node_.inputs[1]).constant) {}

  /// Channel `c` of group `g`, rounded anew unless `rounding` is null. Means are those of the group's inputs, in the
  /// quantized network and in the float one.
  Channel channel(const HessianRounding* rounding, std::span<const double> mean_x, std::span<const double> mean_y,
                  std::int64_t g, std::int64_t c) const {
    const auto depth = static_cast<std::size_t>(view_.depth);
    const std::size_t slot = slot_of(g, c);
    std::vector<double> w(depth);
    for (std::size_t k = 0; k < depth; ++k) w[k] = float_.weights.data<float>()[index(g, c, k)];
    Channel best{.scale = grid_.scale[slot], .bias = 0, .codes = std::vector<int>(depth)};
    const int zero_point = grid_.zero_point[slot];
    if (rounding != nullptr) {
      best = rounded(*rounding, w, best.scale, zero_point);
    } else {
      for (std::size_t k = 0; k < depth; ++k) best.codes[k] = code_at(index(g, c, k));
    }
    double change = 0;
    for (std::size_t k = 0; k < depth; ++k)
      change += w[k] * mean_y[k] - best.scale * (best.codes[k] - zero_point) * mean_x[k];
    if (!float_.bias.empty()) best.bias = float_.bias[static_cast<std::size_t>(g * view_.channels + c)];
    best.bias += change;
    return best;
  }

  /// False, and nothing is changed, where an accumulator might leave int32.
  bool store(const std::vector<Channel>& channels) {
    std::vector<std::int32_t> bias;
    QuantParams grid = grid_;
    for (std::size_t i = 0; i < channels.size(); ++i) {
      const auto g = static_cast<std::int64_t>(i) / view_.channels, c = static_cast<std::int64_t>(i) % view_.channels;
      const std::size_t slot = slot_of(g, c);
      grid.scale[slot] = static_cast<float>(channels[i].scale);
      double magnitude = 0;
      for (std::size_t k = 0; k < channels[i].codes.size(); ++k) {
        set_code(index(g, c, k), channels[i].codes[k]);
        magnitude += std::abs(channels[i].codes[k] - grid_.zero_point[slot]);
      }
      const double unit = input_.scale[0] * grid.scale[slot];  // a float product, as the bias's grid has it
      const double b = std::nearbyint(channels[i].bias / unit);
      if (!(accumulator_load(std::abs(b) + 1, input_span(input_), magnitude) < 1)) return false;
      bias.push_back(static_cast<std::int32_t>(b));
    }
    if (node_.inputs.size() > 2 && node_.inputs[2] != ValueId::none)
      set_codes(graph_.value(node_.inputs[2]),
                Tensor::from<std::int32_t>({static_cast<std::int64_t>(bias.size())}, bias), bias_grid(input_, grid));
    set_codes(graph_.value(node_.inputs[1]), codes_, std::move(grid));
    return true;
  }

 private:
  std::size_t index(std::int64_t g, std::int64_t c, std::size_t k) const {
    return view_.weight_index(g, c, static_cast<std::int64_t>(k));
  }
  std::size_t slot_of(std::int64_t g, std::int64_t c) const {
    return grid_.per_channel() ? static_cast<std::size_t>(g * view_.channels + c) : 0;
  }

  int code_at(std::size_t i) const {
    return codes_.dtype() == DataType::int8 ? int{codes_.data<std::int8_t>()[i]} : int{codes_.data<std::uint8_t>()[i]};
  }
  void set_code(std::size_t i, int code) {
    if (codes_.dtype() == DataType::int8)
      codes_.mutable_data<std::int8_t>()[i] = static_cast<std::int8_t>(code);
    else
      codes_.mutable_data<std::uint8_t>()[i] = static_cast<std::uint8_t>(code);
  }

  /// The best of some scales around the present one, which was chosen for the weights' own errors. A grid of the whole
  /// tensor stays: other channels share it.
  Channel rounded(const HessianRounding& rounding, const std::vector<double>& w, double scale, int zero_point) const {
    const std::vector<double> target = rounding.adapted(w);
    Channel best;
    double least = 0;
    const auto attempt = [&](double s) {
      Channel tried{.scale = static_cast<float>(s), .bias = 0, .codes = std::vector<int>(w.size())};
      const double error = rounding.round(
          target, {.scale = tried.scale, .zero_point = zero_point, .qmin = grid_.qmin(), .qmax = grid_.qmax()},
          tried.codes);
      if (!best.codes.empty() && error >= least) return;
      least = error;
      best = std::move(tried);
    };
    attempt(scale);
    if (grid_.per_channel() && grid_.bits < 8)
      for (double factor : {0.75, 0.8, 0.85, 0.9, 0.95, 1.05, 1.1, 1.15, 1.2, 1.3}) attempt(scale * factor);
    return best;
  }

  Graph& graph_;
  const Node& node_;
  ProductView view_;
  FloatConstants float_;
  QuantParams grid_, input_;
  Tensor codes_;
};

}  // namespace

std::string reconstruct(const Graph& float_graph, Graph& graph, NodeId id, const Recipe& recipe, BatchSource& samples) {
  const auto view = product_view(graph, id);
  if (!view) return "it is no product of one or two spatial dimensions";
  if (!graph.value(graph.node(id).inputs[0]).quant) return "its input has no grid";
  const std::vector<InputMoments> moments = input_moments(float_graph, id, graph, id, samples, {});
  Reconstruction layer(float_graph, graph, id, *view);
  std::vector<Channel> channels(static_cast<std::size_t>(view->groups * view->channels));
  for (std::int64_t g = 0; g < view->groups; ++g) {
    const InputMoments& m = moments[static_cast<std::size_t>(g)];
    std::optional<HessianRounding> rounding;  // factorizes
    if (recipe.rounding == Rounding::gptq) rounding.emplace(m);
#pragma omp parallel for schedule(dynamic, 1)
    for (std::int64_t c = 0; c < view->channels; ++c)
      channels[static_cast<std::size_t>(g * view->channels + c)] =
          layer.channel(rounding ? &*rounding : nullptr, m.mean_x, m.mean_y, g, c);
  }
  return layer.store(channels) ? "" : "an accumulator might leave int32";
}

void correct_bias(const Graph& float_graph, Graph& graph, NodeId id, const std::vector<double>& means) {
  const auto view = product_view(graph, id);
  if (!view || !graph.value(graph.node(id).inputs[0]).quant) return;
  const auto per_group = static_cast<std::int64_t>(means.size()) / view->groups;
  if (per_group == 0 || view->depth % per_group != 0) return;
  Reconstruction layer(float_graph, graph, id, *view);
  std::vector<Channel> channels;
  for (std::int64_t g = 0; g < view->groups; ++g) {
    std::vector<double> inputs(static_cast<std::size_t>(view->depth));
    for (std::int64_t k = 0; k < view->depth; ++k)
      inputs[static_cast<std::size_t>(k)] =
          means[static_cast<std::size_t>(g * per_group + k / (view->depth / per_group))];
    for (std::int64_t c = 0; c < view->channels; ++c) channels.push_back(layer.channel(nullptr, inputs, inputs, g, c));
  }
  layer.store(channels);
}

}  // namespace bitfold::quantization
