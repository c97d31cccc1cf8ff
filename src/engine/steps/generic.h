// Operators without a step of their own: their plain evaluation on the plan's buffers.
#pragma once

#include <vector>

#include "engine/step.h"
#include "ops/operator.h"

namespace bitfold::engine {

/// Operands: one per used output (write), then one per present input (read), in the node's order.
class GenericStep : public Step {
 public:
  struct View {
    DataType dtype = DataType::float32;
    Shape shape;
    bool is_present = false;
  };
  GenericStep(Node node, ops::Evaluate function, std::vector<View> inputs, std::vector<View> outputs);
  void run(const Team& team) noexcept override;
  bool has_own_threads() const override { return true; }

 private:
  void bind(std::vector<TensorView>& views, const std::vector<View>& like, int& operand);

  Node node_;
  ops::Evaluate function_;
  std::vector<View> inputs_, outputs_;
  std::vector<TensorView> input_views_, output_views_;
};

/// out[i] = in[source[i]]: moves of codes that strides cannot express, such as Resize. Operands: out (write), in
/// (read).
class GatherStep final : public Step {
 public:
  explicit GatherStep(std::vector<std::int32_t> source) : source_(std::move(source)) {}
  std::size_t own_bytes() const override { return Step::own_bytes() + source_.size() * sizeof(std::int32_t); }
  void run(const Team& team) noexcept override;

 private:
  std::vector<std::int32_t> source_;
};

}  // namespace bitfold::engine
