#include "quantize/layer_rows.h"

#include <algorithm>

#include "graph/linear_layer.h"
#include "ops/operator.h"
#include "ops/window.h"

namespace bitfold::quantization {

std::optional<ops::WeightMatrix> row_product(const Graph& graph, NodeId id) {
  const auto weights = constant_weights(graph, id);
  if (!weights || ops::why_in_float(graph.node(id).op)) return std::nullopt;
  return graph.value(graph.node(id).inputs[1]).constant->rank() <= 4 ? weights : std::nullopt;
}

LayerRows::LayerRows(const Graph& graph, NodeId id, std::int64_t max_rows)
    : weights_(*row_product(graph, id)), max_rows_(max_rows), window_(ops::window_of(graph.node(id).op)) {}

std::int64_t LayerRows::read(const Tensor& x, std::int64_t group, std::vector<float>& rows) const {
  return window_ != nullptr ? read_windows(x, group, rows) : read_vectors(x, rows);
}

std::int64_t LayerRows::read_vectors(const Tensor& x, std::vector<float>& rows) const {
  const std::int64_t present = x.size() / weights_.depth(), count = chosen(present);
  rows.resize(static_cast<std::size_t>(count * weights_.depth()));
  for (std::int64_t r = 0; r < count; ++r)
    std::copy_n(x.data<float>().data() + r * present / count * weights_.depth(), weights_.depth(),
                rows.data() + r * weights_.depth());
  return count;
}

std::int64_t LayerRows::read_windows(const Tensor& x, std::int64_t group, std::vector<float>& rows) const {
  const Window& w = *window_;
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
  const std::int64_t channels = x.dim(1), in_group = channels / weights_.groups;
  const std::int64_t present = x.dim(0) * out_h * out_w, count = chosen(present);
  rows.assign(static_cast<std::size_t>(count * weights_.depth()), 0.0F);
  const std::span<const float> values = x.data<float>();
  for (std::int64_t r = 0; r < count; ++r) {
    // The middle of each of `count` equal parts.
    const std::int64_t position = (2 * r + 1) * present / (2 * count);
    const std::int64_t image = position / (out_h * out_w), oh = position / out_w % out_h, ow = position % out_w;
    float* row = rows.data() + r * weights_.depth();
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
