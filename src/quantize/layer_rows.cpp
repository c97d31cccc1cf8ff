#include "quantize/layer_rows.h"

#include <algorithm>

#include "ops/window.h"

namespace bitfold::quantization {

std::optional<ProductView> product_view(const Graph& graph, NodeId id) {
  const Node& node = graph.node(id);
  if (node.inputs.size() < 2 || !graph.is_constant(node.inputs[1])) return std::nullopt;
  const Shape& w = graph.value(node.inputs[1]).constant->shape();
  if (const auto* conv = std::get_if<Conv>(&node.op)) {
    if (w.size() != 3 && w.size() != 4) return std::nullopt;
    const std::int64_t depth = element_count(w) / std::max<std::int64_t>(1, w[0]);
    return ProductView{conv->group, w[0] / conv->group, depth, depth, 1};
  }
  const auto* gemm = std::get_if<Gemm>(&node.op);
  if ((gemm == nullptr && !std::holds_alternative<MatMul>(node.op)) || w.size() != 2) return std::nullopt;
  if (gemm != nullptr && gemm->trans_a) return std::nullopt;
  if (gemm != nullptr && gemm->trans_b) return ProductView{1, w[0], w[1], w[1], 1};
  return ProductView{1, w[1], w[0], 1, w[1]};
}

LayerRows::LayerRows(const Graph& graph, NodeId id, std::int64_t max_rows)
    : view_(*product_view(graph, id)), max_rows_(max_rows), conv_(std::get_if<Conv>(&graph.node(id).op)) {}

std::int64_t LayerRows::read(const Tensor& x, std::int64_t group, std::vector<float>& rows) const {
  return conv_ != nullptr ? read_windows(x, group, rows) : read_vectors(x, rows);
}

std::int64_t LayerRows::read_vectors(const Tensor& x, std::vector<float>& rows) const {
  const std::int64_t present = x.size() / view_.depth, count = chosen(present);
  rows.resize(static_cast<std::size_t>(count * view_.depth));
  for (std::int64_t r = 0; r < count; ++r)
    std::copy_n(x.data<float>().data() + r * present / count * view_.depth, view_.depth, rows.data() + r * view_.depth);
  return count;
}

std::int64_t LayerRows::read_windows(const Tensor& x, std::int64_t group, std::vector<float>& rows) const {
  const Window& w = conv_->window;
  const std::span<const std::int64_t> spatial(x.shape().data() + 2, x.shape().size() - 2);
  const ops::ResolvedWindow resolved = ops::resolve_window(w, spatial, false);
  const bool is_flat = spatial.size() == 1;  // one spatial dimension: an image of one row
  const auto pick = [&](const std::vector<std::int64_t>& v, std::size_t i) {
    return v.empty() ? std::int64_t{1} : v[i];
  };
  const std::int64_t height = is_flat ? 1 : spatial[0], width = spatial.back();
  const std::int64_t kernel_h = is_flat ? 1 : w.kernel[0], kernel_w = w.kernel.back();
  const std::int64_t stride_h = is_flat ? 1 : pick(w.strides, 0), stride_w = pick(w.strides, is_flat ? 0 : 1);
  const std::int64_t dilation_h = is_flat ? 1 : pick(w.dilations, 0), dilation_w = pick(w.dilations, is_flat ? 0 : 1);
  const std::int64_t top = is_flat ? 0 : resolved.pads[0], left = resolved.pads[is_flat ? 0 : 1];
  const std::int64_t out_h = is_flat ? 1 : resolved.output[0], out_w = resolved.output.back();
  const std::int64_t channels = x.dim(1), in_group = channels / view_.groups;
  const std::int64_t present = x.dim(0) * out_h * out_w, count = chosen(present);
  rows.assign(static_cast<std::size_t>(count * view_.depth), 0.0F);
  const std::span<const float> values = x.data<float>();
  for (std::int64_t r = 0; r < count; ++r) {
    // The middle of each of `count` equal parts.
    const std::int64_t position = (2 * r + 1) * present / (2 * count);
    const std::int64_t image = position / (out_h * out_w), oh = position / out_w % out_h, ow = position % out_w;
    float* row = rows.data() + r * view_.depth;
    for (std::int64_t c = 0; c < in_group; ++c)
      for (std::int64_t i = 0; i < kernel_h; ++i)
        for (std::int64_t j = 0; j < kernel_w; ++j, ++row) {
          const std::int64_t h = oh * stride_h - top + i * dilation_h, v = ow * stride_w - left + j * dilation_w;
          if (h < 0 || h >= height || v < 0 || v >= width) continue;
          *row = values[static_cast<std::size_t>(((image * channels + group * in_group + c) * height + h) * width + v)];
        }
  }
  return count;
}

}  // namespace bitfold::quantization
