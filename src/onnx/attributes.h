// Reading a node's attributes by name, remembering which were read: what is left over afterwards is a variant of the
// operator that Bitfold does not know.
#pragma once

#include <onnx/onnx_pb.h>

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "bitfold/tensor.h"

namespace bitfold {

/// Every reader throws Error when the attribute has another type than asked for.
class AttributeReader {
 public:
  AttributeReader(const onnx::NodeProto& node, std::string folder);

  std::optional<std::int64_t> integer(std::string_view name);
  std::optional<float> real(std::string_view name);
  std::optional<std::string> word(std::string_view name);
  std::optional<std::vector<std::int64_t>> integers(std::string_view name);
  std::optional<std::vector<float>> reals(std::string_view name);
  std::optional<Tensor> tensor(std::string_view name);

  std::int64_t integer(std::string_view name, std::int64_t fallback) { return integer(name).value_or(fallback); }
  float real(std::string_view name, float fallback) { return real(name).value_or(fallback); }
  std::string word(std::string_view name, std::string_view fallback) {
    return word(name).value_or(std::string(fallback));
  }
  /// An attribute without influence on inference.
  void ignore(std::string_view name) { find(name); }
  bool all_read() const;

 private:
  const onnx::AttributeProto* find(std::string_view name);
  const onnx::AttributeProto* find(std::string_view name, onnx::AttributeProto::AttributeType type);

  const onnx::NodeProto& node_;
  std::string folder_;
  std::vector<bool> read_;
};

/// Adds an attribute of that name to a node.
void set_integer(onnx::NodeProto& node, const char* name, std::int64_t value);
void set_real(onnx::NodeProto& node, const char* name, float value);
void set_word(onnx::NodeProto& node, const char* name, std::string_view value);
void set_integers(onnx::NodeProto& node, const char* name, const std::vector<std::int64_t>& values);
void set_tensor(onnx::NodeProto& node, const char* name, const Tensor& value);

}  // namespace bitfold
