// Normalizations, pools and reductions.
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "bitfold/ops/linear.h"

namespace bitfold {

// Inputs in brackets are optional.

/// x, gamma, beta, mean, variance; inference form
struct BatchNorm {
  float epsilon = 1e-5F;
  bool operator==(const BatchNorm&) const = default;
};
/// x, gamma, beta
struct InstanceNorm {
  float epsilon = 1e-5F;
  bool operator==(const InstanceNorm&) const = default;
};
/// x, gamma, [beta]
struct LayerNorm {
  std::int64_t axis = -1;
  float epsilon = 1e-5F;
  bool operator==(const LayerNorm&) const = default;
};
/// x, scale, bias; scale and bias have one number per channel
struct GroupNorm {
  std::int64_t num_groups = 1;
  float epsilon = 1e-5F;
  bool operator==(const GroupNorm&) const = default;
};
struct Lrn {
  std::int64_t size = 1;
  float alpha = 1e-4F, beta = 0.75F, bias = 1;
  bool operator==(const Lrn&) const = default;
};
/// x, scale -> x / sqrt(mean(x^2) + epsilon) * scale, with the mean over the axes from `axis` on.
struct RmsNorm {
  std::int64_t axis = -1;
  float epsilon = 1e-5F;
  bool operator==(const RmsNorm&) const = default;
};
/// x / its p-norm along an axis
struct LpNorm {
  std::int64_t axis = -1;
  std::int64_t p = 2;  ///< 1 or 2
  bool operator==(const LpNorm&) const = default;
};
/// (x - mean) / standard deviation, over the axes
struct MeanVarianceNorm {
  std::vector<std::int64_t> axes = {0, 2, 3};
  bool operator==(const MeanVarianceNorm&) const = default;
};

enum class PoolKind { max, average };
struct Pool {
  PoolKind kind = PoolKind::max;
  Window window;
  bool ceil_mode = false;
  bool count_include_pad = false;     ///< average only
  bool column_major_indices = false;  ///< max only: ONNX's storage_order, of the second output.
  bool operator==(const Pool&) const = default;
};
struct GlobalPool {
  PoolKind kind = PoolKind::average;
  bool operator==(const GlobalPool&) const = default;
};
/// The p-norm of a window.
struct LpPool {
  Window window;
  std::int64_t p = 2;
  bool ceil_mode = false;
  bool operator==(const LpPool&) const = default;
};
struct GlobalLpPool {
  std::int64_t p = 2;
  bool operator==(const GlobalLpPool&) const = default;
};
/// x, indices, [output shape]: the inverse of a MaxPool; elements that no index names are 0.
struct MaxUnpool {
  Window window;
  bool operator==(const MaxUnpool&) const = default;
};
enum class ReduceKind { sum, mean, max, min, prod, l1, l2, log_sum, log_sum_exp, sum_square };
/// x, [axes]
struct Reduce {
  ReduceKind kind = ReduceKind::mean;
  bool keepdims = true;
  bool noop_with_empty_axes = false;
  bool operator==(const Reduce&) const = default;
};
struct ArgReduce {
  bool is_max = true;
  std::int64_t axis = 0;
  bool keepdims = true;
  bool select_last_index = false;
  bool operator==(const ArgReduce&) const = default;
};
/// Softmax, or its logarithm if `log`. `flattened`: the form before opset 13, which normalizes over all axes from
/// `axis` on.
struct Softmax {
  std::int64_t axis = -1;
  bool log = false;
  bool flattened = false;
  bool operator==(const Softmax&) const = default;
};
/// 1 at the first maximum along `axis`, 0 elsewhere. `flattened` as for Softmax.
struct Hardmax {
  std::int64_t axis = -1;
  bool flattened = false;
  bool operator==(const Hardmax&) const = default;
};
enum class CumulativeKind { sum, product };
/// x, axis -> running sums or products
struct Cumulative {
  CumulativeKind kind = CumulativeKind::sum;
  bool exclusive = false;  ///< Element i does not include x[i].
  bool reverse = false;
  bool operator==(const Cumulative&) const = default;
};
/// The reduction of a loss over its samples.
enum class LossReduction { none, mean, sum };
/// log-probabilities [N,C,...], classes [N,...], [weights [C]]
struct NegativeLogLikelihoodLoss {
  LossReduction reduction = LossReduction::mean;
  std::optional<std::int64_t> ignore_index;  ///< Samples of this class are ignored.
  bool operator==(const NegativeLogLikelihoodLoss&) const = default;
};
/// scores [N,C,...], classes [N,...], [weights [C]] -> loss, [log-probabilities]
struct SoftmaxCrossEntropyLoss {
  LossReduction reduction = LossReduction::mean;
  std::optional<std::int64_t> ignore_index;  ///< Samples of this class are ignored.
  bool operator==(const SoftmaxCrossEntropyLoss&) const = default;
};

}  // namespace bitfold
