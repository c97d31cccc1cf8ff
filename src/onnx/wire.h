// The parts of the ONNX wire format that both directions need: element types and tensors.
//
// The installed schema may be older than a file: newer element types (4-bit and 2-bit integers) are handled by their
// numbers, which protobuf keeps as plain integers.
#pragma once

#include <onnx/onnx_pb.h>

#include <optional>
#include <string>

#include "bitfold/tensor.h"

namespace bitfold {

/// TensorProto.DataType numbers that the installed schema may not know.
inline constexpr int kOnnxUint4 = 21;
inline constexpr int kOnnxInt4 = 22;
inline constexpr int kOnnxUint2 = 25;
inline constexpr int kOnnxInt2 = 26;

/// The element type of a TensorProto.DataType number; none for those Bitfold does not hold (strings, complex, float8).
std::optional<DataType> data_type_of_onnx(int number);
/// As data_type_of_onnx; throws Error naming the type.
DataType checked_data_type(int number);
int onnx_number(DataType dtype);

/// Copies a tensor's elements, whichever field or file holds them. External data is looked for inside `folder` only.
/// Throws Error naming the tensor when sizes disagree; allocates nothing before they agree.
Tensor read_tensor(const onnx::TensorProto& proto, const std::string& folder);

/// Elements as raw_data.
onnx::TensorProto write_tensor(const std::string& name, const Tensor& tensor);

}  // namespace bitfold
