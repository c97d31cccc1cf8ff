#include "onednn/prepared.h"

#include <dnnl_debug.h>

#include <dnnl.hpp>
#include <optional>
#include <string_view>
#include <vector>

#include "base/check.h"
#include "onednn/device.h"

namespace bitfold::onednn {
namespace {

using dnnl::memory;
using Tag = memory::format_tag;

memory::desc image(const Image& i) { return {{i.batch, i.channels, i.height, i.width}, kFloat, Tag::nhwc}; }

/// Relu is a leaky one of slope 0.
std::optional<dnnl::algorithm> eltwise(Activation activation) {
  switch (activation) {
    case Activation::none:
      return std::nullopt;
    case Activation::relu:
    case Activation::leaky_relu:
      return dnnl::algorithm::eltwise_relu;
    case Activation::clip:
      return dnnl::algorithm::eltwise_clip;
    case Activation::swish:
      return dnnl::algorithm::eltwise_swish;
    case Activation::hard_swish:
      return dnnl::algorithm::eltwise_hardswish;
    case Activation::mish:
      return dnnl::algorithm::eltwise_mish;
    case Activation::gelu:
      return dnnl::algorithm::eltwise_gelu_erf;
    case Activation::gelu_tanh:
      return dnnl::algorithm::eltwise_gelu_tanh;
  }
  return std::nullopt;
}

dnnl::primitive_attr attributes(const Epilogue& epilogue, const memory::desc& residual) {
  check_room_for_code();
  dnnl::post_ops ops;
  if (epilogue.has_residual) ops.append_binary(dnnl::algorithm::binary_add, residual);
  if (const auto algorithm = eltwise(epilogue.activation))
    ops.append_eltwise(1, *algorithm, epilogue.activation == Activation::relu ? 0 : epilogue.alpha, epilogue.beta);
  dnnl::primitive_attr attr;
  attr.set_post_ops(ops);
  attr.set_scratchpad_mode(dnnl::scratchpad_mode::user);
  return attr;
}

std::string_view status_text(dnnl_status_t status) {
  return status == dnnl_out_of_memory ? "out of memory" : dnnl_status2str(status);
}

memory::dims dimensions_of_weights(const Image& input, const Image& output, const Window2d& w, std::int64_t groups) {
  const std::int64_t ic = input.channels, oc = output.channels;
  return groups > 1 ? memory::dims{groups, oc / groups, ic / groups, w.kernel_h, w.kernel_w}
                    : memory::dims{oc, ic, w.kernel_h, w.kernel_w};
}

using Convolution = dnnl::convolution_forward::primitive_desc;

Convolution describe_convolution(const Image& input, const Image& output, const Window2d& w, std::int64_t groups,
                                 const Epilogue& epilogue) {
  const memory::desc any_weights(dimensions_of_weights(input, output, w, groups), kFloat, Tag::any);
  const memory::desc bias({output.channels}, kFloat, Tag::x);
  const memory::dims strides{w.stride_h, w.stride_w}, dilations{w.dilation_h - 1, w.dilation_w - 1};
  const memory::dims begin{w.pad_top, w.pad_left}, end{w.pad_bottom, w.pad_right};
  using Description = dnnl::convolution_forward::desc;
  const auto kind = dnnl::prop_kind::forward_inference;
  const auto algorithm = dnnl::algorithm::convolution_direct;
  const memory::desc source = image(input), destination = image(output);
  const auto desc =
      epilogue.has_bias
          ? Description(kind, algorithm, source, any_weights, bias, destination, strides, dilations, begin, end)
          : Description(kind, algorithm, source, any_weights, destination, strides, dilations, begin, end);
  return {desc, attributes(epilogue, destination), cpu()};
}

/// oneDNN 2.6 chooses its product of matrices for windows that its other implementations refuse, such as those with
/// much padding. It adds a channels-last residual at wrong places.
bool misplaces_residual(const Convolution& pd) {
  return std::string_view(pd.impl_info_str()).find("gemm") != std::string_view::npos;
}

PackedLayout layout_of(const memory::desc& desc) {
  const auto* bytes = reinterpret_cast<const char*>(&desc.data);
  return {{bytes, bytes + sizeof desc.data}};
}

}  // namespace

struct Primitive::Impl {
  dnnl::primitive primitive;
  std::string implementation;
  PackedLayout packed_layout;
  memory::desc plain_weights, packed_weights;
  std::size_t scratch_bytes = 0;
  // One memory object per argument; run() sets their addresses.
  memory source, weights, bias, residual, destination, scratch;
  std::vector<dnnl_exec_arg_t> arguments;

  void add(memory& object, const memory::desc& desc, int argument) {
    object = memory(desc, cpu(), DNNL_MEMORY_NONE);
    arguments.push_back({argument, object.get()});
  }

  template <class Description>
  void take(const Description& pd) {
    implementation = pd.impl_info_str();
    scratch_bytes = pd.scratchpad_desc().get_size();
    add(source, pd.src_desc(), DNNL_ARG_SRC);
    add(destination, pd.dst_desc(), DNNL_ARG_DST);
    add(scratch, pd.scratchpad_desc(), DNNL_ARG_SCRATCHPAD);
  }

  template <class Forward>
  static Primitive without_weights(const typename Forward::primitive_desc& pd) {
    auto impl = std::make_unique<Impl>();
    impl->take(pd);
    impl->primitive = Forward(pd);
    return Primitive(std::move(impl));
  }

  template <class Description>
  void take_weights(const Description& pd, const Epilogue& epilogue, const memory::desc& residual_desc) {
    packed_weights = pd.weights_desc();
    packed_layout = layout_of(packed_weights);
    add(weights, packed_weights, DNNL_ARG_WEIGHTS);
    if (epilogue.has_bias) add(bias, pd.bias_desc(), DNNL_ARG_BIAS);
    if (epilogue.has_residual) add(residual, residual_desc, DNNL_ARG_ATTR_MULTIPLE_POST_OP(0) | DNNL_ARG_SRC_1);
  }
};

Primitive::Primitive(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
Primitive::~Primitive() = default;
Primitive::Primitive(Primitive&&) noexcept = default;
Primitive& Primitive::operator=(Primitive&&) noexcept = default;

Primitive Primitive::convolution(const Image& input, const Image& output, const Window2d& w, std::int64_t groups,
                                 const Epilogue& epilogue) try {
  Convolution pd = describe_convolution(input, output, w, groups, epilogue);
  while (epilogue.has_residual && misplaces_residual(pd))
    check(pd.next_impl(), "oneDNN cannot add a residual to the convolution");
  auto impl = std::make_unique<Impl>();
  impl->take(pd);
  impl->take_weights(pd, epilogue, image(output));
  impl->plain_weights =
      memory::desc(dimensions_of_weights(input, output, w, groups), kFloat, groups > 1 ? Tag::goihw : Tag::oihw);
  impl->primitive = dnnl::convolution_forward(pd);
  return Primitive(std::move(impl));
} catch (const dnnl::error& e) {
  fail("oneDNN cannot create the convolution: {}", e.what());
}

bool Primitive::adds_residual(const Image& input, const Image& output, const Window2d& window, std::int64_t groups,
                              bool has_bias) try {
  const Epilogue epilogue{.has_bias = has_bias, .has_residual = true};
  return !misplaces_residual(describe_convolution(input, output, window, groups, epilogue));
} catch (const dnnl::error& e) {
  fail("oneDNN cannot create the convolution: {}", e.what());
}

Primitive Primitive::matmul(std::int64_t rows, std::int64_t depth, std::int64_t columns, bool transposed,
                            const Epilogue& epilogue) try {
  const memory::desc source({rows, depth}, kFloat, Tag::ab), weights({depth, columns}, kFloat, Tag::any);
  const memory::desc bias({1, columns}, kFloat, Tag::ab), destination({rows, columns}, kFloat, Tag::ab);
  const auto desc = epilogue.has_bias ? dnnl::matmul::desc(source, weights, bias, destination)
                                      : dnnl::matmul::desc(source, weights, destination);
  const dnnl::matmul::primitive_desc pd(desc, attributes(epilogue, destination), cpu());
  auto impl = std::make_unique<Impl>();
  impl->take(pd);
  impl->take_weights(pd, epilogue, destination);
  impl->plain_weights = memory::desc({depth, columns}, kFloat, transposed ? Tag::ba : Tag::ab);
  impl->primitive = dnnl::matmul(pd);
  return Primitive(std::move(impl));
} catch (const dnnl::error& e) {
  fail("oneDNN cannot create the matrix product: {}", e.what());
}

Primitive Primitive::batched_matmul(const Batch& batch, std::int64_t rows, std::int64_t depth,
                                    std::int64_t columns) try {
  const memory::desc a({batch.shares_a ? 1 : batch.count, rows, depth}, kFloat, Tag::abc);
  const memory::desc b({batch.shares_b ? 1 : batch.count, depth, columns}, kFloat, Tag::abc);
  const memory::desc y({batch.count, rows, columns}, kFloat, Tag::abc);
  const dnnl::matmul::primitive_desc pd(dnnl::matmul::desc(a, b, y), attributes({}, {}), cpu());
  auto impl = std::make_unique<Impl>();
  impl->take(pd);
  impl->take_weights(pd, {}, {});
  impl->plain_weights = b;
  impl->primitive = dnnl::matmul(pd);
  return Primitive(std::move(impl));
} catch (const dnnl::error& e) {
  fail("oneDNN cannot create the matrix products: {}", e.what());
}

Primitive Primitive::softmax(std::int64_t rows, std::int64_t columns, bool log) try {
  const memory::desc data({rows, columns}, kFloat, Tag::ab);
  const auto make = [&]<class Forward>() {
    return Impl::without_weights<Forward>(
        {typename Forward::desc(dnnl::prop_kind::forward_inference, data, 1), attributes({}, {}), cpu()});
  };
  return log ? make.operator()<dnnl::logsoftmax_forward>() : make.operator()<dnnl::softmax_forward>();
} catch (const dnnl::error& e) {
  fail("oneDNN cannot create the Softmax: {}", e.what());
}

Primitive Primitive::layer_norm(std::int64_t rows, std::int64_t columns, float epsilon) try {
  const memory::desc data({rows, columns}, kFloat, Tag::ab), row({columns}, kFloat, Tag::a);
  using Forward = dnnl::layer_normalization_forward;
  const auto flags = dnnl::normalization_flags::use_scale | dnnl::normalization_flags::use_shift;
  const Forward::primitive_desc pd({dnnl::prop_kind::forward_inference, data, epsilon, flags}, attributes({}, {}),
                                   cpu());
  Primitive primitive = Impl::without_weights<Forward>(pd);
  primitive.impl_->add(primitive.impl_->weights, row, DNNL_ARG_SCALE);
  primitive.impl_->add(primitive.impl_->bias, row, DNNL_ARG_SHIFT);
  return primitive;
} catch (const dnnl::error& e) {
  fail("oneDNN cannot create the LayerNormalization: {}", e.what());
}

Primitive Primitive::pool(const Image& input, const Image& output, const Window2d& w, Pool kind) try {
  const auto algorithm = kind == Pool::max       ? dnnl::algorithm::pooling_max
                         : kind == Pool::average ? dnnl::algorithm::pooling_avg_exclude_padding
                                                 : dnnl::algorithm::pooling_avg_include_padding;
  using Forward = dnnl::pooling_forward;
  const Forward::desc desc(dnnl::prop_kind::forward_inference, algorithm, image(input), image(output),
                           {w.stride_h, w.stride_w}, {w.kernel_h, w.kernel_w}, {w.pad_top, w.pad_left},
                           {w.pad_bottom, w.pad_right});
  return Impl::without_weights<Forward>({desc, attributes({}, {}), cpu()});
} catch (const dnnl::error& e) {
  fail("oneDNN cannot create the pool: {}", e.what());
}

const std::string& Primitive::implementation() const { return impl_->implementation; }
std::size_t Primitive::scratch_bytes() const { return impl_->scratch_bytes; }
std::size_t Primitive::packed_bytes() const { return impl_->weights ? impl_->packed_weights.get_size() : 0; }
const PackedLayout& Primitive::packed_layout() const { return impl_->packed_layout; }

void Primitive::pack(const float* plain, void* packed) const {
  check_room_for_code();
  // oneDNN's memory type is not const, but the weights are only read
  memory from(impl_->plain_weights, cpu(), const_cast<float*>(plain));
  memory to(impl_->packed_weights, cpu(), packed);
  dnnl::reorder(from, to).execute(stream(), from, to);
  stream().wait();
}

void Primitive::run(const Arguments& a) {
  const auto bind = [](memory& object, const void* address) {
    if (object) dnnl_memory_set_data_handle(object.get(), const_cast<void*>(address));
  };
  bind(impl_->source, a.source);
  bind(impl_->weights, a.weights);
  bind(impl_->bias, a.bias);
  bind(impl_->residual, a.residual);
  bind(impl_->destination, a.destination);
  bind(impl_->scratch, a.scratch);
  const dnnl_status_t status = dnnl_primitive_execute(
      impl_->primitive.get(), stream().get(), static_cast<int>(impl_->arguments.size()), impl_->arguments.data());
  if (status != dnnl_success) fail("oneDNN cannot run it: {}", status_text(status));
}

}  // namespace bitfold::onednn
