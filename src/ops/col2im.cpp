// Col2Im: adds the blocks of a column matrix up to images.
#include "ops/col2im.h"

#include <algorithm>

#include "ops/rows.h"
#include "ops/window.h"

namespace bitfold::ops {
namespace {

/// The window whose positions on the image are the blocks.
Window blocks_of(const Col2Im& op, std::span<const std::int64_t> block) {
  const auto or_all = [](const std::vector<std::int64_t>& given, std::size_t count, std::int64_t value) {
    return given.empty() ? std::vector<std::int64_t>(count, value) : given;
  };
  return {.kernel = {block.begin(), block.end()},
          .strides = or_all(op.strides, block.size(), 1),
          .dilations = or_all(op.dilations, block.size(), 1),
          .pads = or_all(op.pads, 2 * block.size(), 0)};
}

Outputs infer_col2im(const Inputs& in) {
  const auto& op = std::get<Col2Im>(in.node.op);
  const auto rank = length_of(in[1]);
  if (!rank) return {like(in[0], {})};
  Shape y = all_dynamic(*rank + 2);
  const auto image = in.known(1), block = in.known(2);
  if (image) {
    check(std::ranges::all_of(*image, [](std::int64_t size) { return size >= 0; }),
          "image_shape is {}; no size may be negative", to_string(*image));
    std::ranges::copy(*image, y.begin() + 2);
  }
  if (!in.shape(0)) return {like(in[0], y)};
  const Shape& x = *in.shape(0);
  check(x.size() == 3, "input has shape {}, expected batch, channels and blocks", to_string(x));
  y[0] = x[0];
  if (!block) return {like(in[0], y)};
  check(std::ssize(*block) == *rank, "block_shape has {} entries, but image_shape has {}", block->size(), *rank);
  std::int64_t elements = 1, positions = 1;
  for (std::int64_t size : *block) {
    check(size > 0, "block_shape is {}; every size must be positive", to_string(*block));
    elements = multiply(elements, size);
  }
  check(is_unknown(x[1]) || x[1] % elements == 0, "{} channels cannot be split into blocks of {}", x[1],
        to_string(*block));
  if (!is_unknown(x[1])) y[1] = x[1] / elements;
  if (!image) return {like(in[0], y)};
  for (std::int64_t count : resolve_window(blocks_of(op, *block), *image, false).output)
    positions = multiply(positions, count);
  check(fits(x[2], positions), "input has shape {}, but an image of {} has {} blocks", to_string(x), to_string(*image),
        positions);
  return {like(in[0], y)};
}

void col2im(const Node& node, std::span<const TensorView> in, std::span<const TensorView> out) {
  const auto y = out[0].shape;
  const std::size_t rank = y.size() - 2;
  if (rank == 0) return copy_elements(node, in, out);
  Shape block(rank);
  for (std::size_t i = 0; i < rank; ++i) block[i] = integer_at(in[2], static_cast<std::int64_t>(i));
  const Window window = blocks_of(std::get<Col2Im>(node.op), block);
  const Shape counts = resolve_window(window, y.subspan(2), false).output;
  const Strides strides = dense_strides(y.subspan(2));
  const std::int64_t planes = y[0] * y[1], plane = product(y.subspan(2));
  // Each element of a block meets a slice of the image: one row of blocks after the other.
  const std::size_t last = rank - 1;
  const std::int64_t rows = product(std::span(counts).first(last)), blocks = counts[last], step = window.strides[last];
  // The first element of the image's row that element `e` of the row `row` of blocks is added to; none if the row is
  // padding.
  const auto image_row = [&](std::int64_t e, std::int64_t row) -> std::optional<std::int64_t> {
    std::int64_t to = 0;
    e /= block[last];
    for (std::size_t i = last; i-- > 0;) {
      const std::int64_t index =
          row % counts[i] * window.strides[i] + e % block[i] * window.dilations[i] - window.pads[i];
      if (index < 0 || index >= y[i + 2]) return std::nullopt;
      to += index * strides[i];
      row /= counts[i];
      e /= block[i];
    }
    return to;
  };
  with_number_type(in[0].dtype, [&](auto zero) {
    using T = decltype(zero);
    T* image = out[0].as<T>();
    const T* x = in[0].as<T>();
    std::fill_n(image, out[0].size(), T{0});
    for (std::int64_t p = 0; p < planes; ++p, image += plane)
      for (std::int64_t e = 0, elements = product(block); e < elements; ++e) {
        // Block b is added to element b * step + shift of the row, if that exists.
        const std::int64_t shift = e % block[last] * window.dilations[last] - window.pads[last];
        const std::int64_t begin = shift < 0 ? (-shift + step - 1) / step : 0;
        const std::int64_t end = shift < y.back() ? std::min(blocks, (y.back() - 1 - shift) / step + 1) : 0;
        for (std::int64_t row = 0; row < rows; ++row, x += blocks) {
          const auto first = image_row(e, row);
          if (!first) continue;
          T* to = image + *first;
          if (step == 1)
            for (std::int64_t b = begin; b < end; ++b) to[b + shift] = wrapping_add(to[b + shift], x[b]);
          else
            for (std::int64_t b = begin; b < end; ++b) to[b * step + shift] = wrapping_add(to[b * step + shift], x[b]);
        }
      }
  });
}

}  // namespace

OperatorInfo col2im_operator() {
  const auto parameter = [](std::string_view name) {
    return Slot{name, kInt64, 0, Presence::required, Use::parameter};
  };
  return {.name = "Col2Im",
          .since = 18,
          .prototype = Col2Im{},
          .inputs = {{"input", kNumber, 'T'}, parameter("image_shape"), parameter("block_shape")},
          .outputs = {{"output", kNumber, 'T'}},
          .fields = {omitted_when_empty(field("dilations", &Col2Im::dilations, kPositive)),
                     omitted_when_empty(field("pads", &Col2Im::pads, kNonNegative)),
                     omitted_when_empty(field("strides", &Col2Im::strides, kPositive))},
          .infer = infer_col2im,
          .evaluate = col2im};
}

}  // namespace bitfold::ops
