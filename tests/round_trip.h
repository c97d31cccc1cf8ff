// A graph after a trip through a file.
#pragma once

#include <string>

#include "bitfold/onnx.h"
#include "testing.h"

namespace bitfold::testing {

/// The graph as it is loaded from the file that it is saved to.
inline Graph save_and_load(const Graph& graph, const SaveOptions& options = {}) {
  const TemporaryFolder folder;
  const std::string path = (folder / "model.onnx").string();
  save_onnx(graph, path, options);
  return load_onnx(path);
}

}  // namespace bitfold::testing
