// SmoothQuant. If a normalization has readers other than products with constant weights, these need the unchanged
// values (a residual sum in transformers that normalize after sums). The products then get a copy of the normalization.
#include <algorithm>
#include <cmath>

#include "base/check.h"
#include "bitfold/equalize.h"
#include "ops/infer.h"
#include "ops/operator.h"
#include "passes/rewrite.h"

namespace bitfold {
namespace {

// Limits the factor of a channel that hardly varies.
constexpr double kMaxFactor = 1024;

bool normalizes_last_axis(const LayerNorm& op, const std::optional<Shape>& shape) {
  return op.axis == -1 || (shape && ops::is_last_axis(op.axis, shape->size()));
}

/// A product that reads the value's last axis.
struct SmoothedReader {
  NodeId node;
  ops::WeightMatrix weights;
};

std::optional<SmoothedReader> reader_of(const Graph& graph, NodeId id, ValueId value) {
  const Node& node = graph.node(id);
  const auto weights = constant_weights(graph, id);
  if (!weights || weights->has_transposed_input || ops::window_of(node.op) != nullptr) return std::nullopt;
  if (node.inputs[0] != value || std::count(node.inputs.begin(), node.inputs.end(), value) != 1) return std::nullopt;
  return plain_constant(graph, node.inputs[1]) == nullptr ? std::nullopt : std::optional(SmoothedReader{id, *weights});
}

struct Smoothable {
  NodeId norm;
  ValueId value;
  std::vector<SmoothedReader> readers;
  bool has_others;  // whether other readers need the unchanged values
};

std::optional<Smoothable> smoothable(const Graph& graph, NodeId id) {
  const Node& node = graph.node(id);
  const auto* op = std::get_if<LayerNorm>(&node.op);
  if (op == nullptr || !normalizes_last_axis(*op, graph.value(node.inputs[0]).shape)) return std::nullopt;
  const Tensor* scale = plain_constant(graph, node.inputs[1]);
  const bool has_shift = node.inputs.size() > 2 && node.inputs[2] != ValueId::none;
  if (scale == nullptr || scale->rank() != 1 || (has_shift && plain_constant(graph, node.inputs[2]) == nullptr))
    return std::nullopt;
  const bool is_alone = node.outputs.size() < 2 || (node.outputs[1] == ValueId::none &&
                                                    (node.outputs.size() < 3 || node.outputs[2] == ValueId::none));
  Smoothable found{id, node.outputs[0], {}, graph.is_output(node.outputs[0])};
  if (!is_alone || graph.value(found.value).quant) return std::nullopt;
  for (NodeId consumer : graph.consumers(found.value)) {
    const auto reader = reader_of(graph, consumer, found.value);
    if (reader && reader->weights.inputs == scale->size())
      found.readers.push_back(*reader);
    else
      found.has_others = true;
  }
  // Products after another normalization that share the weights would need other factors.
  const auto is_reader = [&](NodeId other) {
    return std::ranges::any_of(found.readers, [&](const SmoothedReader& reader) { return reader.node == other; });
  };
  const auto shares_weights = [&](const SmoothedReader& reader) {
    return !std::ranges::all_of(graph.consumers(graph.node(reader.node).inputs[1]), is_reader);
  };
  if (found.readers.empty() || std::ranges::any_of(found.readers, shares_weights)) return std::nullopt;
  return found;
}

/// Equation 4: the divisor of each channel.
std::vector<double> smoothing(const Graph& graph, const Smoothable& at, const std::vector<float>& maxima,
                              double strength) {
  std::vector<double> factors;
  for (std::size_t k = 0; k < maxima.size(); ++k) {
    double weight = 0;
    for (const SmoothedReader& reader : at.readers) {
      const auto w = graph.value(graph.node(reader.node).inputs[1]).constant->data<float>();
      for (std::int64_t o = 0; o < reader.weights.outputs; ++o)
        weight = std::max(weight,
                          static_cast<double>(std::abs(w[reader.weights.index(0, o, static_cast<std::int64_t>(k))])));
    }
    const bool says_something = maxima[k] > 0 && weight > 0;
    const double factor =
        says_something ? std::pow(static_cast<double>(maxima[k]), strength) / std::pow(weight, 1 - strength) : 1;
    factors.push_back(std::clamp(factor, 1 / kMaxFactor, kMaxFactor));
  }
  return factors;
}

void multiply(Graph& graph, NodeId id, std::size_t slot, const std::vector<double>& factors) {
  Tensor changed = *graph.value(graph.node(id).inputs[slot]).constant;
  const auto data = changed.mutable_data<float>();
  for (std::size_t k = 0; k < factors.size(); ++k) data[k] = static_cast<float>(data[k] * factors[k]);
  set_constant_input(graph, id, slot, std::move(changed), graph.node(id).name + "_smoothed");
}

void multiply_rows(Graph& graph, const SmoothedReader& reader, const std::vector<double>& factors) {
  Tensor changed = *graph.value(graph.node(reader.node).inputs[1]).constant;
  const auto data = changed.mutable_data<float>();
  reader.weights.for_each([&](std::size_t i, std::int64_t /*o*/, std::int64_t k) {
    data[i] = static_cast<float>(data[i] * factors[static_cast<std::size_t>(k)]);
  });
  set_constant_input(graph, reader.node, 1, std::move(changed), graph.node(reader.node).name + "_smoothed");
}

/// Duplicates the normalization for the products.
void separate(Graph& graph, Smoothable& at, const std::string& name) {
  const Node norm = graph.node(at.norm);
  const ValueId copy = graph.add(norm.op, name, norm.inputs, name);
  graph.value(copy).dtype = graph.value(at.value).dtype;
  graph.value(copy).shape = graph.value(at.value).shape;
  for (const SmoothedReader& reader : at.readers) graph.set_input(reader.node, 0, copy);
  at.norm = graph.producer(copy);
  at.value = copy;
}

}  // namespace

std::vector<std::string> smoothable_values(const Graph& graph) {
  std::vector<std::string> names;
  for (NodeId id : graph.topological_order())
    if (const auto at = smoothable(graph, id)) names.push_back(graph.value(at->value).name);
  return names;
}

std::vector<EqualizedRegion> smooth_normalizations(Graph& graph, const FeatureMaxima& maxima, double strength) {
  check(strength >= 0 && strength <= 1, "the strength of smoothing is {}; it must be 0 to 1", strength);
  std::vector<EqualizedRegion> regions;
  for (NodeId id : graph.topological_order()) {
    auto at = smoothable(graph, id);
    if (!at) continue;
    const std::string name = graph.value(at->value).name;
    const auto known = maxima.find(name);
    if (known == maxima.end() || static_cast<std::int64_t>(known->second.size()) != at->readers[0].weights.inputs)
      continue;
    const std::vector<double> rows = smoothing(graph, *at, known->second, strength);
    std::vector<double> inverse;
    inverse.reserve(rows.size());
    for (double f : rows) inverse.push_back(1 / f);
    EqualizedRegion region{.values = {name}, .renamed = {graph.unique_name(name + "_smoothed")}, .factors = inverse};
    if (at->has_others)
      separate(graph, *at, region.renamed.front());
    else
      graph.rename_value(at->value, region.renamed.front());
    const std::vector<ValueId> parameters = graph.node(at->norm).inputs;
    multiply(graph, at->norm, 1, inverse);
    if (parameters.size() > 2 && parameters[2] != ValueId::none) multiply(graph, at->norm, 2, inverse);
    for (const SmoothedReader& reader : at->readers) multiply_rows(graph, reader, rows);
    regions.push_back(std::move(region));
  }
  return regions;
}

}  // namespace bitfold
