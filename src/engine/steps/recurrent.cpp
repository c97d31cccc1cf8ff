#include "engine/steps/recurrent.h"

#include <algorithm>

#include "base/check.h"

namespace bitfold::engine {
namespace {

/// Whether the gates have the functions that the kernels compute.
bool is_usual(const ops::Cell& cell) {
  using ops::GateFunction;
  if (cell.kind == RecurrentKind::rnn) return cell.f.function == GateFunction::tanh;
  return cell.f.function == GateFunction::sigmoid && cell.g.function == GateFunction::tanh &&
         (cell.kind == RecurrentKind::gru || cell.h.function == GateFunction::tanh);
}

GateRow gate_row(const ops::Cell& cell, const ops::CellRows& rows) {
  return {.hidden = cell.hidden,
          .input = rows.input,
          .state = rows.state,
          .peepholes = cell.peepholes,
          .reset_bias = cell.reset_bias,
          .h = rows.h,
          .c = rows.c,
          .reset = rows.reset,
          .update = rows.update,
          .clip = cell.clip,
          .input_forget = cell.input_forget};
}

}  // namespace

void RecurrentStep::finish() {
  for (const View& v : inputs) input_views_.push_back({v.dtype, v.shape, nullptr});
  for (const View& v : outputs) output_views_.push_back({v.dtype, v.shape, nullptr});
}

std::size_t RecurrentStep::own_bytes() const {
  constexpr std::size_t kPrimitiveBytes = 32 * 1024;  // mostly code made for the shape
  return Step::own_bytes() + (input_products.size() + state_products.size()) * kPrimitiveBytes;
}

void RecurrentStep::run(const Team& /*team*/) noexcept {
  const auto bind = [&](std::vector<TensorView>& views, const std::vector<View>& like) {
    for (std::size_t i = 0; i < views.size(); ++i)
      views[i].data = like[i].operand < 0 ? nullptr : at<std::byte>(like[i].operand);
  };
  bind(input_views_, inputs);
  bind(output_views_, outputs);
  const auto floats = static_cast<std::size_t>(ops::recurrent_scratch(sizes_));
  fallible([&] { ops::run_recurrent(node_, input_views_, output_views_, *this, {at<float>(walk_scratch), floats}); });
}

void RecurrentStep::multiply(Product& product, std::int64_t direction, const float* x, const float* bias, float* y) {
  product.primitive.run({.source = x,
                         .weights = at<std::byte>(product.weights[static_cast<std::size_t>(direction)]),
                         .bias = bias,
                         .destination = y,
                         .scratch = product_scratch < 0 ? nullptr : at<std::byte>(product_scratch)});
}

void RecurrentStep::multiply_input(std::int64_t direction, std::int64_t rows, const float* x, const float* bias,
                                   float* y) {
  const auto product = std::ranges::find(input_products, rows, &Product::rows);
  check(product != input_products.end(), "no product for {} rows", rows);
  multiply(*product, direction, x, bias, y);
}

void RecurrentStep::multiply_state(std::int64_t direction, std::int64_t first, std::int64_t /*count*/, const float* h,
                                   float* y) {
  const auto product = std::ranges::find(state_products, first, &Product::first_gate);
  check(product != state_products.end(), "no product from gate {} on", first);
  multiply(*product, direction, h, nullptr, y);
}

void RecurrentStep::apply_gates(const ops::Cell& cell, const ops::CellRows& rows) {
  if (!is_usual(cell)) return RecurrentArithmetic::apply_gates(cell, rows);
  const GateRow row = gate_row(cell, rows);
  if (cell.kind == RecurrentKind::rnn) return gates_.rnn(row);
  if (cell.kind == RecurrentKind::lstm) return gates_.lstm(row);
  cell.linear_before_reset ? gates_.gru_linear(row) : gates_.gru_gates(row);
}

void RecurrentStep::finish_gru(const ops::Cell& cell, const ops::CellRows& rows) {
  if (!is_usual(cell)) return RecurrentArithmetic::finish_gru(cell, rows);
  gates_.gru_state(gate_row(cell, rows));
}

}  // namespace bitfold::engine
