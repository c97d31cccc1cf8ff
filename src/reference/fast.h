// Convolutions and matrix products of the reference with oneDNN: the same functions as the plain loops, but accumulated
// in float.
#pragma once

#include <map>
#include <memory>
#include <mutex>
#include <span>
#include <vector>

#include "bitfold/graph.h"
#include "onednn/plain.h"

namespace bitfold::reference {

/// Whether a convolution's input is channels-last.
struct ImageLayouts {
  bool in = false;
  bool out = false;  ///< Set by the caller: whether the output may be channels-last. Set by the call: whether it is.
};

/// Thread-safe.
class FastProducts {
 public:
  /// Runs the node if it is a Gemm, a MatMul, or a Conv or ConvTranspose with constant weights and bias (which must be
  /// the same in every call). Returns false and does nothing for other nodes. `layouts` selects channels-last images.
  bool run(NodeId id, const Node& node, bool has_constant_weights, std::span<const TensorView> in,
           std::span<const TensorView> out, ImageLayouts& layouts);

 private:
  struct Entry {
    onednn::PlainConvShape shape;
    int threads;                                    // oneDNN divides the work when a primitive is created
    std::shared_ptr<const onednn::PlainConv> conv;  // null if oneDNN has no implementation
  };
  bool conv(NodeId id, const Node& node, std::span<const TensorView> in, std::span<const TensorView> out,
            ImageLayouts& layouts);
  std::shared_ptr<const onednn::PlainConv> find(NodeId id, const onednn::PlainConvShape& shape,
                                                std::span<const TensorView> in);

  std::mutex mutex_;
  std::map<NodeId, std::vector<Entry>> convs_;  // the last few shapes of each node
};

}  // namespace bitfold::reference
