// What cannot be run, in one message.
#pragma once

#include <string>
#include <vector>

#include "base/check.h"
#include "bitfold/graph.h"

namespace bitfold::reference {

/// "2 x NonMaxSuppression (first: [NonMaxSuppression 'nms'])", one for each kind of operator and reason.
class Refusals {
 public:
  void add(const Graph& graph, NodeId id, const std::string& reason) {
    const Node& node = graph.node(id);
    const std::string detail = std::holds_alternative<Opaque>(node.op) ? std::string() : fmt::format(": {}", reason);
    const std::string name = op_name(node.op);
    for (Group& g : groups_)
      if (g.name == name && g.detail == detail) {
        ++g.count;
        return;
      }
    groups_.push_back({name, detail, where(graph, id), 1});
  }
  void report() const {
    if (groups_.empty()) return;
    std::string text;
    for (const Group& g : groups_)
      text += fmt::format("{}{} x {} (first: {}{})", text.empty() ? "" : ", ", g.count, g.name, g.first, g.detail);
    fail("cannot run: {}", text);
  }

 private:
  struct Group {
    std::string name, detail, first;
    int count;
  };
  std::vector<Group> groups_;
};

}  // namespace bitfold::reference
