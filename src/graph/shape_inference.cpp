// Types, shapes and small integers of a graph's values before it runs.
#include <algorithm>

#include "base/check.h"
#include "bitfold/graph.h"
#include "graph/arity.h"
#include "graph/infer.h"

namespace bitfold {
namespace infer {

std::optional<std::vector<std::int64_t>> Inputs::known(std::size_t i) const {
  if (!has(i) || !infos[i].elements) return std::nullopt;
  std::vector<std::int64_t> all;
  for (const auto& e : *infos[i].elements) {
    if (!e) return std::nullopt;
    all.push_back(*e);
  }
  return all;
}

std::int64_t multiply(std::int64_t a, std::int64_t b) {
  if (a == 1 || b == 1) return a == 1 ? b : a;  // an unknown size stays the same one
  if (is_unknown(a) || is_unknown(b)) return a == 0 || b == 0 ? 0 : kDynamic;
  std::int64_t product = 0;
  if (__builtin_mul_overflow(a, b, &product)) fail("sizes {} and {} multiply beyond any memory", a, b);
  return product;
}

std::int64_t normalize_axis(std::int64_t axis, std::size_t rank) {
  const auto n = static_cast<std::int64_t>(rank);
  check(axis >= -n && axis < n, "axis {} of a value with {} axes", axis, rank);
  return axis < 0 ? axis + n : axis;
}

Shape broadcast(const Shape& a, const Shape& b) {
  const Shape& longer = a.size() >= b.size() ? a : b;
  const Shape& shorter = a.size() >= b.size() ? b : a;
  Shape y = longer;
  for (std::size_t i = 0; i < shorter.size(); ++i) {
    std::int64_t& out = y[y.size() - 1 - i];
    const std::int64_t other = shorter[shorter.size() - 1 - i];
    if (out == other || other == 1) continue;
    if (out == 1 || (is_unknown(out) && !is_unknown(other))) {
      out = other;
    } else if (is_unknown(out)) {
      out = kDynamic;  // of two unknown sizes either may be 1
    } else {
      check(is_unknown(other), "shapes {} and {} do not broadcast", to_string(a), to_string(b));
    }
  }
  return y;
}

namespace {

Outputs elementwise(const Inputs& in, DataType dtype) {
  ValueInfo y{.dtype = dtype, .shape = Shape{}, .elements = {}};
  for (std::size_t i = 0; i < in.size(); ++i) {
    if (!in.has(i)) continue;
    if (!in.shape(i)) {
      y.shape.reset();
      break;
    }
    y.shape = broadcast(*y.shape, *in.shape(i));
  }
  if (y.shape && is_integer(dtype)) y.elements = elementwise_elements(in.node.op, in, *y.shape, dtype);
  return {y};
}

/// Same type and shape as the first input.
Outputs same(const Inputs& in) { return {{.dtype = in[0].dtype, .shape = in[0].shape, .elements = {}}}; }

bool is_comparison(BinaryKind kind) {
  switch (kind) {
    case BinaryKind::equal:
    case BinaryKind::less:
    case BinaryKind::less_or_equal:
    case BinaryKind::greater:
    case BinaryKind::greater_or_equal:
    case BinaryKind::logical_and:
    case BinaryKind::logical_or:
    case BinaryKind::logical_xor:
      return true;
    default:
      return false;
  }
}

struct Dispatch {
  const Inputs& in;

  Outputs operator()(const Conv& op) const { return conv(op, in); }
  Outputs operator()(const ConvTranspose& op) const { return conv_transpose(op, in); }
  Outputs operator()(const Gemm& op) const { return gemm(op, in); }
  Outputs operator()(const MatMul&) const { return matmul(in); }
  Outputs operator()(const BatchNorm&) const { return batch_norm(in); }
  Outputs operator()(const InstanceNorm&) const { return batch_norm(in); }
  Outputs operator()(const LayerNorm&) const { return same(in); }
  Outputs operator()(const Lrn&) const { return same(in); }
  Outputs operator()(const Unary& op) const {
    return elementwise(in, op.kind == UnaryKind::logical_not ? DataType::boolean : in[0].dtype);
  }
  Outputs operator()(const Parametric&) const { return same(in); }
  Outputs operator()(const Clip&) const { return same(in); }
  Outputs operator()(const PRelu&) const { return elementwise(in, in[0].dtype); }
  Outputs operator()(const Binary& op) const {
    return elementwise(in, is_comparison(op.kind) ? DataType::boolean : in[0].dtype);
  }
  Outputs operator()(const Variadic&) const { return elementwise(in, in[0].dtype); }
  Outputs operator()(const Where&) const { return elementwise(in, in[1].dtype); }
  Outputs operator()(const Pool& op) const { return pool(op, in); }
  Outputs operator()(const GlobalPool&) const { return global_pool(in); }
  Outputs operator()(const Reduce& op) const { return reduce(op, in); }
  Outputs operator()(const ArgReduce& op) const { return arg_reduce(op, in); }
  Outputs operator()(const Softmax&) const { return same(in); }
  Outputs operator()(const Concat& op) const { return concat(op, in); }
  Outputs operator()(const Split& op) const { return split(op, in); }
  Outputs operator()(const Flatten& op) const { return flatten(op, in); }
  Outputs operator()(const Reshape& op) const { return reshape(op, in); }
  Outputs operator()(const Transpose& op) const { return transpose(op, in); }
  Outputs operator()(const Squeeze&) const { return squeeze(in); }
  Outputs operator()(const Unsqueeze&) const { return unsqueeze(in); }
  Outputs operator()(const Slice&) const { return slice(in); }
  Outputs operator()(const Gather& op) const { return gather(op, in); }
  Outputs operator()(const Pad&) const { return pad(in); }
  Outputs operator()(const Expand&) const { return expand(in); }
  Outputs operator()(const Tile&) const { return tile(in); }
  Outputs operator()(const ShapeOf& op) const { return shape_of(op, in); }
  Outputs operator()(const ConstantOfShape& op) const { return constant_of_shape(op, in); }
  Outputs operator()(const Range&) const { return range(in); }
  Outputs operator()(const Cast& op) const { return elementwise(in, op.to); }
  Outputs operator()(const Resize& op) const { return resize(op, in); }
  Outputs operator()(const DepthToSpace& op) const { return depth_to_space(op, in); }
  Outputs operator()(const Requantize&) const { return same(in); }
  Outputs operator()(const Opaque&) const { return Outputs(in.node.outputs.size()); }
};

/// The elements of a constant small enough to be shape arithmetic.
std::optional<Elements> elements_of(const Tensor& t) {
  if (t.size() > kMostElements) return std::nullopt;
  Elements e;
  if (t.dtype() == DataType::int64) {
    for (auto v : t.data<std::int64_t>()) e.emplace_back(v);
  } else if (t.dtype() == DataType::int32) {
    for (auto v : t.data<std::int32_t>()) e.emplace_back(v);
  } else if (t.dtype() == DataType::boolean) {
    for (auto v : t.data<bool>()) e.emplace_back(v);
  } else {
    return std::nullopt;
  }
  return e;
}

/// What a value says of itself.
ValueInfo declared(const Value& value) {
  ValueInfo info{.dtype = value.dtype, .shape = value.shape, .elements = {}};
  if (value.constant) {
    info.shape = value.constant->shape();
    if (!value.quant) info.elements = elements_of(*value.constant);
    if (value.dtype == DataType::float32 && !value.quant && value.constant->size() <= kMaxScaleCount)
      info.scales.assign(value.constant->data<float>().begin(), value.constant->data<float>().end());
  }
  return info;
}

/// Gives every unknown size of a value its own negative number, which inference then recognizes wherever it is copied
/// to.
class UnknownSizes {
 public:
  void number(ValueInfo& info) {
    if (!info.shape) return;
    for (std::int64_t& dim : *info.shape)
      if (dim == kDynamic) dim = --last_;
  }
  /// Back to what the world knows.
  static void forget(ValueInfo& info) {
    if (info.shape)
      for (std::int64_t& dim : *info.shape) dim = std::max(dim, kDynamic);
    if (info.elements)
      for (Element& e : *info.elements) e.dimension = 0;
  }

 private:
  std::int64_t last_ = kDynamic;
};

}  // namespace

/// A size that no memory holds would overflow what is computed from it.
void check_size(const Shape& shape, const std::string& what) {
  std::int64_t count = 1;
  bool is_too_large = false;
  for (std::int64_t dim : shape) {
    is_too_large |= dim > kMostValueElements || (dim > 0 && __builtin_mul_overflow(count, dim, &count));
    is_too_large |= count > kMostValueElements;
    if (is_too_large) break;
  }
  check(!is_too_large, "{} has shape {}, larger than any memory", what, to_string(shape));
}

}  // namespace infer

std::vector<ValueInfo> infer_node(const Node& node, std::span<const ValueInfo> inputs) {
  const infer::Inputs in{node, inputs};
  check_arity(node);
  for (std::size_t i = 0; i < in.size(); ++i)
    if (in.has(i) && in.shape(i)) infer::check_size(*in.shape(i), fmt::format("input {}", i));
  auto outputs = std::visit(infer::Dispatch{in}, node.op);
  outputs.resize(node.outputs.size());
  for (std::size_t i = 0; i < outputs.size(); ++i) {
    if (outputs[i].shape) infer::check_size(*outputs[i].shape, fmt::format("output {}", i));
    // The bound holds for every rule, also for one that does not check it.
    if (outputs[i].elements && std::ssize(*outputs[i].elements) > infer::kMostElements) outputs[i].elements.reset();
  }
  return outputs;
}

ValueInfo declared_info(const Value& value) { return infer::declared(value); }

std::vector<ValueInfo> infer_values(const Graph& graph, std::span<const Shape> inputs) {
  std::vector<ValueInfo> infos;
  for (ValueId id : graph.values()) {
    infos.resize(static_cast<std::size_t>(id) + 1);
    const bool is_computed = graph.producer(id) != NodeId::none;
    infos[static_cast<std::size_t>(id)] = is_computed ? ValueInfo{} : infer::declared(graph.value(id));
  }
  for (std::size_t i = 0; i < inputs.size() && i < graph.inputs().size(); ++i)
    infos[static_cast<std::size_t>(graph.inputs()[i])].shape = inputs[i];
  infer::UnknownSizes unknown;
  for (ValueId id : graph.inputs()) {
    ValueInfo& info = infos[static_cast<std::size_t>(id)];
    if (!info.shape) continue;
    const std::string what = fmt::format("graph input '{}'", graph.value(id).name);
    for (std::int64_t dim : *info.shape) check(dim >= kDynamic, "{} has a dimension of {}", what, dim);
    infer::check_size(*info.shape, what);
    unknown.number(info);
  }
  const auto is_present = [](ValueId id) { return id != ValueId::none; };
  for (NodeId id : graph.topological_order()) {
    const Node& node = graph.node(id);
    std::vector<ValueInfo> in;
    for (ValueId input : node.inputs)
      in.push_back(is_present(input) ? infos[static_cast<std::size_t>(input)] : ValueInfo{});
    std::vector<ValueInfo> out;
    try {
      out = infer_node(node, in);
    } catch (const Error& e) {
      fail("{} {}", where(graph, id), e.what());
    }
    for (std::size_t i = 0; i < out.size(); ++i) {
      if (!is_present(node.outputs[i])) continue;
      const Value& value = graph.value(node.outputs[i]);
      ValueInfo& info = infos[static_cast<std::size_t>(node.outputs[i])];
      info = std::move(out[i]);
      // What a file declares fills in what an operator does not tell, but not for other input shapes than declared.
      if (!info.shape && inputs.empty()) info.shape = value.shape;
      if (info.shape) infer::check_size(*info.shape, fmt::format("value '{}'", value.name));
      if (std::holds_alternative<Opaque>(node.op)) info.dtype = value.dtype;
      unknown.number(info);
    }
  }
  for (ValueInfo& info : infos) infer::UnknownSizes::forget(info);
  return infos;
}

void infer_shapes(Graph& graph) {
  const auto infos = infer_values(graph);
  for (ValueId id : graph.values()) {
    if (graph.producer(id) == NodeId::none) continue;
    const ValueInfo& info = infos[static_cast<std::size_t>(id)];
    if (info.shape) graph.value(id).shape = info.shape;
    graph.value(id).dtype = info.dtype;
  }
}

}  // namespace bitfold
