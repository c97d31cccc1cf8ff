#include "engine/lowering.h"

#include <algorithm>
#include <cmath>
#include <new>
#include <string_view>

#include "base/check.h"
#include "base/memory.h"
#include "bitfold/cpu.h"
#include "numeric/release_pages.h"
#include "numeric/rounding.h"
#include "ops/operator.h"
#include "ops/window.h"

namespace bitfold::engine {

std::optional<Tensor> tensor_of(const ValueInfo& info) {
  if (!info.elements || !info.shape || !is_static(*info.shape)) return std::nullopt;
  for (const auto& e : *info.elements)
    if (!e) return std::nullopt;
  const auto filled = [&]<class T>(T) {
    Tensor tensor(info.dtype, *info.shape);
    const auto data = tensor.mutable_data<T>();
    for (std::size_t i = 0; i < data.size(); ++i) data[i] = static_cast<T>(*(*info.elements)[i]);
    return tensor;
  };
  if (info.dtype == DataType::int64) return filled(std::int64_t{});
  if (info.dtype == DataType::int32) return filled(std::int32_t{});
  if (info.dtype == DataType::boolean) return filled(bool{});
  if (info.dtype == DataType::float32) return filled(float{});
  return std::nullopt;
}

std::uint8_t quantize_code(float x, const CodeGrid& grid) {
  const auto low = static_cast<float>(grid.qmin - grid.zero_point),
             high = static_cast<float>(grid.qmax - grid.zero_point);
  const float t = x / grid.scale;
  if (std::isnan(t)) return static_cast<std::uint8_t>(grid.qmin);
  return static_cast<std::uint8_t>(round_half_even(std::clamp(t, low, high)) + grid.zero_point);
}

Lowering::Lowering(const Graph& source, std::span<const Shape> input_shapes, const SessionOptions& session_options,
                   WeightCache& weight_cache, bool fuse_clamps)
    : graph(source),
      options(session_options),
      isa(session_options.isa.value_or(isa_cap())),
      threads(thread_count(session_options.threads)),
      fuses_clamps(fuse_clamps),
      weights(weight_cache),
      infos_(infer_values(source, input_shapes)) {
  slots_.resize(infos_.size());
  raw_inputs_.resize(infos_.size());
  std::size_t most = 0;
  for (NodeId id : graph.nodes()) most = std::max(most, static_cast<std::size_t>(id) + 1);
  claimed_.resize(most);
  needed_.resize(most);
}

bool Lowering::has_all_shapes() {
  // Plans have no strings and sequences.
  for (ValueId id : graph.values())
    if (holds_objects(infos_[static_cast<std::size_t>(id)].dtype)) return false;
  find_needed();
  for (NodeId id : graph.nodes()) {
    if (needed_[static_cast<std::size_t>(id)] == 0) continue;
    const Node& node = graph.node(id);
    if (!node.bodies.empty() || ops::info(node.op).evaluate == nullptr) return false;
    for (ValueId output : node.outputs) {
      if (output == ValueId::none) continue;
      const auto& shape = infos_[static_cast<std::size_t>(output)].shape;
      if (!shape || !is_static(*shape)) return false;
    }
  }
  return true;
}

Program Lowering::run() {
  find_needed();
  check_memory();
  add_inputs();
  for (NodeId id : graph.topological_order())
    if (needed_[static_cast<std::size_t>(id)] != 0) lower_node(id);
  add_outputs();
  if (options.keep_values)
    for (ValueId id : graph.values()) {
      const auto& slots = slots_[static_cast<std::size_t>(id)];
      if (slots.empty()) continue;
      const Slot* codes = find(id, true, std::nullopt);
      const Slot& slot = codes != nullptr ? *codes : slots.front();
      const Storage storage = program_.buffers[static_cast<std::size_t>(slot.buffer)].storage;
      if (storage == Storage::arena)
        program_.kept[graph.value(id).name] = {slot, graph.value(grid_source(id)).quant,
                                               graph.value(id).quant.has_value()};
    }
  return std::move(program_);
}

void Lowering::find_needed() {
  std::vector<ValueId> pending = graph.outputs();
  while (!pending.empty()) {
    const ValueId id = pending.back();
    pending.pop_back();
    if (id == ValueId::none || elements(id)) continue;
    const NodeId producer = graph.producer(id);
    if (producer == NodeId::none || needed_[static_cast<std::size_t>(producer)] != 0) continue;
    needed_[static_cast<std::size_t>(producer)] = 1;
    for (ValueId input : graph.node(producer).inputs) pending.push_back(input);
  }
}

void Lowering::check_memory() const {
  for (NodeId id : graph.nodes()) {
    if (needed_[static_cast<std::size_t>(id)] == 0) continue;
    for (ValueId output : graph.node(id).outputs) {
      if (output == ValueId::none) continue;
      const ValueInfo& info = infos_[static_cast<std::size_t>(output)];
      if (!info.shape || !is_static(*info.shape)) continue;
      try {
        check_fits_memory(storage_bytes(info.dtype, element_count(*info.shape)), options.max_memory_bytes);
      } catch (const Error& e) {
        fail("{} its output '{}' of shape {} takes {}", where(graph, id), graph.value(output).name,
             to_string(*info.shape), e.what());
      }
    }
  }
}

void Lowering::lower_node(NodeId id) {
  if (is_claimed(id)) return;
  claim(id);
  for (ValueId input : graph.node(id).inputs)
    if (input != ValueId::none) ensure(input);
  try {
    if (!lower_movement(*this, id) && !lower_integer(*this, id) && !lower_float(*this, id) && !lower_codes(*this, id))
      lower_generic(*this, id);
  } catch (const Error& e) {
    if (std::string_view(e.what()).starts_with('[')) throw;  // the message names the node already
    fail("{} {}", where(graph, id), e.what());
  } catch (const std::bad_alloc&) {
    fail("{} out of memory", where(graph, id));
  }
  // Packed weights are copies: the memory of those in mapped files can be given back.
  for (ValueId input : graph.node(id).inputs)
    if (graph.is_constant(input)) release_mapped_pages(*graph.value(input).constant);
}

void Lowering::ensure(ValueId id) {
  const NodeId producer = graph.producer(id);
  if (producer != NodeId::none && needed_[static_cast<std::size_t>(producer)] != 0) lower_node(producer);
}

const Shape& Lowering::shape(ValueId id) const {
  const auto& known = infos_[static_cast<std::size_t>(id)].shape;
  check(known.has_value() && is_static(*known), "value '{}' has no shape that can be known before running",
        graph.value(id).name);
  return *known;
}

ValueInfo Lowering::output_info(NodeId id, std::size_t output) const {
  const Node& node = graph.node(id);
  std::vector<ValueInfo> inputs;
  for (ValueId input : node.inputs)
    inputs.push_back(input == ValueId::none ? ValueInfo{} : infos_[static_cast<std::size_t>(input)]);
  ValueInfo info = infer_node(node, inputs)[output];
  check(info.shape.has_value() && is_static(*info.shape), "output {} has no shape that can be known before running",
        output);
  return info;
}

ValueId Lowering::grid_source(ValueId id) const {
  constexpr int kMostMovements = 16;
  ValueId source = id;
  for (int i = 0; i < kMostMovements && !graph.value(source).quant; ++i) {
    const NodeId from = graph.producer(source);
    if (from == NodeId::none || !moves_codes(graph.node(from)) || graph.is_constant(graph.node(from).inputs[0]))
      return id;
    source = graph.node(from).inputs[0];
  }
  return source;
}

std::optional<CodeGrid> Lowering::code_grid(ValueId id) const {
  const auto& q = graph.value(grid_source(id)).quant;
  if (!q || q->bits > 8 || q->per_channel()) return std::nullopt;
  const int bias = q->is_signed ? 128 : 0;
  return CodeGrid{q->scale[0], q->zero_point[0] + bias, q->qmin() + bias, q->qmax() + bias};
}

std::optional<std::vector<std::int64_t>> Lowering::elements(ValueId id) const {
  if (id == ValueId::none) return std::nullopt;
  const Value& value = graph.value(id);
  if (value.constant) {
    std::vector<std::int64_t> out;
    if (value.constant->dtype() == DataType::int64)
      for (std::int64_t v : value.constant->data<std::int64_t>()) out.push_back(v);
    else if (value.constant->dtype() == DataType::int32 && !value.quant)
      for (std::int32_t v : value.constant->data<std::int32_t>()) out.push_back(v);
    else
      return std::nullopt;
    return out;
  }
  const ValueInfo& info = infos_[static_cast<std::size_t>(id)];
  if (!info.elements || !info.shape) return std::nullopt;
  std::vector<std::int64_t> out;
  for (const auto& e : *info.elements) {
    if (!e) return std::nullopt;
    out.push_back(*e);
  }
  return out;
}

bool Lowering::has_constant_reals(ValueId id) const {
  return graph.is_constant(id) &&
         (graph.value(id).quant.has_value() || graph.value(id).constant->dtype() == DataType::float32);
}

std::optional<Tensor> Lowering::constant_reals(ValueId id) const {
  if (!has_constant_reals(id)) return std::nullopt;
  const Value& value = graph.value(id);
  return value.quant ? dequantize(*value.constant, *value.quant) : *value.constant;
}

std::optional<float> Lowering::constant_scalar(ValueId id) const {
  if (id == ValueId::none) return std::nullopt;
  if (!has_constant_reals(id) || graph.value(id).constant->size() != 1) return std::nullopt;
  return constant_reals(id)->data<float>()[0];
}

std::string Lowering::explanation(NodeId id) const {
  const auto it = reasons_.find(id);
  return it == reasons_.end() ? "" : " (float: " + it->second + ")";
}

int Lowering::arena_buffer(std::size_t bytes) {
  program_.buffers.push_back({Storage::arena, bytes, nullptr, 0});
  return static_cast<int>(program_.buffers.size()) - 1;
}

int Lowering::constant_buffer(std::shared_ptr<const std::byte> bytes, std::size_t size) {
  program_.buffers.push_back({Storage::constant, size, std::move(bytes), 0});
  return static_cast<int>(program_.buffers.size()) - 1;
}

int Lowering::constant_buffer(const Tensor& tensor) {
  const auto keep = std::make_shared<Tensor>(tensor);
  return constant_buffer({keep, keep->bytes()}, tensor.size_bytes());
}

std::optional<Window2dShape> window_2d(const Window& w, const Shape& in, const Shape& out) {
  if (!is_image(in) || out.size() != in.size() || w.kernel.size() + 2 != in.size()) return std::nullopt;
  const ops::Window3d axes = ops::window_3d(w, in, out);
  const ops::WindowAxis &h = axes[1], &v = axes[2];
  // In ceil_mode the last window may need more padding than the node declares.
  const auto pad_end = [](const ops::WindowAxis& a) {
    return std::max<std::int64_t>(0, (a.out - 1) * a.stride + a.extent() - a.in - a.pad_begin);
  };
  return Window2dShape{h.kernel,   v.kernel,    h.stride,    v.stride,   h.dilation,
                       v.dilation, h.pad_begin, v.pad_begin, pad_end(h), pad_end(v)};
}

std::optional<WindowedImages> windowed_images(const Window& window, const Shape& in, const Shape& out) {
  const auto found = window_2d(window, in, out);
  if (!found) return std::nullopt;
  WindowedImages images{*found, image_shape(in), image_shape(out)};
  Window2dShape& w = images.window;
  if (images.in.width != 1 || images.out.width != 1 || w.kernel_w != 1 || images.in.height == 1) return images;
  std::swap(images.in.height, images.in.width);
  std::swap(images.out.height, images.out.width);
  w = {w.kernel_w,   w.kernel_h, w.stride_w, w.stride_h,  w.dilation_w,
       w.dilation_h, w.pad_left, w.pad_top,  w.pad_right, w.pad_bottom};
  return images;
}

}  // namespace bitfold::engine
