// The gates of recurrent layers with their usual functions: Sigmoid for gates, Tanh for states.
#pragma once

#include <cstdint>

#include "bitfold/cpu.h"

namespace bitfold {

/// One sample in one step. Each gate has `hidden` numbers; gates are in ONNX's order.
struct GateRow {
  std::int64_t hidden = 0;
  const float *input = nullptr, *state = nullptr;  ///< Sums over the input and over the previous state.
  const float* peepholes = nullptr;                ///< lstm: of the input, output and forget gates; null means none.
  const float* reset_bias = nullptr;               ///< gru: added to the hidden gate of `state`; null means none.
  float *h = nullptr, *c = nullptr;                ///< The previous state, replaced by the new one.
  float *reset = nullptr, *update = nullptr;       ///< gru: the reset gate times h, and the update gate.
  float clip = 0;                                  ///< Bound of the functions' inputs; infinity means none.
  bool input_forget = false;                       ///< lstm: forget = 1 - input.
};

struct GateKernels {
  const char* name;
  void (*rnn)(const GateRow& row) noexcept;
  void (*lstm)(const GateRow& row) noexcept;
  /// gru that multiplies the hidden gate's product by the reset gate.
  void (*gru_linear)(const GateRow& row) noexcept;
  /// gru that multiplies h by the reset gate before the product: the first gates, then the state. In the latter,
  /// `state` holds only the hidden gate.
  void (*gru_gates)(const GateRow& row) noexcept;
  void (*gru_state)(const GateRow& row) noexcept;
};

/// The fastest kernels that `cap` allows; `cap` must not exceed what the CPU supports.
const GateKernels& gate_kernels(Isa cap);

}  // namespace bitfold
