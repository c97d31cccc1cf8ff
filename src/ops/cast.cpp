// Conversion between element types.
#include "ops/element_access.h"
#include "ops/operands.h"
#include "ops/operator.h"

namespace bitfold::ops {
namespace {

/// Elements that lie in memory as values of C++ types. The tensors do not overlap unless From and To have one width.
template <class From, class To>
void convert_plain(const From* from, To* to, std::int64_t n) {
  for (std::int64_t i = 0; i < n; ++i) to[i] = converted<To>(number(from[i]));
}

void convert(const TensorView& from, const TensorView& to, bool saturate, RoundMode round_mode) {
  if (is_plain(from.dtype) && is_plain(to.dtype))
    return with_plain_type(to.dtype, [&](auto r) {
      with_plain_type(from.dtype,
                      [&](auto x) { convert_plain(from.as<decltype(x)>(), to.as<decltype(r)>(), to.size()); });
    });
  with_elements(to, saturate, round_mode, [&](const auto& r) {
    with_elements(from, saturate, round_mode, [&](const auto& x) {
      for (std::int64_t i = 0, n = to.size(); i < n; ++i) r.set(i, x.get(i));
    });
  });
}

void cast(const Node& node, std::span<const TensorView> in, std::span<const TensorView> out) {
  const auto& op = std::get<Cast>(node.op);
  convert(in[0], out[0], op.saturate, op.round_mode);
}
void cast_like(const Node& node, std::span<const TensorView> in, std::span<const TensorView> out) {
  const auto& op = std::get<CastLike>(node.op);
  convert(in[0], out[0], op.saturate, op.round_mode);
}

Outputs infer_cast(const Inputs& in) { return infer_elementwise(in, std::get<Cast>(in.node.op).to); }
Outputs infer_cast_like(const Inputs& in) {
  ValueInfo y = like(in[1], in.shape(0));
  if (y.dtype == DataType::int64) y = with_elements(y, in[0].elements);
  return {y};
}
Outputs infer_bit_cast(const Inputs& in) {
  const DataType to = std::get<BitCast>(in.node.op).to;
  check(in[0].dtype == DataType::unknown || holds_objects(in[0].dtype) || bit_width(in[0].dtype) == bit_width(to),
        "elements of {} and {} differ in width", to_string(in[0].dtype), to_string(to));
  return {{.dtype = to, .shape = in.shape(0)}};
}

/// A file may omit both attributes; they affect small reals only.
template <class O>
std::vector<Field> rounding_fields() {
  return {field("saturate", &O::saturate),
          field("round_mode", &O::round_mode,
                std::vector<Word<RoundMode>>{
                    {"up", RoundMode::up}, {"down", RoundMode::down}, {"nearest", RoundMode::nearest}})};
}

}  // namespace

std::vector<OperatorInfo> cast_operators() {
  return {
      {.name = "Cast",
       .since = 9,
       .prototype = Cast{},
       .inputs = {{"input", kCastable}},
       .outputs = {{"output", kCastable}},
       .fields = std::vector{required(field("to", &Cast::to))} + rounding_fields<Cast>(),
       .infer = infer_cast,
       .evaluate = cast,
       .traits = {.elementwise = true}},
      {.name = "CastLike",
       .since = 15,
       .prototype = CastLike{},
       .inputs = {{"input", kCastable}, {"target_type", kCastable, 'T', Presence::required, Use::parameter}},
       .outputs = {{"output", kCastable, 'T'}},
       .fields = rounding_fields<CastLike>(),
       .infer = infer_cast_like,
       .evaluate = cast_like},
      {.name = "BitCast",
       .since = 26,
       .prototype = BitCast{},
       .inputs = {{"input", kCastable}},
       .outputs = {{"output", kCastable}},
       .fields = {required(field("to", &BitCast::to))},
       .infer = infer_bit_cast,
       .evaluate = copy_elements,
       .traits = {.elementwise = true}},
  };
}

}  // namespace bitfold::ops
