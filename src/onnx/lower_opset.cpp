#include "onnx/lower_opset.h"

#include <algorithm>

#include "base/check.h"
#include "onnx/attributes.h"
#include "onnx/lift.h"
#include "onnx/older_forms.h"
#include "onnx/opset_history.h"
#include "onnx/qdq.h"
#include "ops/operator.h"

namespace bitfold {
namespace {

using older::has;
using older::input;
using older::shape_of;

constexpr std::int64_t kDefaultOpset = 13;  // the first opset with one scale per channel

/// Below opset `since`, an operator takes only `types` as its first input.
struct TypeLimit {
  std::string_view type;
  std::int64_t since;
  ops::TypeSet types;
};
constexpr ops::TypeSet kBelow11{DataType::boolean, DataType::int32, DataType::int64};
constexpr ops::TypeSet kBelow14 = ops::kReal | ops::kWideInteger;
const TypeLimit kTypeLimits[] = {
    {"Add", 14, kBelow14},
    {"Sub", 14, kBelow14},
    {"Mul", 14, kBelow14},
    {"Div", 14, kBelow14},
    {"MaxPool", 12, ops::kReal},
    {"TopK", 11, ops::kReal},
    {"ReduceMax", 12, kBelow14},
    {"ReduceMin", 12, kBelow14},
    {"Abs", 6, ops::kNumber},
    {"Clip", 12, ops::kReal},
    {"Equal", 11, kBelow11},
    {"Flatten", 9, ops::kReal},
    {"Gemm", 9, ops::kReal},
    {"Greater", 9, ops::kReal},
    {"Less", 9, ops::kReal},
    {"MatMul", 9, ops::kReal},
    {"Max", 12, ops::kReal},
    {"Min", 12, ops::kReal},
    {"PRelu", 9, ops::kReal},
    {"Pad", 11, ops::kReal},
    {"Pow", 12, ops::kReal},
    {"ReduceMax", 20, ops::kWholeBytes},
    {"Relu", 14, ops::kReal},
    {"BitShift", 28, ops::kUnsignedInteger},
    {"Equal", 19, ops::kNumber | ops::kBoolean},
    {"Identity", 14, ops::kMoved},
    {"OptionalHasElement", 18, ops::kOptional},
    {"OptionalGetElement", 18, ops::kOptional},
};

// The opset of a whole graph ------------------------------------------------------------------------------------------

struct Needs {
  std::int64_t lowest = kOldestOpset, highest = kLatestOpset;
  std::string why_lowest, why_highest;

  void at_least(std::int64_t opset, const std::string& who, const std::string& why) {
    if (opset <= lowest) return;
    lowest = opset;
    why_lowest = fmt::format("{} needs opset {}{}{}", who, opset, why.empty() ? "" : ": ", why);
  }
  void at_most(std::int64_t opset, const std::string& who, const std::string& why) {
    if (opset >= highest) return;
    highest = opset;
    why_highest = fmt::format("{} needs opset {} or lower: {}", who, opset, why);
  }
};

/// 16-bit codes; need_value() covers all others.
void need_code_type(const Graph& graph, const Node& node, Needs& needs) {
  const ValueId codes = std::holds_alternative<QuantizeLinear>(node.op) ? node.outputs[0] : node.inputs[0];
  const DataType type = graph.value(codes).dtype;
  if (type == DataType::int16 || type == DataType::uint16)
    needs.at_least(21, where(node), fmt::format("its codes are {}", to_string(type)));
  const auto* op = std::get_if<DequantizeLinear>(&node.op);
  if (op != nullptr && op->output_dtype) needs.at_least(23, where(node), "it has output_dtype");
}

void need_operator(const Graph& graph, const Node& node, bool may_split, Needs& needs) {
  const ops::OperatorInfo& row = ops::info(node.op);
  if (!row.domain.empty()) return;
  bool has_older_form = row.since <= kOldestOpset;
  older::for_each_form(row.name, [&](const older::Form& form) {
    has_older_form |= form.since == row.since;
    const older::Reason reason = form.why_not == nullptr || (form.is_split && !may_split)
                                     ? older::Reason("older opsets do not have it")
                                     : form.why_not(graph, node);
    if (reason) needs.at_least(form.since, where(node), *reason);
  });
  if (!has_older_form) needs.at_least(row.since, where(node), "older opsets do not have it");
  for (const TypeLimit& limit : kTypeLimits)
    if (limit.type == row.name && has(node, 0))
      if (const DataType type = graph.value(node.inputs[0]).dtype; !limit.types.contains(type)) {
        // A node whose input type is unknown is assumed valid in Graph::opset, because it was read from such a file.
        const bool was_valid = type == DataType::unknown && graph.opset > 0;
        const std::int64_t since = was_valid ? std::min(limit.since, graph.opset) : limit.since;
        needs.at_least(since, where(node), fmt::format("its input has element type {}", to_string(type)));
      }
  if (row.name == "QuantizeLinear" || row.name == "DequantizeLinear") need_code_type(graph, node, needs);
  const Value* base = input(graph, node, 0);
  const Value* exponent = input(graph, node, 1);
  if (row.name == "Pow" && base != nullptr && exponent != nullptr && base->dtype != exponent->dtype)
    needs.at_least(12, where(node), "its inputs differ in type");
}

void need_unknown(const Node& node, const Opaque& op, Needs& needs) {
  if (!op.domain.empty()) return;
  const OpsetRange range = opsets_of_same_meaning(op.type, op.opset);
  const std::string why = fmt::format("Bitfold does not convert it from opset {}", op.opset);
  needs.at_least(range.first, where(node), why);
  needs.at_most(range.last, where(node), why);
}

void need_value(const Value& value, bool is_computed, Needs& needs) {
  const std::string who = fmt::format("value '{}'", value.name);
  if (value.dtype == DataType::sequence) needs.at_least(13, who, "it is a sequence");
  if (ops::kOptional.contains(value.dtype)) needs.at_least(16, who, "it is an optional");
  if (value.dtype == DataType::bfloat16) needs.at_least(13, who, "its type is bfloat16");
  if (!value.quant) {
    const DataType type = value.constant ? value.constant->dtype() : value.dtype;
    if (ops::kReal8.contains(type)) needs.at_least(19, who, "its reals have 8 bits");
    if (type == DataType::int4 || type == DataType::uint4) needs.at_least(21, who, "its type has 4 bits");
    if (type == DataType::float4e2m1) needs.at_least(23, who, "its reals have 4 bits");
    if (type == DataType::float8e8m0) needs.at_least(24, who, "its reals have an exponent only");
    if (type == DataType::int2 || type == DataType::uint2) needs.at_least(25, who, "its type has 2 bits");
  }
  if (!value.quant) return;
  needs.at_least(10, who, "it has a grid");
  if (is_computed && value.quant->bits != 8 && value.quant->bits != 16)
    needs.at_least(11, who, "its grid needs a Clip");
  if (value.quant->per_channel()) needs.at_least(13, who, "its grid has a scale for each channel");
  if (value.quant->has_blocks()) needs.at_least(21, who, "its grid has a scale for each block");
  const DataType type = file_type(value);
  if (type == DataType::int2 || type == DataType::uint2) needs.at_least(25, who, "its codes have 2 bits");
  if (type != DataType::int8 && type != DataType::uint8 && type != DataType::int32)
    needs.at_least(21, who, fmt::format("its codes have type {}", to_string(type)));
}

void need_graph(const Graph& graph, bool may_split, Needs& needs) {
  for (ValueId id : graph.values()) {
    if (graph.is_constant(id) && graph.consumers(id).empty() && !graph.is_output(id)) continue;
    need_value(graph.value(id), !graph.is_constant(id), needs);
  }
  for (NodeId id : graph.nodes()) {
    const Node& node = graph.node(id);
    if (const auto* opaque = std::get_if<Opaque>(&node.op))
      need_unknown(node, *opaque, needs);
    else
      need_operator(graph, node, may_split, needs);
    for (const auto& body : node.bodies) need_graph(*body, may_split, needs);
  }
}

}  // namespace

std::int64_t choose_opset(const Graph& graph, std::optional<std::int64_t> wanted) {
  if (wanted)
    check(*wanted >= kOldestOpset && *wanted <= kLatestOpset, "opset {} was requested; {} to {} can be written",
          *wanted, kOldestOpset, kLatestOpset);
  Needs needs;
  need_graph(graph, wanted.has_value(), needs);
  check(needs.lowest <= needs.highest, "no opset can express the whole network: {}, but {}", needs.why_lowest,
        needs.why_highest);
  if (wanted) {
    check(*wanted >= needs.lowest, "cannot be written in opset {}: {}", *wanted, needs.why_lowest);
    check(*wanted <= needs.highest, "cannot be written in opset {}: {}", *wanted, needs.why_highest);
    return *wanted;
  }
  const std::int64_t own = graph.opset > 0 ? graph.opset : kDefaultOpset;
  return std::clamp(std::clamp(own, kOldestOpset, kLatestOpset), needs.lowest, needs.highest);
}

void lower(NodeWriting& writing) {
  const ops::OperatorInfo& row = ops::info(writing.node.op);
  if (!row.domain.empty()) return;
  const std::string_view name = row.name;
  if (name == "Pad") older::expand_pad_axes(writing);
  if (name == "Split" && !has(writing.node, 1) && writing.opset >= 18)
    set_integer(writing.proto, "num_outputs", writing.proto.output_size());
  older::for_each_form(name, [&](const older::Form& form) {
    if (writing.opset < form.since && form.write != nullptr) form.write(writing);
  });
}

bool has_lowering(std::string_view type, std::int64_t since) {
  bool is_found = false;
  older::for_each_form(type, [&](const older::Form& form) { is_found |= form.since == since; });
  return is_found;
}

std::int64_t ir_version(std::int64_t opset) {
  constexpr std::pair<std::int64_t, std::int64_t> kVersions[] = {{28, 14}, {25, 13}, {24, 12}, {23, 11}, {21, 10},
                                                                 {19, 9},  {15, 8},  {12, 7},  {11, 6},  {10, 5}};
  for (const auto& [since, version] : kVersions)
    if (opset >= since) return version;
  return 4;  // older versions list every initializer as an input
}

}  // namespace bitfold
