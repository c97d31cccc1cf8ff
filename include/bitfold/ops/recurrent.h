// Recurrent layers.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace bitfold {

// Inputs in brackets are optional.

enum class RecurrentKind { rnn, gru, lstm };
enum class Direction { forward, reverse, bidirectional };
/// x [steps,batch,inputs], w [directions,gates*hidden,inputs], r [directions,gates*hidden,hidden], [bias
/// [directions,2*gates*hidden]], [lengths [batch]], [initial h [directions,batch,hidden]]; lstm: [initial c],
/// [peepholes [directions,3*hidden]] -> [y [steps,directions,batch,hidden]], [last h], lstm: [last c]
struct Recurrent {
  RecurrentKind kind = RecurrentKind::rnn;
  Direction direction = Direction::forward;
  std::int64_t hidden_size = 0;          ///< 0 means the size that follows from r.
  std::vector<std::string> activations;  ///< Per direction: rnn f; gru f, g; lstm f, g, h. Empty means ONNX's defaults.
  std::vector<float> activation_alpha, activation_beta;
  std::optional<float> clip;         ///< Bound of the activations' inputs; empty means none.
  bool linear_before_reset = false;  ///< gru only
  bool input_forget = false;         ///< lstm only: forget = 1 - input.
  bool batch_first = false;          ///< ONNX's layout 1.
  bool operator==(const Recurrent&) const = default;
};

}  // namespace bitfold
