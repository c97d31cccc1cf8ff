// Nodes that only move elements. They move codes if all inputs and the output have grids; inputs on a different grid
// pass through a table first, which equals snapping after the move. Otherwise, they move reals.
#include <algorithm>
#include <bit>
#include <cstdint>

#include "engine/lowering.h"
#include "engine/steps/copy.h"
#include "ops/operator.h"

namespace bitfold::engine {
namespace {

/// The form in which a node's elements are moved.
struct Form {
  bool codes = false;
  CodeGrid grid;  // grid of the outputs, if they are codes
  Layout layout = Layout::plain;
};

Form form_of(const Lowering& l, const Node& node, std::size_t data_inputs) {
  Form form;
  const auto grid = l.code_grid(node.outputs[0]);
  form.codes = grid.has_value();
  for (std::size_t i = 0; i < data_inputs; ++i) {
    form.codes = form.codes && l.has_codes(node.inputs[i]);
    if (l.layout(node.inputs[i]) == Layout::channels_last) form.layout = Layout::channels_last;
  }
  for (ValueId output : node.outputs)
    if (output != ValueId::none) form.codes = form.codes && l.code_grid(output) == grid;
  if (form.codes) form.grid = *grid;
  return form;
}

Slot read(Lowering& l, ValueId id, const Form& form) {
  if (!form.codes) return l.reals(id, form.layout);
  return l.regridded(l.graph.value(id).name, l.codes(id, form.layout), *l.code_grid(id), form.grid);
}

void finish(Lowering& l, ValueId id, const Form& form, Slot slot) {
  if (form.codes)
    l.define(id, std::move(slot));
  else
    l.define_reals(id, std::move(slot));
}

void add_copy(Lowering& l, const Node& node, const Slot& to, const std::vector<Slot>& from,
              const std::vector<Movement>& movements, CopyStep::Fill fill = {}) {
  auto& step =
      l.add(std::make_unique<CopyStep>(bit_width(to.dtype) / 8, movements, fill), node.name, op_name(node.op), "copy");
  step.info.is_integer = to.is_code;
  step.add_operand(to.buffer, Access::write);
  for (const Slot& slot : from) step.add_operand(slot.buffer, Access::read);
  for (std::size_t i = 0; i < from.size(); ++i) step.info.inputs.push_back(l.graph.value(node.inputs[i]).name);
  for (ValueId output : node.outputs)
    if (output != ValueId::none) step.info.outputs.push_back(l.graph.value(output).name);
}

/// The same bytes with another shape.
bool lower_reshape(Lowering& l, const Node& node) {
  const ValueId x = node.inputs[0], y = node.outputs[0];
  const Shape &in = l.shape(x), &out = l.shape(y);
  Form form = form_of(l, node, 1);
  // With the same batch and channels, a channels-last image keeps the order of its elements too.
  const bool keeps_image = form.layout == Layout::channels_last && is_image(out) && in[0] == out[0] && in[1] == out[1];
  const bool keeps_shape = in == out || keeps_image;
  const bool flattens = form.layout == Layout::channels_last && out.size() == 2 && out[0] == in[0];
  const bool pixel =
      form.layout == Layout::channels_last && (image_shape(in).pixels() == 1 || image_shape(in).channels == 1);
  if (!keeps_shape && (!flattens || pixel)) form.layout = Layout::plain;
  Slot slot = read(l, x, form);
  slot.shape = out;
  if (!keeps_shape && flattens && !pixel) slot.folded = in;
  finish(l, y, form, slot);
  return true;
}

bool lower_transpose(Lowering& l, const Node& node, const Transpose& op) {
  const ValueId x = node.inputs[0], y = node.outputs[0];
  const Shape& out = l.shape(y);
  const Form form = form_of(l, node, 1);
  const Slot source = read(l, x, form);
  const auto in_strides = strides_of(source.shape, source.layout);
  std::vector<std::int64_t> strides;
  for (std::int64_t axis : op.perm) strides.push_back(in_strides[static_cast<std::size_t>(axis)]);
  for (Layout layout : {Layout::plain, Layout::channels_last}) {
    if (layout == Layout::channels_last && !is_image(out)) continue;
    if (strides_of(out, layout) != strides) continue;
    Slot same = source;  // the elements already have this order
    same.shape = out;
    same.layout = layout;
    finish(l, y, form, same);
    return true;
  }
  const Slot to = l.make(y, form.codes, Layout::plain);
  add_copy(l, node, to, {source}, {{out, strides, strides_of(out, Layout::plain)}});
  finish(l, y, form, to);
  return true;
}

std::size_t axis_of(std::int64_t axis, std::size_t rank) {
  return static_cast<std::size_t>(axis < 0 ? axis + static_cast<std::int64_t>(rank) : axis);
}

bool lower_concat(Lowering& l, const Node& node, const Concat& op) {
  const ValueId y = node.outputs[0];
  const Form form = form_of(l, node, node.inputs.size());
  const Slot to = l.make(y, form.codes, form.layout);
  const auto strides = strides_of(to.shape, form.layout);
  const std::size_t axis = axis_of(op.axis, to.shape.size());
  std::vector<Slot> from;
  std::vector<Movement> movements;
  std::int64_t offset = 0;
  for (ValueId x : node.inputs) {
    from.push_back(read(l, x, form));
    const Shape& shape = from.back().shape;
    movements.push_back({shape, strides_of(shape, form.layout), strides, 0, offset});
    offset += shape[axis] * strides[axis];
  }
  add_copy(l, node, to, from, movements);
  finish(l, y, form, to);
  return true;
}

bool lower_split(Lowering& l, const Node& node, const Split& op) {
  if (std::ranges::count(node.outputs, ValueId::none) > 0) return false;
  const Form form = form_of(l, node, 1);
  const Slot source = read(l, node.inputs[0], form);
  const auto strides = strides_of(source.shape, form.layout);
  const std::size_t axis = axis_of(op.axis, source.shape.size());
  std::int64_t offset = 0;
  for (ValueId y : node.outputs) {
    const Slot to = l.make(y, form.codes, form.layout);
    add_copy(l, node, to, {source}, {{to.shape, strides, strides_of(to.shape, form.layout), offset, 0}});
    offset += to.shape[axis] * strides[axis];
    finish(l, y, form, to);
  }
  return true;
}

bool lower_slice(Lowering& l, const Node& node) {
  const ValueId x = node.inputs[0], y = node.outputs[0];
  const auto given = [&](std::size_t slot) {
    return slot < node.inputs.size() ? l.elements(node.inputs[slot]) : std::nullopt;
  };
  const auto absent = [&](std::size_t slot) {
    return slot >= node.inputs.size() || node.inputs[slot] == ValueId::none;
  };
  const auto starts = given(1), axes = given(3), steps = given(4);
  if (!starts || (!axes && !absent(3)) || (!steps && !absent(4))) return false;
  const Form form = form_of(l, node, 1);
  const Slot source = read(l, x, form), to = l.make(y, form.codes, form.layout);
  auto strides = strides_of(source.shape, form.layout);
  Movement m{.shape = to.shape, .destination_strides = strides_of(to.shape, form.layout)};
  for (std::size_t i = 0; i < starts->size(); ++i) {
    const std::size_t axis = axes ? axis_of((*axes)[i], source.shape.size()) : i;
    const std::int64_t dim = source.shape[axis], step = steps ? (*steps)[i] : 1;
    std::int64_t start = (*starts)[i];
    if (start < 0) start += dim;
    start = std::clamp<std::int64_t>(start, 0, std::max<std::int64_t>(0, step > 0 ? dim : dim - 1));
    m.source_offset += start * strides[axis];
    strides[axis] *= step;
  }
  m.source_strides = strides;
  add_copy(l, node, to, {source}, {m});
  finish(l, y, form, to);
  return true;
}

bool lower_pad(Lowering& l, const Node& node, const Pad& op) {
  const ValueId x = node.inputs[0], y = node.outputs[0];
  const bool has_axes = node.inputs.size() > 3 && node.inputs[3] != ValueId::none;
  const bool has_value = node.inputs.size() > 2 && node.inputs[2] != ValueId::none;
  const auto pads = l.elements(node.inputs[1]);
  const auto axes = has_axes ? l.elements(node.inputs[3]) : std::nullopt;
  const auto value = has_value ? l.constant_scalar(node.inputs[2]) : 0.0F;
  if (op.mode != PadMode::constant || !pads || (has_axes && !axes) || !value || l.dtype(x) != DataType::float32)
    return false;
  const Form form = form_of(l, node, 1);
  const Slot source = read(l, x, form), to = l.make(y, form.codes, form.layout);
  Movement m{source.shape, strides_of(source.shape, form.layout), strides_of(to.shape, form.layout)};
  const std::size_t count = pads->size() / 2;
  for (std::size_t i = 0; i < count; ++i) {
    const std::size_t axis = axes ? axis_of((*axes)[i], source.shape.size()) : i;
    const std::int64_t begin = (*pads)[i], end = (*pads)[count + i];
    const std::int64_t cut = std::max<std::int64_t>(0, -begin), cut_end = std::max<std::int64_t>(0, -end);
    m.shape[axis] = std::max<std::int64_t>(0, source.shape[axis] - cut - cut_end);
    m.source_offset += cut * m.source_strides[axis];
    m.destination_offset += std::max<std::int64_t>(0, begin) * m.destination_strides[axis];
  }
  const std::uint32_t pattern = form.codes ? quantize_code(*value, form.grid) : std::bit_cast<std::uint32_t>(*value);
  add_copy(l, node, to, {source}, {m}, {element_count(to.shape), pattern});
  finish(l, y, form, to);
  return true;
}

/// Lowers the operators whose movement strides can describe.
struct StridedStep {
  Lowering& l;
  const Node& node;

  bool operator()(const Transpose& op) const { return lower_transpose(l, node, op); }
  bool operator()(const Concat& op) const { return lower_concat(l, node, op); }
  bool operator()(const Split& op) const { return lower_split(l, node, op); }
  bool operator()(const Pad& op) const { return lower_pad(l, node, op); }
  bool operator()(const Slice&) const { return lower_slice(l, node); }
  template <class Other>
  bool operator()(const Other&) const {
    return false;
  }
};

bool is_whole_bytes(const Lowering& l, const Node& node) {
  return bit_width(l.dtype(node.outputs[0])) >= 8 && l.shape(node.outputs[0]).size() <= 8;
}

}  // namespace

bool moves_codes(const Node& node) {
  if (node.inputs.empty() || node.inputs[0] == ValueId::none || !ops::moves_elements(node.op)) return false;
  // StridedStep also lowers operators that have several inputs or fill something in.
  return ops::info(node.op).traits.keeps_order || std::holds_alternative<Transpose>(node.op) ||
         std::holds_alternative<Slice>(node.op) || std::holds_alternative<Split>(node.op);
}

bool lower_movement(Lowering& l, NodeId id) {
  const Node& node = l.graph.node(id);
  if (node.inputs.empty() || node.inputs[0] == ValueId::none || node.outputs[0] == ValueId::none) return false;
  if (ops::info(node.op).traits.keeps_order) return lower_reshape(l, node);
  return is_whole_bytes(l, node) && std::visit(StridedStep{l, node}, node.op);
}

}  // namespace bitfold::engine
