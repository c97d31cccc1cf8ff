// The parts of the ONNX wire format that import and export share: element types and tensors.
//
// The installed schema may be older than a file. Newer element types (of at most 8 bits) are handled by their
// numbers, which protobuf keeps as plain integers.
#pragma once

#include <onnx/onnx_pb.h>

#include <cstddef>
#include <memory>
#include <optional>
#include <span>
#include <string>

#include "bitfold/node.h"

namespace bitfold {

/// TensorProto.DataType numbers that the installed schema may lack.
inline constexpr int kOnnxFloat8E4M3Fn = 17;
inline constexpr int kOnnxFloat8E4M3Fnuz = 18;
inline constexpr int kOnnxFloat8E5M2 = 19;
inline constexpr int kOnnxFloat8E5M2Fnuz = 20;
inline constexpr int kOnnxUint4 = 21;
inline constexpr int kOnnxInt4 = 22;
inline constexpr int kOnnxFloat4E2M1 = 23;
inline constexpr int kOnnxFloat8E8M0 = 24;
inline constexpr int kOnnxUint2 = 25;
inline constexpr int kOnnxInt2 = 26;

/// The element type of a TensorProto.DataType number; none for types that Bitfold does not support (complex, reals of 6
/// bits).
std::optional<DataType> data_type_of_onnx(int number);
/// Like data_type_of_onnx, but throws Error naming the type.
DataType checked_data_type(int number);
int onnx_number(DataType dtype);

/// The type of a value: of a tensor, or of a sequence or an optional that holds tensors. Throws Error (without the
/// value's name) for any other type, and for a dimension that is invalid.
ValueInfo read_type(const onnx::TypeProto& proto);
onnx::TypeProto write_type(DataType dtype, const std::optional<Shape>& shape, const std::optional<ItemType>& items);

/// Up to this size (bytes) the elements of an initializer stay in the model's message.
inline constexpr std::size_t kSmallTensor = 1024;

/// The elements of a tensor that were kept out of protobuf (see initializer_data.h).
struct DetachedData {
  std::span<const std::byte> bytes;   ///< Null data means that protobuf has the elements.
  std::shared_ptr<const void> owner;  ///< Keeps `bytes` alive; if null, they must be copied.
};

/// A tensor with its elements, from any field or file. Elements in an external file, or in `detached` memory with an
/// owner, are borrowed from the mapping if their alignment allows it; all others are copied. External data must be
/// inside `folder`. Throws Error naming the tensor if sizes disagree; nothing is allocated before this check.
Tensor read_tensor(const onnx::TensorProto& proto, const std::string& folder, const DetachedData& detached = {});
/// The same, but moves raw_data out of `proto` instead of copying it.
Tensor take_tensor(onnx::TensorProto& proto, const std::string& folder);

/// The size of a file of external data, named relative to the model's folder. Throws Error as read_tensor() does.
std::int64_t external_file_bytes(const std::string& location, const std::string& folder);

/// Stores the elements as raw_data, strings as string_data.
onnx::TensorProto write_tensor(const std::string& name, const Tensor& tensor);
/// A TensorProto with name, type and shape only.
onnx::TensorProto write_tensor_header(const std::string& name, const Tensor& tensor);

}  // namespace bitfold
