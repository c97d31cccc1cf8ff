// LinearAttention and CausalConvWithState, token by token. States and sums are kept in double and rounded at the end.
#include "ops/attention_state.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "ops/rows.h"

namespace bitfold::ops {
namespace {

// ---- LinearAttention

enum : std::size_t { kQueries, kKeys, kValues, kPast, kDecay, kBeta };

bool has_decay(LinearAttentionRule rule) {
  return rule == LinearAttentionRule::gated || rule == LinearAttentionRule::gated_delta;
}
bool has_delta(LinearAttentionRule rule) {
  return rule == LinearAttentionRule::delta || rule == LinearAttentionRule::gated_delta;
}

std::int64_t per_head(std::int64_t columns, std::int64_t heads, std::string_view name) {
  check(is_unknown(columns) || columns % heads == 0,
        "{} has {} columns, which cannot be divided equally among {} heads", name, columns, heads);
  return is_unknown(columns) ? kDynamic : columns / heads;
}

Outputs infer_linear(const Inputs& in) {
  const auto& op = std::get<LinearAttention>(in.node.op);
  check(op.q_num_heads > 0 && op.kv_num_heads > 0 && op.q_num_heads % op.kv_num_heads == 0,
        "{} heads of queries are not a multiple of {} heads of keys", op.q_num_heads, op.kv_num_heads);
  check(in.has(kDecay) == has_decay(op.rule), "its update rule {} decay",
        has_decay(op.rule) ? "needs" : "does not accept");
  check(in.has(kBeta) == has_delta(op.rule), "its update rule {} beta",
        has_delta(op.rule) ? "needs" : "does not accept");
  Outputs outputs(in.node.outputs.size(), real({}));
  if (!in.shape(kQueries) || !in.shape(kKeys) || !in.shape(kValues)) return outputs;
  const Shape &q = *in.shape(kQueries), &v = *in.shape(kValues);
  check(q.size() == 3 && v.size() == 3, "query and value have shapes {} and {}, expected 3 axes", to_string(q),
        to_string(v));
  const std::int64_t size = per_head(q[2], op.q_num_heads, "query"), width = per_head(v[2], op.kv_num_heads, "value");
  const Shape state{q[0], op.kv_num_heads, size, width};
  expect_shape(in, kKeys, "key", {q[0], q[1], multiply(op.kv_num_heads, size)});
  expect_shape(in, kValues, "value", {q[0], q[1], kDynamic});
  expect_shape(in, kPast, "past_state", state);
  expect_shape(in, kDecay, "decay", {q[0], q[1], kDynamic});
  expect_shape(in, kBeta, "beta", {q[0], q[1], kDynamic});
  if (in.has(kDecay) && in.shape(kDecay) && !is_unknown(size)) {
    const std::int64_t n = in.shape(kDecay)->back();
    check(is_unknown(n) || n == op.kv_num_heads || n == op.kv_num_heads * size,
          "decay has {} columns, expected {} or {}", n, op.kv_num_heads, op.kv_num_heads * size);
  }
  if (in.has(kBeta) && in.shape(kBeta)) {
    const std::int64_t n = in.shape(kBeta)->back();
    check(is_unknown(n) || n == 1 || n == op.kv_num_heads, "beta has {} columns, expected 1 or {}", n, op.kv_num_heads);
  }
  outputs[0].shape = Shape{q[0], q[1], multiply(op.q_num_heads, width)};
  if (outputs.size() > 1) outputs[1].shape = state;
  return outputs;
}

/// state = decay * state + rate * key (value - correction)', where the correction, if the rule has one, is what the
/// decayed state gives for the key; y = scale * state' query.
void linear_attention(const Node& node, std::span<const TensorView> in, std::span<const TensorView> out) {
  const auto& op = std::get<LinearAttention>(node.op);
  const std::int64_t batch = in[kQueries].shape[0], steps = in[kQueries].shape[1], heads = op.kv_num_heads;
  const std::int64_t size = in[kQueries].shape[2] / op.q_num_heads, width = in[kValues].shape[2] / heads;
  const std::int64_t shared = op.q_num_heads / heads;
  const double scale = op.scale != 0 ? static_cast<double>(op.scale) : 1 / std::sqrt(static_cast<double>(size));
  std::vector<double> state(at(size * width)), update(at(width));
  const auto row = [&](std::size_t slot, std::int64_t b, std::int64_t t) {
    return in[slot].as<float>() + (b * steps + t) * in[slot].shape[2];
  };
  for (std::int64_t b = 0; b < batch; ++b)
    for (std::int64_t h = 0; h < heads; ++h) {
      const std::int64_t start = (b * heads + h) * size * width;
      if (is_given(in, kPast))
        std::copy_n(in[kPast].as<float>() + start, state.size(), state.begin());
      else
        std::ranges::fill(state, 0.0);
      for (std::int64_t t = 0; t < steps; ++t) {
        const float *key = row(kKeys, b, t) + h * size, *value = row(kValues, b, t) + h * width;
        if (is_given(in, kDecay)) {
          const bool is_per_key = in[kDecay].shape[2] != heads;
          const float* decay = row(kDecay, b, t) + h * (is_per_key ? size : 1);
          for (std::int64_t i = 0; i < size; ++i) {
            const double factor = std::exp(static_cast<double>(decay[is_per_key ? i : 0]));
            for (std::int64_t j = 0; j < width; ++j) state[at(i * width + j)] *= factor;
          }
        }
        for (std::int64_t j = 0; j < width; ++j) update[at(j)] = value[j];
        if (is_given(in, kBeta)) {
          for (std::int64_t i = 0; i < size; ++i)
            for (std::int64_t j = 0; j < width; ++j) update[at(j)] -= state[at(i * width + j)] * key[i];
          const double rate = row(kBeta, b, t)[in[kBeta].shape[2] == 1 ? 0 : h];
          for (double& u : update) u *= rate;
        }
        for (std::int64_t i = 0; i < size; ++i)
          for (std::int64_t j = 0; j < width; ++j) state[at(i * width + j)] += key[i] * update[at(j)];
        if (!is_given(out, 0)) continue;
        for (std::int64_t q = h * shared; q < (h + 1) * shared; ++q) {
          const float* query = row(kQueries, b, t) + q * size;
          float* y = out[0].as<float>() + ((b * steps + t) * op.q_num_heads + q) * width;
          for (std::int64_t j = 0; j < width; ++j) {
            double sum = 0;
            for (std::int64_t i = 0; i < size; ++i) sum += query[i] * state[at(i * width + j)];
            y[j] = static_cast<float>(scale * sum);
          }
        }
      }
      if (is_given(out, 1))
        std::ranges::transform(state, out[1].as<float>() + start, [](double s) { return static_cast<float>(s); });
    }
}

// ---- CausalConvWithState

Outputs infer_causal(const Inputs& in) {
  Outputs outputs(in.node.outputs.size(), real({}));
  outputs[0] = real(in.shape(0));
  if (!in.shape(0) || !in.shape(1)) return outputs;
  const Shape &x = *in.shape(0), &w = *in.shape(1);
  check(x.size() == 3 && w.size() == 3, "input and weight have shapes {} and {}, expected 3 axes", to_string(x),
        to_string(w));
  check(w[2] != 0, "weight has shape {}, an empty kernel", to_string(w));
  const Shape state{x[0], x[1], is_unknown(w[2]) ? kDynamic : w[2] - 1};
  expect_shape(in, 1, "weight", {x[1], 1, w[2]});
  expect_shape(in, 2, "bias", {x[1]});
  expect_shape(in, 3, "past_state", state);
  if (outputs.size() > 1) outputs[1].shape = state;
  return outputs;
}

void causal_conv(const Node& node, std::span<const TensorView> in, std::span<const TensorView> out) {
  const bool silu = std::get<CausalConvWithState>(node.op).silu;
  const std::int64_t channels = in[0].shape[1], length = in[0].shape[2], kernel = in[1].shape[2], kept = kernel - 1;
  for (std::int64_t row = 0; row < in[0].shape[0] * channels; ++row) {
    const float* x = in[0].as<float>() + row * length;
    const float* w = in[1].as<float>() + row % channels * kernel;
    const float* past = is_given(in, 3) ? in[3].as<float>() + row * kept : nullptr;
    /// Element i of the past followed by the input.
    const auto element = [&](std::int64_t i) { return i >= kept ? x[i - kept] : past != nullptr ? past[i] : 0.0F; };
    for (std::int64_t t = 0; t < length && is_given(out, 0); ++t) {
      double sum = is_given(in, 2) ? in[2].as<float>()[row % channels] : 0.0;
      for (std::int64_t k = 0; k < kernel; ++k) sum += static_cast<double>(w[k]) * element(t + k);
      out[0].as<float>()[row * length + t] = static_cast<float>(silu ? sum / (1 + std::exp(-sum)) : sum);
    }
    for (std::int64_t i = 0; i < kept && is_given(out, 1); ++i)
      out[1].as<float>()[row * kept + i] = element(length + i);
  }
}

std::int64_t causal_macs(const Node&, std::span<const Shape> in, std::span<const Shape>) {
  return in.size() > 1 && in[1].size() == 3 ? product(in[0]) * in[1][2] : 0;
}

}  // namespace

std::vector<OperatorInfo> state_operators() {
  const auto optional = [](std::string_view name, char group) {
    return Slot{name, kReal, group, Presence::optional, Use::parameter};
  };
  return {
      {.name = "LinearAttention",
       .since = 27,
       .prototype = LinearAttention{},
       .inputs = {{"query", kReal, 'T'},
                  {"key", kReal, 'T'},
                  {"value", kReal, 'T'},
                  optional("past_state", 'S'),
                  optional("decay", 'T'),
                  optional("beta", 'T')},
       .outputs = {{"output", kReal, 'T'}, {"present_state", kReal, 'S'}},
       .fields = {field("chunk_size", &LinearAttention::chunk_size),
                  required(field("kv_num_heads", &LinearAttention::kv_num_heads, kPositive)),
                  required(field("q_num_heads", &LinearAttention::q_num_heads, kPositive)),
                  field("scale", &LinearAttention::scale),
                  field("update_rule", &LinearAttention::rule,
                        std::vector<Word<LinearAttentionRule>>{{"linear", LinearAttentionRule::linear},
                                                               {"gated", LinearAttentionRule::gated},
                                                               {"delta", LinearAttentionRule::delta},
                                                               {"gated_delta", LinearAttentionRule::gated_delta}})},
       .infer = infer_linear,
       .evaluate = linear_attention},
      {.name = "CausalConvWithState",
       .since = 27,
       .prototype = CausalConvWithState{},
       .inputs = {{"input", kReal, 'T'},
                  {"weight", kReal, 'T', Presence::required, Use::parameter},
                  optional("bias", 'T'),
                  optional("past_state", 'T')},
       .outputs = {{"output", kReal, 'T'}, {"present_state", kReal, 'T'}},
       .fields = {field("activation", &CausalConvWithState::silu,
                        std::vector<Word<bool>>{{"none", false}, {"silu", true}, {"swish", true}})},
       .infer = infer_causal,
       .evaluate = causal_conv,
       .macs = causal_macs},
  };
}

}  // namespace bitfold::ops
