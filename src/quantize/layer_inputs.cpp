#include "quantize/layer_inputs.h"

#include <omp.h>

#include <algorithm>

#include "bitfold/reference.h"
#include "graph/window.h"
#include "onednn/plain.h"
#include "quantize/samples.h"

namespace bitfold::quantization {
namespace {

/// The part of a graph that computes the first input of a node.
Graph part_before(const Graph& graph, NodeId id) {
  Graph part = graph;
  part.clear_outputs();
  part.mark_output(graph.node(id).inputs[0]);
  part.remove_dead();
  return part;
}

/// Inputs of a product at chosen output positions.
class Rows {
 public:
  Rows(const Graph& graph, NodeId id, const ProductView& view, std::int64_t most_rows)
      : view_(view), most_rows_(most_rows), conv_(std::get_if<Conv>(&graph.node(id).op)) {}

  /// Rows [count][depth] of one group of x.
  std::int64_t read(const Tensor& x, std::int64_t group, std::vector<float>& rows) const {
    return conv_ != nullptr ? read_windows(x, group, rows) : read_vectors(x, rows);
  }

 private:
  std::int64_t chosen(std::int64_t count) const { return std::min(count, most_rows_); }

  std::int64_t read_vectors(const Tensor& x, std::vector<float>& rows) const {
    const std::int64_t present = x.size() / view_.depth, count = chosen(present);
    rows.resize(static_cast<std::size_t>(count * view_.depth));
    for (std::int64_t r = 0; r < count; ++r)
      std::copy_n(x.data<float>().data() + r * present / count * view_.depth, view_.depth,
                  rows.data() + r * view_.depth);
    return count;
  }

  std::int64_t read_windows(const Tensor& x, std::int64_t group, std::vector<float>& rows) const {
    const Window& w = conv_->window;
    const std::span<const std::int64_t> spatial(x.shape().data() + 2, x.shape().size() - 2);
    const ResolvedWindow resolved = resolve_window(w, spatial, false);
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
    for (std::int64_t r = 0; r < count; ++r) {
      // The middle of each of `count` even parts.
      const std::int64_t position = (2 * r + 1) * present / (2 * count);
      const std::int64_t image = position / (out_h * out_w), oh = position / out_w % out_h, ow = position % out_w;
      float* row = rows.data() + r * view_.depth;
      for (std::int64_t c = 0; c < in_group; ++c)
        for (std::int64_t i = 0; i < kernel_h; ++i)
          for (std::int64_t j = 0; j < kernel_w; ++j, ++row) {
            const std::int64_t h = oh * stride_h - top + i * dilation_h, v = ow * stride_w - left + j * dilation_w;
            if (h < 0 || h >= height || v < 0 || v >= width) continue;
            *row = x.data<float>()[static_cast<std::size_t>(
                ((image * channels + group * in_group + c) * height + h) * width + v)];
          }
    }
    return count;
  }

  ProductView view_;
  std::int64_t most_rows_;
  const Conv* conv_;
};

/// The moments of one sample, in floats.
struct SampleMoments {
  std::vector<float> x, y, second, cross;
  std::int64_t rows = 0;

  void compute(std::int64_t depth) {
    second.assign(static_cast<std::size_t>(depth * depth), 0.0F);
    cross.assign(static_cast<std::size_t>(depth * depth), 0.0F);
    std::vector<float> difference(x.size());
    for (std::size_t i = 0; i < x.size(); ++i) difference[i] = y[i] - x[i];
    const onednn::PlainProduct product{depth, depth, rows, true, false};
    onednn::multiply_add(product, 1, x.data(), x.data(), second.data());
    onednn::multiply_add(product, 1, difference.data(), x.data(), cross.data());
  }

  void add_to(InputMoments& m, bool keeps_rows) const {
    if (keeps_rows) {
      m.rows_x.insert(m.rows_x.end(), x.begin(), x.end());
      m.rows_y.insert(m.rows_y.end(), y.begin(), y.end());
    }
    for (std::size_t i = 0; i < second.size(); ++i) m.second[i] += second[i];
    for (std::size_t i = 0; i < cross.size(); ++i) m.cross[i] += cross[i];
    const auto depth = static_cast<std::size_t>(m.depth);
    for (std::size_t i = 0; i < x.size(); ++i) {
      m.mean_x[i % depth] += x[i];
      m.mean_y[i % depth] += y[i];
    }
    m.rows += rows;
  }
};

std::int64_t rows_per_sample(const ProductView& view, const SampleOptions& options) {
  constexpr std::int64_t kMostBytes = 256 << 20U;
  if (!options.keeps_rows) return options.rows_per_sample;
  const std::int64_t row_bytes = 2 * view.groups * view.depth * static_cast<std::int64_t>(sizeof(float));
  return std::clamp<std::int64_t>(kMostBytes / (options.most_samples * row_bytes), 1, options.rows_per_sample);
}

}  // namespace

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

std::vector<InputMoments> input_moments(const Graph& float_graph, NodeId float_id, const Graph& quantized_graph,
                                        NodeId quantized_id, BatchSource& samples, const SampleOptions& options) {
  const ProductView view = *product_view(quantized_graph, quantized_id);
  const Reference float_part(part_before(float_graph, float_id));
  const Reference quantized_part(part_before(quantized_graph, quantized_id));
  const Rows rows(quantized_graph, quantized_id, view, rows_per_sample(view, options));
  std::vector<InputMoments> moments(static_cast<std::size_t>(view.groups), InputMoments(view.depth));
  const int threads = omp_get_num_procs();
  // Of every group of samples that is under way, by group of the layer.
  std::vector<std::vector<SampleMoments>> under_way(static_cast<std::size_t>(threads),
                                                    std::vector<SampleMoments>(moments.size()));
  for_first_samples(
      samples, fixed_batch(quantized_graph), threads, options.most_samples,
      [&](std::int64_t part, std::span<const Tensor> inputs) {
        const Tensor x = quantized_part.run(inputs)[0], y = float_part.run(inputs)[0];
        for (std::size_t g = 0; g < moments.size(); ++g) {
          SampleMoments& m = under_way[static_cast<std::size_t>(part)][g];
          m.rows = rows.read(x, static_cast<std::int64_t>(g), m.x);
          rows.read(y, static_cast<std::int64_t>(g), m.y);
          m.compute(view.depth);
        }
      },
      [&](std::int64_t parts, std::int64_t) {
        for (std::int64_t part = 0; part < parts; ++part)
          for (std::size_t g = 0; g < moments.size(); ++g)
            under_way[static_cast<std::size_t>(part)][g].add_to(moments[g], options.keeps_rows);
        return options.most_samples;
      });
  for (InputMoments& m : moments)
    for (std::int64_t k = 0; k < m.depth; ++k) {
      m.mean_x[static_cast<std::size_t>(k)] /= static_cast<double>(m.rows);
      m.mean_y[static_cast<std::size_t>(k)] /= static_cast<double>(m.rows);
    }
  return moments;
}

}  // namespace bitfold::quantization
