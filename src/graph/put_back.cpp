// Puts a changed part back into its network.
#include <algorithm>
#include <set>

#include "base/check.h"
#include "bitfold/part.h"
#include "graph/fresh_name.h"

namespace bitfold {
namespace {

class Return {
 public:
  Return(const Part& part, const Graph& changed)
      : part_(part), changed_(changed), result_(part.whole), copies_(changed.value_capacity(), ValueId::none) {}

  Graph run() {
    remove_old_nodes();
    for (NodeId id : result_.nodes()) node_names_.insert(result_.node(id).name);
    for (std::size_t i = 0; i < changed_.inputs().size(); ++i)
      copies_[index(changed_.inputs()[i])] = connect_input(changed_.inputs()[i]);
    for (ValueId id : changed_.outputs()) connect_output(id);
    for (NodeId id : changed_.topological_order()) {
      Node node = changed_.node(id);
      for (ValueId& in : node.inputs) in = copy(in);
      for (ValueId& out : node.outputs) out = copy(out);
      node.name = free_node_name(node.name);
      result_.add_node(std::move(node));
    }
    result_.compact();
    verify(result_, Stage::imported);
    return std::move(result_);
  }

 private:
  /// Removes the part's nodes and all values that only they use, so that their names are free. The values from which
  /// the part starts stay, together with the nodes that compute them.
  void remove_old_nodes() {
    const std::vector<ValueId> outputs = result_.outputs();
    for (NodeId id : part_.nodes) result_.remove_node(id);
    for (ValueId id : changed_.inputs()) result_.mark_output(in_whole(id));
    result_.remove_dead();
    result_.clear_outputs();
    for (ValueId id : outputs) result_.mark_output(id);
  }

  ValueId in_whole(ValueId id) const {
    const ValueId found = result_.find(changed_.value(id).name);
    check(found != ValueId::none, "the changed part has the input '{}', which the network lacks",
          changed_.value(id).name);
    return found;
  }

  ValueId connect_input(ValueId id) {
    const Value& value = changed_.value(id);
    const ValueId whole = in_whole(id);
    if (result_.value(whole).dtype == DataType::unknown) result_.value(whole).dtype = value.dtype;
    if (!result_.value(whole).shape) result_.value(whole).shape = value.shape;
    if (!value.quant) return whole;
    if (result_.consumers(whole).empty() && !result_.is_output(whole)) {
      result_.value(whole).quant = value.quant;
      return whole;
    }
    // Nodes outside the part read the value without the grid.
    Value snapped = value;
    snapped.name = result_.unique_name(value.name + "_snapped");
    const ValueId out = result_.add_value(snapped);
    result_.add_node({.name = free_node_name(snapped.name), .op = Requantize{}, .inputs = {whole}, .outputs = {out}});
    return out;
  }

  void connect_output(ValueId id) {
    const Value& value = changed_.value(id);
    const ValueId whole = result_.find(value.name);
    if (whole == ValueId::none || copies_[index(id)] != ValueId::none) return;  // only the part reads it
    result_.value(whole) = value;
    copies_[index(id)] = whole;
  }

  ValueId copy(ValueId id) {
    if (id == ValueId::none) return id;
    if (copies_[index(id)] == ValueId::none) {
      Value value = changed_.value(id);
      value.name = result_.unique_name(value.name);
      copies_[index(id)] = result_.add_value(std::move(value));
    }
    return copies_[index(id)];
  }

  std::string free_node_name(const std::string& name) {
    if (name.empty()) return name;
    return *node_names_
                .insert(fresh_name(name, [&](const std::string& candidate) { return node_names_.contains(candidate); }))
                .first;
  }

  const Part& part_;
  const Graph& changed_;
  Graph result_;
  std::vector<ValueId> copies_;  // one per value of the changed part
  std::set<std::string> node_names_;
};

}  // namespace

Graph put_back(const Part& part, const Graph& changed) { return Return(part, changed).run(); }

}  // namespace bitfold
