#include "quantize/non_finite.h"

#include <algorithm>
#include <cmath>
#include <vector>

#include "base/check.h"
#include "numeric/release_pages.h"
#include "quantize/roles.h"

namespace bitfold::quantization {
namespace {

/// "(--skip 'a' --skip 'b')", or the first few of many.
std::string skip_flags(const Graph& graph, const std::vector<NodeId>& nodes) {
  constexpr std::size_t kListed = 4;
  std::string flags;
  for (std::size_t i = 0; i < std::min(nodes.size(), kListed); ++i)
    flags += fmt::format("{}--skip '{}'", i == 0 ? "" : " ", graph.node(nodes[i]).name);
  return fmt::format("({}{})", flags, nodes.size() > kListed ? " ..." : "");
}

}  // namespace

std::string_view non_finite_word(float number) {
  return std::isnan(number) ? "NaN" : number > 0 ? "infinite" : "minus infinite";
}

void refuse_grid(const Graph& graph, ValueId id, const std::string& what) {
  const NodeId producer = graph.producer(id);
  // Nodes that run in float anyway need not be left in float.
  std::vector<NodeId> involved;
  if (producer != NodeId::none) involved.push_back(producer);
  for (NodeId reader : graph.consumers(id)) involved.push_back(reader);
  std::erase_if(involved, [&](NodeId node) { return classify(graph, node).role == Role::none; });
  const std::string remedy = involved.empty() ? "" : " " + skip_flags(graph, involved);
  const std::string& name = graph.value(id).name;
  if (producer == NodeId::none)
    fail(
        "input '{}' is {}, so it cannot have a grid; check the data and its preprocessing, or leave the nodes that "
        "read "
        "it in float{}",
        name, what, remedy);
  fail("{} value '{}' is {}, so it cannot have a grid; leave the nodes that compute and read it in float{}",
       where(graph, producer), name, what, remedy);
}

void check_finite_constants(const Graph& graph, const Plan& plan) {
  for (NodeId id : graph.nodes()) {
    if (!plan.at(id).in_integers || plan.at(id).role != Role::product) continue;
    const Node& node = graph.node(id);
    for (std::size_t slot : {1, 2}) {
      if (slot >= node.inputs.size() || !graph.is_constant(node.inputs[slot])) continue;
      const Value& value = graph.value(node.inputs[slot]);
      if (value.constant->dtype() != DataType::float32) continue;
      const auto numbers = value.constant->data<float>();
      const auto bad = std::ranges::find_if(numbers, [](float number) { return !std::isfinite(number); });
      check(bad == numbers.end(), "{} {} '{}': an element is {}, at index {}; leave the node in float (--skip '{}')",
            where(node), slot == 1 ? "weights" : "bias", value.name, bad == numbers.end() ? "" : non_finite_word(*bad),
            bad - numbers.begin(), node.name);
      release_mapped_pages(*value.constant);
    }
  }
}

}  // namespace bitfold::quantization
