// Any text is a graph that prints to text of the same graph, or an Error.
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
