// Every operand uses oneDNN's preferred layout. Dense tensors are reordered into it and back if it differs, which takes
// little time beside a convolution and is several times faster than oneDNN's fallback for plain layouts.
#include "onednn/plain.h"

#include <cstddef>
#include <cstdlib>
#include <dnnl.hpp>
#include <span>
#include <unordered_map>

#include "base/check.h"
#include "numeric/block_pool.h"
#include "onednn/device.h"

namespace bitfold::onednn {
namespace {

using dnnl::memory;
using Tag = memory::format_tag;

// oneDNN's memory type is not const, but inputs are only read.
memory view(const memory::desc& desc, const float* data) { return {desc, cpu(), const_cast<float*>(data)}; }

void reorder(const memory& from, memory& to) {
  dnnl::reorder(from, to).execute(stream(), const_cast<memory&>(from), to);
}

/// The axes that oneDNN describes: two, or three if there is a depth.
std::span<const PlainAxis> spatial_axes(const PlainConvShape& s) {
  return std::span(s.axes).subspan(s.axes[0] == PlainAxis{} ? 1 : 0);
}

template <class Field>
memory::dims dims_of(const PlainConvShape& s, memory::dims first, Field field) {
  for (const PlainAxis& axis : spatial_axes(s)) first.push_back(field(axis));
  return first;
}
memory::dims input_dims(const PlainConvShape& s) {
  return dims_of(s, {s.batch, s.in_channels}, [](const PlainAxis& a) { return a.in; });
}
memory::dims output_dims(const PlainConvShape& s) {
  return dims_of(s, {s.batch, s.out_channels}, [](const PlainAxis& a) { return a.out; });
}
/// oneDNN counts output channels before input channels, transposed or not.
memory::dims weight_dims(const PlainConvShape& s) {
  memory::dims channels{s.out_channels / s.group, s.in_channels / s.group};
  if (s.group > 1) channels.insert(channels.begin(), s.group);
  return dims_of(s, channels, [](const PlainAxis& a) { return a.kernel; });
}
/// The layout of the weights that are given.
memory::desc plain_weights(const PlainConvShape& s) {
  const bool is_3d = spatial_axes(s).size() == 3, has_groups = s.group > 1;
  const Tag convolution = is_3d ? (has_groups ? Tag::goidhw : Tag::oidhw) : has_groups ? Tag::goihw : Tag::oihw;
  const Tag transposed = is_3d ? (has_groups ? Tag::giodhw : Tag::iodhw) : has_groups ? Tag::giohw : Tag::iohw;
  return {weight_dims(s), kFloat, s.is_transposed ? transposed : convolution};
}

/// `Forward` is a convolution or a transposed one ("deconvolution").
template <class Forward>
typename Forward::primitive_desc describe(const PlainConvShape& s, dnnl::algorithm algorithm, bool has_bias) {
  check_room_for_code();
  const memory::desc x(input_dims(s), kFloat, Tag::any), w(weight_dims(s), kFloat, Tag::any);
  const memory::desc y(output_dims(s), kFloat, Tag::any);
  const memory::desc bias = has_bias ? memory::desc({s.out_channels}, kFloat, Tag::x) : memory::desc();
  const memory::dims strides = dims_of(s, {}, [](const PlainAxis& a) { return a.stride; });
  const memory::dims dilations = dims_of(s, {}, [](const PlainAxis& a) { return a.dilation - 1; });
  const memory::dims begin = dims_of(s, {}, [](const PlainAxis& a) { return a.pad_begin; });
  const memory::dims end = dims_of(s, {}, [](const PlainAxis& a) { return a.pad_end; });
  const auto kind = dnnl::prop_kind::forward_inference;
  dnnl::primitive_attr attributes;
  attributes.set_scratchpad_mode(dnnl::scratchpad_mode::user);  // so that threads do not share scratch memory
#if DNNL_VERSION_MAJOR >= 3
  return {cpu(), kind, algorithm, x, w, bias, y, strides, dilations, begin, end, attributes};
#else
  using Description = typename Forward::desc;
  const Description desc = has_bias ? Description(kind, algorithm, x, w, bias, y, strides, dilations, begin, end)
                                    : Description(kind, algorithm, x, w, y, strides, dilations, begin, end);
  return {desc, attributes, cpu()};
#endif
}

}  // namespace

struct PlainConv::Impl {
  dnnl::primitive primitive;
  std::string implementation;
  memory::desc own_x, own_y, scratchpad;  ///< The layouts that oneDNN prefers.
  memory::desc plain_x, plain_y, last_x, last_y;
  memory weights, bias;

  template <class Forward>
  void make(const PlainConvShape& s, dnnl::algorithm algorithm, bool has_bias) {
    const auto description = describe<Forward>(s, algorithm, has_bias);
    primitive = Forward(description);
    implementation = description.impl_info_str();
    own_x = description.src_desc();
    own_y = description.dst_desc();
    scratchpad = description.scratchpad_desc();
    weights = memory(description.weights_desc(), cpu());
  }
};

PlainConv::PlainConv(const PlainConvShape& s, const float* weights, const float* bias) try
    : impl_(std::make_unique<Impl>()) {
  if (s.is_transposed)
    impl_->make<dnnl::deconvolution_forward>(s, dnnl::algorithm::deconvolution_direct, bias != nullptr);
  else
    impl_->make<dnnl::convolution_forward>(s, dnnl::algorithm::convolution_direct, bias != nullptr);
  const bool is_3d = spatial_axes(s).size() == 3;
  const Tag first = is_3d ? Tag::ncdhw : Tag::nchw, last = is_3d ? Tag::ndhwc : Tag::nhwc;
  impl_->plain_x = memory::desc(input_dims(s), kFloat, first);
  impl_->plain_y = memory::desc(output_dims(s), kFloat, first);
  impl_->last_x = memory::desc(input_dims(s), kFloat, last);
  impl_->last_y = memory::desc(output_dims(s), kFloat, last);
  reorder(view(plain_weights(s), weights), impl_->weights);
  if (bias != nullptr) {
    const memory::desc desc({s.out_channels}, kFloat, Tag::x);
    impl_->bias = memory(desc, cpu());
    reorder(view(desc, bias), impl_->bias);
  }
  stream().wait();
} catch (const dnnl::error& e) {
  fail("oneDNN cannot create the convolution: {}", e.what());
}

PlainConv::~PlainConv() = default;

bool PlainConv::can_give_channels_last() const { return impl_->own_y == impl_->last_y; }

const std::string& PlainConv::implementation() const { return impl_->implementation; }

std::size_t PlainConv::packed_bytes() const { return impl_->weights.get_desc().get_size(); }

void PlainConv::run(const float* x, bool x_has_channels_last, float* y, bool y_has_channels_last) const try {
  const memory::desc& x_desc = x_has_channels_last ? impl_->last_x : impl_->plain_x;
  const memory::desc& y_desc = y_has_channels_last ? impl_->last_y : impl_->plain_y;
  memory given_x = view(x_desc, x), given_y = view(y_desc, y);
  const bool moves_x = impl_->own_x != x_desc, moves_y = impl_->own_y != y_desc;
  // oneDNN would allocate this memory with malloc in every run.
  const PooledBytes room_x(moves_x ? impl_->own_x.get_size() : 0), room_y(moves_y ? impl_->own_y.get_size() : 0);
  const PooledBytes scratchpad(impl_->scratchpad.get_size());
  memory own_x = given_x, own_y = given_y;
  if (moves_x) {
    own_x = memory(impl_->own_x, cpu(), room_x.data());
    reorder(given_x, own_x);
  }
  if (moves_y) own_y = memory(impl_->own_y, cpu(), room_y.data());
  std::unordered_map<int, memory> arguments{{DNNL_ARG_SRC, own_x},
                                            {DNNL_ARG_WEIGHTS, impl_->weights},
                                            {DNNL_ARG_DST, own_y},
                                            {DNNL_ARG_SCRATCHPAD, memory(impl_->scratchpad, cpu(), scratchpad.data())}};
  if (impl_->bias) arguments.emplace(DNNL_ARG_BIAS, impl_->bias);
  impl_->primitive.execute(stream(), arguments);
  if (moves_y) reorder(own_y, given_y);
  stream().wait();
} catch (const dnnl::error& e) {
  fail("oneDNN cannot run the convolution: {}", e.what());
}

void put_channels_first(std::int64_t batch, std::int64_t channels, std::int64_t pixels, const float* from,
                        float* to) try {
  if (batch * channels * pixels == 0) return;
  const memory::dims dims{batch, channels, pixels};
  memory first = view({dims, kFloat, Tag::abc}, to);
  reorder(view({dims, kFloat, Tag::acb}, from), first);
  stream().wait();
} catch (const dnnl::error& e) {
  fail("oneDNN cannot reorder the image: {}", e.what());
}

void multiply_add(const PlainProduct& p, float alpha, const float* a, const float* b, float* y) {
  if (p.m == 0 || p.n == 0 || p.k == 0) return;
  const auto status = dnnl::sgemm(p.trans_a ? 'T' : 'N', p.trans_b ? 'T' : 'N', p.m, p.n, p.k, alpha, a,
                                  p.trans_a ? p.m : p.k, b, p.trans_b ? p.k : p.n, 1.0F, y, p.n);
  check(status == dnnl::status::success, "oneDNN cannot multiply {}x{} by {}x{}", p.m, p.k, p.k, p.n);
}

}  // namespace bitfold::onednn
