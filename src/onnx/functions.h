// Functions that a model defines itself. Reading a file replaces each call with the nodes of the function.
#pragma once

#include <onnx/onnx_pb.h>

#include <cstdint>
#include <deque>
#include <map>
#include <set>
#include <string>
#include <utility>
#include <vector>

namespace bitfold {

/// Versions of operator sets by domain; the default domain is "".
using Opsets = std::map<std::string, std::int64_t>;
/// Throws Error for a domain that is imported twice in different versions.
Opsets read_opsets(const google::protobuf::RepeatedPtrField<onnx::OperatorSetIdProto>& imports);
/// "" for ai.onnx.
std::string domain_of(const std::string& domain);

/// A node and the operator sets that define it: those of its function, or of the model.
struct SourceNode {
  const onnx::NodeProto* proto;
  const Opsets* opsets;
};

class Functions {
 public:
  /// `model` must outlive this object.
  explicit Functions(const onnx::ModelProto& model);
  Functions(const Functions&) = delete;
  Functions& operator=(const Functions&) = delete;

  /// The nodes with every call replaced, including calls inside functions. Subgraphs are left as they are. Values and
  /// nodes of a function get names that no other value of the model has. Throws Error for a function that calls itself
  /// and for more than a million nodes.
  std::vector<SourceNode> expand(const google::protobuf::RepeatedPtrField<onnx::NodeProto>& nodes,
                                 const Opsets& opsets);

  bool is_call(const onnx::NodeProto& node) const { return find(node) != nullptr; }

 private:
  struct Key {
    std::string domain, name, overload;
    auto operator<=>(const Key&) const = default;
  };
  struct Function {
    const onnx::FunctionProto* proto;
    Opsets opsets;
    std::map<std::string, onnx::AttributeProto> defaults;
  };
  using Names = std::map<std::string, std::string>;

  const Function* find(const onnx::NodeProto& node) const;
  void expand(const onnx::NodeProto& node, const Opsets& opsets, std::vector<SourceNode>& to);
  void call(const Function& function, const onnx::NodeProto& node, std::vector<SourceNode>& to);
  void rename(onnx::NodeProto& node, const Names& names, const onnx::NodeProto& call, const Function& function);
  void rename(onnx::GraphProto& graph, Names names, const onnx::NodeProto& call, const Function& function);
  std::string fresh(const std::string& stem);
  void take_names(const onnx::GraphProto& graph);

  std::map<Key, Function> functions_;
  std::set<const Function*> active_;  // functions whose calls are being replaced
  std::set<std::string> taken_;
  std::deque<onnx::NodeProto> made_;
};

}  // namespace bitfold
