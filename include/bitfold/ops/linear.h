// Convolutions and matrix products.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace bitfold {

/// ONNX auto_pad. The importer resolves same_* to explicit pads where the input's size is known.
enum class AutoPad { none, same_upper, same_lower, valid };

/// Spatial window shared by convolutions and pools. Each vector has one entry per spatial axis;
/// pads has the begins, then the ends. The importer fills defaults, so the vectors are never empty.
struct Window {
  std::vector<std::int64_t> kernel, strides, dilations, pads;
  AutoPad auto_pad = AutoPad::none;
  bool operator==(const Window&) const = default;
};

// Inputs in brackets are optional.

/// x [N,C,...], w [M,C/group,...], [bias [M]] -> [N,M,...]
struct Conv {
  Window window;
  std::int64_t group = 1;
  bool operator==(const Conv&) const = default;
};
/// x [N,C,...], w [C,M/group,...], [bias [M]]
struct ConvTranspose {
  Window window;
  std::int64_t group = 1;
  std::vector<std::int64_t> output_padding, output_shape;
  bool operator==(const ConvTranspose&) const = default;
};
/// alpha * A' * B' + beta * [C], A and B transposed on demand
struct Gemm {
  float alpha = 1, beta = 1;
  bool trans_a = false, trans_b = false;
  bool operator==(const Gemm&) const = default;
};
/// numpy.matmul
struct MatMul {
  bool operator==(const MatMul&) const = default;
};
/// One or more tensors -> the sum of products that the equation names, such as "bij,bjk->bik".
struct Einsum {
  std::string equation;
  bool operator==(const Einsum&) const = default;
};
/// x [..., n, n] -> determinants [...]
struct Det {
  bool operator==(const Det&) const = default;
};
/// x [N,C,H,W], w [M,C/group,kH,kW], offset, [bias], [mask]: a convolution that reads at x + offset, bilinearly.
struct DeformConv {
  Window window;
  std::int64_t group = 1;
  std::int64_t offset_group = 1;
  bool operator==(const DeformConv&) const = default;
};

}  // namespace bitfold
