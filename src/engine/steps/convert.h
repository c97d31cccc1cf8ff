// Conversion between reals and codes.
#pragma once

#include <cstdint>

#include "bitfold/affine.h"
#include "engine/lowering.h"
#include "engine/step.h"
#include "engine/steps/generic.h"
#include "kernels/convert/convert.h"

namespace bitfold::engine {

/// `batch` images of `channels` planes of `pixels` reals, with channels-last codes; {1, 1, n} means n elements in
/// order.
struct Planes {
  std::int64_t batch = 1, channels = 1, pixels = 1;
};

/// Reals to codes. Operands: codes (write), reals (read).
class QuantizeStep final : public Step {
 public:
  QuantizeStep(const CodeGrid& grid, const Planes& planes, Isa isa, int threads);
  void run(const Team& team) noexcept override;
  int threads() const override { return threads_; }

 private:
  ByteGrid grid_;
  Planes planes_;
  const ConvertKernels& kernels_;
  int threads_;
};

/// Reals to codes that are a node's output, in the order of the reals. Codes are signed if the grid has negative ones.
/// Operands: codes (write), reals (read).
class QuantizeLinearStep final : public Step {
 public:
  QuantizeLinearStep(const ByteGrid& grid, std::int64_t count, Isa isa, int threads);
  void run(const Team& team) noexcept override;
  int threads() const override { return threads_; }

 private:
  ByteGrid grid_;
  std::int64_t count_;
  const ConvertKernels& kernels_;
  int threads_;
};

/// The same with a grid per channel. Operands: codes (write), reals (read).
class QuantizeChannelsStep final : public Step {
 public:
  QuantizeChannelsStep(std::vector<ByteGrid> grids, const ChannelLayout& layout, Isa isa)
      : grids_(std::move(grids)), layout_(layout), kernels_(convert_kernels(isa)) {}
  void run(const Team& team) noexcept override;

 private:
  std::vector<ByteGrid> grids_;
  ChannelLayout layout_;
  const ConvertKernels& kernels_;
};

/// DynamicQuantizeLinear of x with the kernels of conversions; NaN, infinity and extreme ranges are left to the plain
/// evaluation.
/// Operands: the outputs that are used (write), x (read).
class DynamicQuantizeStep final : public GenericStep {
 public:
  DynamicQuantizeStep(const Node& node, const View& x, std::vector<View> outputs, Isa isa);
  void run(const Team& team) noexcept override;

 private:
  std::int64_t count_;
  int scale_ = -1, zero_point_ = -1, x_ = 0;  ///< Operands; -1: not used.
  const ConvertKernels& kernels_;
};

/// float32 to float16 or back, as nodes. Operands: result (write), x (read).
class HalfStep final : public Step {
 public:
  HalfStep(bool narrows, std::int64_t count, Isa isa, int threads);
  void run(const Team& team) noexcept override;
  int threads() const override { return threads_; }

 private:
  bool narrows_;
  std::int64_t count_;
  const ConvertKernels& kernels_;
  int threads_;
};

/// Codes to reals. Operands: reals (write), codes (read).
class DequantizeStep final : public Step {
 public:
  DequantizeStep(const CodeGrid& grid, const Planes& planes, Isa isa);
  void run(const Team& team) noexcept override;

 private:
  ByteGrid grid_;
  Planes planes_;
  const ConvertKernels& kernels_;
};

/// Reals to the nearest reals on a grid with more than 8 bits or per channel. Operands: snapped (write), reals (read).
class SnapStep final : public Step {
 public:
  /// `axis_stride` is the number of elements from one channel to the next.
  SnapStep(QuantParams params, std::int64_t count, std::int64_t axis_stride);
  void run(const Team& team) noexcept override;

 private:
  QuantParams params_;
  std::int64_t count_, axis_stride_;
};

}  // namespace bitfold::engine
