// RNN, GRU and LSTM: the products in oneDNN, the gates in vectors.
#pragma once

#include <vector>

#include "engine/step.h"
#include "kernels/gates/gates.h"
#include "onednn/prepared.h"
#include "ops/recurrent.h"

namespace bitfold::engine {

class RecurrentStep final : public Step, private ops::RecurrentArithmetic {
 public:
  struct View {
    DataType dtype = DataType::float32;
    Shape shape;
    int operand = -1;  ///< -1: absent, or packed as the weights of a product.
  };
  /// A product [rows, depth] x [depth, columns], with separate weights for each direction.
  struct Product {
    onednn::Primitive primitive;
    std::int64_t rows = 0;
    std::int64_t first_gate = 0;  ///< For products with the state.
    std::vector<int> weights;     ///< Operands, one per direction.
  };

  RecurrentStep(Node node, ops::RecurrentSizes sizes, const GateKernels& gates)
      : node_(std::move(node)), sizes_(sizes), gates_(gates) {}

  std::vector<View> inputs, outputs;
  std::vector<Product> input_products, state_products;
  int walk_scratch = -1, product_scratch = -1;  ///< Operands.

  /// Builds the views of inputs and outputs, once they are complete.
  void finish();
  void run(const Team& team) noexcept override;
  bool has_own_threads() const override { return true; }
  std::size_t own_bytes() const override;

 private:
  void multiply_input(std::int64_t direction, std::int64_t rows, const float* x, const float* bias, float* y) override;
  void multiply_state(std::int64_t direction, std::int64_t first, std::int64_t count, const float* h,
                      float* y) override;
  void apply_gates(const ops::Cell& cell, const ops::CellRows& rows) override;
  void finish_gru(const ops::Cell& cell, const ops::CellRows& rows) override;
  void multiply(Product& product, std::int64_t direction, const float* x, const float* bias, float* y);

  Node node_;
  ops::RecurrentSizes sizes_;
  const GateKernels& gates_;
  std::vector<TensorView> input_views_, output_views_;
};

}  // namespace bitfold::engine
