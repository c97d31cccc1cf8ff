// Operators that occur in files only: one node becomes several nodes of ai.onnx in its newest opset. These are most
// operators of com.microsoft, which ONNX Runtime's optimizer writes, and operators on codes with constant scales, which
// become a float operator between DequantizeLinear and QuantizeLinear.
#pragma once

#include <onnx/onnx_pb.h>

#include <functional>
#include <initializer_list>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "bitfold/tensor.h"
#include "ops/field.h"

namespace bitfold {

/// A value of the file, as far as it has been read.
struct KnownValue {
  const Tensor* constant = nullptr;
  std::optional<Shape> shape;
};

class Expansion {
 public:
  using Attributes = std::vector<std::pair<const char*, ops::AttributeValue>>;
  using Names = std::vector<std::string>;

  struct Context {
    std::function<KnownValue(const std::string& name)> know;
    std::function<bool(const std::string& name)> is_read;
    std::function<std::string(const std::string& stem)> fresh;
    std::string folder;
  };

  Expansion(const onnx::NodeProto& node, Context context);

  // The node.
  const onnx::NodeProto& node() const { return node_; }
  bool has(int slot) const { return slot < node_.input_size() && !node_.input(slot).empty(); }
  /// "" if the input is absent.
  std::string input(int slot) const { return has(slot) ? node_.input(slot) : ""; }
  bool gives(int slot) const;  ///< Whether something reads that output.
  const Tensor* constant(int slot) const { return has(slot) ? context_.know(input(slot)).constant : nullptr; }
  std::optional<Shape> shape(int slot) const { return has(slot) ? context_.know(input(slot)).shape : std::nullopt; }
  std::optional<std::int64_t> rank(int slot) const;
  /// The attribute, or the default. Throws Error if it has another type.
  std::int64_t integer(std::string_view name, std::int64_t otherwise) const;
  float real(std::string_view name, float otherwise) const;
  std::string word(std::string_view name, std::string_view otherwise) const;
  std::vector<std::int64_t> integers(std::string_view name) const;
  std::vector<float> reals(std::string_view name) const;
  /// The attributes of the node that have one of these names.
  Attributes attributes(std::initializer_list<std::string_view> names) const;

  // The nodes that replace it.
  /// Adds a node with one output, and returns its name.
  std::string add(const char* type, Names inputs, const Attributes& attributes = {});
  /// The same, with `count` outputs.
  Names add(const char* type, Names inputs, int count, const Attributes& attributes);
  /// Adds a node that gives output `slot` of the replaced node.
  void give(int slot, const char* type, Names inputs, const Attributes& attributes = {});
  std::string add_constant(const Tensor& tensor);
  std::string number(float value);
  std::string number(std::int64_t value);
  std::string list(const std::vector<std::int64_t>& values);

  std::vector<onnx::NodeProto>& nodes() { return nodes_; }

  /// Sets the type, the inputs (without absent ones at the end) and the attributes of a new node.
  static void fill(onnx::NodeProto& made, const char* type, Names inputs, const Attributes& attributes);

 private:
  template <class T>
  std::optional<T> attribute(std::string_view name) const;

  const onnx::NodeProto& node_;
  Context context_;
  std::vector<onnx::NodeProto> nodes_;
};

/// Returns the reason if the node cannot be replaced; an empty reason if the operator's own row is to read it.
using ExpandNode = std::optional<std::string> (*)(Expansion& e);

/// Null if the operator is not replaced.
ExpandNode find_expansion(std::string_view domain, std::string_view type);

// The families, each in its own file.
struct ExpansionRow {
  std::string_view domain, type;
  ExpandNode expand;
};
std::vector<ExpansionRow> quantized_expansions();  ///< QLinearConv, QGemm, MatMulNBits, ...
std::vector<ExpansionRow> fused_expansions();      ///< FastGelu, SkipLayerNormalization, FusedConv, ...
std::vector<ExpansionRow> attention_expansions();  ///< Attention, MultiHeadAttention, RotaryEmbedding, ...
std::vector<ExpansionRow> recurrent_expansions();  ///< DynamicQuantizeLSTM

inline constexpr std::string_view kMicrosoft = "com.microsoft";

}  // namespace bitfold
