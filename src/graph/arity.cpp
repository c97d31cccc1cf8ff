#include "graph/arity.h"

#include "base/check.h"

namespace bitfold {
namespace {

struct ArityOf {
  Arity operator()(const Conv&) const { return {2, 3}; }
  Arity operator()(const ConvTranspose&) const { return {2, 3}; }
  Arity operator()(const Gemm&) const { return {2, 3}; }
  Arity operator()(const MatMul&) const { return {2, 2}; }
  Arity operator()(const BatchNorm&) const { return {5, 5}; }
  Arity operator()(const InstanceNorm&) const { return {3, 3}; }
  Arity operator()(const LayerNorm&) const { return {2, 3}; }
  Arity operator()(const Clip&) const { return {1, 3}; }
  Arity operator()(const PRelu&) const { return {2, 2}; }
  Arity operator()(const Binary&) const { return {2, 2}; }
  Arity operator()(const Variadic&) const { return {1, Arity::kAny}; }
  Arity operator()(const Where&) const { return {3, 3}; }
  Arity operator()(const Reduce&) const { return {1, 2}; }
  Arity operator()(const Concat&) const { return {1, Arity::kAny}; }
  Arity operator()(const Split&) const { return {1, 2, Arity::kAny}; }
  Arity operator()(const Reshape&) const { return {2, 2}; }
  Arity operator()(const Squeeze&) const { return {1, 2}; }
  Arity operator()(const Unsqueeze&) const { return {2, 2}; }
  Arity operator()(const Slice&) const { return {3, 5}; }
  Arity operator()(const Gather&) const { return {2, 2}; }
  Arity operator()(const Pad&) const { return {2, 4}; }
  Arity operator()(const Expand&) const { return {2, 2}; }
  Arity operator()(const Tile&) const { return {2, 2}; }
  Arity operator()(const Range&) const { return {3, 3}; }
  Arity operator()(const Resize&) const { return {1, 4}; }
  Arity operator()(const Opaque&) const { return {0, Arity::kAny, Arity::kAny}; }
  template <class OneInOneOut>
  Arity operator()(const OneInOneOut&) const {
    return {};
  }
};

}  // namespace

Arity arity_of(const Op& op) { return std::visit(ArityOf{}, op); }

void check_arity(const Node& node) {
  const Arity arity = arity_of(node.op);
  const std::size_t count = node.inputs.size();
  if (arity.max_inputs == Arity::kAny) {
    check(count >= arity.min_inputs, "has {} inputs, needs at least {}", count, arity.min_inputs);
  } else {
    check(count >= arity.min_inputs && count <= arity.max_inputs, "has {} inputs, takes {}", count,
          arity.min_inputs == arity.max_inputs ? fmt::format("{}", arity.min_inputs)
                                               : fmt::format("{} to {}", arity.min_inputs, arity.max_inputs));
  }
  const bool is_variadic = arity.max_inputs == Arity::kAny && arity.min_inputs > 0;
  for (std::size_t i = 0; i < (is_variadic ? count : arity.min_inputs); ++i)
    check(node.inputs[i] != ValueId::none, "lacks input {}, which is not optional", i);
  check(!node.outputs.empty(), "has no output");
  check(node.outputs.size() <= arity.max_outputs, "has {} outputs, gives {}", node.outputs.size(), arity.max_outputs);
}

}  // namespace bitfold
