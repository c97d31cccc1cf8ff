// Operators on optionals.
#include "ops/containers.h"

namespace bitfold::ops {
namespace {

Outputs infer_optional(const Inputs& in) {
  const auto& op = std::get<MakeOptional>(in.node.op);
  if (in.has(0) && in[0].dtype == DataType::sequence)
    return {container_info(DataType::optional_sequence, items_of(in[0]))};
  if (in.has(0)) return {container_info(DataType::optional, item_of(in[0]))};
  check(op.kind && op.item, "has neither a value nor a type");
  check(kOptional.contains(*op.kind), "its type is {}, which is not an optional", to_string(*op.kind));
  return {container_info(*op.kind, {*op.item, {}})};
}

/// Whether a value with these facts has an element, if that is known before it runs.
Outputs infer_has_element(const Inputs& in) {
  ValueInfo has{.dtype = DataType::boolean, .shape = Shape{}};
  if (!in.has(0)) return {with_elements(has, Elements{Element(0)})};
  const DataType type = in[0].dtype;
  if (kOptional.contains(type) || type == DataType::unknown) return {has};
  return {with_elements(has, Elements{Element(1)})};
}

Outputs infer_get_element(const Inputs& in) {
  if (in[0].dtype == DataType::optional) return {tensor_info(items_of(in[0]))};
  if (in[0].dtype == DataType::optional_sequence) return {sequence_info(items_of(in[0]))};
  return {like(in[0], in.shape(0))};
}

std::vector<Tensor> make_optional(const Node& node, std::span<const TensorView> in) {
  if (!is_given(in, 0))
    return one(Tensor::container(std::get<MakeOptional>(node.op).kind.value_or(DataType::optional), {}));
  const bool is_sequence = in[0].dtype == DataType::sequence;
  return one(Tensor::container(is_sequence ? DataType::optional_sequence : DataType::optional, {tensor_of(in[0])}));
}

void has_element(const Node&, std::span<const TensorView> in, std::span<const TensorView> out) {
  const bool has = is_given(in, 0) && (!kOptional.contains(in[0].dtype) || in[0].size() > 0);
  *out[0].as<std::uint8_t>() = has ? 1 : 0;
}

std::vector<Tensor> get_element(const Node& node, std::span<const TensorView> in) {
  if (!kOptional.contains(in[0].dtype)) return one(tensor_of(in[0]));
  check(in[0].size() == 1, "{} its optional is empty", where(node));
  return one(items_of(in[0])[0]);
}

}  // namespace

std::vector<OperatorInfo> optional_operators() {
  const TypeSet elements = kItem | kSequence;
  return {{.name = "Optional",
           .since = 15,
           .prototype = MakeOptional{},
           .inputs = {{"input", elements, 0, Presence::optional}},
           .outputs = {{"output", kOptional}},
           .fields = {internal("kind", &MakeOptional::kind), internal("item", &MakeOptional::item)},
           .infer = infer_optional,
           .evaluate_dynamic = make_optional},
          {.name = "OptionalHasElement",
           .since = 15,
           .prototype = OptionalHasElement{},
           .inputs = {{"input", elements | kOptional, 0, Presence::optional}},
           .outputs = {{"output", kBoolean}},
           .infer = infer_has_element,
           .evaluate = has_element,
           .traits = {.reads_shape_only = true}},
          {.name = "OptionalGetElement",
           .since = 15,
           .prototype = OptionalGetElement{},
           .inputs = {{"input", elements | kOptional}},
           .outputs = {{"output", elements}},
           .infer = infer_get_element,
           .evaluate_dynamic = get_element}};
}

}  // namespace bitfold::ops
