// Reductions and softmax.
#include "base/check.h"
#include "onnx/op_table.h"

namespace bitfold {
namespace {

std::optional<Op> reduce(NodeImport& node, ReduceKind kind) {
  Reduce op{kind, node.attributes.integer("keepdims", 1) != 0};
  if (const auto axes = node.attributes.integers("axes")) {
    check(!node.has(1), "has axes both as attribute and as input");
    node.set_constant(1, "axes", int64_vector(*axes));
  }
  op.noop_with_empty_axes = node.attributes.integer("noop_with_empty_axes", 0) != 0;
  return op;
}
template <ReduceKind kind>
std::optional<Op> import_reduce(NodeImport& node) {
  return reduce(node, kind);
}
void export_reduce(const Op& op, onnx::NodeProto& node) {
  const auto& r = std::get<Reduce>(op);
  set_integer(node, "keepdims", r.keepdims ? 1 : 0);
  set_integer(node, "noop_with_empty_axes", r.noop_with_empty_axes ? 1 : 0);
}

template <bool is_max>
std::optional<Op> import_arg_reduce(NodeImport& node) {
  return ArgReduce{is_max, node.attributes.integer("axis", 0), node.attributes.integer("keepdims", 1) != 0,
                   node.attributes.integer("select_last_index", 0) != 0};
}
void export_arg_reduce(const Op& op, onnx::NodeProto& node) {
  const auto& r = std::get<ArgReduce>(op);
  set_integer(node, "axis", r.axis);
  set_integer(node, "keepdims", r.keepdims ? 1 : 0);
  set_integer(node, "select_last_index", r.select_last_index ? 1 : 0);
}

// Before opset 13 softmax ran over all axes from `axis` on. That is the newer form where only one of them is longer
// than 1.
bool is_plain(const std::optional<Shape>& shape, std::int64_t axis) {
  if (axis == -1) return true;
  if (!shape) return false;
  const auto rank = static_cast<std::int64_t>(shape->size());
  const std::int64_t first = axis < 0 ? axis + rank : axis;
  for (std::int64_t i = first + 1; i >= 0 && i < rank; ++i)
    if ((*shape)[static_cast<std::size_t>(i)] != 1) return false;
  return true;
}

template <bool is_log>
std::optional<Op> import_softmax(NodeImport& node) {
  return Softmax{node.attributes.integer("axis", -1), is_log, false};
}
template <bool is_log>
std::optional<Op> import_softmax_1(NodeImport& node) {
  const std::int64_t axis = node.attributes.integer("axis", 1);
  return Softmax{axis, is_log, !is_plain(node.shape(0), axis)};
}
void export_softmax(const Op& op, onnx::NodeProto& node) { set_integer(node, "axis", std::get<Softmax>(op).axis); }

constexpr OpRow kRows[] = {
    {"ReduceSum", 7, kLatestOpset, import_reduce<ReduceKind::sum>, export_reduce},
    {"ReduceMean", 7, kLatestOpset, import_reduce<ReduceKind::mean>, export_reduce},
    {"ReduceMax", 7, kLatestOpset, import_reduce<ReduceKind::max>, export_reduce},
    {"ReduceMin", 7, kLatestOpset, import_reduce<ReduceKind::min>, export_reduce},
    {"ReduceProd", 7, kLatestOpset, import_reduce<ReduceKind::prod>, export_reduce},
    {"ReduceL1", 7, kLatestOpset, import_reduce<ReduceKind::l1>, export_reduce},
    {"ReduceL2", 7, kLatestOpset, import_reduce<ReduceKind::l2>, export_reduce},
    {"ReduceLogSum", 7, kLatestOpset, import_reduce<ReduceKind::log_sum>, export_reduce},
    {"ReduceLogSumExp", 7, kLatestOpset, import_reduce<ReduceKind::log_sum_exp>, export_reduce},
    {"ReduceSumSquare", 7, kLatestOpset, import_reduce<ReduceKind::sum_square>, export_reduce},
    {"ArgMax", 7, kLatestOpset, import_arg_reduce<true>, export_arg_reduce},
    {"ArgMin", 7, kLatestOpset, import_arg_reduce<false>, export_arg_reduce},
    {"Softmax", 13, kLatestOpset, import_softmax<false>, export_softmax},
    {"Softmax", 7, 12, import_softmax_1<false>, nullptr},
    {"LogSoftmax", 13, kLatestOpset, import_softmax<true>, export_softmax},
    {"LogSoftmax", 7, 12, import_softmax_1<true>, nullptr},
};

}  // namespace

std::span<const OpRow> reduction_rows() { return kRows; }

}  // namespace bitfold
