#include "bitfold/graph.h"

#include <algorithm>
#include <queue>
#include <set>
#include <utility>

#include "base/check.h"
#include "graph/fresh_name.h"

namespace bitfold {

ValueId Graph::add_value(Value value) {
  const auto id = static_cast<ValueId>(values_.size());
  const auto [it, fresh] = by_name_.try_emplace(value.name, id);
  check(fresh, "value '{}' is defined twice", value.name);
  values_.push_back(std::move(value));
  value_alive_.push_back(1);
  producers_.push_back(NodeId::none);
  consumers_.emplace_back();
  is_input_.push_back(0);
  is_output_.push_back(0);
  return id;
}

ValueId Graph::add_input(std::string value_name, DataType dtype, Shape shape) {
  const ValueId id = add_value({.name = std::move(value_name), .dtype = dtype, .shape = std::move(shape)});
  inputs_.push_back(id);
  is_input_[index(id)] = 1;
  return id;
}

ValueId Graph::add_constant(std::string value_name, Tensor tensor) {
  Value v{.name = std::move(value_name), .dtype = tensor.dtype(), .shape = tensor.shape()};
  v.constant = std::move(tensor);
  return add_value(std::move(v));
}

std::string Graph::unique_name(std::string_view stem) const {
  return fresh_name(stem, [this](const std::string& candidate) { return by_name_.contains(candidate); });
}

NodeId Graph::add_node(Node node) {
  const auto id = static_cast<NodeId>(nodes_.size());
  // All checks come before the first change, so that an exception leaves the graph unchanged.
  for (ValueId in : node.inputs)
    if (in != ValueId::none) check_id(in);
  for (ValueId out : node.outputs) {
    if (out == ValueId::none) continue;
    check(producer(out) == NodeId::none, "value '{}' is produced by two nodes, '{}' and '{}'", value(out).name,
          producer(out) == NodeId::none ? "" : this->node(producer(out)).name, node.name);
    check(!is_constant(out) && !is_input(out), "value '{}' is a graph input or constant, but node '{}' produces it",
          value(out).name, node.name);
  }
  for (ValueId out : node.outputs)
    if (out != ValueId::none) producers_[index(out)] = id;
  for (ValueId in : node.inputs) {
    if (in == ValueId::none) continue;
    auto& users = consumers_[index(in)];
    if (users.empty() || users.back() != id) users.push_back(id);
  }
  nodes_.push_back(std::move(node));
  node_alive_.push_back(1);
  return id;
}

ValueId Graph::add(Op op, std::string node_name, std::vector<ValueId> inputs, std::string output_name) {
  for (ValueId in : inputs)
    if (in != ValueId::none) check_id(in);
  const ValueId out = add_value({.name = std::move(output_name)});
  add_node({.name = std::move(node_name), .op = std::move(op), .inputs = std::move(inputs), .outputs = {out}});
  return out;
}

void Graph::mark_output(ValueId id) {
  check_id(id);
  outputs_.push_back(id);
  is_output_[index(id)] = 1;
}

void Graph::clear_outputs() {
  for (ValueId id : outputs_) is_output_[index(id)] = 0;
  outputs_.clear();
}

void Graph::rename_value(ValueId id, std::string value_name) {
  if (value(id).name == value_name) return;
  const auto [it, fresh] = by_name_.try_emplace(value_name, id);
  check(fresh, "value '{}' cannot be renamed '{}': the name is taken", value(id).name, value_name);
  by_name_.erase(value(id).name);
  value(id).name = std::move(value_name);
}

void Graph::fail_id(std::int32_t id, const char* kind, std::size_t count) {
  fail("{} id {} does not belong to this graph, which has ids 0 to {}", kind, id, static_cast<std::int64_t>(count) - 1);
}

void Graph::check_slot(NodeId id, std::size_t slot, std::size_t count) const {
  check(slot < count, "node '{}' has {} slots, but slot {} was requested", node(id).name, count, slot);
}

ValueId Graph::find(std::string_view value_name) const {
  const auto it = by_name_.find(value_name);
  return it == by_name_.end() ? ValueId::none : it->second;
}

bool Graph::has_single_consumer(ValueId id) const { return consumers(id).size() == 1 && !is_output(id); }

std::vector<NodeId> Graph::topological_order() const {
  // Kahn's algorithm; the ready set is ordered by id, which makes the order canonical.
  std::vector<int> missing(nodes_.size(), 0);
  std::priority_queue<NodeId, std::vector<NodeId>, std::greater<>> ready;
  for (std::size_t i = 0; i < nodes_.size(); ++i) {
    if (!node_alive_[i]) continue;
    std::vector<NodeId> producers;
    for (ValueId in : nodes_[i].inputs)
      if (in != ValueId::none && producer(in) != NodeId::none) producers.push_back(producer(in));
    std::sort(producers.begin(), producers.end());
    missing[i] = static_cast<int>(std::unique(producers.begin(), producers.end()) - producers.begin());
    if (missing[i] == 0) ready.push(static_cast<NodeId>(i));
  }
  std::vector<NodeId> order;
  while (!ready.empty()) {
    const NodeId id = ready.top();
    ready.pop();
    order.push_back(id);
    std::vector<NodeId> next;
    for (ValueId out : node(id).outputs)
      if (out != ValueId::none) next.insert(next.end(), consumers(out).begin(), consumers(out).end());
    std::sort(next.begin(), next.end());
    next.erase(std::unique(next.begin(), next.end()), next.end());
    for (NodeId n : next)
      if (--missing[index(n)] == 0) ready.push(n);
  }
  if (order.size() != node_count()) {
    for (std::size_t i = 0; i < nodes_.size(); ++i)
      if (node_alive_[i] && missing[i] > 0) fail("{} is part of a cycle", where(*this, static_cast<NodeId>(i)));
  }
  return order;
}

std::vector<NodeId> Graph::nodes() const {
  std::vector<NodeId> ids;
  for (std::size_t i = 0; i < nodes_.size(); ++i)
    if (node_alive_[i]) ids.push_back(static_cast<NodeId>(i));
  return ids;
}

std::vector<ValueId> Graph::values() const {
  std::vector<ValueId> ids;
  for (std::size_t i = 0; i < values_.size(); ++i)
    if (value_alive_[i]) ids.push_back(static_cast<ValueId>(i));
  return ids;
}

std::size_t Graph::node_count() const {
  return static_cast<std::size_t>(std::count(node_alive_.begin(), node_alive_.end(), 1));
}

bool Graph::reads(NodeId id, ValueId value_id) const {
  const auto& in = node(id).inputs;
  return std::find(in.begin(), in.end(), value_id) != in.end();
}

void Graph::unlink(ValueId id, NodeId consumer) {
  if (id != ValueId::none && !reads(consumer, id)) std::erase(consumers_[index(id)], consumer);
}

void Graph::set_input(NodeId id, std::size_t slot, ValueId value_id) {
  check_slot(id, slot, node(id).inputs.size());
  if (value_id != ValueId::none) check_id(value_id);
  const ValueId old = node(id).inputs[slot];
  nodes_[index(id)].inputs[slot] = value_id;
  unlink(old, id);
  if (value_id == ValueId::none) return;
  auto& users = consumers_[index(value_id)];
  if (std::find(users.begin(), users.end(), id) == users.end()) users.push_back(id);
}

void Graph::add_input_slot(NodeId id, ValueId value_id) {
  check_id(id);
  if (value_id != ValueId::none) check_id(value_id);
  nodes_[index(id)].inputs.push_back(ValueId::none);
  set_input(id, node(id).inputs.size() - 1, value_id);
}

void Graph::resize_inputs(NodeId id, std::size_t count) {
  for (std::size_t slot = count; slot < node(id).inputs.size(); ++slot) set_input(id, slot, ValueId::none);
  nodes_[index(id)].inputs.resize(count, ValueId::none);
}

void Graph::replace_uses(ValueId from, ValueId to) {
  if (from == to) return;
  check_id(to);
  check_id(from);
  // All consumers move at once: moving them one by one is quadratic in their number.
  const std::vector<NodeId> users = std::exchange(consumers_[index(from)], {});
  auto& joined = consumers_[index(to)];
  const std::set<NodeId> present(joined.begin(), joined.end());
  for (NodeId user : users) {
    std::replace(nodes_[index(user)].inputs.begin(), nodes_[index(user)].inputs.end(), from, to);
    if (!present.contains(user)) joined.push_back(user);
  }
}

void Graph::replace_value(ValueId from, ValueId to) {
  if (from == to) return;
  replace_uses(from, to);
  if (!is_output(from)) return;
  std::replace(outputs_.begin(), outputs_.end(), from, to);
  is_output_[index(from)] = 0;
  is_output_[index(to)] = 1;
  // Callers refer to the output by name, so the names are exchanged.
  std::swap(value(from).name, value(to).name);
  by_name_[value(from).name] = from;
  by_name_[value(to).name] = to;
}

void Graph::remove_node(NodeId id) {
  for (ValueId out : node(id).outputs)
    if (out != ValueId::none) producers_[index(out)] = NodeId::none;
  resize_inputs(id, 0);
  node_alive_[index(id)] = 0;
}

void Graph::set_output(NodeId id, std::size_t slot, ValueId value_id) {
  check(value_id == ValueId::none || producer(value_id) == NodeId::none, "value '{}' is produced by two nodes",
        value_id == ValueId::none ? "" : value(value_id).name);
  check_slot(id, slot, node(id).outputs.size());
  const ValueId old = node(id).outputs[slot];
  if (old != ValueId::none) producers_[index(old)] = NodeId::none;
  nodes_[index(id)].outputs[slot] = value_id;
  if (value_id != ValueId::none) producers_[index(value_id)] = id;
}

int Graph::remove_dead() {
  int removed = 0;
  const auto is_used = [&](ValueId out) { return out != ValueId::none && (is_output(out) || !consumers(out).empty()); };
  const std::vector<NodeId> order = topological_order();
  for (auto it = order.rbegin(); it != order.rend(); ++it) {
    const auto& outs = node(*it).outputs;
    if (std::any_of(outs.begin(), outs.end(), is_used)) continue;
    remove_node(*it);
    ++removed;
  }
  for (ValueId id : values()) {
    const bool is_orphan = producer(id) == NodeId::none && consumers(id).empty() && !is_input(id) && !is_output(id);
    if (!is_orphan) continue;
    value_alive_[index(id)] = 0;
    by_name_.erase(value(id).name);
    value(id) = {};
  }
  return removed;
}

void Graph::compact() {
  remove_dead();
  Graph packed;
  packed.name = name;
  packed.opset = opset;
  packed.metadata = metadata;
  std::vector<ValueId> renamed(values_.size(), ValueId::none);
  const auto keep = [&](ValueId id) {
    if (id != ValueId::none && renamed[index(id)] == ValueId::none) renamed[index(id)] = packed.add_value(value(id));
    return id == ValueId::none ? id : renamed[index(id)];
  };
  for (ValueId id : inputs_) {
    packed.inputs_.push_back(keep(id));
    packed.is_input_[index(packed.inputs_.back())] = 1;
  }
  for (NodeId id : topological_order()) {
    Node moved = node(id);
    for (ValueId& in : moved.inputs) in = keep(in);
    for (ValueId& out : moved.outputs) out = keep(out);
    packed.add_node(std::move(moved));
  }
  for (ValueId id : outputs_) packed.mark_output(keep(id));
  *this = std::move(packed);
}

bool is_quantized(const Graph& graph) {
  return std::ranges::any_of(graph.values(), [&](ValueId id) { return graph.value(id).quant.has_value(); });
}

std::string where(const Graph& graph, NodeId id) { return where(graph.node(id)); }

bool Node::operator==(const Node& other) const {
  const auto is_same = [](const auto& a, const auto& b) { return a == b || (a && b && *a == *b); };
  return name == other.name && op == other.op && inputs == other.inputs && outputs == other.outputs &&
         std::ranges::equal(bodies, other.bodies, is_same);
}

}  // namespace bitfold
