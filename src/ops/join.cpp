// Concat and Split, for every type of whole bytes and strings.
#include <algorithm>

#include "ops/operator.h"
#include "ops/rows.h"

namespace bitfold::ops {
namespace {

/// The size along the axis of a concatenation. Sizes are limited to 2^48, so a sum of two does not overflow.
std::int64_t add(std::int64_t a, std::int64_t b) {
  if (a == 0 || b == 0) return a == 0 ? b : a;
  return is_unknown(a) || is_unknown(b) ? kDynamic : std::min(a + b, kMaxValueElements + 1);
}

Outputs infer_concat(const Inputs& in) {
  const auto& op = std::get<Concat>(in.node.op);
  check(in.size() > 0, "no inputs");
  ValueInfo y = like(in[0], {});
  Elements joined;
  bool knows_all = true;
  for (std::size_t i = 0; i < in.size(); ++i) {
    if (!in.shape(i)) return {like(in[0], {})};
    const Shape& x = *in.shape(i);
    if (!y.shape) {
      y.shape = x;
      (*y.shape)[at(normalize_axis(op.axis, x.size()))] = 0;
    }
    check(x.size() == y.shape->size(), "input {} has shape {}, but the first has {}; their ranks must be equal", i,
          to_string(x), to_string(*in.shape(0)));
    const std::size_t axis = at(normalize_axis(op.axis, x.size()));
    for (std::size_t d = 0; d < x.size(); ++d) {
      std::int64_t& out = (*y.shape)[d];
      if (d == axis) {
        out = add(out, x[d]);
      } else if (is_unknown(out)) {
        if (!is_unknown(x[d])) out = x[d];
      } else {
        check(x[d] == out || is_unknown(x[d]),
              "input {} has shape {}, but the first has {}; they may differ along axis {} only", i, to_string(x),
              to_string(*in.shape(0)), axis);
      }
    }
    knows_all = knows_all && in[i].elements && x.size() == 1 &&
                std::ssize(joined) + std::ssize(*in[i].elements) <= kMaxElements;
    if (knows_all) joined.insert(joined.end(), in[i].elements->begin(), in[i].elements->end());
  }
  return {knows_all ? with_elements(y, joined) : y};
}

Outputs infer_split(const Inputs& in) {
  const auto& op = std::get<Split>(in.node.op);
  const std::size_t parts = in.node.outputs.size();
  Outputs outputs(parts, like(in[0], {}));
  if (!in.shape(0)) return outputs;
  const Shape& x = *in.shape(0);
  const std::size_t axis = at(normalize_axis(op.axis, x.size()));
  std::vector<std::int64_t> sizes(parts, kDynamic);
  if (in.has(1)) {
    if (const auto given = in.known(1)) {
      check(given->size() == parts, "there are {} sizes for {} outputs", given->size(), parts);
      sizes = *given;
      std::int64_t sum = 0;
      for (std::int64_t s : sizes) {
        check(s >= 0 && s < (std::int64_t{1} << 40), "a part has size {}; it must be at least 0 and below 2^40", s);
        sum += s;
      }
      check(is_unknown(x[axis]) || sum == x[axis], "parts add up to {}, but axis {} has size {}", sum, axis, x[axis]);
    }
  } else if (!is_unknown(x[axis])) {
    const std::int64_t size = (x[axis] + std::ssize(sizes) - 1) / std::ssize(sizes);
    for (std::size_t i = 0; i < parts; ++i)
      sizes[i] = std::clamp<std::int64_t>(x[axis] - size * static_cast<std::int64_t>(i), 0, size);
  }
  for (std::size_t i = 0; i < parts; ++i) {
    outputs[i].shape = x;
    (*outputs[i].shape)[axis] = sizes[i];
  }
  return outputs;
}

/// In bytes: `part` is a contiguous piece of the axis of `whole`, beginning at `start`.
struct Runs {
  std::size_t outer, part, whole, start;
};

Runs runs(const TensorView& part, const TensorView& whole, std::size_t axis, std::int64_t start) {
  const auto inner = static_cast<std::size_t>(product(whole.shape.subspan(axis + 1))) * element_bytes(whole.dtype);
  return {static_cast<std::size_t>(product(whole.shape.first(axis))),
          static_cast<std::size_t>(part.shape[axis]) * inner, static_cast<std::size_t>(whole.shape[axis]) * inner,
          static_cast<std::size_t>(start) * inner};
}

void concat(const Node& node, std::span<const TensorView> in, std::span<const TensorView> out) {
  const std::size_t axis = wrapped_axis(std::get<Concat>(node.op).axis, out[0].shape.size());
  std::int64_t start = 0;
  for (const TensorView& part : in) {
    const Runs r = runs(part, out[0], axis, start);
    for (std::size_t o = 0; o < r.outer && r.part > 0; ++o)
      copy_run(part.dtype, part.data + o * r.part, out[0].data + o * r.whole + r.start, r.part);
    start += part.shape[axis];
  }
}

/// An unused output has no data but has a shape.
void split(const Node& node, std::span<const TensorView> in, std::span<const TensorView> out) {
  const std::size_t axis = wrapped_axis(std::get<Split>(node.op).axis, in[0].shape.size());
  std::int64_t start = 0;
  for (const TensorView& part : out) {
    const Runs r = runs(part, in[0], axis, start);
    for (std::size_t o = 0; o < r.outer && r.part > 0 && part.data != nullptr; ++o)
      copy_run(part.dtype, in[0].data + o * r.whole + r.start, part.data + o * r.part, r.part);
    start += part.shape[axis];
  }
}

}  // namespace

std::vector<OperatorInfo> join_operators() {
  const Traits moves{.moves_elements = true, .commutes_with_positive_scale = true};
  return {
      {.name = "Concat",
       .since = 4,
       .prototype = Concat{},
       .inputs = {{"inputs", kMoved, 'T', Presence::variadic}},
       .outputs = {{"concat_result", kMoved, 'T'}},
       .fields = {required(field("axis", &Concat::axis))},
       .infer = infer_concat,
       .evaluate = concat,
       .traits = moves,
       .role = Role::movement,
       .bounds = within_inputs},
      {.name = "Split",
       .since = 18,
       .prototype = Split{},
       .inputs = {{"input", kMoved, 'T'}, {"split", kInt64, 0, Presence::optional, Use::parameter}},
       .outputs = {{"outputs", kMoved, 'T', Presence::variadic}},
       // num_outputs is ignored, because it equals the node's number of outputs
       .fields = {field("axis", &Split::axis), ignored<std::int64_t>("num_outputs")},
       .infer = infer_split,
       .evaluate = split,
       .traits = moves,
       .role = Role::movement,
       .bounds = within_first},
  };
}

}  // namespace bitfold::ops
