#include "engine/magnitudes.h"

#include <algorithm>
#include <cmath>

#include "engine/lowering.h"
#include "graph/linear_layer.h"
#include "numeric/release_pages.h"
#include "ops/operator.h"

namespace bitfold::engine {
namespace {

/// Limits the recursion if no value has been queried before.
constexpr int kMaxDepth = 100;

double largest(const Tensor& reals) {
  double most = 0;
  for (const float v : reals.data<float>()) {
    if (std::isnan(v)) return Magnitudes::kUnknown;
    most = std::max(most, std::abs(static_cast<double>(v)));
  }
  return most;
}

/// The largest sum of |w| into one output of a product.
double largest_sum(const Tensor& weights, const std::optional<ops::WeightMatrix>& view) {
  if (weights.rank() < 2) return Magnitudes::kUnknown;
  // The weights of a MatMul may be a stack of matrices.
  if (!view) return static_cast<double>(weights.dim(weights.rank() - 2)) * largest(weights);
  std::vector<double> sums(static_cast<std::size_t>(view->output_count()));
  const auto w = weights.data<float>();
  view->for_each([&](std::size_t i, std::int64_t output, std::int64_t /*input*/) {
    sums[static_cast<std::size_t>(output)] += std::abs(static_cast<double>(w[i]));
  });
  double most = 0;
  for (const double sum : sums) {
    if (std::isnan(sum)) return Magnitudes::kUnknown;
    most = std::max(most, sum);
  }
  return most;
}

}  // namespace

double Magnitudes::constant(ValueId id) {
  return l_.weights.magnitude(id, [&] {
    const auto reals = l_.constant_reals(id);
    const double most = reals ? largest(*reals) : kUnknown;
    if (reals) release_mapped_pages(*l_.graph.value(id).constant);
    return most;
  });
}

double Magnitudes::product(NodeId id, double input) {
  const Node& node = l_.graph.node(id);
  const auto view = constant_weights(l_.graph, id);
  const double weights = l_.weights.row_sum(id, [&] {
    const auto reals = l_.constant_reals(node.inputs[1]);
    const double sum = reals ? largest_sum(*reals, view) : kUnknown;
    if (reals) release_mapped_pages(*l_.graph.value(node.inputs[1]).constant);
    return sum;
  });
  const ValueId b = ops::input_with(node, ops::Use::bias);
  const double bias = b == ValueId::none ? 0 : of(b);
  if (input == 0 && std::isinf(weights)) return kUnknown;  // avoids NaN
  const double alpha = view ? std::abs(static_cast<double>(view->alpha)) : 1;
  const double beta = view ? std::abs(static_cast<double>(view->beta)) : 1;
  return alpha * weights * input + beta * bias;
}

ops::RealBounds Magnitudes::of_operator(const Node& node, NodeId id) {
  const ops::OperatorInfo& row = ops::info(node.op);
  if (row.role == ops::Role::product && l_.graph.is_constant(node.inputs[1]))
    return ops::RealBounds::up_to(product(id, of(node.inputs[0])));
  if (row.bounds == nullptr) return {};
  std::vector<ops::RealBounds> inputs;
  for (std::size_t i = 0; i < node.inputs.size(); ++i) {
    const ValueId input = node.inputs[i];
    if (input == ValueId::none) {
      inputs.push_back(ops::RealBounds::empty());
      continue;
    }
    const ops::Use use = ops::slot_at(row.inputs, i)->use;
    inputs.push_back(l_.dtype(input) == DataType::float32 ? bounds(input) : ops::RealBounds{});
    // The output may be NaN.
    if ((use == ops::Use::data || use == ops::Use::fill) && !inputs.back().is_finite()) return {};
  }
  return row.bounds(node.op, inputs);
}

ops::RealBounds Magnitudes::computed(ValueId id, NodeId producer) {
  if (depth_ >= kMaxDepth) return {};
  ++depth_;
  const Node& node = l_.graph.node(producer);
  const ops::RealBounds found = l_.dtype(id) == DataType::float32 ? of_operator(node, producer) : ops::RealBounds{};
  --depth_;
  return found.magnitude() <= kFinite ? found : ops::RealBounds{};
}

ops::RealBounds Magnitudes::bounds(ValueId id) {
  const auto found = known_.find(id);
  if (found != known_.end()) return found->second;
  ops::RealBounds result;
  const Value& value = l_.graph.value(id);
  const auto number = l_.constant_scalar(id);
  if (number && !std::isnan(*number))
    result = {*number, *number};
  else if (value.constant)
    result = ops::RealBounds::up_to(constant(id));
  else if (value.quant)
    result = ops::RealBounds::up_to(
        std::ldexp(static_cast<double>(std::ranges::max(value.quant->scale)), value.quant->bits));
  else if (const NodeId producer = l_.graph.producer(id); producer != NodeId::none)
    result = computed(id, producer);
  return known_[id] = result;
}

}  // namespace bitfold::engine
