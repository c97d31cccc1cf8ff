// Gates with Google Highway, compiled once per instruction set, and the selection among them.
#ifdef BITFOLD_PORTABLE
#define HWY_COMPILE_ONLY_SCALAR
#else
#define HWY_DISABLED_TARGETS (HWY_SSSE3 | HWY_SSE4)
#endif
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/gates/simd.cpp"
#include <hwy/foreach_target.h>  // must come before highway.h
#include <hwy/highway.h>
// Highway's functions differ for each target.
#include <hwy/contrib/math/math-inl.h>

#include "kernels/gates/gates.h"
#include "kernels/select_kernels.h"

HWY_BEFORE_NAMESPACE();
namespace bitfold {
namespace HWY_NAMESPACE {

namespace hn = hwy::HWY_NAMESPACE;

#if HWY_TARGET <= HWY_AVX3
constexpr const char* kName = "gates.avx512";
#elif HWY_TARGET == HWY_AVX2
constexpr const char* kName = "gates.avx2";
#else
constexpr const char* kName = "gates.portable";
#endif

/// Numbers [i, i + lanes) of each gate of a row.
template <class D>
struct Part {
  using Vector = hn::Vec<D>;
  D d;
  const GateRow& row;
  std::int64_t i;

  HWY_INLINE Vector load(const float* from) const { return hn::LoadU(d, from + i); }
  HWY_INLINE void store(Vector v, float* to) const { hn::StoreU(v, d, to + i); }
  HWY_INLINE Vector input(std::int64_t gate) const { return load(row.input + gate * row.hidden); }
  HWY_INLINE Vector state(std::int64_t gate) const { return load(row.state + gate * row.hidden); }
  HWY_INLINE Vector sum(std::int64_t gate) const { return hn::Add(input(gate), state(gate)); }
  /// Highway's extremes and functions give a number for NaN.
  HWY_INLINE Vector clipped(Vector v) const {
    return hn::IfThenElse(hn::IsNaN(v), v, hn::Max(hn::Min(v, hn::Set(d, row.clip)), hn::Set(d, -row.clip)));
  }
  HWY_INLINE Vector tanh(Vector v) const { return hn::IfThenElse(hn::IsNaN(v), v, hn::Tanh(d, v)); }
  HWY_INLINE Vector sigmoid(Vector v) const {
    const Vector half = hn::Set(d, 0.5F);
    return hn::MulAdd(half, tanh(hn::Mul(half, v)), half);
  }
  HWY_INLINE Vector peek(Vector v, std::int64_t gate, Vector c) const {
    return row.peepholes == nullptr ? v : hn::MulAdd(load(row.peepholes + gate * row.hidden), c, v);
  }
  /// (1 - update) * hidden + update * h
  HWY_INLINE Vector mixed(Vector update, Vector hidden) const {
    return hn::Add(hn::Mul(hn::Sub(hn::Set(d, 1.0F), update), hidden), hn::Mul(update, load(row.h)));
  }
};

struct RnnPart {
  template <class D>
  HWY_INLINE void operator()(const Part<D>& p) const {
    p.store(p.tanh(p.clipped(p.sum(0))), p.row.h);
  }
};
struct LstmPart {
  template <class D>
  HWY_INLINE void operator()(const Part<D>& p) const {
    const auto before = p.load(p.row.c);
    const auto in = p.sigmoid(p.clipped(p.peek(p.sum(0), 0, before)));
    const auto forget =
        p.row.input_forget ? hn::Sub(hn::Set(p.d, 1.0F), in) : p.sigmoid(p.clipped(p.peek(p.sum(2), 2, before)));
    const auto c = hn::Add(hn::Mul(forget, before), hn::Mul(in, p.tanh(p.clipped(p.sum(3)))));
    p.store(c, p.row.c);
    p.store(hn::Mul(p.sigmoid(p.clipped(p.peek(p.sum(1), 1, c))), p.tanh(c)), p.row.h);
  }
};
struct GruLinearPart {
  template <class D>
  HWY_INLINE void operator()(const Part<D>& p) const {
    const auto update = p.sigmoid(p.clipped(p.sum(0))), reset = p.sigmoid(p.clipped(p.sum(1)));
    auto state = p.state(2);
    if (p.row.reset_bias != nullptr) state = hn::Add(state, p.load(p.row.reset_bias));
    p.store(p.mixed(update, p.tanh(p.clipped(hn::MulAdd(reset, state, p.input(2))))), p.row.h);
  }
};
struct GruGatesPart {
  template <class D>
  HWY_INLINE void operator()(const Part<D>& p) const {
    p.store(p.sigmoid(p.clipped(p.sum(0))), p.row.update);
    p.store(hn::Mul(p.sigmoid(p.clipped(p.sum(1))), p.load(p.row.h)), p.row.reset);
  }
};
struct GruStatePart {
  template <class D>
  HWY_INLINE void operator()(const Part<D>& p) const {
    const auto hidden = p.tanh(p.clipped(hn::Add(p.input(2), p.state(0))));
    p.store(p.mixed(p.load(p.row.update), hidden), p.row.h);
  }
};

/// Whole vectors, then single numbers: the rows of the gates are adjacent, so that a vector past the end of one would
/// change another.
template <class F>
void run(const GateRow& row) noexcept {
  const hn::ScalableTag<float> whole;
  const hn::CappedTag<float, 1> single;
  const auto lanes = static_cast<std::int64_t>(hn::Lanes(whole));
  std::int64_t i = 0;
  for (; i + lanes <= row.hidden; i += lanes) F()(Part<decltype(whole)>{whole, row, i});
  for (; i < row.hidden; ++i) F()(Part<decltype(single)>{single, row, i});
}

const GateKernels* gates_of_target() {
  static const GateKernels kernels{
      kName, run<RnnPart>, run<LstmPart>, run<GruLinearPart>, run<GruGatesPart>, run<GruStatePart>};
  return &kernels;
}

}  // namespace HWY_NAMESPACE
}  // namespace bitfold
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace bitfold {

const GateKernels& gate_kernels(Isa cap) {
  return select_kernels<GateKernels>(cap, HWY_CHOOSE_AVX3(gates_of_target), HWY_CHOOSE_AVX2(gates_of_target),
                                     *HWY_STATIC_DISPATCH(gates_of_target)());
}

}  // namespace bitfold
#endif
