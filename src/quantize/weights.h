// Quantizes the constants of a product: weights to codes, the bias to int32 on the grid of the accumulators.
#pragma once

#include <span>
#include <vector>

#include "bitfold/graph.h"
#include "bitfold/quantize.h"

namespace bitfold::quantization {

/// Quantizes the weights and biases of Convs, Gemms or MatMuls whose inputs have their grids. They share the weights
/// (see can_share_codes), which get one grid that suits all of them, and each gets its own bias. A constant that other
/// nodes read too is copied first. Returns the number of channels whose weight scale was raised to keep accumulators in
/// int32. Throws Error when a weight or bias is not finite.
int quantize_constants(Graph& graph, std::span<const NodeId> sharers, const Recipe& recipe);

/// Whether two products read the same constant as weights with the same output channels and factor.
bool can_share_codes(const Graph& graph, NodeId a, NodeId b);

/// A layer's weights and bias in float, multiplied by the alpha and beta of a Gemm.
struct FloatConstants {
  Tensor weights;
  std::vector<double> bias;  ///< One per output channel; empty without a bias.
};
/// Throws Error if a bias is not finite.
FloatConstants float_constants(const Graph& graph, NodeId id);

/// qmax - qmin of an input of up to 8 bits; 0 for wider ones, which are not accumulated in int32.
int input_span(const QuantParams& input);
/// The largest accumulator as a fraction of int32 (equation 14). `bias` is in steps of its grid, `weight_sum` the sum
/// of |code - zero point| over a channel's weights.
double accumulator_load(double bias, int input_span, double weight_sum);
/// The grid of the bias and of the accumulators (equation 13).
QuantParams bias_grid(const QuantParams& input, const QuantParams& weights);
/// Replaces a constant by codes on a grid.
void set_codes(Value& value, Tensor codes, QuantParams grid);

/// The grid of weights: at 8 bits from their extremes, below from the clipped range with the least squared error.
QuantParams weight_grid(const Tensor& weights, int axis, const Recipe& recipe);

}  // namespace bitfold::quantization
