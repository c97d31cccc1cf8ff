// Types of values: tensors, sequences and optionals.
#include "base/check.h"
#include "onnx/wire.h"

namespace bitfold {
namespace {

ItemType read_tensor_type(const onnx::TypeProto& proto) {
  check(proto.has_tensor_type(), "is not a tensor, nor a sequence or an optional of tensors");
  const auto& type = proto.tensor_type();
  const auto dtype = data_type_of_onnx(type.elem_type());
  check(dtype.has_value(), "has element type number {}, which is not supported", type.elem_type());
  if (!type.has_shape()) return {*dtype, {}};
  Shape shape, known;
  for (const auto& dim : type.shape().dim()) {
    // Some exporters write -1 for a dynamic size.
    const bool is_known = dim.has_dim_value() && dim.dim_value() != kDynamic;
    shape.push_back(is_known ? dim.dim_value() : kDynamic);
    check(!is_known || dim.dim_value() >= 0, "has the invalid dimension {}", dim.dim_value());
    if (is_known) known.push_back(dim.dim_value());
  }
  element_count(known);
  return {*dtype, std::move(shape)};
}

onnx::TypeProto write_tensor_type(DataType dtype, const std::optional<Shape>& shape) {
  onnx::TypeProto proto;
  auto& type = *proto.mutable_tensor_type();
  type.set_elem_type(onnx_number(dtype));
  if (!shape) return proto;
  auto& dims = *type.mutable_shape();
  for (std::int64_t dim : *shape) {
    auto& written = *dims.add_dim();
    if (dim != kDynamic) written.set_dim_value(dim);
  }
  return proto;
}

}  // namespace

ValueInfo read_type(const onnx::TypeProto& proto) {
  if (!proto.has_sequence_type() && !proto.has_optional_type()) {
    ItemType type = read_tensor_type(proto);
    return {.dtype = type.dtype, .shape = std::move(type.shape)};
  }
  const onnx::TypeProto& held =
      proto.has_sequence_type() ? proto.sequence_type().elem_type() : proto.optional_type().elem_type();
  const bool holds_sequence = proto.has_optional_type() && held.has_sequence_type();
  ValueInfo info{.dtype = proto.has_sequence_type() ? DataType::sequence
                          : holds_sequence          ? DataType::optional_sequence
                                                    : DataType::optional};
  info.items = read_tensor_type(holds_sequence ? held.sequence_type().elem_type() : held);
  return info;
}

onnx::TypeProto write_type(DataType dtype, const std::optional<Shape>& shape, const std::optional<ItemType>& items) {
  if (!is_container(dtype)) return write_tensor_type(dtype, shape);
  check(items.has_value(), "a {} has no type of its tensors", to_string(dtype));
  onnx::TypeProto held = write_tensor_type(items->dtype, items->shape), whole;
  if (dtype == DataType::optional_sequence) {
    onnx::TypeProto sequence;
    *sequence.mutable_sequence_type()->mutable_elem_type() = std::move(held);
    held = std::move(sequence);
  }
  if (dtype == DataType::sequence)
    *whole.mutable_sequence_type()->mutable_elem_type() = std::move(held);
  else
    *whole.mutable_optional_type()->mutable_elem_type() = std::move(held);
  return whole;
}

}  // namespace bitfold
