#include "reference/fast.h"

#include <omp.h>

#include "base/mapped_file.h"
#include "ops/operands.h"
#include "ops/products.h"
#include "ops/window.h"

namespace bitfold::reference {
namespace {

constexpr std::size_t kShapesPerNode = 4;  // a batch size, the remainder of the samples, and two more input sizes

onednn::PlainConvShape conv_shape(const Conv& op, const ops::Window3d& a, const TensorView& x, const TensorView& y) {
  const auto& [depth, h, w] = a;
  return {.batch = x.shape[0],
          .in_channels = x.shape[1],
          .in_h = h.in,
          .in_w = w.in,
          .out_channels = y.shape[1],
          .out_h = h.out,
          .out_w = w.out,
          .group = op.group,
          .kernel_h = h.kernel,
          .kernel_w = w.kernel,
          .stride_h = h.stride,
          .stride_w = w.stride,
          .dilation_h = h.dilation,
          .dilation_w = w.dilation,
          .pad_top = h.pad_begin,
          .pad_left = w.pad_begin,
          .pad_bottom = h.pad_end,
          .pad_right = w.pad_end};
}

void gemm(const Gemm& op, std::span<const TensorView> in, const TensorView& out) {
  ops::fill_with_c(op, in, out);
  const ops::Product p = ops::gemm_product(op, in, out);
  onednn::multiply_add({p.m, p.n, p.k, p.trans_a, p.trans_b}, op.alpha, in[0].as<float>(), in[1].as<float>(),
                       out.as<float>());
}

void matmul(std::span<const TensorView> in, const TensorView& out) {
  const ops::BatchedProduct p = ops::matmul_product(in);
  std::fill_n(out.as<float>(), out.size(), 0.0F);
  p.batches.for_each_row([&](const auto& offsets, std::int64_t count, const auto& steps) {
    for (std::int64_t i = 0; i < count; ++i)
      onednn::multiply_add({p.one.m, p.one.n, p.one.k}, 1, in[0].as<float>() + offsets[1] + i * steps[1],
                           in[1].as<float>() + offsets[2] + i * steps[2], out.as<float>() + offsets[0] + i * steps[0]);
  });
}

}  // namespace

bool FastProducts::run(NodeId id, const Node& node, bool has_constant_weights, std::span<const TensorView> in,
                       std::span<const TensorView> out, ImageLayouts& layouts) {
  const bool is_conv = std::holds_alternative<Conv>(node.op);
  if (is_conv) return has_constant_weights && conv(id, node, in, out, layouts);
  layouts = {};
  if (const auto* op = std::get_if<Gemm>(&node.op)) {
    gemm(*op, in, out[0]);
    return true;
  }
  if (!std::holds_alternative<MatMul>(node.op)) return false;
  matmul(in, out[0]);
  return true;
}

bool FastProducts::conv(NodeId id, const Node& node, std::span<const TensorView> in, std::span<const TensorView> out,
                        ImageLayouts& layouts) {
  const auto& op = std::get<Conv>(node.op);
  if (op.window.kernel.size() > 2 || out[0].size() == 0 || in[0].size() == 0) return false;
  const ops::Window3d window = ops::window_3d(op.window, in[0].shape, out[0].shape);
  const auto found = find(id, conv_shape(op, window, in[0], out[0]), in);
  if (found == nullptr) return false;
  layouts.out = layouts.out && found->can_give_channels_last();
  found->run(in[0].as<float>(), layouts.in, out[0].as<float>(), layouts.out);
  return true;
}

std::shared_ptr<const onednn::PlainConv> FastProducts::find(NodeId id, const onednn::PlainConvShape& shape,
                                                            std::span<const TensorView> in) {
  const int threads = omp_in_parallel() != 0 ? 1 : omp_get_max_threads();
  const std::lock_guard lock(mutex_);
  auto& entries = convs_[id];
  for (const Entry& e : entries)
    if (e.shape == shape && e.threads == threads) return e.conv;
  if (entries.size() == kShapesPerNode) entries.erase(entries.begin());
  std::shared_ptr<const onednn::PlainConv> made;
  try {
    const float* bias = ops::is_given(in, 2) ? in[2].as<float>() : nullptr;
    made = std::make_shared<const onednn::PlainConv>(shape, in[1].as<float>(), bias);
    // oneDNN has a packed copy of the weights
    release_mapped_pages(std::span(in[1].data, storage_bytes(in[1].dtype, in[1].size())));
  } catch (const Error&) {
    // oneDNN rejects some windows, such as one smaller than its padding; the plain loops handle those.
  }
  entries.push_back({shape, threads, made});
  return made;
}

}  // namespace bitfold::reference
