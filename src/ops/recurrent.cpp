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

/// A function of gates: whether it has parameters, and their defaults, those of the operators of these names.
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

  void multiply_input(std::int64_t direction, std::int64_t rows, const float* x, float* y) override {
    const std::int64_t columns = sizes_.gates * sizes_.hidden;
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

  void apply_gates(const Cell& cell, const CellRows& rows) override {
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

  void finish_gru(const Cell& cell, const CellRows& rows) override {
    for (std::int64_t i = 0; i < cell.hidden; ++i) {
      const float sum = rows.input[2 * cell.hidden + i] + rows.state[i];
      const float hidden = apply(cell.g, std::clamp(sum, -cell.clip, cell.clip));
      rows.h[i] = (1 - rows.update[i]) * hidden + rows.update[i] * rows.h[i];
    }
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
  check(is_unknown(found) || is_unknown(size) || found == size, "{} is {}, expected {}", what, found, size);
  return is_unknown(size) ? found : size;
}

void expect_shape(const Inputs& in, std::size_t slot, std::string_view name, const Shape& expected) {
  if (!in.has(slot) || !in.shape(slot)) return;
  const Shape& found = *in.shape(slot);
  bool fits = found.size() == expected.size();
  for (std::size_t i = 0; fits && i < found.size(); ++i)
    fits = found[i] == expected[i] || is_unknown(found[i]) || is_unknown(expected[i]);
  check(fits, "{} has shape {}, expected {}", name, to_string(found), to_string(expected));
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

/// ONNX Runtime needs the attribute.
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

namespace {

/// The input product covers as many steps at once as fit here.
constexpr std::int64_t kBlockFloats = 1 << 20;

std::int64_t steps_at_once(const RecurrentSizes& s) {
  const std::int64_t per_step = std::max<std::int64_t>(1, s.batch * s.gates * s.hidden);
  return std::clamp<std::int64_t>(kBlockFloats / per_step, 1, std::max<std::int64_t>(1, s.steps));
}

/// Memory for one direction at a time.
struct Memory {
  float *input, *state, *bias, *h, *c, *reset, *update;

  Memory(const RecurrentSizes& s, std::span<float> scratch) {
    float* next = scratch.data();
    const auto take = [&](std::int64_t count) { return std::exchange(next, next + count); };
    const std::int64_t rows = s.batch * s.hidden;
    input = take(steps_at_once(s) * rows * s.gates);
    state = take(rows * s.gates);
    bias = take(s.gates * s.hidden);
    h = take(rows);
    c = take(rows);
    reset = take(rows);
    update = take(rows);
  }
};

class Walk {
 public:
  Walk(const Node& node, std::span<const TensorView> in, std::span<const TensorView> out,
       RecurrentArithmetic& arithmetic, std::span<float> scratch)
      : op_(std::get<Recurrent>(node.op)),
        s_(recurrent_sizes(op_, in[0].shape, in[1].shape, in[2].shape)),
        in_(in),
        out_(out),
        arithmetic_(arithmetic),
        memory_(s_, scratch) {
    for (std::int64_t b = 0; b < s_.batch && is_given(in_, 4); ++b)
      check(length(b) >= 0 && length(b) <= s_.steps, "{} sequence {} has length {}, the input has {} steps",
            where(node), b, length(b), s_.steps);
  }

  void run(std::int64_t direction) {
    const Cell cell = cell_of(direction);
    const bool is_reverse = op_.direction == Direction::reverse || direction == 1;
    load_state(5, direction, memory_.h);
    load_state(6, direction, memory_.c);
    load_bias(direction);
    const std::int64_t block = steps_at_once(s_);
    for (std::int64_t done = 0; done < s_.steps; done += block) {
      const std::int64_t count = std::min(block, s_.steps - done);
      const std::int64_t first = is_reverse ? s_.steps - done - count : done;
      multiply_inputs(direction, first, count);
      for (std::int64_t i = 0; i < count; ++i)
        step(cell, is_reverse ? count - 1 - i : i, count, first + (is_reverse ? count - 1 - i : i));
    }
    store_state(1, direction, memory_.h);
    store_state(2, direction, memory_.c);
  }

 private:
  std::int64_t length(std::int64_t b) const { return is_given(in_, 4) ? integer_at(in_[4], b) : s_.steps; }

  Cell cell_of(std::int64_t direction) const {
    const std::vector<Activation> functions = activations_of(op_, direction);
    Cell cell{.kind = op_.kind,
              .direction = direction,
              .hidden = s_.hidden,
              .f = functions[0],
              .clip = op_.clip.value_or(std::numeric_limits<float>::infinity()),
              .linear_before_reset = op_.linear_before_reset,
              .input_forget = op_.input_forget};
    if (functions.size() > 1) cell.g = functions[1];
    if (functions.size() > 2) cell.h = functions[2];
    if (is_given(in_, 7)) cell.peepholes = in_[7].as<float>() + direction * 3 * s_.hidden;
    if (op_.linear_before_reset && is_given(in_, 3))
      cell.reset_bias = in_[3].as<float>() + (direction * 6 + 5) * s_.hidden;
    return cell;
  }

  /// Where the state of a sample is in an initial state or in a last state.
  std::int64_t state_offset(std::int64_t direction, std::int64_t b) const {
    return (op_.batch_first ? b * s_.directions + direction : direction * s_.batch + b) * s_.hidden;
  }
  void load_state(std::size_t slot, std::int64_t direction, float* to) const {
    for (std::int64_t b = 0; b < s_.batch; ++b)
      if (is_given(in_, slot))
        std::copy_n(in_[slot].as<float>() + state_offset(direction, b), s_.hidden, to + b * s_.hidden);
      else
        std::fill_n(to + b * s_.hidden, s_.hidden, 0.0F);
  }
  /// The last state of an empty sequence is 0, as in ONNX Runtime.
  void store_state(std::size_t slot, std::int64_t direction, const float* from) const {
    if (!is_given(out_, slot)) return;
    for (std::int64_t b = 0; b < s_.batch; ++b) {
      float* to = out_[slot].as<float>() + state_offset(direction, b);
      if (length(b) == 0)
        std::fill_n(to, s_.hidden, 0.0F);
      else
        std::copy_n(from + b * s_.hidden, s_.hidden, to);
    }
  }
  /// The biases of w and r are added together, except that of r for a gate that is multiplied before it is added.
  void load_bias(std::int64_t direction) const {
    const std::int64_t n = s_.gates * s_.hidden;
    std::fill_n(memory_.bias, n, 0.0F);
    if (!is_given(in_, 3)) return;
    const float *of_w = in_[3].as<float>() + direction * 2 * n, *of_r = of_w + n;
    const std::int64_t both = op_.linear_before_reset ? 2 * s_.hidden : n;
    for (std::int64_t i = 0; i < n; ++i) memory_.bias[i] = of_w[i] + (i < both ? of_r[i] : 0);
  }

  /// Rows of memory_.input are in the order of x.
  std::int64_t input_row(std::int64_t step, std::int64_t count, std::int64_t b) const {
    return op_.batch_first ? b * count + step : step * s_.batch + b;
  }
  void multiply_inputs(std::int64_t direction, std::int64_t first, std::int64_t count) {
    const std::int64_t columns = s_.gates * s_.hidden;
    for (std::int64_t row = 0; row < count * s_.batch; ++row)
      std::copy_n(memory_.bias, columns, memory_.input + row * columns);
    const float* x = in_[0].as<float>();
    if (!op_.batch_first || count == s_.steps)
      return arithmetic_.multiply_input(direction, count * s_.batch,
                                        x + (op_.batch_first ? 0 : first * s_.batch * s_.inputs), memory_.input);
    for (std::int64_t b = 0; b < s_.batch; ++b)
      arithmetic_.multiply_input(direction, count, x + (b * s_.steps + first) * s_.inputs,
                                 memory_.input + b * count * columns);
  }

  /// Step `at` of the block of `count` steps whose input product is present; it is step `time` of the sequence.
  void step(const Cell& cell, std::int64_t at, std::int64_t count, std::int64_t time) {
    const std::int64_t n = s_.hidden;
    const bool is_split = op_.kind == RecurrentKind::gru && !op_.linear_before_reset;
    const std::int64_t gates = is_split ? 2 : s_.gates;
    arithmetic_.multiply_state(cell.direction, 0, gates, memory_.h, memory_.state);
    const auto rows = [&](std::int64_t b, std::int64_t state_gates) {
      return CellRows{.input = memory_.input + input_row(at, count, b) * s_.gates * n,
                      .state = memory_.state + b * state_gates * n,
                      .h = memory_.h + b * n,
                      .c = memory_.c + b * n,
                      .reset = memory_.reset + b * n,
                      .update = memory_.update + b * n};
    };
    for (std::int64_t b = 0; b < s_.batch; ++b)
      if (time < length(b)) arithmetic_.apply_gates(cell, rows(b, gates));
    if (is_split) {
      arithmetic_.multiply_state(cell.direction, 2, 1, memory_.reset, memory_.state);
      for (std::int64_t b = 0; b < s_.batch; ++b)
        if (time < length(b)) arithmetic_.finish_gru(cell, rows(b, 1));
    }
    if (!is_given(out_, 0)) return;
    for (std::int64_t b = 0; b < s_.batch; ++b) {
      const std::int64_t row = op_.batch_first ? (b * s_.steps + time) * s_.directions + cell.direction
                                               : (time * s_.directions + cell.direction) * s_.batch + b;
      float* y = out_[0].as<float>() + row * n;
      if (time < length(b))
        std::copy_n(memory_.h + b * n, n, y);
      else
        std::fill_n(y, n, 0.0F);  // past the end of the sequence
    }
  }

  const Recurrent& op_;
  RecurrentSizes s_;
  std::span<const TensorView> in_, out_;
  RecurrentArithmetic& arithmetic_;
  Memory memory_;
};

}  // namespace

std::int64_t recurrent_scratch(const RecurrentSizes& s) {
  const std::int64_t rows = s.batch * s.hidden;
  return (steps_at_once(s) + 1) * rows * s.gates + s.gates * s.hidden + 4 * rows;
}

void run_recurrent(const Node& node, std::span<const TensorView> in, std::span<const TensorView> out,
                   RecurrentArithmetic& arithmetic, std::span<float> scratch) {
  Walk walk(node, in, out, arithmetic, scratch);
  std::ranges::fill(scratch, 0.0F);
  for (std::int64_t d = 0; d < direction_count(std::get<Recurrent>(node.op).direction); ++d) walk.run(d);
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
