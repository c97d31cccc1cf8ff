#include "onnx/sort_nodes.h"

#include <functional>
#include <queue>
#include <unordered_map>

#include "base/check.h"

namespace bitfold {
namespace {

using Producers = std::unordered_map<std::string, int>;

Producers find_producers(const onnx::GraphProto& graph, const std::set<std::string>& given) {
  Producers producers;
  for (int i = 0; i < graph.node_size(); ++i) {
    const onnx::NodeProto& node = graph.node(i);
    for (const std::string& name : node.output()) {
      if (name.empty()) continue;
      check(!given.contains(name), "{} produces '{}', which is a graph input or initializer", where(node), name);
      const auto [it, fresh] = producers.emplace(name, i);
      check(fresh, "{} produces '{}', which {} produces already", where(node), name, where(graph.node(it->second)));
    }
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

std::vector<int> sort_nodes(const onnx::GraphProto& graph, const std::set<std::string>& given) {
  const Producers producers = find_producers(graph, given);
  const auto count = static_cast<std::size_t>(graph.node_size());
  std::vector<int> missing(count, 0);
  std::vector<std::vector<int>> readers(count);
  for (int i = 0; i < graph.node_size(); ++i) {
    for (const std::string& name : graph.node(i).input()) {
      if (name.empty() || given.contains(name)) continue;
      const auto producer = producers.find(name);
      check(producer != producers.end(), "{} reads '{}', which nothing produces", where(graph.node(i)), name);
      ++missing[static_cast<std::size_t>(i)];
      readers[static_cast<std::size_t>(producer->second)].push_back(i);
    }
  }
  std::priority_queue<int, std::vector<int>, std::greater<>> ready;
  for (int i = 0; i < graph.node_size(); ++i)
    if (missing[static_cast<std::size_t>(i)] == 0) ready.push(i);
  std::vector<int> order;
  while (!ready.empty()) {
    const int i = ready.top();
    ready.pop();
    order.push_back(i);
    for (int reader : readers[static_cast<std::size_t>(i)])
      if (--missing[static_cast<std::size_t>(reader)] == 0) ready.push(reader);
  }
  for (std::size_t i = 0; i < count; ++i)
    check(missing[i] == 0, "{} is part of a cycle, or behind one", where(graph.node(static_cast<int>(i))));
  return order;
}

}  // namespace bitfold
