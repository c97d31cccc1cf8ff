// Keeps the elements of large constants out of protobuf, which would otherwise copy all of them when a model is read or
// written.
#pragma once

#include <onnx/onnx_pb.h>

#include <cstddef>
#include <functional>
#include <optional>
#include <span>
#include <string>
#include <vector>

namespace bitfold {

/// The elements of each initializer of the main graph, by index; null data if the message holds them.
using InitializerData = std::vector<std::span<const std::byte>>;

/// Elements that parse_model() leaves out of a model.
struct DetachedModelData {
  InitializerData initializers;
  InitializerData constants;  ///< The same for Constant nodes of the main graph, by the index of the node.
};

/// Parses a serialized model. The raw_data of large constants is left out of `model`, and their float_data, which has
/// the same bytes; the result refers to it in `bytes`. Empty if the bytes are not a model.
std::optional<DetachedModelData> parse_model(std::span<const std::byte> bytes, onnx::ModelProto& model);

/// The size of the serialized model if its initializers have this raw_data.
std::size_t serialized_bytes(const onnx::ModelProto& model, const InitializerData& data);

/// Passes the serialized model to `write` in pieces, identical to what protobuf would write with raw_data in `model`.
/// Calls `done` with each span of `data` after it has been written.
void serialize_model(const onnx::ModelProto& model, const InitializerData& data,
                     const std::function<void(std::span<const std::byte>)>& write,
                     const std::function<void(std::span<const std::byte>)>& done);

}  // namespace bitfold
