// Integer convolutions and matrix products: weights, biases and fused nodes.
#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <limits>
#include <numeric>

#include "base/check.h"
#include "engine/lowering.h"
#include "engine/steps/integer_conv.h"
#include "engine/steps/parallel.h"
#include "graph/activation.h"
#include "ops/operator.h"

namespace bitfold::engine {
namespace {

constexpr double kMaxInt32 = std::numeric_limits<std::int32_t>::max();

/// A Conv, Gemm or MatMul with constant weights in one common form.
struct Product {
  ConvFilter filter;
  ConvImages images;
  IntegerConvStep::Padding padding;
  ImageForm form;
  ValueId x, w, bias = ValueId::none, y;
  ops::WeightMatrix weights;  ///< Without the products that an image form adds.
  /// Index into the weight tensor of product k of output channel c: c * weights.output_stride + k_index[k]. A negative
  /// index means 0.
  std::vector<std::int64_t> k_index;  ///< Set by index_products() when weights are decoded.
  const Conv* conv = nullptr;         ///< Null for matrix products.
};

std::optional<Product> conv_product(const Lowering& l, Product p) {
  const Conv& conv = *p.conv;
  const Shape &in = l.shape(p.x), &out = l.shape(p.y);
  const auto window = window_2d(conv.window, in, out);
  if (!window) return std::nullopt;
  const Window2dShape& w = *window;
  p.filter = {out[1], in[1], conv.group, w.kernel_h, w.kernel_w, w.dilation_h, w.dilation_w};
  const std::int64_t height = in[2] + w.pad_top + w.pad_bottom, width = in[3] + w.pad_left + w.pad_right;
  const bool is_padded = height != in[2] || width != in[3];
  p.images = {in[0],
              out[2],
              out[3],
              w.stride_h,
              w.stride_w,
              {in[2] * in[3] * in[1], in[3] * in[1], in[1]},
              {out[1] * out[2] * out[3], out[3] * out[1], out[1]},
              {}};
  if (is_padded && p.filter.is_depthwise()) p.images.unpadded = {in[2], in[3], w.pad_top, w.pad_left};
  p.form = best_image_form(p.filter, p.images, width, l.isa);
  p.padding.batch = in[0];
  p.padding.is_needed = (is_padded && !p.filter.is_depthwise()) || !p.form.is_plain();
  if (p.padding.is_needed) {
    const PaddedImage image{in[2], in[3], in[1], w.pad_top, w.pad_left, width};
    p.padding.packer = ImagePacker(p.filter, p.images, image, p.form);
    p.images = packed_images(p.filter, p.images, image, p.form);
  }
  p.filter = folded(p.filter, p.form.folded_rows);
  return p;
}

std::optional<Product> matrix_product(const Lowering& l, Product p) {
  const Shape& in = l.shape(p.x);
  if (in.empty() || p.weights.has_transposed_input || p.weights.alpha != 1 || p.weights.beta != 1) return std::nullopt;
  const std::int64_t depth = p.weights.inputs, columns = p.weights.outputs;
  if (depth == 0 || in.back() != depth) return std::nullopt;
  const std::int64_t rows = element_count(in) / depth;
  p.filter = {.out_channels = columns, .in_channels = depth};
  p.images = {.out_height = rows, .x = {rows * depth, depth, depth}, .y = {rows * columns, columns, columns}};
  return p;
}

void index_products(const Lowering& l, Product& p) {
  if (p.conv != nullptr) {
    const std::int64_t kernel_h = p.conv->window.kernel[0], kernel_w = p.conv->window.kernel[1];
    const std::int64_t taps = p.weights.taps, channels = p.weights.inputs, rows = p.form.folded_rows;
    for (std::int64_t i = 0; i < p.filter.kernel_h; ++i)
      for (std::int64_t j = 0; j < kernel_w; ++j)
        for (std::int64_t row = i * rows; row < (i + 1) * rows; ++row)
          for (std::int64_t c = 0; c < channels; ++c)
            p.k_index.push_back(row < kernel_h ? c * taps + row * kernel_w + j : -1);
    return;
  }
  p.k_index.resize(static_cast<std::size_t>(p.weights.depth()));
  if (const Slot* folded = l.folded(p.x, true))
    p.k_index = folded_order(*folded);
  else
    std::iota(p.k_index.begin(), p.k_index.end(), std::int64_t{0});
  for (auto& k : p.k_index) k *= p.weights.input_stride;
}

std::optional<Product> product_of(const Lowering& l, const Node& node) {
  if (ops::info(node.op).role != ops::Role::product || ops::why_in_float(node.op)) return std::nullopt;
  const auto weights = ops::weight_matrix(node.op, l.shape(node.inputs[1]));
  if (!weights) return std::nullopt;
  Product p{.x = node.inputs[0],
            .w = node.inputs[1],
            .bias = ops::input_with(node, ops::Use::bias),
            .y = node.outputs[0],
            .weights = *weights,
            .conv = std::get_if<Conv>(&node.op)};
  return p.conv != nullptr ? conv_product(l, std::move(p)) : matrix_product(l, std::move(p));
}

/// Appends the weight codes minus their zero points in the order of the products, and one scale per output channel.
/// Returns the reason if the product cannot run in integers.
Refusal read_weights(const Lowering& l, const Product& p, std::vector<std::int8_t>& out, std::vector<float>& scales) {
  const Value& value = l.graph.value(p.w);
  if (!value.constant || !value.quant) return "weights are not constants on a grid";
  const QuantParams& q = *value.quant;
  if (q.bits > 8) return "weights have more than 8 bits";
  if (q.has_blocks()) return "weights have a grid in blocks";
  if (q.per_channel() && q.axis != p.weights.output_axis) return "weights have a grid per input channel";
  const Tensor codes = unpacked(*value.constant);
  const bool is_signed = codes.dtype() == DataType::int8;
  if (!is_signed && codes.dtype() != DataType::uint8) return "weights are not stored in bytes";
  const std::size_t depth = p.k_index.size();
  const auto* signed_codes = is_signed ? codes.data<std::int8_t>().data() : nullptr;
  const auto* unsigned_codes = is_signed ? nullptr : codes.data<std::uint8_t>().data();
  out.reserve(depth * static_cast<std::size_t>(p.filter.out_channels));
  for (std::int64_t c = 0; c < p.filter.out_channels; ++c) {
    const auto entry = static_cast<std::size_t>(q.scale.size() > 1 ? c : 0);
    scales.push_back(q.scale[entry]);
    for (std::size_t k = 0; k < depth; ++k) {
      if (p.k_index[k] < 0) {
        out.push_back(0);
        continue;
      }
      const auto i = static_cast<std::size_t>(c * p.weights.output_stride + p.k_index[k]);
      const int code = is_signed ? signed_codes[i] : unsigned_codes[i];
      const int w = code - q.zero_point[entry];
      if (w < -128 || w > 127) return "asymmetric weights do not fit int8";
      out.push_back(static_cast<std::int8_t>(w));
    }
  }
  return std::nullopt;
}

/// The bias on the grid s_x * s_w[c]. Returns the reason if there is none.
Refusal read_bias(const Lowering& l, const Product& p, const std::vector<float>& scales,
                  std::vector<std::int32_t>& out) {
  const auto channels = static_cast<std::size_t>(p.filter.out_channels);
  out.assign(channels, 0);
  if (p.bias == ValueId::none) return std::nullopt;
  const Value& value = l.graph.value(p.bias);
  if (!value.constant) return "the bias is not constant";
  const Tensor& stored = *value.constant;
  if (stored.size() != static_cast<std::int64_t>(channels)) return "the bias is not one number per output channel";
  const auto reals = l.constant_reals(p.bias);
  if (!reals) return "the bias is not a float";
  for (std::size_t c = 0; c < channels; ++c) {
    const double unit = static_cast<double>(l.code_grid(p.x)->scale) * scales[c];
    if (value.quant && stored.dtype() == DataType::int32) {
      const double scale = value.quant->scale[value.quant->scale.size() > 1 ? c : 0];
      const int zero_point = value.quant->zero_point[value.quant->zero_point.size() > 1 ? c : 0];
      if (zero_point == 0 && std::abs(scale - unit) <= 1e-6 * unit) {
        out[c] = stored.data<std::int32_t>()[c];
        continue;
      }
    }
    const double code = std::nearbyint(reals->data<float>()[c] / unit);
    if (!(std::abs(code) < kMaxInt32)) return "the bias leaves int32";
    out[c] = static_cast<std::int32_t>(code);
  }
  return std::nullopt;
}

/// Folds the input's zero point into the bias. Returns the reason if an accumulator may overflow.
Refusal fold_zero_point(int zero_point, std::size_t depth, const std::vector<std::int8_t>& codes,
                        std::vector<std::int32_t>& bias) {
  for (std::size_t c = 0; c < bias.size(); ++c) {
    std::int64_t sum = 0, magnitude = 0;
    for (std::size_t k = 0; k < depth; ++k) {
      sum += codes[c * depth + k];
      magnitude += std::abs(codes[c * depth + k]);
    }
    const std::int64_t folded = bias[c] - zero_point * sum;
    if (static_cast<double>(magnitude * 255 + std::abs(folded)) >= kMaxInt32) return "an accumulator may leave int32";
    bias[c] = static_cast<std::int32_t>(folded);
  }
  return std::nullopt;
}

/// Nodes after the product that its step also computes: bounds, a table, a sum with a residual.
struct Tail {
  ValueId output, residual = ValueId::none;
  std::optional<CodeGrid> grid;  ///< Grid of the codes made from the accumulators; none: reals.
  float negative_gain = 1;       ///< Slope of a LeakyRelu between the accumulators and that grid.
  std::optional<CodeTable> table;
  CodeGrid summand, sum;  ///< Grids of the sum's operand and its result.
  std::string op, name;
};

void take(Lowering& l, Tail& tail, NodeId next) {
  l.claim(next);
  tail.output = l.graph.node(next).outputs[0];
  tail.op += "+" + op_name(l.graph.node(next).op);
  tail.name = l.graph.node(next).name;
}

/// Fuses a following sum with another value on a grid.
void fuse_residual(Lowering& l, Tail& tail) {
  if (!l.graph.has_single_consumer(tail.output)) return;
  const NodeId next = l.graph.consumers(tail.output)[0];
  const Node& node = l.graph.node(next);
  if (l.is_claimed(next) || !ops::is<Binary>(node.op, BinaryKind::add) || node.inputs[0] == node.inputs[1]) return;
  const ValueId other = node.inputs[node.inputs[0] == tail.output ? 1 : 0];
  const auto target = code_target(l, node.outputs[0]);
  if (!target || l.graph.is_constant(other) || !l.code_grid(other) || l.shape(other) != l.shape(tail.output)) return;
  tail.residual = other;
  tail.summand = *l.code_grid(tail.output);
  tail.sum = target->grid;
  take(l, tail, next);
  if (target->activation != NodeId::none) take(l, tail, target->activation);
  // After claiming, so that the other operand's own convolution does not fuse this sum as well.
  l.ensure(other);
}

/// Fuses a following LeakyRelu whose output has a grid and whose input has none: it is applied to the accumulators
/// before they are rounded.
bool fuse_leaky_relu(Lowering& l, Tail& tail) {
  if (l.graph.value(tail.output).quant) return false;
  const NodeId next = only_consumer(l, tail.output);
  const auto activation = next == NodeId::none ? std::nullopt : find_activation(l.graph, next);
  if (!activation || !activation->shrinks_negatives()) return false;
  tail.grid = l.code_grid(l.graph.node(next).outputs[0]);
  if (!tail.grid) return false;
  tail.negative_gain = activation->negative_slope;
  take(l, tail, next);
  return true;
}

Tail fuse_tail(Lowering& l, NodeId id, ValueId y) {
  Tail tail{.output = y, .op = op_name(l.graph.node(id).op), .name = l.graph.node(id).name};
  if (!fuse_leaky_relu(l, tail)) {
    const auto target = code_target(l, y);
    if (!target) return tail;
    tail.grid = target->grid;
    if (target->activation != NodeId::none) take(l, tail, target->activation);
  }
  if (l.options.keep_values) return tail;  // the codes in between must stay readable
  if (const NodeId next = only_consumer(l, tail.output); next != NodeId::none) {
    if (auto table = code_table(l, l.graph.node(next))) {
      tail.table = *table;
      take(l, tail, next);
    }
  }
  fuse_residual(l, tail);
  return tail;
}

ConvOutput output_of(const Lowering& l, const Tail& tail) {
  ConvOutput out;
  if (!tail.grid) {
    out.kind = AccumulatorOutput::float32;
    return out;
  }
  out.zero_point = tail.grid->zero_point;
  out.qmin = tail.grid->qmin;
  out.qmax = tail.grid->qmax;
  out.negative_gain = tail.negative_gain;
  out.has_table = tail.table.has_value();
  if (tail.table) std::copy(tail.table->begin(), tail.table->end(), out.table);
  out.has_residual = tail.residual != ValueId::none;
  if (out.has_residual)
    out.add = {byte_grid(tail.summand), byte_grid(*l.code_grid(tail.residual)), byte_grid(tail.sum)};
  return out;
}

/// The weights of one product: facts and packed forms from the session's cache, decoded only if it lacks them.
class ProductWeights {
 public:
  ProductWeights(Lowering& lowering, NodeId id, Product& product) : l_(lowering), p_(product) {
    key_ = {.node = id, .is_folded = l_.folded(p_.x, true) != nullptr, .folded_rows = p_.form.folded_rows};
  }

  std::shared_ptr<const ProductFacts> facts() {
    return l_.weights.facts(key_, [&] {
      ProductFacts facts;
      facts.refusal = decode(facts.scales);
      if (!facts.refusal) facts.refusal = read_bias(l_, p_, facts.scales, facts.bias);
      if (!facts.refusal)
        facts.refusal = fold_zero_point(l_.code_grid(p_.x)->zero_point, p_.k_index.size(), codes_, facts.bias);
      if (!facts.refusal) facts.fits_winograd = fits_winograd(p_.filter, codes_.data());
      return facts;
    });
  }

  std::shared_ptr<const IntegerFilter> filter(const ProductFacts& facts, const Tail& tail, const ConvOutput& output) {
    const bool is_winograd = facts.fits_winograd && winograd_is_faster(p_.filter, p_.images, l_.isa);
    const FilterForm form = is_winograd ? FilterForm::winograd : FilterForm::direct;
    std::optional<std::array<float, 4>> residual;
    if (output.has_residual) {
      const ByteGrid& grid = output.add.residual;
      residual = {grid.scale, static_cast<float>(grid.zero_point), static_cast<float>(grid.qmin),
                  static_cast<float>(grid.qmax)};
    }
    return l_.weights.filter({key_, form, tail.output, residual}, [&](MemoryPieces& memory) {
      std::vector<float> scales;
      if (codes_.empty()) (void)decode(scales);
      std::vector<float> multipliers;
      for (float s : facts.scales) {
        const double unit = static_cast<double>(l_.code_grid(p_.x)->scale) * s;
        multipliers.push_back(static_cast<float>(tail.grid ? unit / tail.grid->scale : unit));
      }
      auto packed = std::make_shared<const PackedFilter>(p_.filter, codes_.data(), facts.bias.data(),
                                                         multipliers.data(), form, &memory);
      auto terms = std::make_shared<const OutputTerms>(*packed, output, l_.isa);
      return IntegerFilter{std::move(packed), std::move(terms)};
    });
  }

 private:
  Refusal decode(std::vector<float>& scales) {
    if (p_.k_index.empty()) index_products(l_, p_);
    return read_weights(l_, p_, codes_, scales);
  }

  Lowering& l_;
  Product& p_;
  ProductKey key_;
  std::vector<std::int8_t> codes_;
};

}  // namespace

bool lower_integer_product(Lowering& l, NodeId id) {
  const Node& node = l.graph.node(id);
  auto product = product_of(l, node);
  if (!product || element_count(l.shape(product->y)) == 0) return false;
  const CodeGrid in = *l.code_grid(product->x);
  ProductWeights weights(l, id, *product);
  const auto facts = weights.facts();
  if (facts->refusal) {
    l.explain(id, *facts->refusal);
    return false;
  }

  const Slot* folded = l.folded(product->x, true);
  const Layout layout = product->conv != nullptr ? Layout::channels_last : Layout::plain;
  const Slot source = folded != nullptr ? *folded : l.codes(product->x, layout);
  const Tail tail = fuse_tail(l, id, product->y);
  std::optional<Slot> residual;
  if (tail.residual != ValueId::none) residual = l.codes(tail.residual, layout);
  const Slot destination = l.make(tail.output, tail.grid.has_value(), layout);

  IntegerConvStep::Padding padding = product->padding;
  padding.zero_point = static_cast<std::uint8_t>(in.zero_point);
  ConvImages images = product->images;
  images.residual = images.y;
  images.padding = padding.zero_point;
  if (padding.is_needed) images.x.image = 0;  // see IntegerConvStep
  const ConvOutput output = output_of(l, tail);
  const auto filter = weights.filter(*facts, tail, output);
  IntegerConv conv(filter->filter, images, output, l.isa, filter->terms);
  const std::int64_t macs = element_count(l.shape(product->y)) * product->weights.depth();
  const std::string kernel = conv.kernel_name();
  auto made = std::make_unique<IntegerConvStep>(std::move(conv), padding, residual.has_value(),
                                                useful_threads(l.threads, macs));
  const std::size_t packed_bytes = made->packed_bytes(), scratch_bytes = made->scratch_bytes();
  auto& step = l.add(std::move(made), tail.name, tail.op, kernel);
  if (!product->filter.is_depthwise()) {
    if (l.last_product != nullptr) l.last_product->fetch_ahead(step);
    l.last_product = &step;
  }
  step.add_operand(destination.buffer, Access::write);
  step.add_operand(source.buffer, Access::read);
  if (padding.is_needed) step.add_operand(l.arena_buffer(packed_bytes), Access::scratch);
  if (residual) step.add_operand(residual->buffer, Access::read);
  if (scratch_bytes > 0) step.add_operand(l.arena_buffer(scratch_bytes), Access::scratch);
  step.info.is_integer = true;
  step.info.mac_count = macs;
  step.info.inputs = {l.graph.value(product->x).name};
  if (residual) step.info.inputs.push_back(l.graph.value(tail.residual).name);
  step.info.outputs = {l.graph.value(tail.output).name};
  if (tail.grid)
    l.define(tail.output, destination);
  else
    l.define_reals(tail.output, destination);
  return true;
}

}  // namespace bitfold::engine
