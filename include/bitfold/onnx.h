// Reads and writes ONNX files.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "bitfold/graph.h"

namespace bitfold {

struct LoadOptions {
  /// Names of graph inputs that stay inputs although an initializer gives them a default value. All other such inputs
  /// become constants. Names of other values are ignored.
  std::vector<std::string> overridden = {};
};

/// Reads an ONNX model (opset 7 to 28, external data in the same folder). QuantizeLinear / DequantizeLinear pairs
/// become grids on values. Calls of functions that the model defines are replaced by the functions' nodes. Reals of
/// float16, bfloat16 and float64 become float32; Casts connect them to the interface. Files are mapped: large
/// constants borrow their memory, so no other process may truncate the files in place while the graph exists (replacing
/// and deleting them is safe). The result satisfies Stage::imported. Throws Error naming file, node and value on
/// anything malformed.
Graph load_onnx(const std::string& path, const LoadOptions& options = {});

/// The same from memory. `name` replaces the file name in errors; `folder` contains external data.
Graph parse_onnx(std::span<const std::byte> bytes, const std::string& name, const std::string& folder = ".",
                 const LoadOptions& options = {});

/// The files that hold a model's external data, without duplicates; empty if `path` is not a model. Does not read
/// weights.
std::vector<std::string> external_files(const std::string& path);

struct SaveOptions {
  /// Initializers above this size (bytes) go to a file beside the model. 0: only when the model exceeds 2 GB, the limit
  /// of protobuf. That file is FILE.data, or FILE.data.2 and so on if the name is taken: it never replaces a file, so
  /// that an earlier model keeps its weights until the new model replaces it. The weights of the replaced model are
  /// then removed.
  std::size_t external_above_bytes = 0;
  /// The file's opset (7 to 28). If absent: Graph::opset (13 if that is 0), or the lowest higher opset that can express
  /// the content. If the requested opset lacks Gelu, HardSwish, Mish or LayerNormalization, these are written as
  /// several operators.
  std::optional<std::int64_t> opset = {};
};

/// Writes a model with the opset that SaveOptions::opset describes and the lowest IR version that allows it. Grids
/// become QuantizeLinear / DequantizeLinear pairs in the form that ONNX Runtime's CPU provider fuses. Written under a
/// temporary name and renamed (invariant 9). load_onnx returns an equal graph (invariant 6). Throws Error if the path
/// cannot be written or the opset cannot express the content; then no file is left.
void save_onnx(const Graph& graph, const std::string& path, const SaveOptions& options = {});

/// The size of the file that save_onnx would write, in bytes, external data included.
std::int64_t model_bytes(const Graph& graph);

/// The size of a model file and of every external file that its tensors name, in bytes. Throws Error when one
/// cannot be read.
std::int64_t onnx_file_bytes(const std::string& path);

}  // namespace bitfold
