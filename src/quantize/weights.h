// The constants of a product: weights as codes, and an int32 bias on the grid of the accumulators.
#pragma once

#include <vector>

#include "bitfold/graph.h"
#include "bitfold/quantize.h"

namespace bitfold::quantization {

/// Replaces the weights and bias of a Conv, Gemm or MatMul whose input has its grid. A constant that others read too is
/// copied first. Returns for how many channels the weight scale was raised above what the weights need.
/// Throws Error when a weight or bias is not finite.
int quantize_constants(Graph& graph, NodeId id, const Recipe& recipe);

/// A layer's weights and bias in float, the alpha and beta of a Gemm multiplied in.
struct FloatConstants {
  Tensor weights;
  std::vector<double> bias;  ///< One per output channel; empty where there is none.
};
/// Throws Error when a bias is not finite.
FloatConstants float_constants(const Graph& graph, NodeId id);
/// The axis of a Conv's, ConvTranspose's, Gemm's or MatMul's weights that counts output channels.
int output_axis(const Op& op);

/// Codes of an 8-bit input from the lowest to the highest; 0 for wider ones, which are not accumulated in int32.
int input_span(const QuantParams& input);
/// What part of int32 an accumulator may take (equation 14): `bias` in steps of its grid, `weight_sum` the sum of
/// magnitudes of a channel's weight codes less their zero point.
double accumulator_load(double bias, int input_span, double weight_sum);
/// The grid of the bias, on which the accumulators lie (equation 13).
QuantParams bias_grid(const QuantParams& input, const QuantParams& weights);
/// Makes a constant one of codes.
void set_codes(Value& value, Tensor codes, QuantParams grid);

/// The grid of weights: from their extremes at 8 bits; below, from the clipped range with the least squared error.
QuantParams weight_grid(const Tensor& weights, int axis, const Recipe& recipe);

}  // namespace bitfold::quantization
