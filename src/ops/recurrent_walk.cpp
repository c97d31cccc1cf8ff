// The walk over the steps of a recurrent layer.
#include <algorithm>
#include <limits>
#include <utility>

#include "ops/operands.h"
#include "ops/recurrent.h"

namespace bitfold::ops {
namespace {

/// Size of the input product of several steps. Longer sequences are computed in parts.
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
      check(length(b) >= 0 && length(b) <= s_.steps, "{} sequence {} has length {}, but the input has {} steps",
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
    const float* x = in_[0].as<float>();
    if (!op_.batch_first || count == s_.steps)
      return arithmetic_.multiply_input(direction, count * s_.batch,
                                        x + (op_.batch_first ? 0 : first * s_.batch * s_.inputs), memory_.bias,
                                        memory_.input);
    for (std::int64_t b = 0; b < s_.batch; ++b)
      arithmetic_.multiply_input(direction, count, x + (b * s_.steps + first) * s_.inputs, memory_.bias,
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

std::vector<std::int64_t> input_product_rows(const Recurrent& op, const RecurrentSizes& s) {
  const std::int64_t block = steps_at_once(s), last = s.steps % block;
  const std::int64_t samples = op.batch_first && block < s.steps ? 1 : s.batch;
  std::vector<std::int64_t> rows{block * samples};
  if (last > 0) rows.push_back(last * samples);
  return rows;
}

void run_recurrent(const Node& node, std::span<const TensorView> in, std::span<const TensorView> out,
                   RecurrentArithmetic& arithmetic, std::span<float> scratch) {
  Walk walk(node, in, out, arithmetic, scratch);
  std::ranges::fill(scratch, 0.0F);
  for (std::int64_t d = 0;
       d < recurrent_sizes(std::get<Recurrent>(node.op), in[0].shape, in[1].shape, in[2].shape).directions; ++d)
    walk.run(d);
}

}  // namespace bitfold::ops
