// Every operand uses oneDNN's preferred layout. Dense tensors are reordered into it and back if it differs, which takes
// little time beside a convolution and is several times faster than oneDNN's fallback for plain layouts.
#include "onednn/plain.h"

#include <cstddef>
#include <cstdlib>
#include <dnnl.hpp>
#include <unordered_map>

#include "base/check.h"
#include "numeric/block_pool.h"
#include "onednn/device.h"

namespace bitfold::onednn {
namespace {

using dnnl::memory;
using Tag = memory::format_tag;
constexpr auto kFloat = memory::data_type::f32;

// oneDNN's memory type is not const, but inputs are only read.
memory view(const memory::desc& desc, const float* data) { return {desc, cpu(), const_cast<float*>(data)}; }

void reorder(const memory& from, memory& to) {
  dnnl::reorder(from, to).execute(stream(), const_cast<memory&>(from), to);
}

using Forward = dnnl::convolution_forward;

Forward::primitive_desc describe(const PlainConvShape& s, const memory::dims& weight_dims, bool has_bias) {
  check_room_for_code();
  const memory::desc x({s.batch, s.in_channels, s.in_h, s.in_w}, kFloat, Tag::any), w(weight_dims, kFloat, Tag::any);
  const memory::desc y({s.batch, s.out_channels, s.out_h, s.out_w}, kFloat, Tag::any);
  const memory::desc bias = has_bias ? memory::desc({s.out_channels}, kFloat, Tag::x) : memory::desc();
  const memory::dims strides{s.stride_h, s.stride_w}, dilations{s.dilation_h - 1, s.dilation_w - 1};
  const memory::dims begin{s.pad_top, s.pad_left}, end{s.pad_bottom, s.pad_right};
  const auto kind = dnnl::prop_kind::forward_inference;
  const auto algorithm = dnnl::algorithm::convolution_direct;
  dnnl::primitive_attr attributes;
  attributes.set_scratchpad_mode(dnnl::scratchpad_mode::user);  // so that threads do not share scratch memory
#if DNNL_VERSION_MAJOR >= 3
  return {cpu(), kind, algorithm, x, w, bias, y, strides, dilations, begin, end, attributes};
#else
  const Forward::desc desc = has_bias ? Forward::desc(kind, algorithm, x, w, bias, y, strides, dilations, begin, end)
                                      : Forward::desc(kind, algorithm, x, w, y, strides, dilations, begin, end);
  return {desc, attributes, cpu()};
#endif
}

}  // namespace

struct PlainConv::Impl {
  Forward::primitive_desc description;
  Forward primitive;
  memory::desc plain_x, plain_y, last_x, last_y;
  memory weights, bias;
};

PlainConv::PlainConv(const PlainConvShape& s, const float* weights, const float* bias) try
    : impl_(std::make_unique<Impl>()) {
  const bool is_grouped = s.group > 1;
  const memory::dims weight_dims =
      is_grouped ? memory::dims{s.group, s.out_channels / s.group, s.in_channels / s.group, s.kernel_h, s.kernel_w}
                 : memory::dims{s.out_channels, s.in_channels, s.kernel_h, s.kernel_w};
  impl_->description = describe(s, weight_dims, bias != nullptr);
  impl_->primitive = Forward(impl_->description);
  impl_->plain_x = memory::desc({s.batch, s.in_channels, s.in_h, s.in_w}, kFloat, Tag::nchw);
  impl_->plain_y = memory::desc({s.batch, s.out_channels, s.out_h, s.out_w}, kFloat, Tag::nchw);
  impl_->last_x = memory::desc({s.batch, s.in_channels, s.in_h, s.in_w}, kFloat, Tag::nhwc);
  impl_->last_y = memory::desc({s.batch, s.out_channels, s.out_h, s.out_w}, kFloat, Tag::nhwc);
  impl_->weights = memory(impl_->description.weights_desc(), cpu());
  reorder(view({weight_dims, kFloat, is_grouped ? Tag::goihw : Tag::oihw}, weights), impl_->weights);
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

bool PlainConv::can_give_channels_last() const { return impl_->description.dst_desc() == impl_->last_y; }

void PlainConv::run(const float* x, bool x_has_channels_last, float* y, bool y_has_channels_last) const try {
  const auto& pd = impl_->description;
  const memory::desc& x_desc = x_has_channels_last ? impl_->last_x : impl_->plain_x;
  const memory::desc& y_desc = y_has_channels_last ? impl_->last_y : impl_->plain_y;
  memory given_x = view(x_desc, x), given_y = view(y_desc, y);
  const bool moves_x = pd.src_desc() != x_desc, moves_y = pd.dst_desc() != y_desc;
  // oneDNN would allocate this memory with malloc in every run.
  const PooledBytes room_x(moves_x ? pd.src_desc().get_size() : 0), room_y(moves_y ? pd.dst_desc().get_size() : 0);
  const PooledBytes scratchpad(pd.scratchpad_desc().get_size());
  memory own_x = given_x, own_y = given_y;
  if (moves_x) {
    own_x = memory(pd.src_desc(), cpu(), room_x.data());
    reorder(given_x, own_x);
  }
  if (moves_y) own_y = memory(pd.dst_desc(), cpu(), room_y.data());
  std::unordered_map<int, memory> arguments{
      {DNNL_ARG_SRC, own_x},
      {DNNL_ARG_WEIGHTS, impl_->weights},
      {DNNL_ARG_DST, own_y},
      {DNNL_ARG_SCRATCHPAD, memory(pd.scratchpad_desc(), cpu(), scratchpad.data())}};
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
