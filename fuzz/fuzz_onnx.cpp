// Any bytes are a model that loads, verifies and saves to the same graph, or an Error.
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <span>

#include "bitfold/error.h"
#include "bitfold/onnx.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  bitfold::Graph graph;
  try {
    // A folder that does not exist: external data is never found.
    graph = bitfold::parse_onnx(std::as_bytes(std::span(data, size)), "fuzz.onnx", "/nonexistent");
  } catch (const bitfold::Error&) {
    return 0;
  }
  bitfold::verify(graph, bitfold::Stage::imported);  // what loads is sound: an Error here is a finding
  return 0;
}
