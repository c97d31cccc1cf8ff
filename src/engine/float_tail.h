// What follows a float convolution or matrix product and is computed by its step.
#pragma once

#include <optional>
#include <string>

#include "engine/lowering.h"
#include "graph/activation.h"
#include "onednn/prepared.h"

namespace bitfold::engine {

/// The nodes after a convolution or matrix product that its step also computes.
struct FloatTail {
  ValueId output;
  ValueId residual = ValueId::none;
  std::optional<Activation> activation;
  std::string op, name;

  bool has_clamp() const { return activation && activation->is_clamp(); }

  onednn::Epilogue epilogue(bool has_bias) const;
};

/// Claims the nodes. `may_add`: a sum with another value of the same shape may be one of them. A Relu or Clip is one
/// only where check_clamp() can make sure that no NaN is lost.
FloatTail fuse_float_tail(Lowering& lowering, NodeId id, bool may_add);

/// For a step of oneDNN's: adds checks of the magnitudes that the fused Relu or Clip depends on. The product `id` and
/// the residual have been lowered.
void check_clamp(Lowering& lowering, NodeId id, const FloatTail& tail);

/// Part of lower_float: a convolution that reads planes and whose output is a graph output, so that neither need be
/// turned into channels-last. True when it added the step.
bool lower_planar_conv(Lowering& lowering, NodeId id, const Window2dShape& window, std::int64_t groups,
                       const FloatTail& tail, const std::optional<Tensor>& bias);

}  // namespace bitfold::engine
