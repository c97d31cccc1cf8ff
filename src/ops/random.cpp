// Random numbers: RandomNormal, RandomUniform, their Like forms, Bernoulli, Multinomial.
//
// With a seed, every run gives the same numbers, on every machine whose C library rounds log and cos the same way.
// Without a seed, each run gives other numbers.
#include <algorithm>
#include <atomic>
#include <cmath>
#include <limits>
#include <numbers>
#include <random>

#include "ops/operator.h"
#include "ops/rows.h"

namespace bitfold::ops {
namespace {

/// SplitMix64.
class Generator {
 public:
  explicit Generator(const std::optional<float>& seed) {
    if (seed) {
      std::uint32_t bits = 0;
      std::memcpy(&bits, &*seed, sizeof(bits));
      state_ = bits;
    } else {
      static std::atomic<std::uint64_t> runs{(std::uint64_t{std::random_device{}()} << 32) | std::random_device{}()};
      state_ = runs.fetch_add(0x2545F4914F6CDD1DU);
    }
  }
  std::uint64_t next() {
    std::uint64_t z = state_ += 0x9E3779B97F4A7C15U;
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9U;
    z = (z ^ (z >> 27)) * 0x94D049BB133111EBU;
    return z ^ (z >> 31);
  }
  /// In [0, 1), a multiple of 2^-53.
  double uniform() { return static_cast<double>(next() >> 11) * 0x1p-53; }
  /// By Box and Muller.
  double normal() {
    const double radius = std::sqrt(-2 * std::log(1 - uniform()));
    return radius * std::cos(2 * std::numbers::pi * uniform());
  }

 private:
  std::uint64_t state_ = 0;
};

template <class Op>
void fill(const Op& op, const TensorView& out) {
  Generator generator(op.seed);
  const double a = op.a, b = op.b;
  float* y = out.as<float>();
  for (std::int64_t i = 0, n = out.size(); i < n; ++i)
    y[i] = static_cast<float>(op.kind == RandomKind::normal ? a + b * generator.normal()
                                                            : a + (b - a) * generator.uniform());
}

Outputs infer_tensor(const Inputs& in) {
  const auto& op = std::get<RandomTensor>(in.node.op);
  check_size(op.shape, "output");
  return {{.dtype = op.dtype, .shape = op.shape, .elements = {}}};
}
void random_tensor(const Node& node, std::span<const TensorView>, std::span<const TensorView> out) {
  fill(std::get<RandomTensor>(node.op), out[0]);
}

Outputs infer_like(const Inputs& in) {
  const auto& op = std::get<RandomLike>(in.node.op);
  return {{.dtype = op.dtype.value_or(in[0].dtype), .shape = in.shape(0), .elements = {}}};
}
void random_like(const Node& node, std::span<const TensorView>, std::span<const TensorView> out) {
  fill(std::get<RandomLike>(node.op), out[0]);
}

Outputs infer_bernoulli(const Inputs& in) {
  const auto& op = std::get<Bernoulli>(in.node.op);
  return {{.dtype = op.dtype.value_or(in[0].dtype), .shape = in.shape(0), .elements = {}}};
}
void bernoulli(const Node& node, std::span<const TensorView> in, std::span<const TensorView> out) {
  Generator generator(std::get<Bernoulli>(node.op).seed);
  const float* x = in[0].as<float>();
  for (std::int64_t i = 0; i < in[0].size(); ++i)
    if (!(x[i] >= 0 && x[i] <= 1)) fail("{} probability {} is {}", where(node), i, x[i]);
  const auto draw = [&](auto one) {
    using T = decltype(one);
    for (std::int64_t i = 0; i < in[0].size(); ++i) out[0].as<T>()[i] = generator.uniform() < x[i] ? one : T{0};
  };
  if (out[0].dtype == DataType::boolean) return draw(std::uint8_t{1});
  with_number_type(out[0].dtype, [&](auto zero) { draw(static_cast<decltype(zero)>(1)); });
}

Outputs infer_multinomial(const Inputs& in) {
  const auto& op = std::get<Multinomial>(in.node.op);
  ValueInfo y{.dtype = op.dtype, .shape = Shape{kDynamic, op.sample_size}, .elements = {}};
  if (in.shape(0)) {
    const Shape& x = *in.shape(0);
    check(x.size() == 2 && x[1] != 0, "input has shape {}, expected [batch, classes]", to_string(x));
    y.shape->front() = x[0];
    check_size(*y.shape, "output");
  }
  return {y};
}
void multinomial(const Node& node, std::span<const TensorView> in, std::span<const TensorView> out) {
  const auto& op = std::get<Multinomial>(node.op);
  Generator generator(op.seed);
  const std::int64_t classes = in[0].shape[1];
  std::vector<double> sums(at(classes));  // sums of the probabilities up to each class
  for (std::int64_t b = 0; b < in[0].shape[0]; ++b) {
    const float* x = in[0].as<float>() + b * classes;
    const double top = *std::max_element(x, x + classes);
    double sum = 0;
    for (std::int64_t c = 0; c < classes; ++c) sums[at(c)] = sum += std::exp(x[c] - top);
    check(std::isfinite(sum), "{} sample {} has no finite log-probability", where(node), b);
    for (std::int64_t i = 0; i < op.sample_size; ++i) {
      const auto found = std::ranges::upper_bound(sums, generator.uniform() * sum);
      const std::int64_t drawn = std::min<std::int64_t>(found - sums.begin(), classes - 1);
      with_integer_type(out[0].dtype, [&](auto zero) {
        out[0].as<decltype(zero)>()[b * op.sample_size + i] = static_cast<decltype(zero)>(drawn);
      });
    }
  }
}

}  // namespace

std::vector<OperatorInfo> random_operators() {
  const Traits random{.is_random = true};
  const Interval size{.min = 0, .max = kMaxValueElements};
  std::vector<OperatorInfo> rows;
  for (RandomKind kind : {RandomKind::normal, RandomKind::uniform}) {
    const bool is_normal = kind == RandomKind::normal;
    const std::string_view a = is_normal ? "mean" : "low", b = is_normal ? "scale" : "high";
    rows.push_back(
        {.name = is_normal ? "RandomNormal" : "RandomUniform",
         .since = 1,
         .prototype = RandomTensor{.kind = kind},
         .outputs = {{"output", kReal}},
         .fields = {field("dtype", &RandomTensor::dtype), field(a, &RandomTensor::a), field(b, &RandomTensor::b),
                    field("seed", &RandomTensor::seed), required(field("shape", &RandomTensor::shape, size))},
         .infer = infer_tensor,
         .evaluate = random_tensor,
         .traits = random});
    rows.push_back({.name = is_normal ? "RandomNormalLike" : "RandomUniformLike",
                    .since = 1,
                    .prototype = RandomLike{.kind = kind},
                    .inputs = {{"input", kWholeBytes, 'T', Presence::required, Use::parameter}},
                    .outputs = {{"output", kReal, 'T'}},
                    .fields = {field("dtype", &RandomLike::dtype), field(a, &RandomLike::a), field(b, &RandomLike::b),
                               field("seed", &RandomLike::seed)},
                    .infer = infer_like,
                    .evaluate = random_like,
                    .traits = {.reads_shape_only = true, .is_random = true}});
  }
  rows.push_back({.name = "Bernoulli",
                  .since = 15,
                  .prototype = Bernoulli{},
                  .inputs = {{"input", kReal, 'T', Presence::required, Use::parameter}},
                  .outputs = {{"output", kNumber | kBoolean, 'T'}},
                  .fields = {field("dtype", &Bernoulli::dtype), field("seed", &Bernoulli::seed)},
                  .infer = infer_bernoulli,
                  .evaluate = bernoulli,
                  .traits = random});
  rows.push_back({.name = "Multinomial",
                  .since = 7,
                  .prototype = Multinomial{},
                  .inputs = {{"input", kReal, 0, Presence::required, Use::parameter}},
                  .outputs = {{"output", kIndex}},
                  .fields = {field("dtype", &Multinomial::dtype),
                             field("sample_size", &Multinomial::sample_size, Interval{.min = 1, .max = 1 << 30}),
                             field("seed", &Multinomial::seed)},
                  .infer = infer_multinomial,
                  .evaluate = multinomial,
                  .traits = random});
  return rows;
}

}  // namespace bitfold::ops
