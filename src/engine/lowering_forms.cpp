// The forms of a value: codes or reals, in either layout. Each is created at the first request.
#include <algorithm>
#include <cstring>

#include "base/check.h"
#include "engine/lowering.h"
#include "engine/steps/convert.h"
#include "engine/steps/copy.h"
#include "engine/steps/elementwise.h"
#include "engine/steps/pointwise.h"

namespace bitfold::engine {
namespace {

std::string form_text(Layout layout) { return layout == Layout::channels_last ? "channels_last" : "plain"; }

/// The codes of a constant as unsigned bytes, in memory that kernels may read past.
Tensor to_unsigned(const Tensor& codes) {
  const Tensor wide = unpacked(codes);
  const auto out = allocate_zeroed(wide.size_bytes());
  if (wide.size() > 0) std::memcpy(out.get(), wide.bytes(), wide.size_bytes());
  if (wide.dtype() == DataType::int8)
    for (std::size_t i = 0; i < wide.size_bytes(); ++i) out.get()[i] ^= std::byte{0x80};
  return Tensor::borrow(out.get(), out, DataType::uint8, wide.shape());
}

Planes image_planes(const Shape& shape) {
  const ImageShape s = image_shape(shape);
  return {s.batch, s.channels, s.pixels()};
}

/// The value as images if the layout changes, otherwise as one run of elements.
Planes planes_of(const Slot& slot, bool changes_layout) {
  const Shape& s = slot.layout_shape();
  if (changes_layout && slot.layout == Layout::channels_last) return image_planes(s);
  return {1, 1, element_count(s)};
}

}  // namespace

const Slot* Lowering::find(ValueId id, bool codes, std::optional<Layout> layout) const {
  for (const Slot& slot : slots_[static_cast<std::size_t>(id)])
    if (slot.is_code == codes && (!layout || (slot.layout == *layout && slot.folded.empty()))) return &slot;
  return nullptr;
}

bool Lowering::has_codes(ValueId id) const {
  if (!code_grid(id)) return false;
  if (graph.is_constant(id)) return true;
  return find(id, true, std::nullopt) != nullptr || raw_inputs_[static_cast<std::size_t>(id)].has_value();
}

Layout Lowering::layout(ValueId id) const {
  for (const Slot& slot : slots_[static_cast<std::size_t>(id)])
    if (slot.layout == Layout::channels_last && slot.folded.empty()) return Layout::channels_last;
  return Layout::plain;
}

const Slot* Lowering::folded(ValueId id, bool codes) const {
  for (const Slot& slot : slots_[static_cast<std::size_t>(id)])
    if (slot.is_code == codes && !slot.folded.empty()) return &slot;
  return nullptr;
}

Slot Lowering::reals(ValueId id, Layout layout) {
  ensure(id);
  if (slots_[static_cast<std::size_t>(id)].empty() && !raw_inputs_[static_cast<std::size_t>(id)]) define_constant(id);
  if (const Slot* exact = find(id, false, layout)) return *exact;
  // Codes in the wanted layout are preferred to reals in the other one: codes are four times smaller.
  if (const Slot* same = find(id, true, layout)) return dequantized(id, *same);
  if (const Slot* other = find(id, false, std::nullopt)) return converted_layout(id, *other, layout);
  return dequantized(id, codes(id, layout));
}

Slot Lowering::codes(ValueId id, Layout layout) {
  ensure(id);
  if (slots_[static_cast<std::size_t>(id)].empty() && !raw_inputs_[static_cast<std::size_t>(id)]) define_constant(id);
  if (const Slot* exact = find(id, true, layout)) return *exact;
  if (const auto& raw = raw_inputs_[static_cast<std::size_t>(id)]; raw && find(id, true, std::nullopt) == nullptr)
    return quantized(id, *raw, layout);
  if (const Slot* other = find(id, true, std::nullopt)) return converted_layout(id, *other, layout);
  return quantized(id, reals(id, layout), layout);
}

Slot Lowering::make(ValueId id, bool codes, Layout layout) {
  const DataType stored = codes ? DataType::uint8 : dtype(id);
  return {.buffer = arena_buffer(storage_bytes(stored, element_count(shape(id)))),
          .is_code = codes,
          .dtype = stored,
          .layout = layout,
          .shape = shape(id)};
}

bool Lowering::is_callers(const Slot& slot) const {
  if (program_.buffers[static_cast<std::size_t>(slot.buffer)].storage == Storage::graph_input) return true;
  // The result of a run is computed in the caller's memory (see add_outputs).
  return std::ranges::any_of(graph.outputs(), [&](ValueId output) {
    return std::ranges::any_of(slots_[static_cast<std::size_t>(output)],
                               [&](const Slot& other) { return other.buffer == slot.buffer; });
  });
}

void Lowering::define_reals(ValueId id, Slot slot) {
  const auto& quant = graph.value(id).quant;
  if (!quant) return define(id, std::move(slot));
  if (code_grid(id)) {
    quantized(id, slot, slot.layout);
    return;
  }
  check(!quant->has_blocks(), "value '{}' has a grid in blocks; only constants can have one", graph.value(id).name);
  Slot snapped = slot;
  snapped.buffer = arena_buffer(storage_bytes(slot.dtype, element_count(slot.shape)));
  const auto strides = strides_of(slot.layout_shape(), slot.layout);
  const std::int64_t axis_stride = quant->per_channel() ? strides[static_cast<std::size_t>(quant->axis)] : 1;
  auto& step = add(std::make_unique<SnapStep>(*quant, element_count(slot.shape), axis_stride), graph.value(id).name,
                   "Snap", "float");
  step.add_operand(snapped.buffer, Access::write);
  step.add_operand(slot.buffer, Access::read);
  define(id, snapped);
}

void Lowering::define_constant(ValueId id) {
  if (const auto& constant = graph.value(id).constant) {
    if (code_grid(id)) {
      const Tensor codes = weights.constant({id, true, false}, [&] { return to_unsigned(*constant); });
      return define(id, {constant_buffer(codes), true, DataType::uint8, Layout::plain, constant->shape(), {}});
    }
    const auto& quant = graph.value(id).quant;
    const Tensor reals =
        quant ? weights.constant({id, false, false}, [&] { return dequantize(*constant, *quant); }) : *constant;
    return define(id, {constant_buffer(reals), false, reals.dtype(), Layout::plain, reals.shape(), {}});
  }
  const auto tensor = tensor_of(infos_[static_cast<std::size_t>(id)]);
  check(tensor.has_value(), "value '{}' is read before it is computed", graph.value(id).name);
  define(id, {constant_buffer(*tensor), false, dtype(id), Layout::plain, shape(id), {}});
}

Slot Lowering::converted_layout(ValueId id, const Slot& from, Layout layout) {
  Slot to = from;
  to.layout = layout;
  to.folded.clear();
  // The plain order of a folded value is that of its image; otherwise both layouts refer to the value's own shape.
  const Shape& shape = from.layout_shape();
  const auto before = strides_of(shape, from.layout), after = strides_of(shape, layout);
  const bool same = std::ranges::equal(before, after) ||
                    (is_image(shape) && (image_shape(shape).channels == 1 || image_shape(shape).pixels() == 1));
  if (!same) {
    const auto width = static_cast<std::size_t>(bit_width(from.dtype) / 8);
    const std::size_t bytes = static_cast<std::size_t>(element_count(from.shape)) * width;
    auto copy = std::make_unique<CopyStep>(static_cast<int>(width), std::vector<Movement>{{shape, before, after}});
    if (const Buffer& source = program_.buffers[static_cast<std::size_t>(from.buffer)];
        source.storage == Storage::constant) {
      const auto move = [&] {
        const auto moved = allocate_zeroed(bytes);
        copy->add_operand(-1, Access::write);
        copy->add_operand(-1, Access::read);
        copy->operands()[0].data = moved.get();
        copy->operands()[1].data = const_cast<std::byte*>(source.constant.get());  // read only
        copy->run(Team());
        return Tensor::borrow(moved.get(), moved, from.dtype, from.shape);  // kernels may read past it
      };
      // Not shared between plans: integers may be results of shape arithmetic, which differ between plans.
      const bool is_shared = from.is_code || from.dtype == DataType::float32;
      const ConstantKey key{id, from.is_code, layout == Layout::channels_last};
      to.buffer = constant_buffer(is_shared ? weights.constant(key, move) : move());
      define(id, to);
      return to;
    }
    to.buffer = arena_buffer(bytes);
    auto& step = add(std::move(copy), graph.value(id).name, "Layout", form_text(layout));
    step.info.is_integer = from.is_code;
    step.add_operand(to.buffer, Access::write);
    step.add_operand(from.buffer, Access::read);
  }
  define(id, to);
  return to;
}

Slot Lowering::quantized(ValueId id, const Slot& from, Layout layout) {
  const CodeGrid grid = *code_grid(id);
  const Shape& shape = from.layout_shape();
  const bool to_channels_last = from.layout == Layout::plain && layout == Layout::channels_last;
  if (from.layout != layout && !to_channels_last) {
    Slot plain = quantized(id, from, from.layout);
    return converted_layout(id, plain, layout);
  }
  Slot to = from;
  to.buffer = arena_buffer(static_cast<std::size_t>(element_count(from.shape)));
  to.is_code = true;
  to.dtype = DataType::uint8;
  to.layout = layout;
  const Planes planes = to_channels_last ? image_planes(shape) : Planes{1, 1, element_count(shape)};
  auto& step = add(std::make_unique<QuantizeStep>(grid, planes, isa, threads), graph.value(id).name, "Quantize",
                   form_text(layout));
  step.info.is_integer = true;
  step.info.inputs = step.info.outputs = {graph.value(id).name};
  step.add_operand(to.buffer, Access::write);
  step.add_operand(from.buffer, Access::read);
  define(id, to);
  return to;
}

Slot Lowering::dequantized(ValueId id, const Slot& from) {
  Slot to = from;
  to.buffer = arena_buffer(static_cast<std::size_t>(element_count(from.shape)) * sizeof(float));
  to.is_code = false;
  to.dtype = DataType::float32;
  auto& step = add(std::make_unique<DequantizeStep>(*code_grid(id), planes_of(from, false), isa), graph.value(id).name,
                   "Dequantize", form_text(from.layout));
  step.info.is_integer = true;
  step.info.inputs = step.info.outputs = {graph.value(id).name};
  step.add_operand(to.buffer, Access::write);
  step.add_operand(from.buffer, Access::read);
  define(id, to);
  return to;
}

void Lowering::check_magnitude(ValueId id) {
  if (program_.has_large_values == nullptr) program_.has_large_values = std::make_shared<bool>(false);
  const Slot* found = find(id, false, std::nullopt);
  const Slot slot = found != nullptr ? *found : reals(id, Layout::plain);
  auto& step = add(std::make_unique<MagnitudeStep>(program_.has_large_values, element_count(slot.shape)),
                   graph.value(id).name, "Check", "float");
  step.add_operand(slot.buffer, Access::read);
  step.info.inputs = {graph.value(id).name};
  magnitudes.set_checked(id);
}

Slot Lowering::regridded(const std::string& name, const Slot& slot, const CodeGrid& from, const CodeGrid& to) {
  if (from == to) return slot;
  CodeTable table;
  for (int q = 0; q < 256; ++q) table[static_cast<std::size_t>(q)] = quantize_code(dequantize_code(q, from), to);
  Slot moved = slot;
  moved.buffer = arena_buffer(static_cast<std::size_t>(element_count(slot.shape)));
  auto& step = add(std::make_unique<TableStep>(table, element_count(slot.shape), isa), name, "Requantize", "table");
  step.info.is_integer = true;
  step.info.inputs = step.info.outputs = {name};
  step.add_operand(moved.buffer, Access::write);
  step.add_operand(slot.buffer, Access::read);
  return moved;
}

void Lowering::add_inputs() {
  for (std::size_t i = 0; i < graph.inputs().size(); ++i) {
    const ValueId id = graph.inputs()[i];
    Slot slot{.dtype = dtype(id), .layout = Layout::plain, .shape = shape(id)};
    const std::size_t bytes = storage_bytes(slot.dtype, element_count(slot.shape));
    program_.buffers.push_back({Storage::graph_input, bytes, nullptr, i});
    slot.buffer = static_cast<int>(program_.buffers.size()) - 1;
    if (code_grid(id))
      raw_inputs_[static_cast<std::size_t>(id)] = slot;
    else
      define_reals(id, slot);
  }
}

void Lowering::add_outputs() {
  for (std::size_t i = 0; i < graph.outputs().size(); ++i) {
    const ValueId id = graph.outputs()[i];
    const auto& raw = raw_inputs_[static_cast<std::size_t>(id)];
    if (raw && slots_[static_cast<std::size_t>(id)].empty()) codes(id, Layout::plain);
    if (find(id, true, std::nullopt) == nullptr && find(id, false, std::nullopt) == nullptr) reals(id, Layout::plain);
    const Slot* codes_form = find(id, false, Layout::plain) == nullptr ? find(id, true, std::nullopt) : nullptr;
    const Slot* reals_form =
        find(id, false, Layout::plain) != nullptr ? find(id, false, Layout::plain) : find(id, false, std::nullopt);
    const Slot from = codes_form != nullptr ? *codes_form : *reals_form;
    const DataType type = from.is_code ? DataType::float32 : from.dtype;
    const Shape& lies = from.layout_shape();
    const int width = bit_width(type) / 8;
    // A value in the plain layout is computed in the caller's memory. Values that are kept must outlive the run.
    Buffer& made_in = program_.buffers[static_cast<std::size_t>(from.buffer)];
    if (!from.is_code && made_in.storage == Storage::arena && !options.keep_values &&
        std::ranges::equal(strides_of(lies, from.layout), strides_of(lies, Layout::plain))) {
      made_in = {Storage::graph_output, made_in.bytes, nullptr, i};
      program_.output_shapes.push_back(from.shape);
      program_.output_types.push_back(type);
      continue;
    }
    program_.buffers.push_back(
        {Storage::graph_output, static_cast<std::size_t>(element_count(lies) * width), nullptr, i});
    const int buffer = static_cast<int>(program_.buffers.size()) - 1;
    std::unique_ptr<Step> made;
    if (from.is_code)
      made = std::make_unique<DequantizeStep>(*code_grid(id), planes_of(from, true), isa);
    else
      made = std::make_unique<CopyStep>(
          width, std::vector<Movement>{{lies, strides_of(lies, from.layout), strides_of(lies, Layout::plain)}});
    auto& step = add(std::move(made), graph.value(id).name, "Output", from.is_code ? "dequantize" : "copy");
    step.info.is_integer = from.is_code;
    step.add_operand(buffer, Access::write);
    step.add_operand(from.buffer, Access::read);
    step.info.inputs = step.info.outputs = {graph.value(id).name};
    program_.output_shapes.push_back(from.shape);
    program_.output_types.push_back(type);
  }
}

}  // namespace bitfold::engine
