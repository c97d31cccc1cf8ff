// Operators that Bitfold lacks, written by its user (docs/custom_operators.md).
//
// Everything that an operator's functions receive is complete in headers, so that a shared library with operators need
// not link Bitfold. It must be built with the same compiler and the same version of Bitfold as the program.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <limits>
#include <map>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

#include "bitfold/error.h"
#include "bitfold/node.h"
#include "bitfold/tensor.h"

namespace bitfold {

/// An attribute that holds a tensor. `bytes` has Tensor's layout.
struct TensorAttribute {
  DataType dtype = DataType::float32;
  Shape shape;
  std::vector<std::byte> bytes;
};

using CustomAttribute = std::variant<std::int64_t, float, std::string, std::vector<std::int64_t>, std::vector<float>,
                                     std::vector<std::string>, TensorAttribute>;

/// A node of a custom operator.
struct CustomNode {
  std::string name;
  std::map<std::string, CustomAttribute, std::less<>> attributes;  ///< The attributes that the file gives.
  std::size_t output_count = 1;                                    ///< Outputs of this node; the last may be absent.

  /// The attribute, or `fallback` if the file does not give it. Throws Error if it has another type.
  template <class T>
  T attribute(std::string_view attribute_name, T fallback) const {
    const auto found = attributes.find(attribute_name);
    if (found == attributes.end()) return fallback;
    const T* value = std::get_if<T>(&found->second);
    if (value == nullptr)
      throw Error("attribute '" + std::string(attribute_name) + "' has a type that is not expected");
    return *value;
  }
};

struct CustomOperator {
  static constexpr std::size_t kAnyNumber = std::numeric_limits<std::size_t>::max();

  std::string domain, name;  ///< As in the file: "com.example", "Decode".
  std::size_t min_inputs = 1, max_inputs = 1;
  std::size_t output_count = 1;
  /// Types and shapes of all outputs. Sizes of `inputs` may be unknown (negative) while a network is loaded; a negative
  /// size that is copied to an output stands for the same size. When the network runs, all sizes are known, and those
  /// of the outputs must follow from the shapes and types of the inputs, or from the `elements` of integer inputs.
  /// Throws Error, without the node's name, if the inputs do not fit.
  std::function<std::vector<ValueInfo>(const CustomNode& node, std::span<const ValueInfo> inputs)> infer;
  /// Writes the outputs, whose types and shapes are those of `infer`. The data of an absent optional input or output is
  /// null. Inputs are float32, integers or booleans. Several threads may call it at the same time.
  std::function<void(const CustomNode& node, std::span<const TensorView> inputs, std::span<const TensorView> outputs)>
      evaluate;
};

class OperatorRegistry {
 public:
  /// Throws Error if the operator lacks a name or function, or if Bitfold or an earlier registration has its name.
  virtual void add(CustomOperator added) = 0;

 protected:
  ~OperatorRegistry() = default;
};

/// The operators of this process. Register them before networks that contain them are loaded. They stay registered.
OperatorRegistry& custom_operators();

/// Loads a shared library and calls its bitfold_register_operators(). The library stays loaded. Throws Error naming the
/// file if it cannot be loaded, lacks the function, or if a registration fails.
void load_custom_operators(const std::string& path);

}  // namespace bitfold

/// The function that a library of operators defines.
extern "C" __attribute__((visibility("default"))) void bitfold_register_operators(bitfold::OperatorRegistry* registry);
