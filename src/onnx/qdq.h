// QuantizeLinear and DequantizeLinear: the representation of grids in a file.
//
// In a file                                          In a Graph
//   x -> QuantizeLinear -> DequantizeLinear -> y       x with a grid, whose consumers read x; or Requantize x -> y,
//                                                      y with a grid, if something else reads x unsnapped
//   codes -> DequantizeLinear -> w                     constant w with codes and a grid, which may have blocks
//
// Facts that the types of a file cannot express are written as metadata and read back, so that reading restores the
// graph (invariant 6):
//   metadata "bitfold.bits:V"     the bits of V's grid if its type has more (6 bits are stored in uint8)
//   metadata "bitfold.narrow:V"   whether V's grid is narrow, if infers_narrow() returns something else
//   "bitfold.bits@PATH:V"         the same for a value V in a body; PATH is "NODE.INDEX/" for each node around the body
//   doc_string kGridClip          marks a Clip that keeps an activation on a grid narrower than its type
//   doc_string kRequantize        marks a QuantizeLinear or Identity that is a Requantize node
//   doc_string kFlattenedSoftmax  marks the Reshape that ends a Softmax of the form before opset 13
//   doc_string kBodyOutput        marks an Identity that gives a body's output a name of its own
#pragma once

#include <onnx/onnx_pb.h>

#include <optional>
#include <set>
#include <string>
#include <vector>

#include "bitfold/graph.h"

namespace bitfold {

inline constexpr const char* kGridClip = "bitfold.grid_clip";
inline constexpr const char* kRequantize = "bitfold.requantize";
inline constexpr const char* kFlattenedSoftmax = "bitfold.flattened_softmax";
inline constexpr const char* kBodyOutput = "bitfold.body_output";
/// The doc_string that marks a graph without a name, because ONNX forbids an empty name.
inline constexpr const char* kUnnamed = "bitfold.unnamed";
/// The Graph::opset of a file whose own opset is higher, because its content requires that.
inline constexpr const char* kOpsetKey = "bitfold.opset";
/// Earlier versions of Bitfold wrote keys that begin like this and end with a domain.
inline constexpr const char* kOldOpsetKey = "bitfold.opset:";
inline constexpr const char* kBitsKey = "bitfold.bits:";
inline constexpr const char* kNarrowKey = "bitfold.narrow:";
/// float16 or bfloat16, the type of a file's large constants. Those that it holds exactly are written in it again, each
/// with a Cast to float32, which runtimes evaluate when they load the file.
inline constexpr const char* kConstantsKey = "bitfold.constants";

/// The type of a value's codes in a file. Constants: the packed type in which they are held, or else the narrowest type
/// of opset 21 (int4, int8, int16, int32, and their unsigned forms). Computed values: at least 8 bits, because ONNX
/// Runtime refuses pools of 4-bit codes.
DataType file_type(const Value& value);

/// The importer's assumption about narrow if the file does not say: true for signed constants of at most 8 bits with
/// zero_point 0 of which no code is the lowest, as in symmetric weights.
bool infers_narrow(const Value& value);

/// Nodes whose doc_string says that they are part of a grid.
struct QdqMarks {
  std::set<NodeId> grid_clips, requantizes;
};

/// True for a QuantizeLinear / DequantizeLinear that is still a node.
bool is_quantize(const Op& op);
bool is_dequantize(const Op& op);

/// DequantizeLinear of constants is a constant with codes and a grid. QuantizeLinear of constants is a constant of
/// codes. None if the inputs are not constant or no grid expresses them. `inputs` are the inputs of the node.
std::optional<Value> fold_constant_qdq(const Graph& graph, const Op& op, const std::vector<ValueId>& inputs);

/// The grid of a QuantizeLinear or DequantizeLinear node with constant scales; none if no grid expresses it. Throws
/// Error (without the place) on invalid scales.
std::optional<QuantParams> quantize_grid(const Graph& graph, NodeId id);
std::optional<QuantParams> dequantize_grid(const Graph& graph, NodeId id, DataType code_type);

/// Dequantizes codes before movements of them, if that gives further pairs.
void dequantize_before_movements(Graph& graph);

/// Converts the pairs among a graph's nodes to grids. Pairs that no grid expresses stay nodes.
void absorb_qdq(Graph& graph, const QdqMarks& marks);

/// Sets bits and narrow of every grid from the metadata, and removes that metadata. Throws Error if metadata and codes
/// contradict each other.
void settle_grids(Graph& graph);

}  // namespace bitfold
