// Recurrent layers, attention, spectra, random numbers, losses.
#include "sweep/case.h"

namespace bitfold::testing {
namespace {

Operand integer(std::int64_t value) {
  return fixed(Tensor::from<std::int64_t>({}, std::span<const std::int64_t>(&value, 1)));
}
Operand real(float value) { return fixed(Tensor::from<float>({}, std::span<const float>(&value, 1))); }
Operand integers(Shape shape, const std::vector<std::int64_t>& values) {
  return fixed(Tensor::from(std::move(shape), values));
}

struct Layer {
  std::int64_t steps, batch, inputs, hidden;
};

/// Every input of a recurrent layer; `optional` counts those after x, w and r.
void add_recurrent(std::vector<Case>& cases, const Recurrent& op, const Layer& s, std::size_t optional, int outputs,
                   bool has_constant_weights = true) {
  const std::int64_t gates = op.kind == RecurrentKind::lstm ? 4 : op.kind == RecurrentKind::gru ? 3 : 1;
  const std::int64_t directions = op.direction == Direction::bidirectional ? 2 : 1;
  const Shape state = op.batch_first ? Shape{s.batch, directions, s.hidden} : Shape{directions, s.batch, s.hidden};
  std::vector<std::int32_t> lengths;
  for (std::int64_t b = 0; b < s.batch; ++b) lengths.push_back(static_cast<std::int32_t>((b + s.steps - 1) % s.steps));
  std::vector<Operand> rest{constant({directions, 2 * gates * s.hidden}),
                            fixed(Tensor::from<std::int32_t>({s.batch}, lengths)), data(state, -1, 1)};
  if (op.kind == RecurrentKind::lstm) {
    rest.push_back(data(state, -1, 1));
    rest.push_back(constant({directions, 3 * s.hidden}));
  }
  rest.resize(std::min(optional, rest.size()));
  std::vector<Operand> inputs{
      data(op.batch_first ? Shape{s.batch, s.steps, s.inputs} : Shape{s.steps, s.batch, s.inputs}),
      constant({directions, gates * s.hidden, s.inputs}, -0.5, 0.5),
      constant({directions, gates * s.hidden, s.hidden}, -0.5, 0.5)};
  for (std::size_t i : {1U, 2U}) inputs[i].is_constant = has_constant_weights;
  inputs.insert(inputs.end(), rest.begin(), rest.end());
  cases.push_back({.op = op,
                   .inputs = std::move(inputs),
                   .outputs = outputs,
                   .terms = static_cast<double>(s.inputs + s.hidden + 1),
                   .term = 4});
}

void add_recurrent(std::vector<Case>& cases) {
  for (RecurrentKind kind : {RecurrentKind::rnn, RecurrentKind::gru, RecurrentKind::lstm}) {
    const int outputs = kind == RecurrentKind::lstm ? 3 : 2;
    const auto op = [&](std::int64_t hidden, Direction direction = Direction::forward) {
      return Recurrent{.kind = kind, .direction = direction, .hidden_size = hidden};
    };
    add_recurrent(cases, op(1), {1, 1, 1, 1}, 0, 1);
    add_recurrent(cases, op(5), {4, 3, 7, 5}, 5, outputs);
    add_recurrent(cases, op(5), {4, 3, 7, 5}, 1, outputs, false);
    add_recurrent(cases, op(17, Direction::reverse), {3, 2, 33, 17}, 5, outputs);
    add_recurrent(cases, op(16, Direction::bidirectional), {5, 1, 9, 16}, 1, outputs);
    Recurrent other = op(6, Direction::bidirectional);
    other.batch_first = true;
    other.clip = 0.75F;
    other.linear_before_reset = kind == RecurrentKind::gru;
    other.input_forget = kind == RecurrentKind::lstm;
    add_recurrent(cases, other, {3, 4, 2, 6}, 5, outputs);
    other.clip.reset();
    for (int direction = 0; direction < 2; ++direction)
      for (const char* name : kind == RecurrentKind::lstm  ? std::vector{"HardSigmoid", "Softsign", "ScaledTanh"}
                              : kind == RecurrentKind::gru ? std::vector{"HardSigmoid", "Softsign"}
                                                           : std::vector{"Softsign"})
        other.activations.emplace_back(name);
    if (kind != RecurrentKind::rnn) other.activation_alpha = {0.25F};
    add_recurrent(cases, other, {3, 2, 2, 6}, 1, 1);
  }
}

void add_attention(std::vector<Case>& cases) {
  const auto add = [&](const Attention& op, std::vector<Operand> inputs, int outputs = 1) {
    cases.push_back({.op = op, .inputs = std::move(inputs), .outputs = outputs, .terms = 16, .term = 16});
  };
  const auto unit = [](Shape shape) { return data(std::move(shape), -1, 1); };
  add({}, {unit({1, 1, 1, 1}), unit({1, 1, 1, 1}), unit({1, 1, 1, 1})});
  add({.is_causal = true}, {unit({2, 4, 5, 8}), unit({2, 2, 5, 8}), unit({2, 2, 5, 6})});
  add({.q_num_heads = 3, .kv_num_heads = 1, .scale = 0.5F, .softcap = 2},
      {unit({2, 4, 9}), unit({2, 7, 3}), unit({2, 7, 5}), unit({4, 7}), unit({2, 1, 3, 3}), unit({2, 1, 3, 5})}, 4);
  for (AttentionScores scores : {AttentionScores::scaled, AttentionScores::capped, AttentionScores::softmax})
    add({.left_window_size = 1, .right_window_size = 2, .scores = scores},
        {unit({2, 2, 4, 3}), unit({2, 2, 6, 3}), unit({2, 2, 6, 3}), absent(), absent(), absent(),
         integers({2}, {3, 6})},
        4);

  const auto rotary = [&](const RotaryEmbedding& op, std::vector<Operand> inputs) {
    cases.push_back({.op = op, .inputs = std::move(inputs), .terms = 4, .term = 4});
  };
  rotary({}, {data({2, 3, 4, 6}), data({2, 4, 3}), data({2, 4, 3})});
  rotary({.interleaved = true, .num_heads = 2, .rotary_size = 4},
         {data({2, 3, 12}), constant({9, 2}), constant({9, 2}), integers({2, 3}, {0, 8, 3, 4, 4, 1})});

  for (LinearAttentionRule rule : {LinearAttentionRule::linear, LinearAttentionRule::gated, LinearAttentionRule::delta,
                                   LinearAttentionRule::gated_delta}) {
    const bool decays = rule == LinearAttentionRule::gated || rule == LinearAttentionRule::gated_delta;
    const bool corrects = rule == LinearAttentionRule::delta || rule == LinearAttentionRule::gated_delta;
    std::vector<Operand> inputs{unit({2, 3, 16}), unit({2, 3, 8}), unit({2, 3, 6}), unit({2, 2, 4, 3})};
    if (decays || corrects) inputs.push_back(decays ? data({2, 3, corrects ? 2 : 8}, -1, 0) : absent());
    if (corrects) inputs.push_back(data({2, 3, decays ? 1 : 2}, 0, 1));
    cases.push_back({.op = LinearAttention{.q_num_heads = 4, .kv_num_heads = 2, .rule = rule},
                     .inputs = std::move(inputs),
                     .outputs = 2,
                     .terms = 16,
                     .term = 16});
  }
  for (bool silu : {false, true}) {
    std::vector<Operand> inputs{data({2, 3, 5}), constant({3, 1, 4})};
    if (silu) inputs.insert(inputs.end(), {constant({3}), data({2, 3, 3})});
    cases.push_back(
        {.op = CausalConvWithState{silu}, .inputs = std::move(inputs), .outputs = 2, .terms = 5, .term = 4});
  }
}

void add_normalizations(std::vector<Case>& cases) {
  const auto add = [&](Op op, Shape x, std::vector<Operand> rest = {}, int outputs = 1) {
    rest.insert(rest.begin(), data(std::move(x)));
    cases.push_back({.op = std::move(op), .inputs = std::move(rest), .outputs = outputs, .terms = 16, .term = 4});
  };
  add(RmsNorm{}, {2, 3, 17}, {constant({17})});
  add(RmsNorm{.axis = 1}, {2, 3, 4}, {data({3, 1})});
  add(RmsNorm{}, {0, 5}, {data({5})});
  for (std::int64_t p : {1, 2})
    for (std::int64_t axis : {-1, 1}) add(LpNorm{axis, p}, {2, 5, 3});
  add(MeanVarianceNorm{}, {2, 3, 4, 5});
  add(MeanVarianceNorm{{-1}}, {3, 7});
  add(LayerNorm{}, {2, 3, 5}, {constant({5}), constant({5})}, 3);
  add(LayerNorm{.axis = 1}, {2, 3, 5}, {data({3, 5})}, 2);
}

void add_spectra(std::vector<Case>& cases) {
  const auto add = [&](Op op, std::vector<Operand> inputs, double terms = 32) {
    cases.push_back({.op = std::move(op), .inputs = std::move(inputs), .terms = terms, .term = 4});
  };
  add(Dft{}, {data({2, 12, 1})});
  add(Dft{.inverse = true}, {data({2, 7, 3, 2}), absent(), integer(1)});
  add(Dft{.onesided = true}, {data({2, 5, 1}), integer(8), integer(-2)});
  add(Dft{.inverse = true, .onesided = true}, {data({2, 5, 2})});
  add(Stft{}, {data({2, 20, 1}), integer(3), constant({8})});
  add(Stft{.onesided = false}, {data({1, 20, 2}), integer(5), constant({6}), integer(6)});
  for (WindowKind kind : {WindowKind::hann, WindowKind::hamming, WindowKind::blackman})
    for (DataType type : {DataType::float32, DataType::int32})
      add(WindowFunction{.kind = kind, .periodic = type == DataType::float32, .dtype = type}, {integer(9)}, 2);
  add(MelWeightMatrix{}, {integer(4), integer(32), integer(8000), real(20), real(4000)}, 2);
}

void add_others(std::vector<Case>& cases) {
  const auto einsum = [&](const char* equation, std::vector<Operand> inputs) {
    cases.push_back({.op = Einsum{equation}, .inputs = std::move(inputs), .terms = 16, .term = 16});
  };
  einsum("bij,bjk->bik", {data({2, 3, 5}), data({2, 5, 4})});
  einsum("...ij,kj", {data({2, 3, 4}), data({5, 4})});
  einsum("iij->j", {data({3, 3, 2})});
  einsum("i,j,k->kij", {data({2}), data({3}), data({4})});
  for (const Shape& x : std::vector<Shape>{{1, 1}, {2, 4, 4}, {0, 3, 3}})
    cases.push_back({.op = Det{}, .inputs = {data(x, -1, 1)}, .terms = 8, .term = 4});

  const Operand labels = integers({2, 3}, {0, 3, 1, 2, 2, 0});
  for (LossReduction reduction : {LossReduction::none, LossReduction::mean, LossReduction::sum}) {
    std::vector<Operand> inputs{data({2, 4, 3}), labels};
    if (reduction != LossReduction::none) inputs.push_back(constant({4}, 0.25, 1));
    const std::optional<std::int64_t> ignored =
        reduction == LossReduction::sum ? std::optional<std::int64_t>(2) : std::nullopt;
    cases.push_back({.op = NegativeLogLikelihoodLoss{reduction, ignored}, .inputs = inputs, .terms = 6, .term = 4});
    cases.push_back(
        {.op = SoftmaxCrossEntropyLoss{reduction, ignored}, .inputs = inputs, .outputs = 2, .terms = 8, .term = 8});
  }

  for (RandomKind kind : {RandomKind::normal, RandomKind::uniform}) {
    cases.push_back({.op = RandomTensor{.kind = kind, .a = -2, .b = 3, .shape = {3, 4}, .seed = 5.0F}, .inputs = {}});
    cases.push_back(
        {.op = RandomLike{.kind = kind, .dtype = DataType::float32, .seed = 5.0F}, .inputs = {data({2, 5})}});
  }
  for (std::optional<DataType> type :
       {std::optional<DataType>(), std::optional(DataType::boolean), std::optional(DataType::int16)})
    cases.push_back({.op = Bernoulli{.dtype = type, .seed = 5.0F}, .inputs = {data({3, 7}, 0, 1)}});
  for (DataType type : {DataType::int32, DataType::int64})
    cases.push_back({.op = Multinomial{.dtype = type, .sample_size = 6, .seed = 5.0F}, .inputs = {data({3, 4})}});
}

}  // namespace

std::vector<Case> sequence_cases() {
  std::vector<Case> cases;
  add_recurrent(cases);
  add_attention(cases);
  add_normalizations(cases);
  add_spectra(cases);
  add_others(cases);
  return cases;
}

}  // namespace bitfold::testing
