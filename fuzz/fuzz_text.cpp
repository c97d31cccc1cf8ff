// Fuzzes parse_graph(): any text either throws Error or gives a graph that survives printing and parsing.
#include <cstdint>
#include <cstdlib>
#include <string_view>

#include "bitfold/error.h"
#include "bitfold/graph.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  bitfold::Graph graph;
  try {
    graph = bitfold::parse_graph({reinterpret_cast<const char*>(data), size});
  } catch (const bitfold::Error&) {
    return 0;
  }
  const std::string text = bitfold::print_graph(graph);
  if (bitfold::print_graph(bitfold::parse_graph(text)) != text) std::abort();
  return 0;
}
