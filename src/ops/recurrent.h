// Recurrent layers as a walk over steps, shared by the evaluation in plain loops and the engine's step: both give it
// their own matrix product and their own functions of the gates.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "bitfold/node.h"

namespace bitfold::ops {

enum class GateFunction {
  affine,
  relu,
  leaky_relu,
  thresholded_relu,
  tanh,
  scaled_tanh,
  sigmoid,
  hard_sigmoid,
  elu,
  softsign,
  softplus
};
struct Activation {
  GateFunction function = GateFunction::tanh;
  float alpha = 0, beta = 0;
};

struct RecurrentSizes {
  std::int64_t steps = 0, batch = 0, inputs = 0, hidden = 0, directions = 1;
  std::int64_t gates = 1;  ///< Rows of w and r for each hidden unit: rnn 1, gru 3, lstm 4.
};
RecurrentSizes recurrent_sizes(const Recurrent& op, std::span<const std::int64_t> x, std::span<const std::int64_t> w,
                               std::span<const std::int64_t> r);

/// One direction of a layer.
struct Cell {
  RecurrentKind kind = RecurrentKind::rnn;
  std::int64_t direction = 0, hidden = 0;
  Activation f, g, h;
  float clip = 0;  ///< Infinity means none.
  bool linear_before_reset = false, input_forget = false;
  const float* reset_bias = nullptr;  ///< The bias of r for a gru's hidden gate, if linear_before_reset; may be null.
  const float* peepholes = nullptr;   ///< lstm: rows for the input, output and forget gates, or null.
};
/// The activations of one direction. Throws Error on an unknown name or a wrong number of names.
std::vector<Activation> activations_of(const Recurrent& op, std::int64_t direction);

/// The rows of one sample in one step. `input` holds the gates' sums over the input, with the biases; `state` those
/// over the previous state. `h` is the previous state on entry and the new one on return; so is `c` of an lstm.
struct CellRows {
  const float *input = nullptr, *state = nullptr;
  float *h = nullptr, *c = nullptr;
  float* reset = nullptr;   ///< A gru's reset gate times h: written by the first half, read by the second product.
  float* update = nullptr;  ///< A gru's update gate, between the halves.
};

/// The arithmetic of a recurrent layer. The functions of gates are plain loops here.
class RecurrentArithmetic {
 public:
  virtual ~RecurrentArithmetic() = default;
  /// y [rows, gates * hidden] = x [rows, inputs] times the direction's w, transposed, plus `bias` in each row.
  virtual void multiply_input(std::int64_t direction, std::int64_t rows, const float* x, const float* bias,
                              float* y) = 0;
  /// y [batch, count * hidden] = h [batch, hidden] times `count` gates of the direction's r, transposed, from gate
  /// `first` on.
  virtual void multiply_state(std::int64_t direction, std::int64_t first, std::int64_t count, const float* h,
                              float* y) = 0;
  /// rnn, lstm and gru with linear_before_reset: the new state. Other grus: the update and reset gates.
  virtual void apply_gates(const Cell& cell, const CellRows& rows);
  /// Other grus: the new state from the hidden gate's sums; `state` holds only the hidden gate.
  virtual void finish_gru(const Cell& cell, const CellRows& rows);
};

/// The numbers of rows with which run_recurrent() calls multiply_input().
std::vector<std::int64_t> input_product_rows(const Recurrent& op, const RecurrentSizes& sizes);
/// Floats of memory that run_recurrent() needs.
std::int64_t recurrent_scratch(const RecurrentSizes& sizes);

/// Runs the layer. Inputs and outputs are those of the node.
void run_recurrent(const Node& node, std::span<const TensorView> in, std::span<const TensorView> out,
                   RecurrentArithmetic& arithmetic, std::span<float> scratch);

}  // namespace bitfold::ops
