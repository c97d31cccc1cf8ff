// The weights of Conv, ConvTranspose, Gemm and MatMul as matrices.
#pragma once

#include <cstddef>
#include <cstdint>

namespace bitfold::ops {

/// One matrix [outputs][depth] per group, inside the tensor of weights:
///
///   y[g, o] = alpha * sum over k of x[g, k] * weights[index(g, o, k)] + beta * bias[g * outputs + o]
///
/// k counts the input channels of the group and, within each, the positions of the kernel ("taps").
struct WeightMatrix {
  std::int64_t groups = 1;
  std::int64_t outputs = 1, inputs = 1;                                ///< Channels of one group.
  std::int64_t taps = 1;                                               ///< Elements of one kernel; they are adjacent.
  std::int64_t group_stride = 0, output_stride = 1, input_stride = 1;  ///< In elements.
  int output_axis = 0;                ///< Axis of the output channels in the tensor: 0 or 1.
  float alpha = 1, beta = 1;          ///< As in Gemm.
  bool has_transposed_input = false;  ///< Whether the input channels are axis 0 of x, as in a Gemm with transA.
  bool is_batched = false;            ///< Whether x may have further axes before its rows, as in MatMul.
  /// Whether some outputs sum over a part of their products only, because the window reaches into padding or is
  /// transposed.
  bool has_partial_sums = false;

  std::int64_t depth() const { return inputs * taps; }
  std::int64_t output_count() const { return groups * outputs; }
  std::int64_t input_count() const { return groups * inputs; }

  std::size_t index(std::int64_t group, std::int64_t output, std::int64_t k) const {
    return static_cast<std::size_t>(group * group_stride + output * output_stride + k / taps * input_stride + k % taps);
  }

  /// Calls visit(i, o, k) for every element i, in the order of the tensor. It connects input channel k to output
  /// channel o, counted over all groups.
  template <class Visit>
  void for_each(const Visit& visit) const {
    const bool is_output_first = output_axis == 0;
    const std::int64_t rows = is_output_first ? outputs : inputs, columns = is_output_first ? inputs : outputs;
    std::size_t i = 0;
    for (std::int64_t g = 0; g < groups; ++g)
      for (std::int64_t r = 0; r < rows; ++r)
        for (std::int64_t c = 0; c < columns; ++c) {
          const std::int64_t output = g * outputs + (is_output_first ? r : c);
          const std::int64_t input = g * inputs + (is_output_first ? c : r);
          for (std::int64_t t = 0; t < taps; ++t, ++i) visit(i, output, input);
        }
  }
};

}  // namespace bitfold::ops
