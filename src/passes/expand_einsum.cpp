// Writes an Einsum of one input as a ReduceSum and a Transpose. Writes one of two inputs as a MatMul, which has fast
// kernels and can be quantized:
//
//   Transpose, Reshape to [batch..., rows, depth]   and   [batch..., depth, columns]
//   MatMul
//   Reshape, Transpose to the output
//
// An index is a batch axis if it is in both inputs and the output, a row if only in the first input and the output, a
// column if only in the second and the output, and is summed if it is in both inputs only.
#include <fmt/format.h>

#include <algorithm>

#include "ops/einsum.h"
#include "ops/operator.h"
#include "passes/rewrite.h"

namespace bitfold {
namespace {

using ops::Label;
using ops::Labels;

/// Indices that form one axis of the MatMul.
using Group = Labels;

bool contains(const Labels& labels, Label label) { return std::ranges::find(labels, label) != labels.end(); }

struct Groups {
  Labels batch;
  Group rows, depth, columns;
};

/// The size of an index in one input.
std::int64_t size_in(const ops::Contraction& c, std::span<const Shape> shapes, std::size_t input, Label label) {
  const Labels& labels = c.inputs[input];
  return shapes[input][static_cast<std::size_t>(std::ranges::find(labels, label) - labels.begin())];
}

/// Empty if an index is in one input only and summed, or twice in a term, or broadcast.
std::optional<Groups> group(const ops::Contraction& c, std::span<const Shape> shapes) {
  Groups g;
  for (std::size_t i = 0; i < 2; ++i)
    for (std::size_t axis = 0; axis < c.inputs[i].size(); ++axis) {
      const Label label = c.inputs[i][axis];
      const std::int64_t size = shapes[i][axis];
      const bool is_elsewhere = contains(c.inputs[1 - i], label), is_kept = contains(c.output, label);
      if (std::ranges::count(c.inputs[i], label) > 1 || (!is_elsewhere && !is_kept)) return std::nullopt;
      if (is_elsewhere && size == 1 && c.sizes.at(label) != 1) return std::nullopt;
      // A summed index of unknown size may be broadcast, unless one number stands for both sizes.
      if (is_elsewhere && !is_kept && size < 0 && (size == kDynamic || size_in(c, shapes, 1 - i, label) != size))
        return std::nullopt;
      if (!is_elsewhere)
        (i == 0 ? g.rows : g.columns).push_back(label);
      else if (i == 0)
        (is_kept ? g.batch : g.depth).push_back(label);
    }
  return g;
}

/// The axes of a factor of the MatMul, after the batch axes.
using Axes = std::vector<Group>;

class Expander {
 public:
  Expander(Graph& graph, NodeId id, const ops::Contraction& c) : graph_(graph), id_(id), c_(c) {}

  /// Returns false and changes nothing if sizes that Reshapes need are unknown.
  bool run(const Groups& g) {
    // Without batch axes, the rows may stay separate: MatMul multiplies each matrix of the first factor by the second.
    const bool keeps_rows = g.batch.empty() && !g.rows.empty();
    Axes left, product;
    if (keeps_rows)
      for (Label label : g.rows) left.push_back({label});
    else
      left.push_back(g.rows);
    product = left;
    left.push_back(g.depth);
    product.push_back(g.columns);
    const auto left_shape = joined(g.batch, left), right_shape = joined(g.batch, {g.depth, g.columns});
    Labels result = g.batch;
    for (const Group& group : product) result.insert(result.end(), group.begin(), group.end());
    const auto result_shape = separated(g.batch, product);
    if (!left_shape || !right_shape || !result_shape) return false;

    const Node node = graph_.node(id_);
    const ValueId a = arranged(node.inputs[0], c_.inputs[0], g.batch, left, *left_shape);
    const ValueId b = arranged(node.inputs[1], c_.inputs[1], g.batch, {g.depth, g.columns}, *right_shape);
    ValueId y = add(MatMul{}, {a, b});
    if (is_changed(product)) y = add(Reshape{}, {y, shape_constant(*result_shape)});
    if (result != c_.output) y = add(Transpose{permutation(result, c_.output)}, {y});
    finish(y);
    return true;
  }

  /// With one input: sums over axes, then a Transpose. Returns false if an index is on a diagonal, or nothing changes.
  bool run_alone() {
    const Labels& labels = c_.inputs[0];
    Labels kept;
    std::vector<std::int64_t> axes;
    for (std::size_t axis = 0; axis < labels.size(); ++axis) {
      if (std::ranges::count(labels, labels[axis]) > 1) return false;
      if (contains(c_.output, labels[axis]))
        kept.push_back(labels[axis]);
      else
        axes.push_back(static_cast<std::int64_t>(axis));
    }
    if (axes.empty() && kept == c_.output) return false;
    ValueId y = graph_.node(id_).inputs[0];
    if (!axes.empty()) y = add(Reduce{.kind = ReduceKind::sum, .keepdims = false}, {y, integers("axes", axes)});
    if (kept != c_.output) y = add(Transpose{permutation(kept, c_.output)}, {y});
    finish(y);
    return true;
  }

 private:
  /// The node that computes y computes the output itself, under the name of the Einsum.
  void finish(ValueId y) {
    const NodeId last = graph_.producer(y);
    const ValueId output = graph_.node(id_).outputs[0];
    std::string name = graph_.node(id_).name;
    graph_.remove_node(id_);
    graph_.set_output(last, 0, output);
    graph_.rename_node(last, std::move(name));
  }
  /// Builds the shape of a Reshape: 0 keeps the axis at the same place, -1 is the rest, which one axis may be.
  class ReshapeSizes {
   public:
    explicit ReshapeSizes(const Labels& batch) : shape_(batch.size(), 0) {}

    /// Adds an axis. `place`: that of an equal axis in the input of the Reshape; none if there is none.
    void add(std::int64_t size, std::optional<std::size_t> place) {
      if (place == shape_.size()) {
        shape_.push_back(0);
      } else if (size > 0) {
        shape_.push_back(size);
      } else {
        is_known_ = is_known_ && size < 0 && std::ranges::find(shape_, -1) == shape_.end();
        shape_.push_back(-1);
      }
    }
    /// Empty if the sizes are not known well enough.
    std::optional<Shape> result() const { return is_known_ ? std::optional(shape_) : std::nullopt; }

   private:
    Shape shape_;
    bool is_known_ = true;
  };
  /// The shape of a Reshape that joins groups to axes.
  std::optional<Shape> joined(const Labels& batch, const Axes& axes) const {
    ReshapeSizes sizes(batch);
    std::size_t place = batch.size();
    for (const Group& group : axes) {
      std::int64_t size = 1;
      for (Label label : group) size = size < 0 || c_.sizes.at(label) < 0 ? kDynamic : size * c_.sizes.at(label);
      sizes.add(size, group.size() == 1 ? std::optional(place) : std::nullopt);
      place += group.size();
    }
    return sizes.result();
  }
  /// The shape of the Reshape that undoes it.
  std::optional<Shape> separated(const Labels& batch, const Axes& axes) const {
    ReshapeSizes sizes(batch);
    std::size_t place = batch.size();
    for (const Group& group : axes) {
      for (Label label : group) sizes.add(c_.sizes.at(label), group.size() == 1 ? std::optional(place) : std::nullopt);
      ++place;
    }
    return sizes.result();
  }
  static bool is_changed(const Axes& axes) {
    return std::ranges::any_of(axes, [](const Group& group) { return group.size() != 1; });
  }
  static std::vector<std::int64_t> permutation(const Labels& from, const Labels& to) {
    std::vector<std::int64_t> perm;
    for (Label label : to) perm.push_back(std::ranges::find(from, label) - from.begin());
    return perm;
  }
  ValueId arranged(ValueId x, const Labels& labels, const Labels& batch, const Axes& axes, const Shape& shape) {
    Labels order = batch;
    for (const Group& group : axes) order.insert(order.end(), group.begin(), group.end());
    if (order != labels) x = add(Transpose{permutation(labels, order)}, {x});
    return is_changed(axes) ? add(Reshape{}, {x, shape_constant(shape)}) : x;
  }
  /// A new name for a value of which the output is computed.
  std::string new_name(std::string_view what) const {
    return graph_.unique_name(fmt::format("{}.{}", graph_.value(graph_.node(id_).outputs[0]).name, what));
  }
  ValueId integers(std::string_view what, const std::vector<std::int64_t>& list) {
    return graph_.add_constant(new_name(what), Tensor::from<std::int64_t>({std::ssize(list)}, list));
  }
  ValueId shape_constant(const Shape& shape) { return integers("shape", shape); }
  ValueId add(Op op, std::vector<ValueId> inputs) {
    const std::string name = new_name(op_name(op));
    return graph_.add(std::move(op), name, std::move(inputs), name);
  }

  Graph& graph_;
  NodeId id_;
  const ops::Contraction& c_;
};

bool expand(Graph& graph, NodeId id) {
  const Node& node = graph.node(id);
  const auto* op = std::get_if<Einsum>(&node.op);
  if (op == nullptr || node.inputs.size() > 2 || graph.value(node.outputs[0]).dtype != DataType::float32) return false;
  std::vector<Shape> shapes;
  for (ValueId input : node.inputs) {
    const auto& shape = graph.value(input).shape;
    if (!shape) return false;
    shapes.push_back(*shape);
  }
  const ops::Contraction c = ops::contraction(op->equation, shapes);
  if (node.inputs.size() == 1) return Expander(graph, id, c).run_alone();
  const auto groups = group(c, shapes);
  return groups && Expander(graph, id, c).run(*groups);
}

}  // namespace

int expand_einsum(Graph& graph) {
  int changes = 0;
  for (NodeId id : graph.nodes()) changes += expand(graph, id) ? 1 : 0;
  return changes;
}

}  // namespace bitfold
