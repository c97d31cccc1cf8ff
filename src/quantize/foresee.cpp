// A distribution is represented by samples: an elementwise operator is then applied to the samples, and a sum of
// independent values is the sum of samples in independent orders. Samples are the middles of equally likely parts,
// shuffled by a fixed generator, so that mean and spread of a value are exact and results are the same everywhere.
#include "quantize/foresee.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <random>

#include "base/check.h"
#include "bitfold/reference.h"
#include "graph/linear_layer.h"
#include "ops/operator.h"

namespace bitfold::quantization {
namespace {

constexpr auto kCount = static_cast<std::size_t>(kForeseen);
constexpr float kNan = std::numeric_limits<float>::quiet_NaN();

// The quantile of the standard normal distribution, by bisection.
double normal_quantile(double p) {
  double low = -10, high = 10;
  for (int i = 0; i < 80; ++i) {
    const double middle = (low + high) / 2;
    (0.5 * std::erfc(-middle / std::sqrt(2.0)) < p ? low : high) = middle;
  }
  return (low + high) / 2;
}

std::vector<double> scores() {
  std::vector<double> z(kCount);
  for (std::size_t i = 0; i < kCount; ++i)
    z[i] = normal_quantile((static_cast<double>(i) + 0.5) / static_cast<double>(kCount));
  z.front() = -kNormalTail;
  z.back() = kNormalTail;
  return z;
}

class Foresight {
 public:
  Foresight(const Graph& graph, const BatchNormTable& table) : graph_(graph), table_(table) {}

  Foreseen run(const InputRange& range) {
    for (ValueId id : graph_.inputs())
      if (graph_.value(id).dtype == DataType::float32) values_.emplace(id, uniform(id, range));
    for (NodeId id : graph_.topological_order()) visit(id);
    return std::move(values_);
  }

 private:
  // Writes the numbers of one channel in a random order.
  template <class Number>
  void fill(Tensor& tensor, std::size_t channel, std::vector<Number> numbers) {
    for (std::size_t i = kCount - 1; i > 0; --i) std::swap(numbers[i], numbers[random_() % (i + 1)]);
    const auto data = tensor.mutable_data<float>();
    const auto channels = static_cast<std::size_t>(tensor.dim(1));
    for (std::size_t i = 0; i < kCount; ++i) data[i * channels + channel] = static_cast<float>(numbers[i]);
  }

  Tensor blank(ValueId id, std::int64_t channels) const {
    const auto& shape = graph_.value(id).shape;
    Shape foreseen(std::max<std::size_t>(2, shape ? shape->size() : 2), 1);
    foreseen[0] = kForeseen;
    foreseen[1] = channels;
    return Tensor(DataType::float32, std::move(foreseen));
  }

  std::int64_t channels_of(ValueId id) const {
    const auto& shape = graph_.value(id).shape;
    return shape && shape->size() >= 2 && (*shape)[1] > 0 ? (*shape)[1] : 1;
  }

  Tensor uniform(ValueId id, const InputRange& range) {
    Tensor tensor = blank(id, channels_of(id));
    const auto entry = [](const std::vector<float>& v, std::size_t c) {
      return static_cast<double>(v[v.size() == 1 ? 0 : c]);
    };
    const auto channels = static_cast<std::size_t>(tensor.dim(1));
    const bool fits = (range.min.size() == 1 || range.min.size() == channels) &&
                      (range.max.size() == 1 || range.max.size() == channels);
    check(fits, "input '{}' has {} channels, but the input range has {}", graph_.value(id).name, channels,
          std::max(range.min.size(), range.max.size()));
    for (std::size_t c = 0; c < channels; ++c) {
      const double low = entry(range.min, c), high = entry(range.max, c);
      check(low < high, "input '{}': its range is {} to {}; the first number must be less than the second",
            graph_.value(id).name, low, high);
      std::vector<double> numbers(kCount);
      for (std::size_t i = 0; i < kCount; ++i)
        numbers[i] = low + (high - low) * static_cast<double>(i) / static_cast<double>(kCount - 1);
      fill(tensor, c, std::move(numbers));
    }
    return tensor;
  }

  Tensor normal(ValueId id, const ChannelNormals& normals) {
    Tensor tensor = blank(id, static_cast<std::int64_t>(normals.mean.size()));
    for (std::size_t c = 0; c < normals.mean.size(); ++c) {
      std::vector<double> numbers = z_;
      for (double& x : numbers) x = normals.mean[c] + normals.deviation[c] * x;
      fill(tensor, c, std::move(numbers));
    }
    return tensor;
  }

  void visit(NodeId id) {
    const Node& node = graph_.node(id);
    const ValueId out = node.outputs[0];
    if (out == ValueId::none || graph_.value(out).dtype != DataType::float32) return;
    if (ops::info(node.op).traits.reads_shape_only) return;
    if (const auto known = table_.find(graph_.value(out).name); known != table_.end()) {
      values_.emplace(out, normal(out, known->second));
      return;
    }
    const bool is_fed = std::any_of(node.inputs.begin(), node.inputs.end(),
                                    [&](ValueId in) { return in != ValueId::none && values_.contains(in); });
    if (!is_fed) return;  // shape arithmetic
    for (ValueId other : node.outputs)
      if (other != ValueId::none) values_.emplace(other, foresee_output(id, other));
  }

  Tensor foresee_output(NodeId id, ValueId out) {
    const Node& node = graph_.node(id);
    const ops::Traits& traits = ops::info(node.op).traits;
    if (const auto layer = linear_layer(graph_, id); layer && values_.contains(node.inputs[0])) return product(*layer);
    if ((traits.elementwise || traits.is_channelwise) && reads_reals(node)) return computed(id);
    if (!traits.elementwise && (ops::moves_elements(node.op) || traits.averages)) return rearranged(node, out);
    const std::vector<ops::RealBounds> unknown(node.inputs.size());
    if (const ops::RealBounds bounds = ops::bounds_of(node.op, unknown); bounds.is_finite())
      return uniform(out, {.min = {static_cast<float>(bounds.low)}, .max = {static_cast<float>(bounds.high)}});
    fail("{}: its output cannot be predicted without data; pass --calibrate DATA with about 100 typical samples",
         where(graph_, id));
  }

  // A layer without a BatchNorm is a sum of many terms, hence nearly normal. If input channels were independent,
  // variances would add up; if they were fully correlated, standard deviations would. Real channels lie in between, so
  // the geometric mean of both estimates is used. Within a kernel, inputs may be equal (as neighbouring pixels nearly
  // are) or independent; the larger variance is used.
  Tensor product(const LinearLayer& layer) {
    const Node& node = graph_.node(layer.node);
    const Tensor& x = values_.at(node.inputs[0]);
    const auto ins = static_cast<std::size_t>(x.dim(1));
    std::vector<double> means = channel_means(x), variances(ins);
    for (std::size_t i = 0; i < x.data<float>().size(); ++i) {
      const double d = x.data<float>()[i] - means[i % ins];
      variances[i % ins] += d * d / static_cast<double>(kCount);
    }
    const Tensor& weights = *plain_constant(graph_, node.inputs[1]);
    const auto outs = static_cast<std::size_t>(layer.weights.output_count());
    ChannelNormals normals{std::vector<double>(outs), std::vector<double>(outs)};
    std::vector<double> apart(outs), alike(outs), together(outs);
    std::vector<double> sums(outs);              // sums over the current input channel's kernel
    std::vector<std::size_t> summed(outs, ins);  // the current input channel
    const auto finish = [&](std::size_t o) {
      if (summed[o] < ins) alike[o] += sums[o] * sums[o] * variances[summed[o]];
      sums[o] = 0;
    };
    layer.weights.for_each([&](std::size_t i, std::int64_t out, std::int64_t in) {
      const auto o = static_cast<std::size_t>(out);
      const std::size_t k = static_cast<std::size_t>(in) % ins;  // 0 if channels have been mixed
      const double w = static_cast<double>(weights.data<float>()[i]);
      if (summed[o] != k) finish(o);
      summed[o] = k;
      sums[o] += w;
      apart[o] += w * w * variances[k];
      together[o] += std::fabs(w) * std::sqrt(variances[k]);
      normals.mean[o] += w * means[k];
    });
    const Tensor* bias = node.inputs.size() > 2 ? plain_constant(graph_, node.inputs[2]) : nullptr;
    const auto alpha = static_cast<double>(layer.weights.alpha), beta = static_cast<double>(layer.weights.beta);
    for (std::size_t o = 0; o < outs; ++o) {
      finish(o);
      normals.deviation[o] = std::fabs(alpha) * std::sqrt(std::sqrt(std::max(apart[o], alike[o])) * together[o]);
      normals.mean[o] *= alpha;
      if (bias != nullptr && bias->size() > 0)
        normals.mean[o] += beta * static_cast<double>(bias->data<float>()[o % bias->data<float>().size()]);
    }
    return normal(node.outputs[0], normals);
  }

  /// Whether all inputs are float32, or single numbers of another type.
  bool reads_reals(const Node& node) const {
    return std::ranges::all_of(node.inputs, [&](ValueId in) {
      if (in == ValueId::none || graph_.value(in).dtype == DataType::float32) return true;
      return graph_.is_constant(in) && graph_.value(in).constant->size() == 1;
    });
  }

  // If a constant varies along an axis that has length 1 here, its elements are mixed into one distribution.
  Tensor computed(NodeId id) {
    const Node& node = graph_.node(id);
    const std::int64_t channels = channels_of(node.outputs[0]);
    const bool fits = std::all_of(node.inputs.begin(), node.inputs.end(), [&](ValueId in) {
      const std::int64_t size = graph_.is_constant(in) ? graph_.value(in).constant->size() : 1;
      return size == 1 || size == channels;
    });
    Graph alone;
    std::vector<Tensor> inputs;
    std::vector<ValueId> ids;
    for (ValueId in : node.inputs) {
      const auto found = values_.find(in);
      if (in == ValueId::none) {
        ids.push_back(in);
        continue;
      }
      check(found != values_.end() || graph_.is_constant(in), "{}: input '{}' cannot be predicted without data",
            where(graph_, id), graph_.value(in).name);
      Tensor tensor = found != values_.end() ? found->second : *graph_.value(in).constant;
      if (!fits && tensor.size() > 1 && tensor.dtype() == DataType::float32) tensor = mixed({tensor}, node.outputs[0]);
      ids.push_back(alone.add_input(alone.unique_name(graph_.value(in).name), tensor.dtype(), tensor.shape()));
      inputs.push_back(std::move(tensor));
    }
    alone.mark_output(alone.add(node.op, node.name, ids, graph_.value(node.outputs[0]).name));
    return Reference(alone).run(inputs).front();
  }

  Tensor rearranged(const Node& node, ValueId out) {
    std::vector<Tensor> sources;
    for (ValueId in : node.inputs)
      if (const auto found = values_.find(in); found != values_.end()) sources.push_back(found->second);
    const std::int64_t channels = channels_of(out);
    const ops::OperatorInfo& row = ops::info(node.op);
    const bool joins = row.inputs.front().presence == ops::Presence::variadic;
    const auto* concat = std::get_if<Concat>(&node.op);
    std::int64_t joined = 0;
    for (const Tensor& source : sources) joined += source.dim(1);
    if (concat != nullptr && concat->axis == 1 && joined == channels) return side_by_side(sources, out);
    const bool moves_channels = row.traits.permutes_channels || joins;
    const std::int64_t before = sources.front().dim(1);
    const auto& shape = graph_.value(node.inputs[0]).shape;
    // After a Flatten each channel is a block.
    const bool is_flat = channels % before == 0 && shape && shape->size() >= 2 && (*shape)[1] == before &&
                         row.traits.keeps_order && !row.traits.acts_along_axes;
    if (!moves_channels && (channels == before || is_flat)) return repeated(sources.front(), out, channels);
    return mixed(sources, out);
  }

  Tensor side_by_side(const std::vector<Tensor>& sources, ValueId out) const {
    Tensor tensor = blank(out, channels_of(out));
    const auto data = tensor.mutable_data<float>();
    const auto channels = static_cast<std::size_t>(tensor.dim(1));
    std::size_t first = 0;
    for (const Tensor& source : sources) {
      const auto count = static_cast<std::size_t>(source.dim(1));
      for (std::size_t i = 0; i < kCount * count; ++i)
        data[i / count * channels + first + i % count] = source.data<float>()[i];
      first += count;
    }
    return tensor;
  }

  Tensor repeated(const Tensor& source, ValueId out, std::int64_t channels) const {
    Tensor tensor = blank(out, channels);
    const auto data = tensor.mutable_data<float>();
    const auto count = static_cast<std::size_t>(channels), before = static_cast<std::size_t>(source.dim(1));
    for (std::size_t i = 0; i < data.size(); ++i)
      data[i] = source.data<float>()[i / count * before + i % count / (count / before)];
    return tensor;
  }

  // Mixes all channels into one.
  Tensor mixed(const std::vector<Tensor>& sources, ValueId out) {
    std::vector<float> all;
    for (const Tensor& source : sources)
      all.insert(all.end(), source.data<float>().begin(), source.data<float>().end());
    std::vector<float> some(kCount, kNan);
    // NaN has no place in an order.
    if (std::ranges::none_of(all, [](float x) { return std::isnan(x); })) {
      std::sort(all.begin(), all.end());
      for (std::size_t i = 0; i < kCount; ++i) some[i] = all[i * (all.size() - 1) / (kCount - 1)];
    }
    Tensor tensor = blank(out, 1);
    fill(tensor, 0, std::move(some));
    return tensor;
  }

  const Graph& graph_;
  const BatchNormTable& table_;
  std::vector<double> z_ = scores();
  std::mt19937 random_{1};  // gives the same numbers everywhere, unlike the standard distributions
  Foreseen values_;
};

}  // namespace

Foreseen foresee(const Graph& graph, const BatchNormTable& table, const InputRange& range) {
  return Foresight(graph, table).run(range);
}

bool is_finite(const Tensor& foreseen) {
  return std::ranges::all_of(foreseen.data<float>(), [](float x) { return std::isfinite(x); });
}

std::vector<double> channel_means(const Tensor& foreseen) {
  const auto channels = static_cast<std::size_t>(foreseen.dim(1));
  std::vector<double> means(channels);
  const auto data = foreseen.data<float>();
  for (std::size_t i = 0; i < data.size(); ++i) means[i % channels] += data[i];
  for (double& mean : means) mean /= static_cast<double>(kCount);
  return means;
}

Calibration calibration_of(const Graph& graph, const Foreseen& values) {
  Calibration calibration;
  for (const auto& [id, tensor] : values)
    if (is_finite(tensor)) calibration.values[graph.value(id).name].add(tensor.data<float>());
  return calibration;
}

ChannelTable channel_table_of(const Graph& graph, const Foreseen& values) {
  ChannelTable table;
  for (const auto& [id, tensor] : values) {
    if (!is_finite(tensor)) continue;
    ChannelStatistics& statistics = table[graph.value(id).name];
    const auto channels = static_cast<std::size_t>(tensor.dim(1));
    const auto data = tensor.data<float>();
    statistics.min.assign(data.begin(), data.begin() + tensor.dim(1));
    statistics.max = statistics.min;
    statistics.mean_square.assign(channels, 0.0);
    for (std::size_t i = 0; i < data.size(); ++i) {
      const std::size_t c = i % channels;
      statistics.min[c] = std::min(statistics.min[c], data[i]);
      statistics.max[c] = std::max(statistics.max[c], data[i]);
      statistics.mean_square[c] +=
          static_cast<double>(data[i]) * static_cast<double>(data[i]) / static_cast<double>(kCount);
    }
  }
  return table;
}

}  // namespace bitfold::quantization
