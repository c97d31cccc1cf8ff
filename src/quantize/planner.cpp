#include "quantize/planner.h"

#include <algorithm>
#include <map>
#include <numeric>

#include "base/check.h"
#include "bitfold/nearest.h"
#include "graph/activation.h"
#include "ops/operator.h"

namespace bitfold::quantization {
namespace {

class Planner {
 public:
  Planner(Graph& graph, const std::vector<std::string>& skip, Target target)
      : graph_(graph), target_(target), order_(graph.topological_order()) {
    for (NodeId id : order_) {
      NodePlan& plan = at(id);
      auto [role, reason] = classify(graph_, id);
      plan = {role, false, std::move(reason)};
    }
    refuse_skipped(skip);
  }

  Plan run() {
    go_forward();
    go_backward();
    split_mixed_values();
    tie_groups();
    return std::move(plan_);
  }

 private:
  NodePlan& at(NodeId id) {
    const auto i = static_cast<std::size_t>(id);
    if (i >= plan_.nodes.size()) plan_.nodes.resize(i + 1);
    return plan_.nodes[i];
  }

  void refuse_skipped(const std::vector<std::string>& skip) {
    std::vector<std::string_view> names;
    for (NodeId id : order_) names.push_back(graph_.node(id).name);
    for (const std::string& name : skip) {
      const auto found = std::find(names.begin(), names.end(), name);
      if (found == names.end()) fail("skip: the network has no node '{}'{}", name, did_you_mean(name, names));
      at(order_[static_cast<std::size_t>(found - names.begin())]) = {Role::none, false, "skipped by the recipe"};
    }
  }

  // A product may start a region of integer nodes; other nodes may only continue one.
  void go_forward() {
    for (NodeId id : order_) {
      NodePlan& plan = at(id);
      plan.in_integers = plan.role != Role::none;
      if (plan.role == Role::none || plan.role == Role::product) continue;
      for (ValueId in : data_inputs(graph_, id)) {
        const NodeId producer = graph_.producer(in);
        if (producer == NodeId::none || at(producer).in_integers) continue;
        plan.in_integers = false;
        plan.reason = fmt::format("its input '{}' is computed in float", graph_.value(in).name);
      }
    }
  }

  // Goes backward through the nodes: a node that no integer node reads runs in float.
  void go_backward() {
    for (auto it = order_.rbegin(); it != order_.rend(); ++it) {
      NodePlan& plan = at(*it);
      if (!plan.in_integers || plan.role == Role::product) continue;
      const auto outputs = used_outputs(graph_, *it);
      const bool is_read =
          std::any_of(outputs.begin(), outputs.end(), [&](ValueId out) { return is_read_as_codes(out); });
      if (is_read || ends_convolution(*it)) continue;
      plan.in_integers = false;
      plan.reason = "no node that reads it runs in integers";
    }
  }

  // Whether the value is the output of a convolution, or of its Relu, whose grid is finer. A convolution's output
  // always has a grid.
  bool ends_convolution(NodeId id) {
    if (at(id).role != Role::clip) return false;
    const ValueId in = data_inputs(graph_, id).front();
    const NodeId producer = graph_.producer(in);
    return producer != NodeId::none && graph_.has_single_consumer(in) && is_convolution(producer);
  }

  bool is_convolution(NodeId id) {
    return at(id).role == Role::product && ops::window_of(graph_.node(id).op) != nullptr;
  }

  bool reads_as_codes(NodeId id, ValueId value) {
    if (!at(id).in_integers) return false;
    const auto inputs = data_inputs(graph_, id);
    return std::find(inputs.begin(), inputs.end(), value) != inputs.end();
  }

  bool is_read_as_codes(ValueId value) {
    const auto& readers = graph_.consumers(value);
    return std::any_of(readers.begin(), readers.end(), [&](NodeId id) { return reads_as_codes(id, value); });
  }

  bool is_read_as_reals(ValueId value) {
    const auto reads_reals = [&](NodeId id) {
      return !reads_as_codes(id, value) && !ops::info(graph_.node(id).op).traits.reads_shape_only;
    };
    const auto& readers = graph_.consumers(value);
    return graph_.is_output(value) || std::any_of(readers.begin(), readers.end(), reads_reals);
  }

  bool comes_in_integers(ValueId value) {
    const NodeId producer = graph_.producer(value);
    return producer != NodeId::none && at(producer).in_integers;
  }

  // If integer and float nodes read the same real value, the integer nodes read a snapped copy.
  void split_mixed_values() {
    for (ValueId value : graph_.values()) {
      if (graph_.is_constant(value) || comes_in_integers(value)) continue;
      if (!is_read_as_codes(value) || !is_read_as_reals(value)) continue;
      std::vector<std::pair<NodeId, std::size_t>> slots;
      for (NodeId reader : graph_.consumers(value)) {
        if (!reads_as_codes(reader, value)) continue;
        const auto& inputs = graph_.node(reader).inputs;
        for (std::size_t slot = 0; slot < inputs.size(); ++slot)
          if (inputs[slot] == value) slots.emplace_back(reader, slot);
      }
      const Value& source = graph_.value(value);
      const std::string name = graph_.unique_name(source.name + "_snapped");
      const ValueId snapped = graph_.add_value({.name = name, .dtype = source.dtype, .shape = source.shape});
      const NodeId node = graph_.add_node({.name = name, .op = Requantize{}, .inputs = {value}, .outputs = {snapped}});
      at(node) = {Role::arithmetic, true, ""};
      for (const auto& [reader, slot] : slots) graph_.set_input(reader, slot, snapped);
    }
  }

  bool needs_grid(ValueId value) {
    if (graph_.is_constant(value)) return false;
    if (!comes_in_integers(value)) {
      // The input of a Requantize is not on a grid.
      const auto& readers = graph_.consumers(value);
      return std::any_of(readers.begin(), readers.end(), [&](NodeId id) {
        return !std::holds_alternative<Requantize>(graph_.node(id).op) && reads_as_codes(id, value);
      });
    }
    const NodeId producer = graph_.producer(value);
    const bool may_give_reals = at(producer).role == Role::product && !is_convolution(producer);
    return !may_give_reals || is_read_as_codes(value);
  }

  // Session applies a LeakyRelu to the accumulators, before it rounds them.
  bool is_fused_with_leaky_relu(ValueId value) {
    if (target_ != Target::bitfold || graph_.is_constant(value) || !comes_in_integers(value)) return false;
    if (at(graph_.producer(value)).role != Role::product || !graph_.has_single_consumer(value)) return false;
    const NodeId reader = graph_.consumers(value).front();
    const auto activation = find_activation(graph_, reader);
    return activation && activation->shrinks_negatives() && reads_as_codes(reader, value);
  }

  bool ties(NodeId id) {
    const NodePlan& plan = at(id);
    if (!plan.in_integers) return false;
    if (plan.role == Role::movement) return true;
    return plan.role == Role::clip && graph_.has_single_consumer(data_inputs(graph_, id).front());
  }

  // A value whose only reader shares its grid is counted through that reader's output.
  bool is_counted(ValueId value) {
    return !(graph_.has_single_consumer(value) && ties(graph_.consumers(value).front()));
  }

  void tie_groups() {
    std::map<ValueId, ValueId> parent;  // union-find; ordered, so that groups are in the order of their first members
    for (ValueId value : graph_.values()) {
      if (is_fused_with_leaky_relu(value))
        ++plan_.fused_leaky_relu_layers;
      else if (needs_grid(value))
        parent[value] = value;
    }
    const auto root = [&](ValueId value) {
      while (parent.at(value) != value) value = parent[value] = parent.at(parent.at(value));
      return value;
    };
    for (NodeId id : graph_.topological_order()) {
      if (!ties(id)) continue;
      const ValueId first = root(data_inputs(graph_, id).front());
      for (ValueId other : data_inputs(graph_, id)) parent[root(other)] = first;
      for (ValueId other : used_outputs(graph_, id)) parent[root(other)] = first;
    }
    std::map<ValueId, GridGroup> groups;
    for (const auto& [value, ignored] : parent) {
      GridGroup& group = groups[root(value)];
      group.members.push_back(value);
      if (is_counted(value)) group.counted.push_back(value);
    }
    for (auto& [ignored, group] : groups) plan_.groups.push_back(std::move(group));
  }

  Graph& graph_;
  Target target_;
  std::vector<NodeId> order_;
  Plan plan_;
};

}  // namespace

Plan make_plan(Graph& graph, const std::vector<std::string>& skip, Target target) {
  return Planner(graph, skip, target).run();
}

}  // namespace bitfold::quantization
