// A library with one operator, org.example.Squash: y = limit * x / (limit + |x|).
//
//     bitfold run model.onnx --input x.npy --output y.npz --custom-ops build/examples/libcustom_operators.so
#include <cmath>
#include <cstddef>

#include "bitfold/custom_ops.h"

namespace {

using bitfold::CustomNode;

float limit_of(const CustomNode& node) {
  const auto limit = node.attribute<float>("limit", 1.0F);
  if (!(limit > 0)) throw bitfold::Error("attribute 'limit' must be positive");
  return limit;
}

std::vector<bitfold::ValueInfo> infer(const CustomNode& node, std::span<const bitfold::ValueInfo> inputs) {
  limit_of(node);
  return {{.dtype = inputs[0].dtype, .shape = inputs[0].shape}};
}

void evaluate(const CustomNode& node, std::span<const bitfold::TensorView> inputs,
              std::span<const bitfold::TensorView> outputs) {
  if (inputs[0].dtype != bitfold::DataType::float32) throw bitfold::Error("only float32 is supported");
  const float limit = limit_of(node);
  const float* x = inputs[0].as<float>();
  float* y = outputs[0].as<float>();
  const std::int64_t count = outputs[0].size();
  for (std::int64_t i = 0; i < count; ++i) y[i] = limit * x[i] / (limit + std::fabs(x[i]));
}

}  // namespace

void bitfold_register_operators(bitfold::OperatorRegistry* registry) {
  registry->add({.domain = "org.example", .name = "Squash", .infer = infer, .evaluate = evaluate});
}
