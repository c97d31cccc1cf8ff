// Recurrent layers: RNN, GRU, LSTM. w and r have one block of rows for each gate: lstm input, output, forget, cell;
// gru update, reset, hidden.
#include "ops/recurrent.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>

#include "ops/operator.h"
#include "ops/products.h"
#include "ops/rows.h"

namespace bitfold::ops {
namespace {

constexpr std::int64_t gate_count(RecurrentKind kind) {
  return kind == RecurrentKind::lstm ? 4 : kind == RecurrentKind::gru ? 3 : 1;
}
constexpr std::int64_t direction_count(Direction direction) { return direction == Direction::bidirectional ? 2 : 1; }
constexpr std::size_t function_count(RecurrentKind kind) {
  return kind == RecurrentKind::lstm ? 3 : kind == RecurrentKind::gru ? 2 : 1;
}

/// An activation of gates: whether it has parameters, and their defaults, which are those of the operator of that name.
struct FunctionRow {
  std::string_view name;  ///< In lower case: exporters differ in the case.
  GateFunction function;
  bool has_alpha = false, has_beta = false;
  float alpha = 0, beta = 0;
};
constexpr FunctionRow kFunctions[] = {
    {"affine", GateFunction::affine, true, true, 1, 0},
    {"relu", GateFunction::relu},
    {"leakyrelu", GateFunction::leaky_relu, true, false, 0.01F},
    {"thresholdedrelu", GateFunction::thresholded_relu, true, false, 1},
    {"tanh", GateFunction::tanh},
    {"scaledtanh", GateFunction::scaled_tanh, true, true, 1, 1},
    {"sigmoid", GateFunction::sigmoid},
    {"hardsigmoid", GateFunction::hard_sigmoid, true, true, 0.2F, 0.5F},
    {"elu", GateFunction::elu, true, false, 1},
    {"softsign", GateFunction::softsign},
    {"softplus", GateFunction::softplus},
};

const FunctionRow& function_named(const std::string& name) {
  const auto lower = [](char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c; };
  std::string key = name;
  std::ranges::transform(key, key.begin(), lower);
  const auto* found = std::ranges::find(kFunctions, key, &FunctionRow::name);
  check(found != std::end(kFunctions), "activation '{}' is not known", name);
  return *found;
}

float apply(const Activation& a, float x) {
  switch (a.function) {
    case GateFunction::affine:
      return a.alpha * x + a.beta;
    case GateFunction::relu:
      return std::max(x, 0.0F);
    case GateFunction::leaky_relu:
      return x < 0 ? a.alpha * x : x;
    case GateFunction::thresholded_relu:
      return x > a.alpha ? x : 0;
    case GateFunction::tanh:
      return std::tanh(x);
    case GateFunction::scaled_tanh:
      return a.alpha * std::tanh(a.beta * x);
    case GateFunction::sigmoid:
      return 0.5F + 0.5F * std::tanh(0.5F * x);
    case GateFunction::hard_sigmoid:
      return std::clamp(a.alpha * x + a.beta, 0.0F, 1.0F);
    case GateFunction::elu:
      return x < 0 ? a.alpha * std::expm1(x) : x;
    case GateFunction::softsign:
      return x / (1 + std::abs(x));
    case GateFunction::softplus:
      return std::max(x, 0.0F) + std::log1p(std::exp(-std::abs(x)));
  }
  return x;
}

/// Everything in plain loops; products accumulate in double.
class PlainArithmetic final : public RecurrentArithmetic {
 public:
  PlainArithmetic(const RecurrentSizes& sizes, const float* w, const float* r) : sizes_(sizes), w_(w), r_(r) {}

  void multiply_input(std::int64_t direction, std::int64_t rows, const float* x, const float* bias, float* y) override {
    const std::int64_t columns = sizes_.gates * sizes_.hidden;
    for (std::int64_t row = 0; row < rows; ++row) std::copy_n(bias, columns, y + row * columns);
    const float* w = w_ + direction * columns * sizes_.inputs;
    multiply_add({.m = rows, .n = columns, .k = sizes_.inputs, .trans_b = true}, 1, x, w, y);
  }

  void multiply_state(std::int64_t direction, std::int64_t first, std::int64_t count, const float* h,
                      float* y) override {
    const std::int64_t columns = count * sizes_.hidden;
    const float* r = r_ + (direction * sizes_.gates + first) * sizes_.hidden * sizes_.hidden;
    std::fill_n(y, sizes_.batch * columns, 0.0F);
    multiply_add({.m = sizes_.batch, .n = columns, .k = sizes_.hidden, .trans_b = true}, 1, h, r, y);
  }

 private:
  RecurrentSizes sizes_;
  const float *w_, *r_;
};

void evaluate(const Node& node, std::span<const TensorView> in, std::span<const TensorView> out) {
  const RecurrentSizes sizes = recurrent_sizes(std::get<Recurrent>(node.op), in[0].shape, in[1].shape, in[2].shape);
  PlainArithmetic arithmetic(sizes, in[1].as<float>(), in[2].as<float>());
  std::vector<float> scratch(static_cast<std::size_t>(recurrent_scratch(sizes)));
  run_recurrent(node, in, out, arithmetic, scratch);
}

/// Expects a dimension to be `size`, if both are known, and returns the known one.
std::int64_t same_size(std::int64_t found, std::int64_t size, std::string_view what) {
  check(fits(found, size), "{} is {}, expected {}", what, found, size);
  return is_unknown(size) ? found : size;
}

Outputs infer(const Inputs& in) {
  const auto& op = std::get<Recurrent>(in.node.op);
  for (std::int64_t d = 0; d < direction_count(op.direction); ++d) activations_of(op, d);
  Outputs outputs(in.node.outputs.size(), real({}));
  if (!in.shape(0) || !in.shape(1) || !in.shape(2)) return outputs;
  const Shape &x = *in.shape(0), &w = *in.shape(1), &r = *in.shape(2);
  check(x.size() == 3 && w.size() == 3 && r.size() == 3, "X, W and R have shapes {}, {} and {}, expected 3 axes",
        to_string(x), to_string(w), to_string(r));
  const std::int64_t directions = direction_count(op.direction), gates = gate_count(op.kind);
  const std::int64_t steps = x[op.batch_first ? 1 : 0], batch = x[op.batch_first ? 0 : 1];
  const std::int64_t hidden = same_size(r[2], op.hidden_size > 0 ? op.hidden_size : kDynamic, "hidden_size");
  expect_shape(in, 1, "W", {directions, multiply(gates, hidden), x[2]});
  expect_shape(in, 2, "R", {directions, multiply(gates, hidden), hidden});
  expect_shape(in, 3, "B", {directions, multiply(2 * gates, hidden)});
  expect_shape(in, 4, "sequence_lens", {batch});
  const Shape state = op.batch_first ? Shape{batch, directions, hidden} : Shape{directions, batch, hidden};
  expect_shape(in, 5, "initial_h", state);
  expect_shape(in, 6, "initial_c", state);
  expect_shape(in, 7, "P", {directions, multiply(3, hidden)});
  for (ValueInfo& output : outputs) output.shape = state;
  outputs[0].shape = op.batch_first ? Shape{batch, steps, directions, hidden} : Shape{steps, directions, batch, hidden};
  return outputs;
}

/// Sets hidden_size if the file lacks it, because ONNX Runtime requires the attribute.
std::optional<std::string> settle(Op& op, const Inputs& in) {
  auto& recurrent = std::get<Recurrent>(op);
  if (recurrent.hidden_size == 0 && in.has(2) && in.shape(2) && in.shape(2)->size() == 3)
    recurrent.hidden_size = std::max<std::int64_t>(0, in.shape(2)->back());
  return std::nullopt;
}

std::int64_t macs(const Node& node, std::span<const Shape> in, std::span<const Shape>) {
  if (in.size() < 3 || in[0].size() != 3 || in[1].size() != 3 || in[2].size() != 3) return 0;
  const RecurrentSizes s = recurrent_sizes(std::get<Recurrent>(node.op), in[0], in[1], in[2]);
  return s.steps * s.batch * s.directions * s.gates * s.hidden * (s.inputs + s.hidden);
}

}  // namespace

void RecurrentArithmetic::apply_gates(const Cell& cell, const CellRows& rows) {
  const std::int64_t n = cell.hidden;
  const auto sum = [&](std::int64_t gate, std::int64_t i) {
    return rows.input[gate * n + i] + rows.state[gate * n + i];
  };
  const auto bounded = [&](const Activation& a, float x) { return apply(a, std::clamp(x, -cell.clip, cell.clip)); };
  const auto peek = [&](std::int64_t gate, std::int64_t i, float c) {
    return cell.peepholes == nullptr ? 0.0F : cell.peepholes[gate * n + i] * c;
  };
  for (std::int64_t i = 0; i < n; ++i) {
    if (cell.kind == RecurrentKind::rnn) {
      rows.h[i] = bounded(cell.f, sum(0, i));
    } else if (cell.kind == RecurrentKind::lstm) {
      const float in = bounded(cell.f, sum(0, i) + peek(0, i, rows.c[i]));
      const float forget = cell.input_forget ? 1 - in : bounded(cell.f, sum(2, i) + peek(2, i, rows.c[i]));
      rows.c[i] = forget * rows.c[i] + in * bounded(cell.g, sum(3, i));
      rows.h[i] = bounded(cell.f, sum(1, i) + peek(1, i, rows.c[i])) * apply(cell.h, rows.c[i]);
    } else {
      const float update = bounded(cell.f, sum(0, i)), reset = bounded(cell.f, sum(1, i));
      if (cell.linear_before_reset) {
        const float bias = cell.reset_bias == nullptr ? 0.0F : cell.reset_bias[i];
        const float hidden = bounded(cell.g, rows.input[2 * n + i] + reset * (rows.state[2 * n + i] + bias));
        rows.h[i] = (1 - update) * hidden + update * rows.h[i];
      } else {
        rows.update[i] = update;
        rows.reset[i] = reset * rows.h[i];
      }
    }
  }
}

void RecurrentArithmetic::finish_gru(const Cell& cell, const CellRows& rows) {
  for (std::int64_t i = 0; i < cell.hidden; ++i) {
    const float sum = rows.input[2 * cell.hidden + i] + rows.state[i];
    const float hidden = apply(cell.g, std::clamp(sum, -cell.clip, cell.clip));
    rows.h[i] = (1 - rows.update[i]) * hidden + rows.update[i] * rows.h[i];
  }
}

RecurrentSizes recurrent_sizes(const Recurrent& op, std::span<const std::int64_t> x, std::span<const std::int64_t> w,
                               std::span<const std::int64_t> r) {
  return {.steps = x[op.batch_first ? 1 : 0],
          .batch = x[op.batch_first ? 0 : 1],
          .inputs = w[2],
          .hidden = r[2],
          .directions = direction_count(op.direction),
          .gates = gate_count(op.kind)};
}

std::vector<Activation> activations_of(const Recurrent& op, std::int64_t direction) {
  const std::size_t count = function_count(op.kind);
  const std::size_t all = count * static_cast<std::size_t>(direction_count(op.direction));
  check(op.activations.empty() || op.activations.size() == all, "has {} activations, expected {}",
        op.activations.size(), all);
  constexpr std::array<std::string_view, 3> kGated{"Sigmoid", "Tanh", "Tanh"};
  std::vector<Activation> made;
  std::size_t alpha = 0, beta = 0;
  for (std::size_t i = 0; i < all; ++i) {
    const std::string_view usual = op.kind == RecurrentKind::rnn ? "Tanh" : kGated[i % count];
    const FunctionRow& row = function_named(op.activations.empty() ? std::string(usual) : op.activations[i]);
    Activation a{row.function, row.alpha, row.beta};
    // Only functions that have a parameter take one from the list.
    if (row.has_alpha && alpha < op.activation_alpha.size()) a.alpha = op.activation_alpha[alpha++];
    if (row.has_beta && beta < op.activation_beta.size()) a.beta = op.activation_beta[beta++];
    made.push_back(a);
  }
  const auto first = made.begin() + direction * static_cast<std::ptrdiff_t>(count);
  return {first, first + static_cast<std::ptrdiff_t>(count)};
}

std::vector<OperatorInfo> recurrent_operators() {
  const auto parameter = [](std::string_view name, Presence presence = Presence::optional) {
    return Slot{name, kReal, 'T', presence, Use::parameter};
  };
  std::vector<OperatorInfo> rows;
  for (RecurrentKind kind : {RecurrentKind::rnn, RecurrentKind::gru, RecurrentKind::lstm}) {
    OperatorInfo row{.name = kind == RecurrentKind::rnn   ? "RNN"
                             : kind == RecurrentKind::gru ? "GRU"
                                                          : "LSTM",
                     .since = 14,
                     .prototype = Recurrent{.kind = kind},
                     .inputs = {{"X", kReal, 'T'},
                                parameter("W", Presence::required),
                                parameter("R", Presence::required),
                                parameter("B"),
                                {"sequence_lens", {DataType::int32}, 0, Presence::optional, Use::parameter},
                                parameter("initial_h")},
                     .outputs = {{"Y", kReal, 'T'}, {"Y_h", kReal, 'T'}},
                     .fields = {field("activation_alpha", &Recurrent::activation_alpha),
                                field("activation_beta", &Recurrent::activation_beta),
                                field("activations", &Recurrent::activations), field("clip", &Recurrent::clip),
                                field("direction", &Recurrent::direction,
                                      std::vector<Word<Direction>>{{"forward", Direction::forward},
                                                                   {"reverse", Direction::reverse},
                                                                   {"bidirectional", Direction::bidirectional}}),
                                field("hidden_size", &Recurrent::hidden_size, Interval{.min = 0}),
                                field("layout", &Recurrent::batch_first)},
                     .infer = infer,
                     .evaluate = evaluate,
                     .settle = settle,
                     .macs = macs};
    if (kind == RecurrentKind::gru) row.fields.push_back(field("linear_before_reset", &Recurrent::linear_before_reset));
    if (kind == RecurrentKind::lstm) {
      row.fields.push_back(field("input_forget", &Recurrent::input_forget));
      row.inputs.push_back(parameter("initial_c"));
      row.inputs.push_back(parameter("P"));
      row.outputs.push_back({"Y_c", kReal, 'T'});
    }
    rows.push_back(std::move(row));
  }
  return rows;
}

}  // namespace bitfold::ops
