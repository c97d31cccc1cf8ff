#include "onnx/sort_nodes.h"

#include <functional>
#include <queue>
#include <unordered_map>

#include "base/check.h"

namespace bitfold {
namespace {

using Producers = std::unordered_map<std::string, std::size_t>;
using Nodes = std::span<const onnx::NodeProto* const>;

Producers find_producers(Nodes nodes) {
  Producers producers;
  for (std::size_t i = 0; i < nodes.size(); ++i)
    for (const std::string& name : nodes[i]->output()) {
      if (name.empty()) continue;
      const auto [it, fresh] = producers.emplace(name, i);
      check(fresh, "{} produces '{}', which {} produces already", where(*nodes[i]), name, where(*nodes[it->second]));
    }
  return producers;
}

void collect_captured(const onnx::GraphProto& graph, std::set<std::string> known, std::set<std::string>& captured);

void collect_captured(const onnx::NodeProto& node, const std::set<std::string>& known,
                      std::set<std::string>& captured) {
  for (const auto& attribute : node.attribute()) {
    if (attribute.has_g()) collect_captured(attribute.g(), known, captured);
    for (const auto& graph : attribute.graphs()) collect_captured(graph, known, captured);
  }
}

void collect_captured(const onnx::GraphProto& graph, std::set<std::string> known, std::set<std::string>& captured) {
  for (const auto& input : graph.input()) known.insert(input.name());
  for (const auto& tensor : graph.initializer()) known.insert(tensor.name());
  for (const auto& node : graph.node()) known.insert(node.output().begin(), node.output().end());
  const auto read = [&](const std::string& name) {
    if (!name.empty() && !known.contains(name)) captured.insert(name);
  };
  for (const auto& node : graph.node()) {
    for (const std::string& name : node.input()) read(name);
    collect_captured(node, known, captured);
  }
  for (const auto& output : graph.output()) read(output.name());
}

}  // namespace

std::string where(const onnx::NodeProto& node) {
  const std::string fallback = node.output_size() > 0 ? node.output(0) : "";
  return fmt::format("[{} '{}']", node.op_type(), node.name().empty() ? fallback : node.name());
}

std::set<std::string> captured_names(const onnx::NodeProto& node) {
  std::set<std::string> captured;
  collect_captured(node, {}, captured);
  return captured;
}

std::vector<std::size_t> sort_nodes(Nodes nodes, const std::function<bool(const std::string& name)>& is_given) {
  const Producers producers = find_producers(nodes);
  std::vector<int> missing(nodes.size(), 0);
  std::vector<std::vector<std::size_t>> readers(nodes.size());
  for (std::size_t i = 0; i < nodes.size(); ++i) {
    const auto read = [&](const std::string& name) {
      if (name.empty()) return;
      const auto producer = producers.find(name);
      if (producer == producers.end()) {
        check(is_given(name), "{} reads '{}', which nothing produces", where(*nodes[i]), name);
        return;
      }
      ++missing[i];
      readers[producer->second].push_back(i);
    };
    for (const std::string& name : nodes[i]->input()) read(name);
    for (const std::string& name : captured_names(*nodes[i])) read(name);
  }
  std::priority_queue<std::size_t, std::vector<std::size_t>, std::greater<>> ready;
  for (std::size_t i = 0; i < nodes.size(); ++i)
    if (missing[i] == 0) ready.push(i);
  std::vector<std::size_t> order;
  while (!ready.empty()) {
    const std::size_t i = ready.top();
    ready.pop();
    order.push_back(i);
    for (std::size_t reader : readers[i])
      if (--missing[reader] == 0) ready.push(reader);
  }
  for (std::size_t i = 0; i < nodes.size(); ++i)
    check(missing[i] == 0, "{} is part of a cycle, or follows one", where(*nodes[i]));
  return order;
}

}  // namespace bitfold
