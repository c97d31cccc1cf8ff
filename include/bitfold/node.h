// One operator of a network: a node, the values it reads and writes, and the facts that inference has about them.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "bitfold/ops.h"
#include "bitfold/tensor.h"

namespace bitfold {

class Graph;

/// Handles into one Graph. They stay valid until compact(). Functions of Graph throw Error on an id that this graph
/// never returned. ValueId::none is accepted only where an input or output may be absent.
enum class ValueId : std::int32_t { none = -1 };
/// The position of a value among the values of its graph. `id` is not none.
constexpr std::size_t index(ValueId id) { return static_cast<std::size_t>(id); }

enum class NodeId : std::int32_t { none = -1 };

struct Node {
  std::string name;  ///< May be empty in a file; the importer then generates one.
  Op op;
  std::vector<ValueId> inputs;   ///< ValueId::none for absent optional inputs.
  std::vector<ValueId> outputs;  ///< ValueId::none for unused optional outputs.
  /// The networks that If, Loop and Scan run. Each is closed: a value of the outer graph that a body reads is an input
  /// of both the node and the body, at the position given in ops.h.
  std::vector<std::shared_ptr<const Graph>> bodies;

  /// Bodies are compared by content.
  bool operator==(const Node& other) const;
};

/// One element of a small integer tensor: a number or unknown.
struct Element : std::optional<std::int64_t> {
  using std::optional<std::int64_t>::optional;
  Element(const std::optional<std::int64_t>& number) : std::optional<std::int64_t>(number) {}

  /// For an unknown element that is the size of a dimension: the number (below kDynamic) that stands for this dimension
  /// in shapes. Otherwise 0.
  std::int64_t dimension = 0;
};

/// The type of the tensors in a sequence or an optional.
struct ItemType {
  DataType dtype = DataType::unknown;
  std::optional<Shape> shape;
  bool operator==(const ItemType&) const = default;
};

/// Facts about a value before running: its type, its shape, and for small integer tensors its elements.
struct ValueInfo {
  DataType dtype = DataType::float32;
  std::optional<Shape> shape;
  /// Elements of an int64/int32/boolean tensor of at most 4096 elements, where shape arithmetic can derive them;
  /// absent entries are unknown.
  std::optional<std::vector<Element>> elements;
  /// Elements of a constant float32 tensor of at most 16 elements, such as the scales of a Resize. Empty otherwise.
  std::vector<float> scales;
  /// Set for a sequence or an optional, whose own shape is unknown before running.
  std::optional<ItemType> items;
};

/// The prefix for names of values in body number `body` of a node: "decoder.0/". Prefix plus value name is unique in
/// the outer graph. Prefixes of nested bodies are concatenated.
std::string body_prefix(const Node& node, std::size_t body);

/// The node in messages: "[Conv 'layer2.0.conv1']".
std::string where(const Node& node);

}  // namespace bitfold
