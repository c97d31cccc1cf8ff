// Cells 2 to 18: tensors and a layer.
#include <algorithm>
#include <cmath>
#include <cstdio>

#include "as_written.h"
#include "bitfold/bitfold.h"
#include "cells.h"
#include "networks.h"
#include "table.h"

namespace notebook {
namespace {

using bitfold::QuantParams;
using bitfold::Tensor;

// As cell 2 prints them. The extremes have more digits, derived from the notebook's own results (its code 103.5259 of
// real 0 is 2.2066 / scale), so that every figure below equals the printed one.
const std::vector<float> kX{-2.206556F, 0.3966F,  0.5587F, 1.1892F,  0.3932F,   1.6257F, -0.6623F, -0.0903F,
                            -0.8323F,   -0.0078F, 1.2867F, -0.1683F, 3.228527F, 1.6256F, 0.6275F,  -1.0032F};

Tensor x_f() { return Tensor::from<float>({4, 4}, kX); }

std::vector<float> floats(const Tensor& t) {
  if (t.dtype() == bitfold::DataType::float32) return {t.data<float>().begin(), t.data<float>().end()};
  if (t.dtype() == bitfold::DataType::int8) return {t.data<std::int8_t>().begin(), t.data<std::int8_t>().end()};
  if (t.dtype() == bitfold::DataType::int32) return {t.data<std::int32_t>().begin(), t.data<std::int32_t>().end()};
  return {t.data<std::uint8_t>().begin(), t.data<std::uint8_t>().end()};
}

// The grid for a tensor's own range.
QuantParams grid_of(const std::vector<float>& x, const bitfold::GridSpec& spec) {
  const auto [min, max] = std::minmax_element(x.begin(), x.end());
  return bitfold::choose_params(*min, *max, spec);
}

void print_codes_and_values(const Quantized& theirs, int decimals, const QuantParams& ours) {
  const Tensor codes = bitfold::quantize(x_f(), ours), values = bitfold::dequantize(codes, ours);
  print({{"the notebook's codes", theirs.codes, 4, decimals}, {"Bitfold's codes", floats(codes), 4, 0}});
  std::printf("\n");
  print({{"the notebook, dequantized", dequantize(theirs), 4, 4}, {"Bitfold, dequantized", floats(values), 4, 4}});
  std::printf("largest error: the notebook %.4f, Bitfold %.4f (half a step is %.4f)\n",
              static_cast<double>(max_abs_difference(kX, dequantize(theirs))),
              static_cast<double>(max_abs_difference(kX, floats(values))), static_cast<double>(ours.scale[0]) / 2);
}

}  // namespace

void walk_tensor() {
  print_heading("cells 2 to 6", "a 4x4 tensor, asymmetric at 8 bits");
  print({{"x_f", kX}});
  const Quantized theirs = quantize_with_fraction(kX, 8);
  const QuantParams ours = grid_of(kX, {.bits = 8});
  std::printf("\nscale: %.4f in both. zero_point: the notebook %.4f, Bitfold %d.\n\n",
              static_cast<double>(ours.scale[0]), static_cast<double>(theirs.zero_point), ours.zero_point[0]);
  print_codes_and_values(theirs, 4, ours);
  std::printf(
      "\nWhy they differ: the notebook adds a fractional zero point after rounding, so none of its codes is an "
      "integer. Stored\n"
      "in 8 bits they would lose the fraction, and real 0 would fall between two codes. Bitfold rounds the zero point: "
      "the codes\n"
      "are bytes, and 0 is on the grid exactly, as padding and Relu need.\n");
}

void walk_schemes() {
  print_heading("cells 7 to 9", "the zero point cut to an integer");
  const QuantParams asymmetric = grid_of(kX, {.bits = 8});
  const Quantized cut = quantize(kX, 8, Mode::asymmetric);
  std::printf("zero_point: int(%.4f) is %.0f in the notebook, round(%.4f) is %d in Bitfold.\n\n",
              static_cast<double>(quantize_with_fraction(kX, 8).zero_point), static_cast<double>(cut.zero_point),
              static_cast<double>(quantize_with_fraction(kX, 8).zero_point), asymmetric.zero_point[0]);
  print_codes_and_values(cut, 0, asymmetric);
  std::printf(
      "\nWhy they differ: truncation shifts the grid by up to a whole step. Here the minimum would need code -1, and "
      "clips;\n"
      "code 255 is never used.\n");

  print_heading("cells 10, 11 and 17", "symmetric at 8 bits");
  const Quantized clipped = quantize(kX, 8, Mode::symmetric);
  const QuantParams symmetric = grid_of(kX, {.bits = 8, .is_signed = true, .scheme = bitfold::Scheme::symmetric});
  std::printf("scale: the notebook %.4f = (max - min) / 255, Bitfold %.4f = max|x| / 127.\n\n",
              static_cast<double>(clipped.scale), static_cast<double>(symmetric.scale[0]));
  print_codes_and_values(clipped, 0, symmetric);
  std::printf(
      "\nWhy they differ: the notebook takes the asymmetric scale and moves the zero point to 0. Its grid then ends "
      "at\n"
      "127 * 0.0213 = 2.7069, and 3.2285 is clipped to it: the tensor's largest number has the largest error. A "
      "symmetric\n"
      "grid must reach the larger of the two ends, so its scale is max|x| / 127.\n");
}

void walk_layer() {
  print_heading("cells 14 to 18", "a layer: conv1, 20 filters of 3x5x5");
  const bitfold::Graph graph = lenet();
  const Tensor weight = *graph.value(graph.find("conv1.weight")).constant;
  const Tensor bias = *graph.value(graph.find("conv1.bias")).constant;
  const std::vector<float> w = floats(weight), b = floats(bias);

  // In the notebook, weights and then the bias pass through the same object, which keeps the last scale.
  const Quantized their_w = quantize(w, 8, Mode::asymmetric), their_b = quantize(b, 8, Mode::asymmetric);
  const QuantParams w_grid = bitfold::choose_params_per_channel(
      weight, 0, {.bits = 8, .is_signed = true, .scheme = bitfold::Scheme::symmetric});
  const Tensor w_codes = bitfold::quantize(weight, w_grid);
  const auto corner = [](const std::vector<float>& all) { return std::vector<float>(all.begin(), all.begin() + 25); };
  print({{"the notebook's codes, [0, 0]", corner(their_w.codes), 5, 0},
         {"Bitfold's codes", corner(floats(w_codes)), 5, 0}});

  Quantized with_kept_scale = their_w;
  with_kept_scale.scale = their_b.scale;
  with_kept_scale.zero_point = their_b.zero_point;
  std::printf(
      "\nlargest error of a weight, dequantized: the notebook %.5f with its own scale, %.5f with the scale it kept; "
      "Bitfold %.5f\n",
      static_cast<double>(max_abs_difference(w, dequantize(their_w))),
      static_cast<double>(max_abs_difference(w, dequantize(with_kept_scale))),
      static_cast<double>(max_abs_difference(w, floats(bitfold::dequantize(w_codes, w_grid)))));

  // The bias is added to the accumulator, whose unit is s_x * s_w[c]: docs/internals/arithmetic.md (13).
  const Tensor x = Random(198).normal({1, 3, 28, 28});
  const QuantParams x_grid = grid_of(floats(x), {.bits = 8});
  QuantParams b_grid{.zero_point = std::vector<std::int32_t>(20, 0), .bits = 32, .is_signed = true, .axis = 0};
  for (float s_w : w_grid.scale) b_grid.scale.push_back(x_grid.scale[0] * s_w);
  const Tensor b_codes = bitfold::quantize(bias, b_grid);
  std::vector<float> added;  // the contribution of the notebook's codes to the accumulator
  for (std::size_t c = 0; c < b.size(); ++c) added.push_back(their_b.codes[c] * b_grid.scale[c]);
  const auto first = [](const std::vector<float>& all) { return std::vector<float>(all.begin(), all.begin() + 4); };
  std::printf("\nthe first four biases, and what their codes add to the accumulator:\n");
  print({{"bias", first(b), 1, 4},
         {"notebook's code", first(their_b.codes), 1, 0},
         {"worth", first(added), 1, 4},
         {"Bitfold's code", first(floats(b_codes)), 1, 0},
         {"worth", first(floats(bitfold::dequantize(b_codes, b_grid))), 1, 4}});
  std::printf(
      "\nWhy they differ: an integer convolution adds products in units of s_x * s_w, and the bias must come in that "
      "unit, which\n"
      "needs 32 bits and no range of its own. The notebook gives it 8 bits and a scale of its own; and as one object "
      "holds\n"
      "one scale, quantizing the bias overwrites that of the weights, which then cannot be dequantized at all.\n");
}

}  // namespace notebook
