// The two operators that do not exist in files.
#include <cstring>

#include "ops/custom.h"
#include "ops/operands.h"
#include "ops/operator.h"

namespace bitfold::ops {
namespace {

Outputs infer_opaque(const Inputs& in) {
  if (const CustomFunctions* custom = find_custom(std::get<Opaque>(in.node.op))) return custom->infer(in);
  Outputs outputs(in.node.outputs.size());
  for (ValueInfo& info : outputs) info.dtype = DataType::unknown;
  return outputs;
}

/// Called for registered operators only; others are refused before a network runs.
void evaluate_opaque(const Node& node, std::span<const TensorView> in, std::span<const TensorView> out) {
  const CustomFunctions* custom = find_custom(std::get<Opaque>(node.op));
  check(custom != nullptr, "{} cannot be run", where(node));
  custom->evaluate(node, in, out);
}

/// The types that functions of registered operators receive.
constexpr TypeSet kCustom = kNumber | kBoolean;

}  // namespace

void copy_elements(const Node& /*node*/, std::span<const TensorView> in, std::span<const TensorView> out) {
  copy_run(out[0].dtype, in[0].data, out[0].data, size_bytes(out[0]));
}

std::vector<OperatorInfo> internal_operators() {
  return {{.name = "Requantize",
           .domain = "bitfold",
           .prototype = Requantize{},
           .inputs = {{"x", kReal, 'T'}},
           .outputs = {{"y", kReal, 'T'}},
           .infer = infer_same,
           .evaluate = copy_elements,
           .traits = {.elementwise = true, .moves_elements = true, .keeps_order = true},
           .bounds = within_first,
           .is_internal = true},
          {.name = "Opaque",
           .domain = "bitfold",
           .prototype = Opaque{},
           .inputs = {{"inputs", kCustom, 0, Presence::variadic}},
           .outputs = {{"outputs", kCustom, 0, Presence::variadic}},
           .fields = {internal("domain", &Opaque::domain), internal("type", &Opaque::type),
                      internal("attributes", &Opaque::attributes), internal("opset", &Opaque::opset),
                      internal("reason", &Opaque::reason)},
           .infer = infer_opaque,
           .evaluate = evaluate_opaque,
           .is_internal = true}};
}

}  // namespace bitfold::ops
