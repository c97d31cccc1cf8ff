// ConvInteger and MatMulInteger with constant weights: sums of products of codes, whose zero points may be computed.
#include <algorithm>
#include <cstdlib>
#include <limits>

#include "engine/integer_product.h"
#include "engine/lowering.h"
#include "engine/steps/code_sums.h"
#include "engine/steps/copy.h"
#include "engine/steps/integer_conv.h"
#include "ops/operator.h"

namespace bitfold::engine {
namespace {

/// The product in its common form, with the zero points of x and of the weights.
struct CodeProduct {
  Product product;
  ValueId x_zero = ValueId::none, w_zero = ValueId::none;
  std::int64_t channels = 0;  ///< Output channels, without the one whose sums are those of x.
};

ValueId input_or_none(const Node& node, std::size_t slot) {
  return slot < node.inputs.size() ? node.inputs[slot] : ValueId::none;
}

/// `conv` receives the convolution of reals that has the geometry of a ConvInteger.
std::optional<CodeProduct> code_product_of(const Lowering& l, const Node& node, Conv& conv) {
  Op op = MatMul{};
  const auto* conv_integer = std::get_if<ConvInteger>(&node.op);
  if (conv_integer != nullptr) {
    conv = {.window = conv_integer->window, .group = conv_integer->group};
    op = conv;
  } else if (!std::holds_alternative<MatMulInteger>(node.op)) {
    return std::nullopt;
  }
  const ValueId x = node.inputs[0], w = node.inputs[1], y = node.outputs[0];
  const auto weights = ops::weight_matrix(op, l.shape(w));
  CodeProduct found{
      .product = {.x = x, .w = w, .y = y, .weights = {}, .conv = conv_integer != nullptr ? &conv : nullptr},
      .x_zero = input_or_none(node, 2),
      .w_zero = input_or_none(node, 3)};
  const bool is_w_zero_constant = found.w_zero == ValueId::none || l.graph.is_constant(found.w_zero);
  const bool is_x_zero_one = found.x_zero == ValueId::none || element_count(l.shape(found.x_zero)) == 1;
  if (!weights || !l.graph.is_constant(w) || l.graph.value(w).quant || !is_w_zero_constant || !is_x_zero_one ||
      l.dtype(x) != DataType::uint8 || element_count(l.shape(y)) == 0)
    return std::nullopt;
  found.product.weights = *weights;
  auto product = found.product.conv != nullptr ? conv_product(l, std::move(found.product), true)
                                               : matrix_product(l, std::move(found.product));
  if (!product) return std::nullopt;
  found.product = std::move(*product);
  found.channels = found.product.filter.out_channels;
  return found;
}

/// Reads 8-bit codes as signed: unsigned ones become smaller by 128, as do their zero points.
class SignedCodes {
 public:
  explicit SignedCodes(const Tensor& tensor)
      : bytes_(reinterpret_cast<const std::uint8_t*>(tensor.bytes())),
        flip_(tensor.dtype() == DataType::uint8 ? 0x80 : 0) {}
  int operator[](std::int64_t i) const { return static_cast<std::int8_t>(bytes_[i] ^ flip_); }

 private:
  const std::uint8_t* bytes_;
  std::uint8_t flip_;
};

/// Zero points are subtracted from the weights if the differences fit int8. Otherwise a further output channel has
/// weights of 1, so that its sums are those of x. The product cannot run if a sum may exceed int32, or if a grouped
/// convolution would need that channel. `out` receives the weights in the order of the products.
CodeProductFacts read_weights(const Lowering& l, CodeProduct& found, std::vector<std::int8_t>& out) {
  Product& p = found.product;
  if (p.k_index.empty()) index_products(l, p);
  const Tensor& stored = *l.graph.value(p.w).constant;
  const SignedCodes codes(stored);
  const std::int64_t channels = found.channels;
  std::vector<int> zeros(static_cast<std::size_t>(channels), stored.dtype() == DataType::uint8 ? -128 : 0);
  if (found.w_zero != ValueId::none) {
    const Tensor& tensor = *l.graph.value(found.w_zero).constant;
    if (tensor.size() != 1 && tensor.size() != channels) return {};
    const SignedCodes given(tensor);
    for (std::int64_t c = 0; c < channels; ++c) zeros[static_cast<std::size_t>(c)] = given[tensor.size() == 1 ? 0 : c];
  }
  CodeProductFacts facts;
  facts.depth = std::count_if(p.k_index.begin(), p.k_index.end(), [](std::int64_t k) { return k >= 0; });
  out.reserve(static_cast<std::size_t>(channels + 1) * p.k_index.size());
  bool fits = true;
  std::vector<int> differences;
  for (std::int64_t c = 0; c < channels; ++c)
    for (std::int64_t k : p.k_index) {
      const int w = k < 0 ? 0 : codes[c * p.weights.output_stride + k];
      const int difference = k < 0 ? 0 : w - zeros[static_cast<std::size_t>(c)];
      fits = fits && difference >= -128 && difference <= 127;
      out.push_back(static_cast<std::int8_t>(w));
      differences.push_back(difference);
    }
  if (fits) {
    std::transform(differences.begin(), differences.end(), out.begin(),
                   [](int d) { return static_cast<std::int8_t>(d); });
  } else {
    if (p.filter.groups != 1) return {};
    facts.zero_points.assign(zeros.begin(), zeros.end());
    for (std::int64_t k : p.k_index) out.push_back(k < 0 ? 0 : 1);
  }
  const std::size_t depth = p.k_index.size();
  if (static_cast<double>(depth) * 255 * 128 >= std::numeric_limits<std::int32_t>::max()) return {};
  for (std::size_t c = 0; c < static_cast<std::size_t>(channels); ++c) {
    std::int32_t sum = 0;
    for (std::size_t k = 0; k < depth; ++k) sum += out[c * depth + k];
    facts.weight_sums.push_back(sum);
  }
  facts.can_run = true;
  return facts;
}

/// `codes` are the weights; empty if they have not been read.
std::shared_ptr<const IntegerFilter> packed_filter(Lowering& l, const ProductKey& key, CodeProduct& found,
                                                   std::vector<std::int8_t>& codes, const ConvOutput& output) {
  const Product& p = found.product;
  const PackedWeightsKey weights{.weights = p.w,
                                 .zero_points = found.w_zero,
                                 .filter = p.filter,
                                 .output_stride = p.weights.output_stride,
                                 .folded_rows = p.form.folded_rows};
  return l.weights.filter({key, FilterForm::direct, p.y, {}}, weights,
                          [&](MemoryPieces& memory, const PackedFilter* same_weights) {
                            if (codes.empty()) (void)read_weights(l, found, codes);
                            auto packed = std::make_shared<const PackedFilter>(
                                p.filter, codes.data(), nullptr, nullptr, FilterForm::direct, &memory, same_weights);
                            auto terms = std::make_shared<const OutputTerms>(*packed, output, l.isa);
                            return IntegerFilter{std::move(packed), std::move(terms)};
                          });
}

/// Claims a Cast to float32 that is the only reader, and returns its output; otherwise `y`.
ValueId fuse_cast(Lowering& l, ValueId y) {
  const NodeId next = l.options.keep_values ? NodeId::none : only_consumer(l, y);
  if (next == NodeId::none) return y;
  const auto* cast = std::get_if<Cast>(&l.graph.node(next).op);
  if (cast == nullptr || cast->to != DataType::float32) return y;
  l.claim(next);
  return l.graph.node(next).outputs[0];
}

/// The codes of x in memory that kernels may read past.
Slot readable_source(Lowering& l, const Product& p, Layout layout) {
  Slot source = l.reals(p.x, layout);
  if (p.padding.is_needed || !l.is_callers(source)) return source;
  const std::int64_t count = element_count(l.shape(p.x));
  const int from = std::exchange(source.buffer, l.arena_buffer(static_cast<std::size_t>(count)));
  Step& copy = l.add(std::make_unique<CopyStep>(1, std::vector<Movement>{{{count}, {1}, {1}}}), l.graph.value(p.x).name,
                     "Copy", "copy");
  copy.add_operand(source.buffer, Access::write);
  copy.add_operand(from, Access::read);
  return source;
}

}  // namespace

bool lower_code_product(Lowering& l, NodeId id) {
  Conv conv;
  const Node& node = l.graph.node(id);
  auto found = code_product_of(l, node, conv);
  if (!found) return false;
  Product& p = found->product;
  const ProductKey key{.node = id, .folded_rows = p.form.folded_rows};
  std::vector<std::int8_t> codes;
  const auto facts = l.weights.code_facts(key, [&] { return read_weights(l, *found, codes); });
  if (!facts->can_run) return false;
  const std::int64_t macs = element_count(l.shape(p.y)) * facts->depth;
  const std::int64_t channels = found->channels, row_size = channels + (facts->zero_points.empty() ? 0 : 1);
  const std::int64_t rows = element_count(l.shape(p.y)) / channels;
  p.filter.out_channels = row_size;
  p.images.y = {p.images.y.image / channels * row_size, p.images.y.row / channels * row_size, row_size};
  if (p.padding.is_needed) p.images.x.image = 0;  // see IntegerConvStep
  // The code of the padding is not known in advance, so no row can be left out.
  p.images.content_begin = ConvImages{}.content_begin;
  p.images.content_end = ConvImages{}.content_end;

  const Layout layout = p.conv != nullptr ? Layout::channels_last : Layout::plain;
  const Slot source = readable_source(l, p, layout);
  std::optional<Slot> zero;
  if (found->x_zero != ValueId::none) zero = l.reals(found->x_zero, Layout::plain);
  const ValueId y = fuse_cast(l, p.y);
  const Slot destination = l.make(y, false, layout);
  const int sums = l.arena_buffer(static_cast<std::size_t>(rows * row_size) * sizeof(std::int32_t));

  const ConvOutput output{.kind = AccumulatorOutput::int32};
  const auto filter = packed_filter(l, key, *found, codes, output);
  IntegerConv integer_conv(filter->filter, p.images, output, l.isa, filter->terms);
  const std::string kernel = integer_conv.kernel_name();
  auto made =
      std::make_unique<IntegerConvStep>(std::move(integer_conv), p.padding, false, useful_threads(l.threads, macs));
  const std::size_t packed_bytes = made->packed_bytes(), scratch_bytes = made->scratch_bytes();
  IntegerConvStep& product = l.add(std::move(made), node.name, op_name(node.op), kernel);
  Step& product_step = product;
  product.add_operand(sums, Access::write);
  product.add_operand(source.buffer, Access::read);
  if (p.padding.is_needed) product.add_operand(l.arena_buffer(packed_bytes), Access::scratch);
  if (scratch_bytes > 0) product.add_operand(l.arena_buffer(scratch_bytes), Access::scratch);
  if (zero) product.zero_point_operand = product.add_operand(zero->buffer, Access::read);
  product_step.info.is_integer = true;
  product_step.info.mac_count = macs;
  product_step.info.inputs = {l.graph.value(p.x).name};

  const CodeSumsStep::Terms terms{.facts = facts,
                                  .rows = rows,
                                  .row_size = row_size,
                                  .has_zero_point = zero.has_value(),
                                  .gives_reals = destination.dtype == DataType::float32};
  auto& step = l.add(std::make_unique<CodeSumsStep>(terms, l.threads), node.name,
                     op_name(node.op) + (y == p.y ? "" : "+Cast"), "sums");
  step.add_operand(destination.buffer, Access::write);
  step.add_operand(sums, Access::read);
  if (zero) step.add_operand(zero->buffer, Access::read);
  step.info.outputs = {l.graph.value(y).name};
  l.define_reals(y, destination);
  return true;
}

}  // namespace bitfold::engine
