// Loads networks for the verbs.
#pragma once

#include <CLI/CLI.hpp>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "bitfold/data.h"
#include "bitfold/error.h"
#include "bitfold/graph.h"
#include "bitfold/input_specs.h"
#include "bitfold/onnx.h"
#include "bitfold/part.h"

namespace bitfold::cli {

/// Loads the network unchanged. Throws Error if it is quantized, because `verb` needs the float model.
Graph load_float(const std::string& path, const std::string& verb, const LoadOptions& options = {});

/// Loads the network and optimizes it, unless it is already quantized: then its grids belong to the graph as stored.
Graph load_optimized(const std::string& path, const LoadOptions& options = {});

/// --inputs-at and --outputs-at: the part of the network that the verb works on.
void add_cut_flags(CLI::App& verb, Cut& cut);

/// The network, or its part, ready to be run: loaded as load_optimized() does. Throws Error if a node cannot be run,
/// which says how to cut around it.
Graph load_runnable(const std::string& path, const Cut& cut, const LoadOptions& options = {}, bool optimizes = true);

/// Calls f() and puts the file's name in front of what it throws.
template <class F>
auto naming_file(const std::string& path, const F& f) {
  try {
    return f();
  } catch (const Error& e) {
    throw Error(path + ": " + e.what());
  }
}

/// The same for errors about nodes, which have a bracket: "[Gather 'g'] index 9 ...". Others are about data or options.
template <class F>
auto naming_file_of_nodes(const std::string& path, const F& f) {
  try {
    return f();
  } catch (const Error& e) {
    const std::string_view message = e.what();
    if (message.find('[') == message.npos || message.starts_with(path)) throw;
    throw Error(path + ": " + e.what());
  }
}

/// Inputs with default values that the data feeds: the names of the first sample's arrays, if samples are whole files.
LoadOptions load_options_for(const std::string& data);

/// Whether --input is one file of arrays (also a pipe), which are taken as they are.
bool is_array_input(const std::string& path);

/// The arrays of an .npy or .npz file, or the one array that a pipe delivers as .npy.
std::vector<NamedTensor> load_arrays(const std::string& path);

/// Two lines, "inputs: ..." and "outputs: ...", with names, types and shapes.
std::vector<std::string> describe_interface(const Graph& graph);

/// The sizes of --shape, "1,3,48,320" or "1x3x48x320". Throws CLI::ValidationError.
Shape parse_shape(const std::string& text);
struct NamedShape {
  std::string name;
  Shape shape;
};
/// "x=1x3x224x224"; the name may contain "=". Throws CLI::ValidationError.
NamedShape parse_named_shape(const std::string& text);

/// --opset: the opset of the file to be written.
void add_opset_flag(CLI::App& verb, std::optional<std::int64_t>& opset);

}  // namespace bitfold::cli
