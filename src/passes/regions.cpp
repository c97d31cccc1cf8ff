#include "passes/regions.h"

#include <algorithm>
#include <cmath>
#include <map>
#include <numeric>

#include "ops/operator.h"
#include "passes/rewrite.h"

namespace bitfold {
namespace {

/// How a node relates its data inputs and its output.
enum class Passage { blocked, linear, channelwise };

std::int64_t channels_of(const Graph& graph, ValueId id) {
  const auto& shape = graph.value(id).shape;
  const bool is_float = graph.value(id).dtype == DataType::float32;
  return is_float && shape && shape->size() >= 2 && (*shape)[1] > 0 ? (*shape)[1] : 0;
}

std::vector<std::int64_t> integers(const Graph& graph, ValueId id) {
  if (!graph.is_constant(id) || graph.value(id).constant->dtype() != DataType::int64) return {};
  const auto data = graph.value(id).constant->data<std::int64_t>();
  return {data.begin(), data.end()};
}

/// The values a node computes with: the first input of most nodes, all inputs of sums.
std::vector<ValueId> data_inputs(const Node& node) {
  const std::vector<ValueId> inputs = ops::inputs_with(node, ops::Use::data);
  return ops::info(node.op).traits.elementwise ? inputs : std::vector{inputs.front()};
}

class Finder {
 public:
  explicit Finder(const Graph& graph)
      : graph_(graph),
        parent_(graph.values().empty() ? 0 : static_cast<std::size_t>(graph.values().back()) + 1),
        is_blocked_(parent_.size()),
        clips_at_(parent_.size()) {
    std::iota(parent_.begin(), parent_.end(), std::size_t{0});
  }

  std::vector<Region> run() {
    for (ValueId id : graph_.inputs()) block(id);
    for (ValueId id : graph_.outputs()) block(id);
    for (NodeId id : graph_.topological_order()) visit(id);
    // A separate loop, because all connections must be known before blocked regions can be left out.
    std::map<std::size_t, Region> regions;
    for (ValueId id : graph_.values()) {
      if (graph_.is_constant(id) || channels_of(graph_, id) == 0 || is_blocked_[root(id)]) continue;
      Region& region = regions[root(id)];
      region.values.push_back(id);
      region.clips_at = clips_at_[root(id)];
      const std::int64_t channels = channels_of(graph_, id);
      region.channels = region.channels == 0 ? channels : std::min(region.channels, channels);
    }
    for (NodeId id : layers_) {
      const Node& node = graph_.node(id);
      if (auto to = regions.find(root(node.outputs[0])); to != regions.end()) to->second.producers.push_back(id);
      if (auto from = regions.find(root(node.inputs[0])); from != regions.end()) from->second.consumers.push_back(id);
    }
    std::vector<Region> found;
    for (auto& [ignored, region] : regions)
      if (!region.producers.empty() && !region.consumers.empty()) found.push_back(std::move(region));
    std::sort(found.begin(), found.end(),
              [](const Region& a, const Region& b) { return a.values.front() < b.values.front(); });
    return found;
  }

 private:
  std::size_t root(ValueId id) {
    auto i = static_cast<std::size_t>(id);
    while (parent_[i] != i) i = parent_[i] = parent_[parent_[i]];
    return i;
  }

  void block(ValueId id) {
    if (id != ValueId::none) is_blocked_[root(id)] = true;
  }

  void tie(ValueId a, ValueId b) {
    const std::size_t from = root(b), to = root(a);
    if (from == to) return;
    parent_[from] = to;
    is_blocked_[to] = is_blocked_[to] || is_blocked_[from];
    if (clips_at_[from]) clips_at_[to] = std::min(*clips_at_[from], clips_at_[to].value_or(*clips_at_[from]));
  }

  void visit(NodeId id) {
    const Node& node = graph_.node(id);
    const Passage kind = passage(id);
    if (kind == Passage::linear) return layers_.push_back(id);
    if (kind == Passage::blocked) {
      if (ops::info(node.op).traits.reads_shape_only) return;
      for (ValueId in : node.inputs) block(in);
      for (ValueId out : node.outputs) block(out);
      return;
    }
    for (ValueId in : data_inputs(node)) tie(in, node.outputs[0]);
    if (const float bound = clip_limit(id); bound > 0 && std::isfinite(bound)) {
      auto& limit = clips_at_[root(node.outputs[0])];
      limit = std::min(bound, limit.value_or(bound));
    }
  }

  /// The upper bound of a Clip of non-negative values; 0 if it also changes small ones.
  float clip_limit(NodeId id) const {
    const auto clamp = find_clamp(graph_, id);
    return clamp && clamp->low == 0 && clamp->high > 0 ? clamp->high : 0;
  }

  Passage passage(NodeId id) const {
    const Node& node = graph_.node(id);
    if (node.inputs.empty() || node.outputs.size() != 1 || node.inputs[0] == ValueId::none) return Passage::blocked;
    const ValueId in = node.inputs[0], out = node.outputs[0];
    if (const auto layer = linear_layer(graph_, id)) {
      // The channels of the layer's input lie along axis 1, or after a Flatten in whole blocks.
      return layer->weights.output_count() == channels_of(graph_, out) && channels_of(graph_, in) > 0
                 ? Passage::linear
                 : Passage::blocked;
    }
    if (channels_of(graph_, in) == 0 || channels_of(graph_, out) == 0) return Passage::blocked;
    if (is_flattening(node)) {
      // All readers must be layers that read whole blocks.
      const auto& readers = graph_.consumers(out);
      const bool is_read_by_layers = std::all_of(
          readers.begin(), readers.end(), [&](NodeId reader) { return linear_layer(graph_, reader).has_value(); });
      return is_read_by_layers ? Passage::channelwise : Passage::blocked;
    }
    const bool keeps_channels = channels_of(graph_, in) == channels_of(graph_, out);
    return keeps_channels && commutes(id) ? Passage::channelwise : Passage::blocked;
  }

  bool is_flattening(const Node& node) const {
    const Shape& from = *graph_.value(node.inputs[0]).shape;
    const Shape& to = *graph_.value(node.outputs[0]).shape;
    const ops::Traits& traits = ops::info(node.op).traits;
    if (!traits.keeps_order || traits.elementwise || traits.acts_along_axes) return false;
    if (from.size() <= 2 || to.size() != 2) return false;
    std::int64_t elements = 1;
    for (std::size_t d = 1; d < from.size(); ++d) {
      if (from[d] < 0) return false;
      elements *= from[d];
    }
    return elements == to[1];
  }

  /// Whether f(s x) = s f(x) for all factors s > 0 per channel along axis 1.
  bool commutes(NodeId id) const {
    const Node& node = graph_.node(id);
    const ops::OperatorInfo& row = ops::info(node.op);
    if (row.role == ops::Role::clip) return clip_limit(id) > 0;
    if (ops::input_named(node, "pads") != ValueId::none) return pads_image(node);
    if (!row.traits.commutes_with_positive_scale) return false;
    // tf_crop_and_resize gives positions outside the image a fixed value.
    const auto* resize = std::get_if<Resize>(&node.op);
    if (resize != nullptr && resize->coordinates == ResizeCoordinates::tf_crop_and_resize) return false;
    if (row.traits.acts_along_axes) return acts_on_image(node);
    const auto parameters = ops::inputs_with(node, ops::Use::parameter);
    if (row.traits.keeps_channels) return true;
    if (!row.traits.elementwise) return false;
    return ops::inputs_with(node, ops::Use::data).size() == 1
               ? std::ranges::all_of(parameters, [&](ValueId in) { return graph_.is_constant(in); })
               : adds_alike(node);
  }

  bool adds_alike(const Node& node) const {
    const auto& shape = graph_.value(node.outputs[0]).shape;
    return std::all_of(node.inputs.begin(), node.inputs.end(), [&](ValueId in) {
      return in != ValueId::none && !graph_.is_constant(in) && graph_.value(in).shape == shape;
    });
  }

  /// Whether it pads with zeros or existing values, and not along the channel axis.
  bool pads_image(const Node& node) const {
    const auto pads = node.inputs.size() < 4 ? integers(graph_, node.inputs[1]) : std::vector<std::int64_t>{};
    if (pads.size() < 4 || pads[1] != 0 || pads[pads.size() / 2 + 1] != 0) return false;
    return fills_with_zero(graph_, node);
  }

  /// Whether it leaves the channels alone: a negative step would keep their number, but not their order.
  bool acts_on_image(const Node& node) const {
    const ValueId input = ops::input_named(node, "axes");
    const auto axes = input == ValueId::none ? std::vector<std::int64_t>{} : integers(graph_, input);
    return !axes.empty() && std::all_of(axes.begin(), axes.end(), [](std::int64_t axis) { return axis >= 2; });
  }

  const Graph& graph_;
  std::vector<NodeId> layers_;       // linear layers, in topological order
  std::vector<std::size_t> parent_;  // union-find
  std::vector<bool> is_blocked_;     // indexed by root
  std::vector<std::optional<float>> clips_at_;
};

}  // namespace

std::vector<Region> find_regions(const Graph& graph) { return Finder(graph).run(); }

}  // namespace bitfold
