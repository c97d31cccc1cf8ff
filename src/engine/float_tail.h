// Nodes after a float convolution or matrix product that its step also computes.
#pragma once

#include <optional>
#include <string>

#include "engine/lowering.h"
#include "engine/written_function.h"
#include "graph/activation.h"
#include "onednn/prepared.h"

namespace bitfold::engine {

/// The fused nodes.
struct FloatTail {
  ValueId output;
  ValueId residual = ValueId::none;
  std::optional<Activation> activation;
  std::optional<WrittenFunction> function;  ///< Instead of an activation.
  std::string op, name;

  bool has_clamp() const { return activation && activation->is_clamp(); }

  onednn::Epilogue epilogue(bool has_bias) const;
};

/// Finds and claims the nodes to fuse. `may_add` allows a sum with another value of the same shape. A Relu or Clip is
/// fused only if check_clamp() can ensure that no NaN is lost.
FloatTail fuse_float_tail(Lowering& lowering, NodeId id, bool may_add);

/// For a oneDNN step: adds checks of the magnitudes that the fused Relu or Clip depends on. The product `id` and the
/// residual must have been lowered.
void check_clamp(Lowering& lowering, NodeId id, const FloatTail& tail);

/// Part of lower_float: a convolution that reads planes and whose output is a graph output, so that neither needs to be
/// converted to channels-last. Returns whether it added the step.
bool lower_planar_conv(Lowering& lowering, NodeId id, const WindowedImages& images, std::int64_t groups,
                       const FloatTail& tail, const std::optional<Tensor>& bias);

}  // namespace bitfold::engine
