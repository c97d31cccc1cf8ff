// Stages of assumed shapes, compiled so that the weights are packed before the first run.
#include "engine/assumed_shapes.h"
#include "engine/stages.h"

namespace bitfold::engine {
namespace {

/// The assumed value of every size that only a run determines.
constexpr std::int64_t kAssumedSize = 16;

}  // namespace

void Stages::pack_weights(std::span<const Shape> input_shapes) {
  Values values(graph_.value_capacity());
  for (std::size_t i = 0; i < input_shapes.size(); ++i) {
    const ValueId id = graph_.inputs()[i];
    values[index(id)] = Tensor::uninitialized(graph_.value(id).dtype, input_shapes[i]);
  }
  for (Stage* stage = &next_stage(nullptr, values); !stage->is_last && assume_results(*stage, values);)
    stage = &next_stage(stage, values);
}

bool Stages::assume_results(const Stage& stage, Values& values) const {
  if (stage.plan != nullptr)
    for (std::size_t i = 0; i < stage.graph.outputs().size(); ++i)
      values[index(stage.graph.outputs()[i])] =
          Tensor::uninitialized(stage.plan->output_types()[i], stage.plan->output_shapes()[i]);
  for (const NodeId id : stage.run_time_nodes) {
    const Node& node = graph_.node(id);
    std::vector<ValueInfo> inputs;
    for (const ValueId input : node.inputs) {
      if (input == ValueId::none)
        inputs.emplace_back();
      else if (const auto known = stage.known.find(input); known != stage.known.end())
        inputs.push_back(declared_info({.name = {}, .dtype = known->second.dtype(), .constant = known->second}));
      else if (values[index(input)])
        inputs.push_back(info_of_arrived(graph_.value(input), *values[index(input)]));
      else
        inputs.push_back(declared_info(graph_.value(input)));
    }
    const std::vector<ValueInfo> outputs = infer_node(node, inputs);
    for (std::size_t i = 0; i < node.outputs.size(); ++i) {
      if (node.outputs[i] == ValueId::none) continue;
      if (is_container(outputs[i].dtype)) {
        values[index(node.outputs[i])] = Tensor::container(outputs[i].dtype, {});
        continue;
      }
      if (!outputs[i].shape || outputs[i].dtype == DataType::unknown) return false;
      values[index(node.outputs[i])] =
          Tensor::uninitialized(outputs[i].dtype, with_size(*outputs[i].shape, kAssumedSize));
    }
  }
  return true;
}

}  // namespace bitfold::engine
