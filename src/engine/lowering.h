// Lowers a graph to steps, and tracks where and in which form each value is stored.
//
// A value may exist in several forms at once: as reals or codes, plain or channels-last. Each node requests the form
// that its step reads, and a conversion step is added at the first request for a form. So conversions are added only
// where two adjacent steps need different forms.
#pragma once

#include <array>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "bitfold/graph.h"
#include "bitfold/session.h"
#include "engine/magnitudes.h"
#include "engine/plan.h"
#include "engine/weight_cache.h"
#include "kernels/integer_conv.h"

namespace bitfold::engine {

/// The tensor of an integer value if all elements are known before running; else empty.
std::optional<Tensor> tensor_of(const ValueInfo& info);

/// The grid of a value stored as codes inside the engine. Codes are always unsigned; signed codes are stored plus 128.
struct CodeGrid {
  float scale = 1;
  int zero_point = 0, qmin = 0, qmax = 255;
  bool operator==(const CodeGrid&) const = default;
};

inline ByteGrid byte_grid(const CodeGrid& g) { return {g.scale, g.zero_point, g.qmin, g.qmax}; }

/// q = clamp(round_half_even(x / scale) + zero_point), by definition; for tables and constants.
std::uint8_t quantize_code(float x, const CodeGrid& grid);
inline float dequantize_code(int code, const CodeGrid& grid) {
  return static_cast<float>(code - grid.zero_point) * grid.scale;
}

/// A function of one code as a table.
using CodeTable = std::array<std::uint8_t, 256>;

class IntegerConvStep;

class Lowering {
 public:
  /// `fuse_clamps`: whether oneDNN steps may compute a Relu or Clip after them; see Magnitudes.
  Lowering(const Graph& source, std::span<const Shape> input_shapes, const SessionOptions& session_options,
           WeightCache& weight_cache, bool fuse_clamps);

  /// Whether the shapes of all values that the outputs depend on are known before running; run() needs them.
  bool has_all_shapes();
  Program run();

  const Graph& graph;
  const SessionOptions& options;
  const Isa isa;
  const int threads;
  const bool fuses_clamps;
  WeightCache& weights;
  Magnitudes magnitudes{*this};
  IntegerConvStep* last_product = nullptr;  ///< The last integer product added.

  // Facts about values.
  const Shape& shape(ValueId id) const;
  DataType dtype(ValueId id) const { return infos_[static_cast<std::size_t>(id)].dtype; }
  /// Type and shape of a node's output that has no value.
  ValueInfo output_info(NodeId id, std::size_t output) const;
  /// A value without a grid of its own lies on the grid of the value from which it was moved: that value, or `id`.
  ValueId grid_source(ValueId id) const;
  /// The per-tensor grid of at most 8 bits, for unsigned storage.
  std::optional<CodeGrid> code_grid(ValueId id) const;
  /// The elements of an integer value, if all are known before running.
  std::optional<std::vector<std::int64_t>> elements(ValueId id) const;
  /// Whether the value is a constant of reals: float32, or codes on a grid.
  bool has_constant_reals(ValueId id) const;
  /// A constant's reals (float32); each call decodes them.
  std::optional<Tensor> constant_reals(ValueId id) const;
  /// The number in a one-element float constant.
  std::optional<float> constant_scalar(ValueId id) const;

  // Forms of values.
  bool has_codes(ValueId id) const;
  /// The layout in which the value is available; channels_last if both are.
  Layout layout(ValueId id) const;
  /// The value as a flattened channels-last image, in codes or reals; null if it is not available.
  const Slot* folded(ValueId id, bool codes) const;
  Slot reals(ValueId id, Layout layout);
  Slot codes(ValueId id, Layout layout);
  /// Whether the slot is memory of the caller, past which kernels must not read.
  bool is_callers(const Slot& slot) const;
  /// Makes a buffer for the value in the given form; define() then registers it.
  Slot make(ValueId id, bool codes, Layout layout);
  /// The slot's reals on another grid; adds a table step if the grids differ.
  Slot regridded(const std::string& name, const Slot& slot, const CodeGrid& from, const CodeGrid& to);
  /// Adds a form of the value.
  void define(ValueId id, Slot slot) { slots_[static_cast<std::size_t>(id)].push_back(std::move(slot)); }
  /// Registers `slot` as the computed reals. If the value has a grid, also adds the step that snaps them.
  void define_reals(ValueId id, Slot slot);
  /// Lowers the producer of the value if it has not been lowered.
  void ensure(ValueId id);
  void lower_node(NodeId id);
  bool is_claimed(NodeId id) const { return claimed_[static_cast<std::size_t>(id)] != 0; }
  /// Adds a step that checks for magnitudes above Magnitudes::kChecked.
  void check_magnitude(ValueId id);
  /// Records why a node with grids runs in float, for its step's description.
  void explain(NodeId id, std::string reason) { reasons_[id] = std::move(reason); }
  /// " (float: REASON)", or an empty string.
  std::string explanation(NodeId id) const;
  /// Marks the node as computed by the step of another node.
  void claim(NodeId id) { claimed_[static_cast<std::size_t>(id)] = 1; }

  // Additions to the program.
  int arena_buffer(std::size_t bytes);
  int constant_buffer(std::shared_ptr<const std::byte> bytes, std::size_t size);
  int constant_buffer(const Tensor& tensor);
  const PointwiseKernels& pointwise() const { return pointwise_kernels(isa); }
  template <class S>
  S& add(std::unique_ptr<S> step, std::string name, std::string op, std::string kernel) {
    S& reference = *step;
    StepInfo& info = static_cast<Step&>(reference).info;
    info.name = std::move(name);
    info.op = std::move(op);
    info.kernel = std::move(kernel);
    program_.steps.push_back(std::move(step));
    return reference;
  }

 private:
  void find_needed();
  void check_memory() const;
  void add_inputs();
  void add_outputs();
  const Slot* find(ValueId id, bool codes, std::optional<Layout> layout) const;
  void define_constant(ValueId id);
  Slot converted_layout(ValueId id, const Slot& from, Layout layout);
  Slot quantized(ValueId id, const Slot& from, Layout layout);
  Slot dequantized(ValueId id, const Slot& from);

  std::vector<ValueInfo> infos_;
  std::vector<std::vector<Slot>> slots_;         // per value
  std::vector<std::optional<Slot>> raw_inputs_;  // per value: the unsnapped reals of a graph input with a grid
  std::vector<std::uint8_t> claimed_, needed_;   // per node
  std::map<NodeId, std::string> reasons_;
  Program program_;
};

// The ways to lower a node, in the order in which they are tried. Each returns true if it lowered the node, and
// otherwise changes nothing.
bool lower_movement(Lowering& lowering, NodeId id);  ///< nodes that only move elements, as codes or reals
/// Whether lower_movement() moves the codes of the node's first input.
bool moves_codes(const Node& node);
bool lower_integer(Lowering& lowering, NodeId id);      ///< layers that compute codes from codes
bool lower_float(Lowering& lowering, NodeId id);        ///< in oneDNN or the engine's float steps
bool lower_recurrent(Lowering& lowering, NodeId id);    ///< part of lower_float: RNN, GRU, LSTM
bool lower_elementwise(Lowering& lowering, NodeId id);  ///< part of lower_float: the engine's own loops over elements
bool lower_codes(Lowering& lowering, NodeId id);        ///< codes of reals as nodes, and casts of halves
void lower_generic(Lowering& lowering, NodeId id);      ///< the operator's plain evaluation

/// The grid of the codes that a step computing `value` may write. This is the value's own grid. If it has none and its
/// only reader is a Relu or Clip whose output has a grid, it is that grid, limited to the codes of the bounds: rounding
/// is monotonic, so clamping codes equals snapping clamped reals.
struct CodeTarget {
  ValueId output = ValueId::none;
  CodeGrid grid;
  NodeId activation = NodeId::none;  ///< The Relu or Clip, not claimed yet.
};
std::optional<CodeTarget> code_target(const Lowering& lowering, ValueId value);
/// The only reader of a value, if it is not claimed and reads the value as its first input; otherwise NodeId::none.
NodeId only_consumer(const Lowering& lowering, ValueId value);

bool lower_integer_product(Lowering& lowering, NodeId id);  ///< part of lower_integer: convolutions, matrix products
bool lower_code_product(Lowering& lowering, NodeId id);     ///< part of lower_integer: ConvInteger, MatMulInteger

/// Part of lower_integer: movements that strides cannot describe, such as nearest Resize and DepthToSpace. The source
/// of each element is found by moving indices through the operator's evaluation.
bool lower_gather(Lowering& lowering, NodeId id);

/// The node as a function of its first input's code, evaluated as the simulation does; none if it depends on other
/// values, or if its input or output has no grid of at most 8 bits.
std::optional<CodeTable> code_table(const Lowering& lowering, const Node& node);

/// The reals of an input slot; null if the slot is a one-element constant, or absent.
using FindReals = std::function<const std::vector<float>*(std::size_t slot)>;
/// The results of an elementwise node for `count` reals per input; none for other nodes, and if an input has neither
/// reals nor one constant element.
std::optional<std::vector<float>> evaluate_elementwise(const Lowering& lowering, const Node& node, std::size_t count,
                                                       const FindReals& find);

/// Adds the step that computes each element of y from the element of x at the same place, in the layout of x.
template <class S>
void add_elementwise(Lowering& l, ValueId x, ValueId y, std::unique_ptr<S> made, std::string operators,
                     std::string kernel) {
  const Layout layout = l.layout(x);
  const Slot source = l.reals(x, layout), destination = l.make(y, false, layout);
  Step& step = l.add(std::move(made), l.graph.node(l.graph.producer(y)).name, std::move(operators), std::move(kernel));
  step.add_operand(destination.buffer, Access::write);
  step.add_operand(source.buffer, Access::read);
  step.info.inputs = {l.graph.value(x).name};
  step.info.outputs = {l.graph.value(y).name};
  l.define_reals(y, destination);
}

/// Entry i is the index in plain order of element i, in memory order, of a flattened channels-last image.
std::vector<std::int64_t> folded_order(const Slot& folded);

/// A window of a convolution or pool over the rows and columns of an image, with explicit pads.
struct Window2dShape {
  std::int64_t kernel_h, kernel_w, stride_h, stride_w, dilation_h, dilation_w, pad_top, pad_left, pad_bottom, pad_right;
};
/// The window for an input and an output of these shapes; empty unless it has one or two axes. auto_pad and ceil_mode
/// are resolved, so bottom and right pads may exceed the node's.
std::optional<Window2dShape> window_2d(const Window& window, const Shape& in, const Shape& out);
/// The same with the images. Images of width 1 become rows if the window has width 1 too: no element moves in memory,
/// and kernels work along rows.
struct WindowedImages {
  Window2dShape window;
  ImageShape in, out;
};
std::optional<WindowedImages> windowed_images(const Window& window, const Shape& in, const Shape& out);

}  // namespace bitfold::engine
