// Nodes after a float convolution or matrix product that its step also computes.
#pragma once

#include <functional>
#include <optional>
#include <string>

#include "engine/lowering.h"
#include "engine/steps/onednn.h"
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

/// The bias in an input slot; none if there is none (`present` is then false) or it is not constant.
std::optional<Tensor> bias_of(const Lowering& lowering, const Node& node, std::size_t slot, bool& present);

/// The parts of a product's step besides its primitive.
struct FloatProduct {
  const FloatTail& tail;
  FloatWeightsKey key;  ///< Without the weights and their layout.
  /// Returns the weights in the plain layout from which the primitive packs; called only if they have not been packed
  /// before.
  std::function<Tensor()> decode;
  std::optional<Tensor> bias;
  Slot source, destination;
  std::optional<Slot> residual;
  std::int64_t mac_count = 0;
};
/// Adds the step of product `id`.
OnednnStep& add_product(Lowering& lowering, NodeId id, onednn::Primitive primitive, const FloatProduct& product);

onednn::Image onednn_image(const ImageShape& shape);
onednn::Window2d onednn_window(const Window2dShape& window);

/// Part of lower_float: a Conv or ConvTranspose with constant weights.
bool lower_float_conv(Lowering& lowering, NodeId id);

/// Part of lower_float: a convolution that reads planes and whose output is a graph output, so that neither needs to be
/// converted to channels-last. Returns whether it added the step.
bool lower_planar_conv(Lowering& lowering, NodeId id, const WindowedImages& images, std::int64_t groups,
                       const FloatTail& tail, const std::optional<Tensor>& bias);

}  // namespace bitfold::engine
