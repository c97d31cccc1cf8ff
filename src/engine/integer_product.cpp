#include "engine/integer_product.h"

#include <array>
#include <cmath>
#include <cstdlib>
#include <limits>
#include <numeric>

#include "ops/operator.h"

namespace bitfold::engine {
namespace {

constexpr double kMaxInt32 = std::numeric_limits<std::int32_t>::max();

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

/// The bias on the grid s_x * s_w[c]. Returns the reason if that is not possible.
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
  if (!reals) return "the bias is not float32";
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
    if (!(std::abs(code) < kMaxInt32)) return "the bias exceeds int32";
    out[c] = static_cast<std::int32_t>(code);
  }
  return std::nullopt;
}

/// docs/internals/arithmetic.md (15). In double if float32 cannot hold the product of the scales to its full precision.
float multiplier_of(float x, float w, float y) {
  const float unit = x * w;
  if (unit >= std::numeric_limits<float>::min()) return unit / y;
  return static_cast<float>(static_cast<double>(x) * w / y);
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
    if (static_cast<double>(magnitude * 255 + std::abs(folded)) >= kMaxInt32) return "an accumulator may exceed int32";
    bias[c] = static_cast<std::int32_t>(folded);
  }
  return std::nullopt;
}

}  // namespace

std::optional<Product> conv_product(const Lowering& l, Product p, bool pads_in_advance) {
  const auto images = windowed_images(p.conv->window, l.shape(p.x), l.shape(p.y));
  if (!images) return std::nullopt;
  const auto& [w, in, out] = *images;
  p.filter = {out.channels, in.channels, p.conv->group, w.kernel_h, w.kernel_w, w.dilation_h, w.dilation_w};
  const std::int64_t height = in.height + w.pad_top + w.pad_bottom, width = in.width + w.pad_left + w.pad_right;
  const bool is_padded = height != in.height || width != in.width;
  p.images = {in.batch,
              out.height,
              out.width,
              w.stride_h,
              w.stride_w,
              {in.pixels() * in.channels, in.width * in.channels, in.channels},
              {out.pixels() * out.channels, out.width * out.channels, out.channels},
              {}};
  const bool pads_inside = is_padded && p.filter.is_depthwise() && !pads_in_advance;
  if (pads_inside) p.images.unpadded = {in.height, in.width, w.pad_top, w.pad_left};
  p.form = best_image_form(p.filter, p.images, width, l.isa);
  p.padding.batch = in.batch;
  p.padding.is_needed = (is_padded && !pads_inside) || !p.form.is_plain();
  if (p.padding.is_needed) {
    const PaddedImage image{in.height, in.width, in.channels, w.pad_top, w.pad_left, width};
    p.padding.packer = ImagePacker(p.filter, p.images, image, p.form);
    p.images = packed_images(p.filter, p.images, image, p.form);
  }
  p.kernel_h = w.kernel_h;
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
    const std::int64_t kernel_h = p.kernel_h, kernel_w = p.filter.kernel_w;
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
  return p.conv != nullptr ? conv_product(l, std::move(p), false) : matrix_product(l, std::move(p));
}

ProductWeights::ProductWeights(Lowering& lowering, NodeId id, Product& product) : l_(lowering), p_(product) {
  key_ = {.node = id, .is_folded = l_.folded(p_.x, true) != nullptr, .folded_rows = p_.form.folded_rows};
}

std::shared_ptr<const ProductFacts> ProductWeights::facts() {
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

std::shared_ptr<const IntegerFilter> ProductWeights::filter(const ProductFacts& facts, const ProductOutput& target,
                                                            const ConvOutput& output) {
  const bool is_winograd = facts.fits_winograd && winograd_is_faster(p_.filter, p_.images, l_.isa);
  const FilterForm form = is_winograd ? FilterForm::winograd : FilterForm::direct;
  std::optional<std::array<float, 4>> residual;
  if (output.has_residual) {
    const ByteGrid& grid = output.add.residual;
    residual = {grid.scale, static_cast<float>(grid.zero_point), static_cast<float>(grid.qmin),
                static_cast<float>(grid.qmax)};
  }
  const Slot* folded = l_.folded(p_.x, true);
  const PackedWeightsKey weights{.weights = p_.w,
                                 .filter = p_.filter,
                                 .output_stride = p_.weights.output_stride,
                                 .folded_channels = folded == nullptr ? 0 : folded->folded[1],
                                 .folded_rows = p_.form.folded_rows,
                                 .form = form};
  const auto make = [&](MemoryPieces& memory, const PackedFilter* same_weights) {
    std::vector<float> scales;
    if (codes_.empty()) (void)decode(scales);
    std::vector<float> multipliers;
    for (float s : facts.scales)
      multipliers.push_back(multiplier_of(l_.code_grid(p_.x)->scale, s, target.grid ? target.grid->scale : 1));
    auto packed = std::make_shared<const PackedFilter>(p_.filter, codes_.data(), facts.bias.data(), multipliers.data(),
                                                       form, &memory, same_weights);
    auto terms = std::make_shared<const OutputTerms>(*packed, output, l_.isa);
    return IntegerFilter{std::move(packed), std::move(terms)};
  };
  return l_.weights.filter({key_, form, target.value, residual}, weights, make);
}

Refusal ProductWeights::decode(std::vector<float>& scales) {
  if (p_.k_index.empty()) index_products(l_, p_);
  return read_weights(l_, p_, codes_, scales);
}

}  // namespace bitfold::engine
