// Depthwise convolution: every channel has its own filter, so the channels of a pixel form the vectors.
//
// The taps of a kernel column are processed 4 rows at a time. Their bytes, interleaved by channel, are what vpdpbusd
// multiplies, and one such column serves every output pixel whose window covers it.
//
//        row 0   c0 c1 c2 ...
//        row 1   c0 c1 c2 ...     ->   column: [c0: row 0, 1, 2, 3][c1: row 0, 1, 2, 3] ...      16 channels, 64 bytes
//        row 2   c0 c1 c2 ...
//        row 3   (none: its weight is 0, and any row may be read for it)
//
// Packed weights, int8:   [block of 16 channels][kernel column][group of 4 kernel rows][16 channels][4 rows]
#pragma once

#include <cstdint>
#include <span>

#include "bitfold/cpu.h"
#include "kernels/conv_output.h"

namespace bitfold {

/// Computes rows of one output image for all channels. Taps outside the input's pixels read the code `padding`. The
/// border may be in memory, or the kernel supplies it.
struct DepthwiseTask {
  const std::uint8_t* x = nullptr;  ///< The image's first pixel.
  std::int64_t in_height = 0, in_width = 0;
  std::int64_t x_row = 0;                  ///< Bytes from one row to the next.
  std::int64_t pad_top = 0, pad_left = 0;  ///< Rows and columns from the first window's first tap to the first pixel.
  std::uint8_t padding = 0;
  std::int64_t row_begin = 0, row_end = 0;  ///< The output rows to compute.
  std::int64_t out_width = 0;
  std::int64_t stride_h = 1, stride_w = 1;      ///< Input pixels from one output pixel to the next.
  std::int64_t dilation_h = 1, dilation_w = 1;  ///< Input pixels from one tap to the next.
  std::int64_t channels = 0, kernel_h = 1, kernel_w = 1;
  const std::int8_t* weights = nullptr;
  const std::int32_t* bias = nullptr;  ///< 16 per block, as are the multipliers.
  const float* multipliers = nullptr;
  StepTerms terms;
  void* y = nullptr;                     ///< Output row 0.
  std::int64_t y_row = 0, y_stride = 0;  ///< Elements from one row to the next, and from one pixel to the next.
  const ConvOutput* output = nullptr;
  bool steps_fit = false;  ///< As in GemmTask.
};

struct DepthwiseKernel {
  const char* name;
  Isa isa;
  void (*run)(const DepthwiseTask& task) noexcept;
};

/// Every kernel in this build, slowest first. The CPU may not support all of them.
std::span<const DepthwiseKernel> depthwise_kernels();
const DepthwiseKernel& select_depthwise_kernel(Isa cap);

/// `run` is null if the compiler does not target the instruction set.
extern const DepthwiseKernel kPortableDepthwise, kAvx2Depthwise, kAvx512VnniDepthwise;

/// The part of kAvx2Depthwise for 3x3 and 5x5 windows without dilation at strides 1 and 2. Returns false for other
/// tasks.
extern bool (*const kAvx2WideDepthwise)(const DepthwiseTask& task) noexcept;

/// The part of kAvx512VnniDepthwise that processes 64 codes at a time. Handles the leading channels that it supports
/// and returns their number.
extern std::int64_t (*const kAvx512VnniWideDepthwise)(const DepthwiseTask& task) noexcept;

}  // namespace bitfold
