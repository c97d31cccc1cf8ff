// Steps on codes other than matrix products.
#pragma once

#include <cstdint>
#include <optional>

#include "engine/lowering.h"
#include "engine/step.h"
#include "engine/steps/parallel.h"
#include "kernels/pointwise/pointwise.h"

namespace bitfold::engine {

/// Codes to codes through a table of 256 entries: Requantize, and any function of one value. Operands: out (write), in
/// (read).
class TableStep final : public Step {
 public:
  TableStep(const CodeTable& table, std::int64_t count, Isa isa)
      : table_(table), count_(count), kernels_(pointwise_kernels(isa)) {}
  void run(const Team& /*team*/) noexcept override {
    kernels_.lookup(at<std::uint8_t>(1), at<std::uint8_t>(0), count_, table_.data());
  }

 private:
  CodeTable table_;
  std::int64_t count_;
  const PointwiseKernels& kernels_;
};

/// Sum, difference or product of two values of `count` codes each. Operands: out (write), a, b (read).
class CodeBinaryStep final : public Step {
 public:
  /// `grids` as prepared() returns them.
  CodeBinaryStep(CodeBinary kind, const BinaryGrids& grids, std::int64_t count, Isa isa)
      : kind_(kind), count_(count), kernels_(pointwise_kernels(isa)), grids_(grids) {}
  void run(const Team& /*team*/) noexcept override {
    kernels_.binary(kind_, at<std::uint8_t>(1), at<std::uint8_t>(2), at<std::uint8_t>(0), count_, grids_);
  }

 private:
  CodeBinary kind_;
  std::int64_t count_;
  const PointwiseKernels& kernels_;
  BinaryGrids grids_;
};

/// A pool over `batch` images. Operands: out (write), in (read).
class CodePoolStep final : public Step {
 public:
  /// Computes the maximum if `average` is absent.
  CodePoolStep(const PoolShape& shape, std::optional<AveragePool> average, std::int64_t batch, Isa isa, int threads)
      : shape_(shape),
        average_(average),
        batch_(batch),
        kernels_(pointwise_kernels(isa)),
        // Each code in a window counts as a byte moved; 64 are moved at a time.
        threads_(useful_threads(
            threads, batch * shape.out_height * shape.out_width * shape.channels * shape.kernel_h * shape.kernel_w)) {}
  int threads() const override { return threads_; }
  void run(const Team& team) noexcept override {
    const std::int64_t in = shape_.in_height * shape_.in_width * shape_.channels;
    const std::int64_t out = shape_.out_height * shape_.out_width * shape_.channels;
    for_each_run(team, threads_, batch_, shape_.out_height,
                 [&](std::int64_t n, std::int64_t first, std::int64_t count) {
                   const std::uint8_t* x = at<std::uint8_t>(1) + n * in;
                   std::uint8_t* y = at<std::uint8_t>(0) + n * out;
                   if (average_)
                     kernels_.average_pool(x, y, shape_, *average_, first, first + count);
                   else
                     kernels_.max_pool(x, y, shape_, first, first + count);
                 });
  }

 private:
  PoolShape shape_;
  std::optional<AveragePool> average_;
  std::int64_t batch_;
  const PointwiseKernels& kernels_;
  int threads_;
};

}  // namespace bitfold::engine
