#include "reference/ops.h"

#include <algorithm>
#include <array>

#include "reference/families.h"
#include "reference/operands.h"

namespace bitfold {
namespace reference {

OpFunction function_of(const Opaque&) { return nullptr; }

Window3d resolve_window(const Window& window, std::span<const std::int64_t> x, std::span<const std::int64_t> y) {
  const std::size_t spatial = window.kernel.size();
  check(spatial <= 3 && x.size() == spatial + 2 && y.size() == spatial + 2,
        "a window of {} axes over an input of rank {}: 1, 2 or 3 spatial axes can be run", spatial, x.size());
  Window3d axes{};
  for (std::size_t i = 0; i < spatial; ++i) {
    WindowAxis& a = axes[3 - spatial + i];
    a = {x[i + 2],
         y[i + 2],
         window.kernel[i],
         window.strides[i],
         window.dilations[i],
         window.pads[i],
         window.pads[i + spatial]};
    if (window.auto_pad == AutoPad::none) continue;
    const std::int64_t total =
        window.auto_pad == AutoPad::valid ? 0 : std::max<std::int64_t>(0, (a.out - 1) * a.stride + a.extent() - a.in);
    a.pad_begin = window.auto_pad == AutoPad::same_lower ? total - total / 2 : total / 2;
    a.pad_end = total - a.pad_begin;
  }
  return axes;
}

namespace {

/// Which element types an operator's data inputs may have.
enum class Accepts { any, float_only, numbers, numbers_and_boolean, boolean_only };

struct AcceptsOf {
  Accepts operator()(const Unary& op) const {
    switch (op.kind) {
      case UnaryKind::identity:
        return Accepts::any;
      case UnaryKind::logical_not:
        return Accepts::boolean_only;
      case UnaryKind::relu:
      case UnaryKind::abs:
      case UnaryKind::neg:
      case UnaryKind::sign:
        return Accepts::numbers;
      default:
        return Accepts::float_only;
    }
  }
  Accepts operator()(const Binary& op) const {
    switch (op.kind) {
      case BinaryKind::logical_and:
      case BinaryKind::logical_or:
      case BinaryKind::logical_xor:
        return Accepts::boolean_only;
      case BinaryKind::equal:
        return Accepts::numbers_and_boolean;
      default:
        return Accepts::numbers;
    }
  }
  Accepts operator()(const Clip&) const { return Accepts::numbers; }
  Accepts operator()(const Variadic&) const { return Accepts::numbers; }
  Accepts operator()(const Reduce&) const { return Accepts::numbers; }
  Accepts operator()(const ArgReduce&) const { return Accepts::numbers; }
  Accepts operator()(const Range&) const { return Accepts::numbers; }
  Accepts operator()(const Where&) const { return Accepts::any; }
  Accepts operator()(const Concat&) const { return Accepts::any; }
  Accepts operator()(const Split&) const { return Accepts::any; }
  Accepts operator()(const Flatten&) const { return Accepts::any; }
  Accepts operator()(const Reshape&) const { return Accepts::any; }
  Accepts operator()(const Transpose&) const { return Accepts::any; }
  Accepts operator()(const Squeeze&) const { return Accepts::any; }
  Accepts operator()(const Unsqueeze&) const { return Accepts::any; }
  Accepts operator()(const Slice&) const { return Accepts::any; }
  Accepts operator()(const Gather&) const { return Accepts::any; }
  Accepts operator()(const Pad&) const { return Accepts::any; }
  Accepts operator()(const Expand&) const { return Accepts::any; }
  Accepts operator()(const Tile&) const { return Accepts::any; }
  Accepts operator()(const ShapeOf&) const { return Accepts::any; }
  Accepts operator()(const ConstantOfShape&) const { return Accepts::any; }
  Accepts operator()(const DepthToSpace&) const { return Accepts::any; }
  Accepts operator()(const Requantize&) const { return Accepts::any; }
  Accepts operator()(const Cast&) const { return Accepts::any; }
  template <class Other>
  Accepts operator()(const Other&) const {
    return Accepts::float_only;
  }
};

const char* words(Accepts accepts) {
  constexpr std::array kWords{"every type of whole bytes is", "float32 is", "float32, int32 and int64 are",
                              "float32, int32, int64 and boolean are", "boolean is"};
  return kWords[static_cast<std::size_t>(accepts)];
}

bool accepts(Accepts what, DataType dtype) {
  const bool is_number = dtype == DataType::float32 || dtype == DataType::int32 || dtype == DataType::int64;
  switch (what) {
    case Accepts::any:
      return bit_width(dtype) >= 8;
    case Accepts::float_only:
      return dtype == DataType::float32;
    case Accepts::numbers:
      return is_number;
    case Accepts::numbers_and_boolean:
      return is_number || dtype == DataType::boolean;
    case Accepts::boolean_only:
      return dtype == DataType::boolean;
  }
  return false;
}

bool is_castable(DataType dtype) {
  return bit_width(dtype) >= 8 && dtype != DataType::float64 && dtype != DataType::float16 &&
         dtype != DataType::bfloat16;
}

/// The slots [first, last) that hold data; the others hold axes, shapes and the like.
struct Slots {
  std::size_t first = 0, last = 1;
};
Slots data_slots(const Op& op, std::size_t count) {
  if (std::holds_alternative<Where>(op)) return {1, count};
  if (std::holds_alternative<Reshape>(op) || std::holds_alternative<Squeeze>(op) ||
      std::holds_alternative<Unsqueeze>(op) || std::holds_alternative<Slice>(op) ||
      std::holds_alternative<Gather>(op) || std::holds_alternative<Pad>(op) || std::holds_alternative<Expand>(op) ||
      std::holds_alternative<Tile>(op) || std::holds_alternative<Split>(op) || std::holds_alternative<Reduce>(op) ||
      std::holds_alternative<Resize>(op))
    return {0, 1};
  return {0, count};
}

bool takes_mixed_types(const Op& op) {
  const auto* binary = std::get_if<Binary>(&op);
  return binary != nullptr && binary->kind == BinaryKind::pow;
}

}  // namespace
}  // namespace reference

OpFunction find_op_function(const Op& op) {
  return std::visit([](const auto& o) { return reference::function_of(o); }, op);
}

std::string why_not_runnable(const Node& node, std::span<const ValueInfo> inputs) {
  using namespace reference;
  if (find_op_function(node.op) == nullptr) return "no such operator here";
  const Accepts what = std::visit(AcceptsOf{}, node.op);
  const auto [first, last] = data_slots(node.op, inputs.size());
  std::optional<DataType> common;
  for (std::size_t i = first; i < last && i < inputs.size(); ++i) {
    if (node.inputs[i] == ValueId::none) continue;
    const DataType dtype = inputs[i].dtype;
    if (!accepts(what, dtype)) return fmt::format("{} is not supported ({})", to_string(dtype), words(what));
    if (common && *common != dtype && !takes_mixed_types(node.op))
      return fmt::format("inputs of types {} and {}", to_string(*common), to_string(dtype));
    common = dtype;
  }
  if (const auto* cast = std::get_if<Cast>(&node.op))
    for (DataType dtype : {common.value_or(DataType::float32), cast->to})
      if (!is_castable(dtype)) return fmt::format("{} is not supported", to_string(dtype));
  return {};
}

}  // namespace bitfold
