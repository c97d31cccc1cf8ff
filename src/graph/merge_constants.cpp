#include "graph/merge_constants.h"

#include <algorithm>
#include <array>
#include <cstring>
#include <map>
#include <tuple>

#include "numeric/release_pages.h"

namespace bitfold {
namespace {

/// Merging smaller ones saves little, and would only lose their names.
constexpr std::size_t kLeastBytes = 256;

/// Distinguishes most constants without reading all of their elements, which may lie in a mapped file.
using Key = std::tuple<DataType, Shape, std::array<std::byte, 128>>;

Key key_of(const Tensor& tensor) {
  std::array<std::byte, 128> sample{};
  const std::size_t half = sample.size() / 2, middle = tensor.size_bytes() / 2;
  std::copy_n(tensor.bytes(), half, sample.begin());
  std::copy_n(tensor.bytes() + middle, half, sample.begin() + half);
  return {tensor.dtype(), tensor.shape(), sample};
}

bool are_equal(const Value& a, const Value& b) {
  const Tensor &x = *a.constant, &y = *b.constant;
  if (a.dtype != b.dtype || a.quant != b.quant) return false;
  if (x.bytes() == y.bytes()) return true;
  const bool equal = std::memcmp(x.bytes(), y.bytes(), x.size_bytes()) == 0;
  release_mapped_pages(x);
  release_mapped_pages(y);
  return equal;
}

}  // namespace

int merge_constants(Graph& graph) {
  std::map<Key, std::vector<ValueId>> kept;
  int merged = 0;
  for (ValueId id : graph.values()) {
    if (!graph.is_constant(id) || graph.is_input(id) || graph.is_output(id) || graph.consumers(id).empty()) continue;
    if (graph.value(id).constant->size_bytes() < kLeastBytes) continue;
    std::vector<ValueId>& same_key = kept[key_of(*graph.value(id).constant)];
    const auto equal =
        std::ranges::find_if(same_key, [&](ValueId other) { return are_equal(graph.value(id), graph.value(other)); });
    if (equal == same_key.end()) {
      same_key.push_back(id);
      continue;
    }
    graph.replace_uses(id, *equal);
    ++merged;
  }
  return merged;
}

}  // namespace bitfold
