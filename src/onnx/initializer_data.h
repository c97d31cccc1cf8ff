// Keeps the elements of large initializers out of protobuf, which would otherwise copy all of them when a model is read
// or written.
#pragma once

#include <onnx/onnx_pb.h>

#include <cstddef>
#include <functional>
#include <optional>
#include <span>
#include <string>
#include <vector>

namespace bitfold {

/// The raw_data of each initializer of the main graph, by index; null data if the message holds it.
using InitializerData = std::vector<std::span<const std::byte>>;

/// Parses a serialized model. The raw_data of large initializers is left out of `model`; the result refers to it in
/// `bytes`. Empty if the bytes are not a model.
std::optional<InitializerData> parse_model(std::span<const std::byte> bytes, onnx::ModelProto& model);

/// The size of the serialized model if its initializers have this raw_data.
std::size_t serialized_bytes(const onnx::ModelProto& model, const InitializerData& data);

/// Passes the serialized model to `write` in pieces, identical to what protobuf would write with raw_data in `model`.
/// Calls `done` with each span of `data` after it has been written.
void serialize_model(const onnx::ModelProto& model, const InitializerData& data,
                     const std::function<void(std::span<const std::byte>)>& write,
                     const std::function<void(std::span<const std::byte>)>& done);

}  // namespace bitfold
