// A graph lowered for given input shapes: ordered steps and buffers placed in one arena.
#pragma once

#include <cstddef>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "bitfold/affine.h"
#include "bitfold/session.h"
#include "bitfold/tensor.h"
#include "engine/step.h"

namespace bitfold::engine {

enum class Storage { arena, constant, graph_input, graph_output };

struct Buffer {
  Storage storage = Storage::arena;
  std::size_t bytes = 0;
  std::shared_ptr<const std::byte> constant;  ///< For Storage::constant.
  std::size_t slot = 0;                       ///< The index of the graph input or output.
};

/// The order of a value's elements in memory. Channels-last applies to images only: dimensions [N,C,H,W] stored as
/// [N,H,W,C], or [N,C,W] stored as [N,W,C].
enum class Layout { plain, channels_last };

/// Whether a value of this shape can be in the channels-last layout.
inline bool is_image(const Shape& shape) { return shape.size() == 3 || shape.size() == 4; }

/// The dimensions [N,C,H,W] of an image; signals [N,C,W] are images of one row.
struct ImageShape {
  std::int64_t batch, channels, height, width;
  std::int64_t pixels() const { return height * width; }
};
inline ImageShape image_shape(const Shape& shape) {
  return {shape[0], shape[1], shape.size() == 3 ? 1 : shape[2], shape.back()};
}

/// Strides of a dense value in that layout, in elements and in the order of `shape`.
std::vector<std::int64_t> strides_of(const Shape& shape, Layout layout);

/// Where a graph value can be found: reals (or integers of any type), or 8-bit codes stored unsigned.
///
/// A value of rank 2 may be a flattened image whose elements are still in channels-last order: then `folded` is the
/// image's shape, and `layout` is the layout of that image. A product with constant weights permutes the weights
/// instead.
struct Slot {
  int buffer = -1;
  bool is_code = false;
  DataType dtype = DataType::float32;  ///< Type in memory; uint8 for codes.
  Layout layout = Layout::plain;
  Shape shape;   ///< In the graph's order of axes, for either layout.
  Shape folded;  ///< Empty, or the image shape to which `layout` refers.

  const Shape& layout_shape() const { return folded.empty() ? shape : folded; }
};

/// The result of lowering.
struct Program {
  std::vector<Buffer> buffers;
  std::vector<std::unique_ptr<Step>> steps;
  std::vector<Shape> output_shapes;
  std::vector<DataType> output_types;
  struct Kept {
    Slot slot;
    std::optional<QuantParams> quant;  ///< The grid of the codes.
    bool has_own_grid = false;         ///< False for a value that was moved from one with a grid: it is given as reals.
  };
  /// Set by steps that check magnitudes; null if there are none.
  std::shared_ptr<bool> has_large_values;
  std::map<std::string, Kept> kept;  ///< The key is the value name; filled only if values are kept.
};

class Plan {
 public:
  /// Buffers of kept values live to the end. Throws Error if the arena would take more memory than the options
  /// allow.
  Plan(Program program, std::vector<Shape> input_shapes, const SessionOptions& options);

  const std::vector<Shape>& input_shapes() const { return input_shapes_; }
  const std::vector<Shape>& output_shapes() const { return program_.output_shapes; }
  const std::vector<DataType>& output_types() const { return program_.output_types; }
  const std::vector<StepInfo>& steps() const { return infos_; }
  std::size_t arena_bytes() const { return arena_bytes_; }
  /// The largest amount that one step needs; no arena can be smaller.
  std::size_t arena_lower_bound() const { return arena_lower_bound_; }
  /// Approximate size of the plan: its steps and their tables, without weights and arena.
  std::size_t own_bytes() const;

  /// Gives intermediate values their memory: arena_bytes() bytes, 64-byte aligned, which other plans may use between
  /// runs. Allocates nothing; returns at once if the address has not changed.
  void bind(std::byte* arena);

  /// Requires bind(), and inputs of checked types and shapes. Allocates nothing. Throws Error if the data is invalid.
  /// `step_us` is empty or receives the microseconds of each step. Returns false if magnitudes were found at which
  /// fused steps may have lost a NaN; see Magnitudes.
  bool run(std::span<const Tensor> inputs, std::span<Tensor> outputs, std::span<double> step_us = {});

  /// Codes or reals of a kept value after the last run, in the graph's layout. Throws Error on an unknown name.
  Tensor value(const std::string& name) const;
  bool keeps(const std::string& name) const { return program_.kept.contains(name); }
  std::vector<std::string> kept_names() const;

 private:
  struct External {
    Step* step;
    std::size_t operand;
    Storage storage;
    std::size_t slot;
  };

  /// Consecutive steps that one team of threads runs.
  struct Section {
    std::size_t begin, end;
    int threads;
  };

  void place(const SessionOptions& options);
  void check_memory(std::size_t limit) const;
  void divide_into_sections();
  /// This thread's part of steps [begin, end). `step_us` may be empty.
  void run_steps(const Section& section, const Team& team, std::span<double> step_us) noexcept;
  const std::byte* address(int buffer) const;

  Program program_;
  std::vector<Shape> input_shapes_;
  std::vector<StepInfo> infos_;
  int cores_;
  std::vector<Section> sections_;
  std::vector<External> externals_;  ///< Operands whose address is set in each run.
  std::vector<std::size_t> offsets_;
  std::size_t arena_bytes_ = 0, arena_lower_bound_ = 0;
  std::byte* arena_ = nullptr;
};

}  // namespace bitfold::engine
