// What follows a float convolution or matrix product and is computed by its step.
#pragma once

#include <limits>
#include <optional>
#include <string>

#include "engine/lowering.h"
#include "onednn/prepared.h"

namespace bitfold::engine {

/// A Relu, a LeakyRelu or a Clip with known bounds.
struct Rectifier {
  onednn::Activation kind = onednn::Activation::none;
  float alpha = 0, beta = 0;  // as onednn::Epilogue has them

  bool is_leaky() const { return kind == onednn::Activation::leaky_relu; }
  /// Where it is not leaky, y = clamp(x, low(), high()).
  float low() const {
    if (kind == onednn::Activation::clip) return alpha;
    return kind == onednn::Activation::relu ? 0 : -std::numeric_limits<float>::infinity();
  }
  float high() const { return kind == onednn::Activation::clip ? beta : std::numeric_limits<float>::infinity(); }
};

/// What the node does when it is a rectifier.
std::optional<Rectifier> rectifier(const Lowering& lowering, const Node& node);

/// The nodes after a convolution or matrix product that its step also does.
struct FloatTail {
  ValueId output;
  ValueId residual = ValueId::none;
  Rectifier rectifier;
  std::string op, name;
};

/// Claims the nodes. `may_add`: a sum with another value of the same shape is one of them.
FloatTail fuse_float_tail(Lowering& lowering, NodeId id, bool may_add);

/// Of lower_float: where the convolution reads planes and the network ends with what it writes, so that neither need be
/// turned into channels-last. Says whether it did; `weights` and `bias` are in the graph's own order.
bool lower_planar_conv(Lowering& lowering, const Node& node, const Window2dShape& window, std::int64_t groups,
                       const FloatTail& tail, const Tensor& weights, const std::optional<Tensor>& bias);

}  // namespace bitfold::engine
