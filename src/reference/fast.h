// Convolutions and matrix products of the reference by oneDNN: the same function as their plain loops, but accumulated
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

/// Of a convolution's data: whether channels come last.
struct ImageLayouts {
  bool in = false;
  bool out = false;  ///< When asked: whether they may; afterwards: whether they do.
};

/// Safe to use from several threads at once.
class FastProducts {
 public:
  /// Runs the node if it is one of those: a Gemm, a MatMul, a 1-D or 2-D Conv whose weights and bias are constant (a
  /// node must come with the same ones every time). False when it is not, and nothing was done.
  /// With channels last where `layouts` says so.
  bool run(NodeId id, const Node& node, bool has_constant_weights, std::span<const TensorView> in,
           std::span<const TensorView> out, ImageLayouts& layouts);

 private:
  struct Entry {
    onednn::PlainConvShape shape;
    int threads;                                    // oneDNN divides the work when a primitive is made
    std::shared_ptr<const onednn::PlainConv> conv;  // null where oneDNN has none
  };
  bool conv(NodeId id, const Node& node, std::span<const TensorView> in, std::span<const TensorView> out,
            ImageLayouts& layouts);
  std::shared_ptr<const onednn::PlainConv> find(NodeId id, const onednn::PlainConvShape& shape,
                                                std::span<const TensorView> in);

  std::mutex mutex_;
  std::map<NodeId, std::vector<Entry>> convs_;  // the last few shapes of each node
};

}  // namespace bitfold::reference
