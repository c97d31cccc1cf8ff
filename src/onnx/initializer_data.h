// An ONNX file without its weights: the elements of large initializers are kept out of protobuf, which would hold a
// copy of all of them while a model is read or written.
#pragma once

#include <onnx/onnx_pb.h>

#include <cstddef>
#include <functional>
#include <optional>
#include <span>
#include <string>
#include <vector>

namespace bitfold {

/// The raw_data of an initializer of the main graph, by its index; null data where protobuf has it.
using InitializerData = std::vector<std::span<const std::byte>>;

/// Parses a serialized model. The raw_data of large initializers is left out of `model` and refers to `bytes` instead.
/// None when the bytes are not a model.
std::optional<InitializerData> parse_model(std::span<const std::byte> bytes, onnx::ModelProto& model);

/// The size of the serialized model whose initializers have this raw_data.
std::size_t serialized_bytes(const onnx::ModelProto& model, const InitializerData& data);

/// Passes the serialized model to `write` piece by piece: what protobuf would write if raw_data were in `model`.
/// `done` is called with each span of `data` after it was written.
void serialize_model(const onnx::ModelProto& model, const InitializerData& data,
                     const std::function<void(std::span<const std::byte>)>& write,
                     const std::function<void(std::span<const std::byte>)>& done);

}  // namespace bitfold
