// Recurrent layers with constant weights: one product over the inputs of all steps, then a small product and the gates
// for each step.
#include <algorithm>

#include "engine/lowering.h"
#include "engine/steps/recurrent.h"
#include "ops/operator.h"

namespace bitfold::engine {
namespace {

/// A block of gates of w or r.
struct Factor {
  std::size_t slot = 0;  ///< 1 is w, 2 is r.
  std::int64_t depth = 0, first_gate = 0, gates = 0;
};

class RecurrentLowering {
 public:
  RecurrentLowering(Lowering& l, NodeId id)
      : l_(l),
        id_(id),
        node_(l.graph.node(id)),
        op_(std::get<Recurrent>(node_.op)),
        sizes_(
            ops::recurrent_sizes(op_, l.shape(node_.inputs[0]), l.shape(node_.inputs[1]), l.shape(node_.inputs[2]))) {}

  bool can_run() const {
    return l_.has_constant_reals(node_.inputs[1]) && l_.has_constant_reals(node_.inputs[2]) && sizes_.steps > 0 &&
           sizes_.batch > 0 && sizes_.inputs > 0 && sizes_.hidden > 0;
  }

  void run() {
    auto owned = std::make_unique<RecurrentStep>(node_, sizes_, gate_kernels(l_.isa));
    RecurrentStep& step = *owned;
    std::vector<std::pair<ValueId, Slot>> results;
    add_views(step, results);
    for (std::int64_t rows : ops::input_product_rows(op_, sizes_))
      step.input_products.push_back(product(step, rows, {1, sizes_.inputs, 0, sizes_.gates}));
    const bool is_split = op_.kind == RecurrentKind::gru && !op_.linear_before_reset;
    const std::int64_t first = is_split ? 2 : sizes_.gates;
    step.state_products.push_back(product(step, sizes_.batch, {2, sizes_.hidden, 0, first}));
    if (is_split) step.state_products.push_back(product(step, sizes_.batch, {2, sizes_.hidden, 2, 1}));
    const auto floats = static_cast<std::size_t>(ops::recurrent_scratch(sizes_));
    step.walk_scratch = step.add_operand(l_.arena_buffer(floats * sizeof(float)), Access::scratch);
    if (scratch_bytes_ > 0) step.product_scratch = step.add_operand(l_.arena_buffer(scratch_bytes_), Access::scratch);
    step.finish();
    l_.add(std::move(owned), node_.name, op_name(node_.op),
           "onednn " + step.input_products[0].primitive.implementation() + l_.explanation(id_));
    describe(step, results);
    for (auto& [value, slot] : results) l_.define_reals(value, slot);
  }

 private:
  void add_views(RecurrentStep& step, std::vector<std::pair<ValueId, Slot>>& results) {
    for (std::size_t i = 0; i < node_.outputs.size(); ++i) {
      const ValueId output = node_.outputs[i];
      if (output == ValueId::none) {
        const ValueInfo unused = l_.output_info(id_, i);
        step.outputs.push_back({unused.dtype, *unused.shape, -1});
        continue;
      }
      const Slot slot = l_.make(output, false, Layout::plain);
      step.outputs.push_back({slot.dtype, slot.shape, step.add_operand(slot.buffer, Access::write)});
      results.emplace_back(output, slot);
    }
    for (std::size_t i = 0; i < node_.inputs.size(); ++i) {
      const ValueId input = node_.inputs[i];
      if (input == ValueId::none) {
        step.inputs.emplace_back();
      } else if (i == 1 || i == 2) {
        step.inputs.push_back({DataType::float32, l_.shape(input), -1});
      } else {
        const Slot slot = l_.reals(input, Layout::plain);
        step.inputs.push_back({slot.dtype, slot.shape, step.add_operand(slot.buffer, Access::read)});
      }
    }
  }

  RecurrentStep::Product product(RecurrentStep& step, std::int64_t rows, const Factor& factor) {
    const std::int64_t columns = factor.gates * sizes_.hidden;
    RecurrentStep::Product made{
        .primitive = onednn::Primitive::matmul(rows, factor.depth, columns, true, {.has_bias = factor.slot == 1}),
        .rows = rows,
        .first_gate = factor.first_gate,
        .weights = {}};
    const std::size_t bytes = made.primitive.packed_bytes();
    for (std::int64_t direction = 0; direction < sizes_.directions; ++direction) {
      const std::int64_t start = (direction * sizes_.gates + factor.first_gate) * sizes_.hidden * factor.depth;
      const FloatWeightsKey key{.weights = node_.inputs[factor.slot],
                                .is_transposed = true,
                                .offset = start,
                                .layout = made.primitive.packed_layout()};
      const auto packed = l_.weights.floats(key, bytes, [&](std::byte* to) {
        const Tensor weights = *l_.constant_reals(node_.inputs[factor.slot]);
        made.primitive.pack(weights.data<float>().data() + start, to);
      });
      made.weights.push_back(step.add_operand(l_.constant_buffer(packed, bytes), Access::read));
    }
    scratch_bytes_ = std::max(scratch_bytes_, made.primitive.scratch_bytes());
    return made;
  }

  void describe(RecurrentStep& step, const std::vector<std::pair<ValueId, Slot>>& results) const {
    StepInfo& info = static_cast<Step&>(step).info;
    info.mac_count = sizes_.steps * sizes_.batch * sizes_.directions * sizes_.gates * sizes_.hidden *
                     (sizes_.inputs + sizes_.hidden);
    for (ValueId input : node_.inputs)
      if (input != ValueId::none && !l_.graph.is_constant(input)) info.inputs.push_back(l_.graph.value(input).name);
    for (const auto& [value, slot] : results) info.outputs.push_back(l_.graph.value(value).name);
  }

  Lowering& l_;
  NodeId id_;
  Node node_;
  const Recurrent& op_;
  ops::RecurrentSizes sizes_;
  std::size_t scratch_bytes_ = 0;
};

}  // namespace

bool lower_recurrent(Lowering& l, NodeId id) {
  RecurrentLowering lowering(l, id);
  if (!lowering.can_run()) return false;
  lowering.run();
  return true;
}

}  // namespace bitfold::engine
