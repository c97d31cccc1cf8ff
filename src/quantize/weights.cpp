// Quantizes weights and biases.
//
//   accumulator[c] = bias_q[c] + sum_k (x_q - z_x) (w_q[c,k] - z_w[c])       int32
//   real[c]        = s_x s_w[c] accumulator[c]
//
// So the bias lies on the grid s_x s_w[c] with zero_point 0 (equation 13), and an accumulator stays within int32 for
// every input if
//
//   |bias_q[c]| + (qmax_x - qmin_x) sum_k |w_q[c,k] - z_w[c]| < 2^31                            (equation 14)
//
// Otherwise the channel's weight scale is raised, which makes both terms smaller. With 16-bit inputs the second term
// alone violates (14) from 258 products on; they are not accumulated in int32, and only the bias has to fit.
#include "quantize/weights.h"

#include <algorithm>
#include <cfloat>
#include <cmath>
#include <span>

#include "base/check.h"
#include "graph/linear_layer.h"
#include "numeric/release_pages.h"
#include "quantize/sum_rounding.h"

namespace bitfold::quantization {
namespace {

constexpr double kAccumulatorLimit = 2147483648.0;  // 2^31
// Codes of a bias in a channel whose weights are all 0: the precision of a float.
constexpr double kLoneBias = 16777216.0;  // 2^24

// Layout of elements by channel: index = (outer * channels + c) * inner + i.
struct Channels {
  std::size_t outer, channels, inner;
  Channels(const Shape& shape, int axis) : outer(1), channels(1), inner(1) {
    for (int d = 0; d < static_cast<int>(shape.size()); ++d) {
      auto& part = d < axis ? outer : d == axis ? channels : inner;
      part *= static_cast<std::size_t>(shape[static_cast<std::size_t>(d)]);
    }
  }
  template <class Visit>
  void for_each(std::size_t c, const Visit& visit) const {
    for (std::size_t o = 0; o < outer; ++o)
      for (std::size_t i = 0; i < inner; ++i) visit((o * channels + c) * inner + i);
  }
};

Tensor scaled(const Tensor& tensor, float factor) {
  if (factor == 1) return tensor;
  Tensor result = tensor;
  for (float& x : result.mutable_data<float>()) x *= factor;
  return result;
}

// The squared error of the channels in [first, last) on the grid (scale, zero_point).
double squared_error(std::span<const float> w, const Channels& channels, std::pair<std::size_t, std::size_t> which,
                     const QuantParams& grid) {
  const float scale = grid.scale[0], inverse = 1 / scale;
  const auto low = static_cast<float>(grid.qmin() - grid.zero_point[0]);
  const auto high = static_cast<float>(grid.qmax() - grid.zero_point[0]);
  double sum = 0;
  for (std::size_t c = which.first; c < which.second; ++c) {
    channels.for_each(c, [&](std::size_t i) {
      const float t = std::min(std::max(w[i] * inverse, low), high);
      const double error = w[i] - std::nearbyint(t) * scale;
      sum += error * error;
    });
  }
  return sum;
}

// The grid with the least squared error over the weights. Both ends of the range shrink together, unlike in
// Observer::mse.
QuantParams least_error_grid(std::span<const float> w, const Channels& channels,
                             std::pair<std::size_t, std::size_t> which, const GridSpec& spec) {
  float min = 0, max = 0;
  for (std::size_t c = which.first; c < which.second; ++c) {
    channels.for_each(c, [&](std::size_t i) {
      min = std::min(min, w[i]);
      max = std::max(max, w[i]);
    });
  }
  QuantParams best = choose_params(min, max, spec);
  if (!std::isfinite(1 / best.scale[0])) return best;
  double least = squared_error(w, channels, which, best);
  for (float shrink = 0.98F; shrink > 0.2F; shrink -= 0.02F) {
    const QuantParams grid = choose_params(min * shrink, max * shrink, spec);
    if (!std::isfinite(1 / grid.scale[0])) break;
    const double error = squared_error(w, channels, which, grid);
    if (error >= least) continue;
    least = error;
    best = grid;
  }
  return best;
}

// The input grid and the bias of one product.
struct Product {
  std::string place;
  QuantParams input;
  std::vector<double> bias;
};

// Quantizes the constants of products that share their weights: one grid must suit the inputs and biases of all.
class Constants {
 public:
  Constants(const Graph& graph, std::span<const NodeId> sharers, const Recipe& recipe)
      : axis_(constant_weights(graph, sharers[0])->output_axis), rounding_(recipe.rounding) {
    for (NodeId id : sharers) {
      FloatConstants constants = float_constants(graph, id);
      if (products_.empty()) weights_ = std::move(constants.weights);
      products_.push_back({where(graph, id), *graph.value(graph.node(id).inputs[0]).quant, std::move(constants.bias)});
    }
    channels_ = Channels(weights_.shape(), axis_).channels;
    kernel_size_ = constant_weights(graph, sharers[0])->taps;
    try {
      grid_ = weight_grid(weights_, axis_, recipe);
    } catch (const Error& error) {
      fail("{} weights: {}", products_[0].place, error.what());
    }
  }

  int fit() {
    give_lone_biases_precision();
    std::vector<bool> raised(channels_, false);
    // Rounding changes the sums, so several rounds may be needed. Each at least halves the excess.
    for (bool is_changed = true; is_changed;) {
      is_changed = false;
      codes_ = rounding_ == Rounding::nearest ? quantize(weights_, grid_)
                                              : quantize_keeping_sums(weights_, axis_, kernel_size_, grid_);
      const std::vector<double> sums = absolute_sums();
      std::vector<double> factors(grid_.scale.size(), 1.0);
      for (const Product& product : products_) {
        for (std::size_t c = 0; c < channels_; ++c) {
          const double load = excess(product, c, sums[c]);
          if (load <= 1) continue;
          raised[c] = is_changed = true;
          factors[slot(c)] = std::max(factors[slot(c)], load * 1.01);
          check(std::isfinite(static_cast<float>(grid_.scale[slot(c)] * factors[slot(c)])),
                "{} the bias is too large for the scale of the input, {}", product.place, product.input.scale[0]);
        }
      }
      for (std::size_t s = 0; s < factors.size(); ++s) grid_.scale[s] = static_cast<float>(grid_.scale[s] * factors[s]);
    }
    return static_cast<int>(std::count(raised.begin(), raised.end(), true));
  }

  const Tensor& codes() const { return codes_; }
  const QuantParams& grid() const { return grid_; }
  bool has_bias(std::size_t product) const { return !products_[product].bias.empty(); }

  QuantParams bias_grid(std::size_t product) const { return quantization::bias_grid(products_[product].input, grid_); }

  Tensor bias_codes(std::size_t product) const {
    std::vector<std::int32_t> codes(channels_);
    for (std::size_t c = 0; c < channels_; ++c)
      codes[c] = static_cast<std::int32_t>(
          std::nearbyint(products_[product].bias[c] / accumulator_scale(products_[product], c)));
    return Tensor::from<std::int32_t>({static_cast<std::int64_t>(channels_)}, codes);
  }

 private:
  std::size_t slot(std::size_t channel) const { return grid_.per_channel() ? channel : 0; }
  // A float32 product, so that it equals the scale of the bias.
  double accumulator_scale(const Product& product, std::size_t channel) const {
    return product.input.scale[0] * grid_.scale[slot(channel)];
  }

  std::vector<double> absolute_sums() const {
    std::vector<double> sums(channels_, 0.0);
    const Channels view(weights_.shape(), axis_);
    const auto add_up = [&]<class T>(std::span<const T> codes) {
      for (std::size_t c = 0; c < channels_; ++c) {
        const int zero_point = grid_.zero_point[slot(c)];
        std::int64_t sum = 0;
        view.for_each(c, [&](std::size_t i) { sum += std::abs(int{codes[i]} - zero_point); });
        sums[c] = static_cast<double>(sum);
      }
    };
    if (codes_.dtype() == DataType::int8)
      add_up(codes_.data<std::int8_t>());
    else
      add_up(codes_.data<std::uint8_t>());
    return sums;
  }

  // If all weights of a channel are 0, the biases alone determine its scale.
  void give_lone_biases_precision() {
    const Channels view(weights_.shape(), axis_);
    const auto w = weights_.data<float>();
    std::vector<bool> is_empty(grid_.scale.size(), true);
    for (std::size_t c = 0; c < channels_; ++c)
      view.for_each(c, [&](std::size_t i) { is_empty[slot(c)] = is_empty[slot(c)] && w[i] == 0; });
    std::vector<double> scales(grid_.scale.size(), 0.0);
    for (const Product& product : products_)
      for (std::size_t c = 0; c < product.bias.size(); ++c)
        scales[slot(c)] = std::max(
            scales[slot(c)], std::fabs(product.bias[c]) / static_cast<double>(product.input.scale[0]) / kLoneBias);
    for (std::size_t s = 0; s < scales.size(); ++s)
      if (is_empty[s] && scales[s] > 0) grid_.scale[s] = static_cast<float>(scales[s]);
  }

  // The factor by which the channel's scale is too small, for equation 14 and for s_x s_w to be a normal float.
  double excess(const Product& product, std::size_t c, double sum) const {
    const double scale = accumulator_scale(product, c);
    const double exact = static_cast<double>(product.input.scale[0]) * grid_.scale[slot(c)];
    if (scale < FLT_MIN) return FLT_MIN / exact;
    const double bias = product.bias.empty() ? 0 : std::fabs(product.bias[c]) / scale + 1;
    return accumulator_load(bias, input_span(product.input), sum);
  }

  int axis_;
  Rounding rounding_;
  std::int64_t kernel_size_ = 1;
  std::size_t channels_ = 0;
  std::vector<Product> products_;
  Tensor weights_, codes_;
  QuantParams grid_;
};

// Makes input `slot` of the nodes a constant that no other node reads: the present one, or a copy of it.
ValueId own_constant(Graph& graph, std::span<const NodeId> nodes, std::size_t slot) {
  const ValueId present = graph.node(nodes[0]).inputs[slot];
  const auto is_own = [&](NodeId reader) {
    const auto& inputs = graph.node(reader).inputs;
    return std::ranges::find(nodes, reader) != nodes.end() && inputs[slot] == present &&
           std::count(inputs.begin(), inputs.end(), present) == 1;
  };
  if (!graph.is_output(present) && std::ranges::all_of(graph.consumers(present), is_own)) return present;
  const ValueId copy = graph.add_constant(graph.unique_name(graph.value(present).name), *graph.value(present).constant);
  for (NodeId id : nodes) graph.set_input(id, slot, copy);
  return copy;
}

}  // namespace

FloatConstants float_constants(const Graph& graph, NodeId id) {
  const Node& node = graph.node(id);
  const ops::WeightMatrix view = *constant_weights(graph, id);
  FloatConstants constants{scaled(*graph.value(node.inputs[1]).constant, view.alpha), {}};
  if (node.inputs.size() < 3 || node.inputs[2] == ValueId::none) return constants;
  const auto values = graph.value(node.inputs[2]).constant->data<float>();
  const auto channels = static_cast<std::size_t>(view.output_count());
  for (std::size_t c = 0; c < channels; ++c) {
    const float b = values[values.size() == 1 ? 0 : c] * view.beta;
    check(std::isfinite(b), "{} bias: {} at index {}", where(graph, id), std::isnan(b) ? "NaN" : "infinite", c);
    constants.bias.push_back(b);
  }
  return constants;
}

int input_span(const QuantParams& input) { return input.bits <= 8 ? input.qmax() - input.qmin() : 0; }

double accumulator_load(double bias, int input_span, double weight_sum) {
  return (bias + input_span * weight_sum + 1) / kAccumulatorLimit;
}

QuantParams bias_grid(const QuantParams& input, const QuantParams& weights) {
  QuantParams grid{.bits = 32, .is_signed = true, .axis = weights.per_channel() ? 0 : -1};
  for (float scale : weights.scale) grid.scale.push_back(input.scale[0] * scale);
  grid.zero_point.assign(grid.scale.size(), 0);
  return grid;
}

void set_codes(Value& value, Tensor codes, QuantParams grid) {
  value.dtype = DataType::float32;
  value.shape = codes.shape();
  value.constant = grid.bits <= 4 ? pack(codes, 4) : std::move(codes);
  value.quant = std::move(grid);
}

QuantParams weight_grid(const Tensor& weights, int axis, const Recipe& recipe) {
  const GridSpec spec{.bits = recipe.weight_bits, .is_signed = true, .scheme = weight_scheme(recipe)};
  const bool per_channel = recipe.granularity == Granularity::per_channel;
  QuantParams extremes = choose_params_per_channel(weights, axis, spec);  // also checks that every weight is finite
  if (per_channel && recipe.weight_bits == 8) return extremes;
  const auto w = weights.data<float>();
  const Channels channels(weights.shape(), axis);
  if (!per_channel && recipe.weight_bits == 8) {
    const auto [min, max] = std::minmax_element(w.begin(), w.end());
    return choose_params(*min, *max, spec);
  }
  if (!per_channel) return least_error_grid(w, channels, {0, channels.channels}, spec);
  for (std::size_t c = 0; c < channels.channels; ++c) {
    const QuantParams grid = least_error_grid(w, channels, {c, c + 1}, spec);
    extremes.scale[c] = grid.scale[0];
    extremes.zero_point[c] = grid.zero_point[0];
  }
  return extremes;
}

int quantize_constants(Graph& graph, std::span<const NodeId> sharers, const Recipe& recipe) {
  Constants constants(graph, sharers, recipe);
  const int raised = constants.fit();
  release_mapped_pages(*graph.value(graph.node(sharers[0]).inputs[1]).constant);
  const ValueId weights = own_constant(graph, sharers, 1);
  set_codes(graph.value(weights), constants.codes(), constants.grid());
  for (std::size_t i = 0; i < sharers.size(); ++i) {
    if (constants.has_bias(i)) {
      const ValueId bias = own_constant(graph, sharers.subspan(i, 1), 2);
      set_codes(graph.value(bias), constants.bias_codes(i), constants.bias_grid(i));
    }
    if (auto* gemm = std::get_if<Gemm>(&graph.op(sharers[i]))) gemm->alpha = gemm->beta = 1;
  }
  return raised;
}

bool can_share_codes(const Graph& graph, NodeId a, NodeId b) {
  if (graph.node(a).inputs[1] != graph.node(b).inputs[1]) return false;
  const auto first = constant_weights(graph, a), second = constant_weights(graph, b);
  return first->output_axis == second->output_axis && first->taps == second->taps &&
         first->output_count() == second->output_count() && first->alpha == second->alpha;
}

}  // namespace bitfold::quantization
