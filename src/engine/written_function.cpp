#include "engine/written_function.h"

#include <algorithm>
#include <cmath>
#include <functional>
#include <limits>
#include <map>

#include "ops/operator.h"

namespace bitfold::engine {
namespace {

constexpr std::size_t kMaxNodes = 12;
using Reals = std::vector<float>;

/// Arguments at which functions are compared: dense where the functions bend, then up to large magnitudes, at which a
/// bound shows.
const Reals& samples() {
  static const Reals all = [] {
    Reals made;
    for (int i = -40; i <= 40; ++i) made.push_back(0.2F * static_cast<float>(i) + 0.013F);
    for (float magnitude = 9; magnitude < 1e15F; magnitude *= 1.7F)
      for (float sign : {-1.0F, 1.0F}) made.push_back(sign * magnitude);
    for (float sign : {-1.0F, 1.0F}) made.push_back(sign * std::numeric_limits<float>::infinity());
    return made;
  }();
  return all;
}

/// Whether the function has no steps, which could lie between two samples.
bool is_continuous(const Op& op) {
  if (const auto* unary = std::get_if<Unary>(&op))
    return unary->kind != UnaryKind::floor && unary->kind != UnaryKind::ceil && unary->kind != UnaryKind::round &&
           unary->kind != UnaryKind::sign;
  if (const auto* parametric = std::get_if<Parametric>(&op))
    return parametric->kind != ParametricKind::thresholded_relu && parametric->kind != ParametricKind::shrink;
  const auto* binary = std::get_if<Binary>(&op);
  return binary == nullptr || binary->kind != BinaryKind::mod;
}

bool contains(const std::vector<NodeId>& nodes, NodeId id) { return std::ranges::find(nodes, id) != nodes.end(); }

/// Nodes that compute functions of x, and the results of these functions for the samples.
class Region {
 public:
  Region(const Lowering& l, ValueId x, NodeId claimed) : l_(l), x_(x), claimed_(claimed) {
    results_.emplace(x, samples());
  }

  /// Adds a node if it computes a function of x alone. Returns whether it did.
  bool add(NodeId id) {
    const Node& node = l_.graph.node(id);
    if ((l_.is_claimed(id) && id != claimed_) || contains(nodes_, id) || !is_continuous(node.op)) return false;
    const ValueId y = node.outputs[0];
    if (node.outputs.size() != 1 || l_.shape(y) != l_.shape(x_)) return false;
    auto result = evaluate_elementwise(l_, node, samples().size(), [&](std::size_t slot) -> const Reals* {
      const auto found = results_.find(node.inputs[slot]);
      return found == results_.end() ? nullptr : &found->second;
    });
    if (!result) return false;
    nodes_.push_back(id);
    results_.emplace(y, std::move(*result));
    return true;
  }

  /// The nodes that y depends on, if no other node reads the values between x and y.
  std::optional<std::vector<NodeId>> nodes_of(ValueId y) const {
    std::vector<NodeId> found;
    std::vector<ValueId> pending{y};
    while (!pending.empty()) {
      const ValueId value = pending.back();
      pending.pop_back();
      if (value == x_ || !results_.contains(value)) continue;  // x, or a constant
      const NodeId producer = l_.graph.producer(value);
      if (contains(found, producer)) continue;
      found.push_back(producer);
      for (ValueId input : l_.graph.node(producer).inputs) pending.push_back(input);
    }
    const bool is_closed = std::ranges::all_of(found, [&](NodeId id) {
      const ValueId value = l_.graph.node(id).outputs[0];
      return value == y ||
             (!l_.graph.is_output(value) && !l_.graph.value(value).quant &&
              std::ranges::all_of(l_.graph.consumers(value), [&](NodeId reader) { return contains(found, reader); }));
    });
    std::ranges::reverse(found);
    return is_closed ? std::optional(std::move(found)) : std::nullopt;
  }

  const std::vector<NodeId>& nodes() const { return nodes_; }
  const Reals& results(ValueId y) const { return results_.at(y); }

 private:
  const Lowering& l_;
  ValueId x_;
  NodeId claimed_;
  std::vector<NodeId> nodes_;
  std::map<ValueId, Reals> results_;
};

double sigmoid(double x) { return 1 / (1 + std::exp(-x)); }

bool equals(const Reals& results, const std::function<double(double)>& function) {
  for (std::size_t i = 0; i < results.size(); ++i) {
    const double x = samples()[i], expected = function(x), result = results[i];
    if (result == expected || (std::isnan(result) && std::isnan(expected))) continue;
    if (!(std::abs(result - expected) <= 1e-6 * std::min(std::abs(x), 8.0) + 1e-5 * std::abs(expected))) return false;
  }
  return true;
}

/// alpha, if the results are x sigmoid(alpha x).
std::optional<float> swish_alpha(const Reals& results) {
  const auto at =
      static_cast<std::size_t>(std::ranges::find_if(samples(), [](float x) { return x > 0.9F; }) - samples().begin());
  const double x = samples()[at], gate = results[at] / x;
  if (!(gate > 0.01 && gate < 0.99)) return std::nullopt;
  // Factors are usually written with few digits.
  const double measured = std::log(gate / (1 - gate)) / x, rounded = std::round(1e5 * measured) / 1e5;
  const double alpha = std::abs(measured - rounded) < 2e-6 ? rounded : measured;
  if (std::abs(alpha) < 1e-3) return std::nullopt;  // half of x
  if (!equals(results, [alpha](double v) { return v * sigmoid(alpha * v); })) return std::nullopt;
  return static_cast<float>(alpha);
}

bool recognize(const Reals& results, WrittenFunction& written) {
  const auto is = [&](RealFunction function, const std::function<double(double)>& definition) {
    if (!equals(results, definition)) return false;
    written.function = function;
    return true;
  };
  if (const auto alpha = swish_alpha(results)) {
    written.function = RealFunction::swish;
    written.alpha = *alpha;
    return true;
  }
  return is(RealFunction::hard_swish, [](double x) { return x * std::clamp(x / 6 + 0.5, 0.0, 1.0); }) ||
         is(RealFunction::mish, [](double x) { return x * std::tanh(std::log1p(std::exp(x))); }) ||
         is(RealFunction::gelu, [](double x) { return 0.5 * x * std::erfc(-x * std::sqrt(0.5)); }) ||
         is(RealFunction::gelu_tanh, [](double x) {
           return 0.5 * x * (1 + std::tanh(std::sqrt(2 / std::acos(-1.0)) * (x + 0.044715 * x * x * x)));
         });
}

}  // namespace

std::optional<WrittenFunction> find_written_function(const Lowering& l, ValueId x, NodeId claimed) {
  if (l.dtype(x) != DataType::float32) return std::nullopt;
  Region region(l, x, claimed);
  std::optional<WrittenFunction> found;
  std::vector<ValueId> values{x};  // whose readers are tried; a reader may need the values of later ones
  for (bool grows = true; grows && region.nodes().size() < kMaxNodes;) {
    grows = false;
    for (std::size_t i = 0; i < values.size(); ++i)
      for (NodeId reader : l.graph.consumers(values[i])) {
        if (region.nodes().size() == kMaxNodes || !region.add(reader)) continue;
        grows = true;
        const ValueId y = l.graph.node(reader).outputs[0];
        values.push_back(y);
        auto nodes = region.nodes_of(y);
        if (!nodes) continue;
        WrittenFunction written{.nodes = std::move(*nodes), .output = y};
        if (recognize(region.results(y), written)) found = std::move(written);
      }
  }
  return found;
}

bool reads_all_of(const Lowering& l, const WrittenFunction& written, ValueId x) {
  return !l.graph.is_output(x) && !l.graph.value(x).quant &&
         std::ranges::all_of(l.graph.consumers(x), [&](NodeId reader) { return contains(written.nodes, reader); });
}

std::string operator_names(const Lowering& l, const WrittenFunction& written) {
  std::string names;
  for (NodeId id : written.nodes) names += (names.empty() ? "" : "+") + op_name(l.graph.node(id).op);
  return names;
}

void claim(Lowering& l, const WrittenFunction& written) {
  for (NodeId id : written.nodes) l.claim(id);
}

}  // namespace bitfold::engine
