// Bias absorption. relu(h) = relu(h - c) + c if h >= c >= 0; for normally distributed h this fails for 0.13 % of a
// channel's values. The same holds for a Clip from 0 on channels that stay as far below its upper bound. The layer that
// reads the values adds W c to its bias; if it pads with zeros, its sums over an edge would have to omit a part of
// that.
#include <algorithm>
#include <cmath>
#include <functional>
#include <map>
#include <set>

#include "bitfold/batch_norm_table.h"
#include "graph/linear_layer.h"
#include "ops/operator.h"
#include "passes/rewrite.h"

namespace bitfold {
namespace {

constexpr double kDeviations = 3;

void add_to_bias(Graph& graph, const LinearLayer& layer, const std::vector<double>& shift) {
  scale_and_shift(graph, layer, std::vector<double>(shift.size(), 1.0), shift);
}

// b <- b - c in the layer that computes these channels. Returns the number of channels changed.
std::size_t take_off(Graph& graph, const LinearLayer& writer, ChannelNormals& normals, const std::vector<double>& c) {
  std::vector<double> shift(c.size());
  std::transform(c.begin(), c.end(), shift.begin(), std::negate());
  std::transform(normals.mean.begin(), normals.mean.end(), c.begin(), normals.mean.begin(), std::minus());
  add_to_bias(graph, writer, shift);
  return c.size() - static_cast<std::size_t>(std::count(c.begin(), c.end(), 0.0));
}

// b <- b + W c in the layer that reads the values c was subtracted from.
void move_into(Graph& graph, const LinearLayer& reader, const std::vector<double>& c) {
  const Node& node = graph.node(reader.node);
  const Tensor& w = *plain_constant(graph, node.inputs[1]);
  const double alpha = static_cast<double>(reader.weights.alpha);
  std::vector<double> onward(static_cast<std::size_t>(reader.weights.output_count()));
  reader.weights.for_each([&](std::size_t i, std::int64_t o, std::int64_t k) {
    onward[static_cast<std::size_t>(o)] +=
        alpha * static_cast<double>(w.data<float>()[i]) * c[static_cast<std::size_t>(k)];
  });
  add_to_bias(graph, reader, onward);
}

// `node` as a layer, if it reads `id` as its input, this input has `channels` channels, and the layer's bias can
// compensate a shift of it (no padding).
std::optional<LinearLayer> reader_of(const Graph& graph, NodeId node, ValueId id, std::size_t channels) {
  if (graph.node(node).inputs[0] != id) return std::nullopt;
  const auto layer = linear_layer(graph, node);
  if (!layer || layer->weights.has_partial_sums) return std::nullopt;
  return layer->weights.input_count() == static_cast<std::int64_t>(channels) ? layer : std::nullopt;
}

struct Reader {
  LinearLayer layer;
  double upper;  // upper bound of the Relu or Clip before the layer
};

// The layer that reads `id` through a Relu (or a Clip from 0), if each is the only reader of its input.
std::optional<Reader> reader_behind_relu(const Graph& graph, ValueId id, std::size_t channels) {
  if (!graph.has_single_consumer(id)) return std::nullopt;
  const NodeId relu = graph.consumers(id).front();
  const auto clamp = find_clamp(graph, relu);
  const ValueId rectified = graph.node(relu).outputs[0];
  if (!clamp || clamp->low != 0 || !graph.has_single_consumer(rectified)) return std::nullopt;
  const auto layer = reader_of(graph, graph.consumers(rectified).front(), rectified, channels);
  return layer ? std::optional(Reader{*layer, static_cast<double>(clamp->high)}) : std::nullopt;
}

// How much of each channel's mean to move: at most the bound that nearly all of its values exceed, and at most what
// lowers the upper end of the grid that all channels share. Moving more would do harm, because real values have longer
// tails than a normal distribution.
std::vector<double> worth_absorbing(const ChannelNormals& normals, double upper) {
  std::vector<double> excess(normals.mean.size());
  const auto end = [&](std::size_t c) { return normals.mean[c] + kNormalTail * normals.deviation[c]; };
  double least = 0, now = 0;
  for (std::size_t c = 0; c < excess.size(); ++c) {
    const double mean = normals.mean[c], deviation = normals.deviation[c];
    if (mean + kDeviations * deviation <= upper) excess[c] = std::max(0.0, mean - kDeviations * deviation);
    least = std::max(least, std::min(upper, end(c) - excess[c]));
    now = std::max(now, std::min(upper, end(c)));
  }
  for (std::size_t c = 0; c < excess.size(); ++c)
    excess[c] = least < now ? std::clamp(end(c) - least, 0.0, excess[c]) : 0;
  return excess;
}

std::size_t absorb(Graph& graph, ValueId id, ChannelNormals& normals) {
  const auto writer = rewritable_producer(graph, id);
  const auto behind = reader_behind_relu(graph, id, normals.mean.size());
  if (!writer || !behind || writer->weights.output_count() != static_cast<std::int64_t>(normals.mean.size())) return 0;
  const std::vector<double> excess = worth_absorbing(normals, behind->upper);
  if (std::all_of(excess.begin(), excess.end(), [](double c) { return c == 0; })) return 0;
  move_into(graph, behind->layer, excess);
  return take_off(graph, *writer, normals, excess);
}

// For values without a rectifier, such as the bottlenecks of MobileNetV2 and their sums, the whole means are moved and
// nothing is clipped.
class LinearValues {
 public:
  LinearValues(Graph& graph, BatchNormTable& table) : graph_(graph), table_(table) {
    for (ValueId id : graph_.values())
      if (may_move(id)) movable_.insert(id);
    while (std::erase_if(movable_, [&](ValueId id) { return !is_movable(id); }) > 0) {
    }
  }

  std::size_t absorb() {
    std::size_t count = 0;
    std::map<ValueId, std::vector<double>> moved;
    for (NodeId node : graph_.topological_order()) {
      const ValueId id = graph_.node(node).outputs[0];
      if (!movable_.contains(id)) continue;
      std::vector<double>& c = moved[id];
      if (const auto layer = linear_layer(graph_, node)) {
        ChannelNormals& normals = table_.at(graph_.value(id).name);
        c = normals.mean;
        count += take_off(graph_, *layer, normals, c);
      } else {
        const std::vector<ValueId> terms = graph_.node(node).inputs;
        c = moved.at(terms[0]);
        std::transform(c.begin(), c.end(), moved.at(terms[1]).begin(), c.begin(), std::plus());
      }
      const std::vector<NodeId> consumers = graph_.consumers(id);
      for (NodeId consumer : consumers)
        if (const auto reader = linear_layer(graph_, consumer)) move_into(graph_, *reader, c);
    }
    return count;
  }

 private:
  bool is_sum(NodeId node) const { return ops::is<Binary>(graph_.node(node).op, BinaryKind::add); }

  std::size_t channels(ValueId id) const {
    const auto& shape = graph_.value(id).shape;
    return shape && shape->size() > 1 && (*shape)[1] > 0 ? static_cast<std::size_t>((*shape)[1]) : 0;
  }

  bool may_move(ValueId id) const {
    const NodeId node = graph_.producer(id);
    if (node == NodeId::none || graph_.is_output(id) || graph_.value(id).quant || channels(id) == 0) return false;
    if (is_sum(node)) return true;
    const auto known = table_.find(graph_.value(id).name);
    return linear_layer(graph_, node) && known != table_.end() && known->second.mean.size() == channels(id);
  }

  bool is_movable(ValueId id) const {
    const NodeId node = graph_.producer(id);
    const auto fits = [&](ValueId term) {
      return movable_.contains(term) && channels(term) == channels(id) &&
             graph_.value(term).shape->size() == graph_.value(id).shape->size();
    };
    const auto& terms = graph_.node(node).inputs;
    if (is_sum(node) && !std::all_of(terms.begin(), terms.end(), fits)) return false;
    const auto& readers = graph_.consumers(id);
    return std::all_of(readers.begin(), readers.end(), [&](NodeId reader) {
      return is_sum(reader) ? fits(graph_.node(reader).outputs[0])
                            : reader_of(graph_, reader, id, channels(id)).has_value();
    });
  }

  Graph& graph_;
  BatchNormTable& table_;
  std::set<ValueId> movable_;
};

}  // namespace

BatchNormTable batch_norm_table(const Graph& graph) {
  BatchNormTable table;
  for (NodeId id : graph.nodes()) {
    const Node& node = graph.node(id);
    if (!std::holds_alternative<BatchNorm>(node.op)) continue;
    const Tensor *gamma = plain_constant(graph, node.inputs[1]), *beta = plain_constant(graph, node.inputs[2]);
    if (gamma == nullptr || beta == nullptr) continue;
    ChannelNormals& normals = table[graph.value(node.outputs[0]).name];
    for (float x : beta->data<float>()) normals.mean.push_back(static_cast<double>(x));
    for (float x : gamma->data<float>()) normals.deviation.push_back(std::fabs(static_cast<double>(x)));
  }
  return table;
}

std::size_t absorb_high_bias(Graph& graph, BatchNormTable& table) {
  infer_shapes(graph);
  std::size_t count = 0;
  for (auto& [name, normals] : table)
    if (const ValueId id = graph.find(name); id != ValueId::none) count += absorb(graph, id, normals);
  count += LinearValues(graph, table).absorb();
  verify(graph, Stage::optimized);
  return count;
}

}  // namespace bitfold
