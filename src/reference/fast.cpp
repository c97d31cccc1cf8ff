#include "reference/fast.h"

#include <omp.h>

#include "base/mapped_file.h"
#include "ops/operands.h"
#include "ops/products.h"
#include "ops/window.h"

namespace bitfold::reference {
namespace {

constexpr std::size_t kShapesPerNode = 4;  // a batch size, the remainder of the samples, and two more input sizes

}  // namespace

bool FastProducts::run(NodeId id, const Node& node, bool has_constant_weights, std::span<const TensorView> in,
                       std::span<const TensorView> out, ImageLayouts& layouts) {
  if (std::holds_alternative<Conv>(node.op) || std::holds_alternative<ConvTranspose>(node.op))
    return has_constant_weights && conv(id, node, in, out, layouts);
  layouts = {};
  if (!ops::is_matrix_product(node.op)) return false;
  ops::evaluate_products(node.op, in, out[0], onednn::multiply_matrices);
  return true;
}

bool FastProducts::conv(NodeId id, const Node& node, std::span<const TensorView> in, std::span<const TensorView> out,
                        ImageLayouts& layouts) {
  constexpr std::size_t kMaxRank = 5;
  if (in[0].shape.size() > kMaxRank || out[0].size() == 0 || in[0].size() == 0) return false;
  const auto convolution = ops::convolution_of(node.op, in[0].shape, out[0].shape);
  const auto found = find(id, onednn::plain_conv_shape(*convolution, in[0].shape, out[0].shape), in);
  if (found == nullptr) return false;
  layouts.out = layouts.out && in[0].shape.size() < kMaxRank && found->can_give_channels_last();
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
