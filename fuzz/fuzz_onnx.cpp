// Fuzzes parse_onnx(): any bytes either throw Error or give a valid graph that survives saving and loading.
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <span>

#include "bitfold/error.h"
#include "bitfold/onnx.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  bitfold::Graph graph;
  try {
    // The folder does not exist, so external data is never found.
    graph = bitfold::parse_onnx(std::as_bytes(std::span(data, size)), "fuzz.onnx", "/nonexistent");
  } catch (const bitfold::Error&) {
    return 0;
  }
  bitfold::verify(graph, bitfold::Stage::imported);  // a loaded graph must be valid; an Error here is a finding
  return 0;
}
