// Attention, rotary embeddings, LinearAttention and CausalConvWithState. Expected numbers are computed by hand or, for
// Attention, by ONNX Runtime 1.32.
#include "op_testing.h"

namespace bitfold::testing {
namespace {

Tensor ramp(Shape shape, float step, float start) {
  Tensor t = iota(std::move(shape));
  for (float& x : t.mutable_data<float>()) x = start + step * (x - 1);
  return t;
}

/// Two heads of queries share one head of three keys and values.
const Tensor kQ = ramp({1, 2, 2, 2}, 0.25F, -0.5F), kK = ramp({1, 1, 3, 2}, 0.5F, -1), kV = ramp({1, 1, 3, 1}, 1, 1);

TEST(Attention, caps_the_scores_then_masks_them) {
  Attention op{.softcap = 0.5F};
  const Inputs inputs{kQ, kK, kV, booleans({2, 3}, {1, 1, 0, 0, 1, 1})};
  const std::vector<std::pair<AttentionScores, std::vector<float>>> stages{
      {AttentionScores::scaled,
       {0.4419418F, -0.0883883F, -0.6187184F, -0.0883883F, 0.0883883F, 0.265165F, -0.6187184F, 0.265165F, 1.1490484F,
        -1.1490484F, 0.4419418F, 2.0329321F}},
      {AttentionScores::capped,
       {0.3541798F, -0.087479F, -0.4223615F, -0.087479F, 0.087479F, 0.2428167F, -0.4223615F, 0.2428167F, 0.4900106F,
        -0.4900106F, 0.3541798F, 0.499706F}},
      {AttentionScores::masked,
       {0.3541798F, -0.087479F, -kInfinity, -kInfinity, 0.087479F, 0.2428167F, -0.4223615F, 0.2428167F, -kInfinity,
        -kInfinity, 0.3541798F, 0.499706F}},
      {AttentionScores::softmax,
       {0.6086542F, 0.3913458F, 0, 0, 0.4612434F, 0.5387565F, 0.3395774F, 0.6604227F, 0, 0, 0.4636826F, 0.5363175F}}};
  for (const auto& [stage, scores] : stages) {
    op.scores = stage;
    const std::vector<Tensor> outputs = run_op(op, inputs, 4);
    expect_equal(outputs[0], floats({1, 2, 2, 1}, {1.3913458F, 2.5387565F, 1.6604227F, 2.5363175F}));
    expect_equal(outputs[1], kK);
    expect_equal(outputs[2], kV);
    expect_equal(outputs[3], floats({1, 2, 2, 3}, scores));
  }
}

TEST(Attention, appends_keys_and_values_to_the_past) {
  const Tensor k = ramp({1, 1, 2, 2}, 0.5F, -1), v = ramp({1, 1, 2, 1}, 1, 1);
  const std::vector<Tensor> outputs = run_op(
      Attention{.is_causal = true}, {kQ, k, v, {}, floats({1, 1, 1, 2}, {1, 1.5F}), floats({1, 1, 1, 1}, {3})}, 3);
  expect_equal(outputs[0], floats({1, 2, 2, 1}, {1.5143666F, 2.1172414F, 2.7083592F, 2.7697363F}));
  expect_equal(outputs[1], floats({1, 1, 3, 2}, {1, 1.5F, -1, -0.5F, 0, 0.5F}));
  expect_equal(outputs[2], floats({1, 1, 3, 1}, {3, 1, 2}));
}

TEST(Attention, ends_at_the_number_of_valid_keys) {
  expect_op(Attention{.is_causal = true}, {kQ, kK, kV, {}, {}, {}, int64s({2})},
            floats({1, 2, 2, 1}, {1, 1.5440793F, 1, 1.830755F}));
  expect_op_error(Attention{}, {kQ, kK, kV, {}, {}, {}, int64s({4})},
                  "[Attention 'n'] nonpad_kv_seqlen of sample 0 is 4, but there are 3 keys");
}

// Equal scores, so that y is the mean of the values that are visible.
TEST(Attention, looks_through_a_window) {
  const Tensor zeros(DataType::float32, {1, 1, 4, 1}), values = floats({1, 1, 4, 1}, {1, 2, 4, 8});
  Attention op{.left_window_size = 1};
  expect_op(op, {zeros, zeros, values}, floats({1, 1, 4, 1}, {3.75F, 3.75F, 14.0F / 3, 6}));
  op.right_window_size = 0;
  expect_op(op, {zeros, zeros, values}, floats({1, 1, 4, 1}, {1, 1.5F, 3, 6}));
}

TEST(Attention, gives_zeros_for_a_query_without_keys) {
  const Tensor zeros(DataType::float32, {1, 1, 2, 1});
  expect_op(Attention{}, {zeros, zeros, floats({1, 1, 2, 1}, {1, 3}), booleans({2, 2}, {0, 0, 1, 1})},
            floats({1, 1, 2, 1}, {0, 2}));
}

TEST(Attention, leaves_out_keys_past_the_end_of_the_mask) {
  const Tensor zeros(DataType::float32, {1, 1, 2, 1});
  expect_op(Attention{}, {zeros, zeros, floats({1, 1, 2, 1}, {1, 3}), floats({2, 1}, {0, 5})},
            floats({1, 1, 2, 1}, {1, 1}));
}

TEST(Attention, splits_columns_into_heads) {
  const Attention op{.q_num_heads = 2, .kv_num_heads = 1};
  // kQ as [batch, length, heads * size]
  expect_op(op,
            {floats({1, 2, 4}, {-0.5F, -0.25F, 0.5F, 0.75F, 0, 0.25F, 1, 1.25F}),
             floats({1, 3, 2}, {-1, -0.5F, 0, 0.5F, 1, 1.5F}), floats({1, 3, 1}, {1, 2, 3})},
            floats({1, 2, 2}, {1.6620697F, 2.523576F, 2.1172414F, 2.7697365F}));
  expect_op_error(Attention{.q_num_heads = 3, .kv_num_heads = 1}, {iota({1, 2, 4}), iota({1, 2, 2}), iota({1, 2, 2})},
                  "Q has 4 columns, which cannot be divided equally among 3 heads");
}

TEST(RotaryEmbedding, rotates_halves_or_neighbours) {
  // Quarter turns at position 1; position 0 does not turn.
  const Tensor cosine = floats({2, 2}, {1, 1, 0, 0}), sine = floats({2, 2}, {0, 0, 1, 1});
  const Tensor x = floats({1, 1, 2, 4}, {1, 2, 3, 4, 1, 2, 3, 4});
  const Inputs inputs{x, cosine, sine, int64s({1, 2}, {0, 1})};
  expect_op(RotaryEmbedding{}, inputs, floats({1, 1, 2, 4}, {1, 2, 3, 4, -3, -4, 1, 2}));
  expect_op(RotaryEmbedding{.interleaved = true}, inputs, floats({1, 1, 2, 4}, {1, 2, 3, 4, -2, 1, -4, 3}));
  expect_op(RotaryEmbedding{.rotary_size = 2}, {x, floats({1, 2, 1}, {0, 1}), floats({1, 2, 1}, {1, 0})},
            floats({1, 1, 2, 4}, {-2, 1, 3, 4, 1, 2, 3, 4}));
  expect_op(RotaryEmbedding{.num_heads = 2},
            {floats({1, 1, 4}, {1, 2, 3, 4}), floats({2, 1}, {1, 0}), floats({2, 1}, {0, 1}), int64s({1, 1}, {1})},
            floats({1, 1, 4}, {-2, 1, -4, 3}));
}

TEST(RotaryEmbedding, refuses_a_position_outside_its_tables) {
  expect_op_error(RotaryEmbedding{}, {iota({1, 1, 1, 2}), iota({2, 1}), iota({2, 1}), int64s({1, 1}, {2})},
                  "[RotaryEmbedding 'n'] position 0 of sample 0 is 2, but the tables have 2 rows");
}

TEST(LinearAttention, follows_its_update_rules) {
  const Tensor q = floats({1, 2, 1}, {1, 1}), k = floats({1, 2, 1}, {2, 1}), v = floats({1, 2, 1}, {3, 5});
  const Tensor half = floats({1, 2, 1}, {-0.69314718F, -0.69314718F}), rate = floats({1, 2, 1}, {0.5F, 0.5F});
  const Tensor past = floats({1, 1, 1, 1}, {4});
  const auto run = [&](LinearAttentionRule rule, std::optional<Tensor> decay, std::optional<Tensor> beta) {
    return run_op(LinearAttention{.q_num_heads = 1, .kv_num_heads = 1, .scale = 2, .rule = rule},
                  {q, k, v, past, std::move(decay), std::move(beta)}, 2);
  };
  const auto expect = [](const std::vector<Tensor>& outputs, float first, float second) {
    expect_equal(outputs[0], floats({1, 2, 1}, {2 * first, 2 * second}));
    expect_equal(outputs[1], floats({1, 1, 1, 1}, {second}));
  };
  expect(run(LinearAttentionRule::linear, {}, {}), 10, 15);
  expect(run(LinearAttentionRule::gated, half, {}), 8, 9);
  expect(run(LinearAttentionRule::delta, {}, rate), -1, 2);
  expect(run(LinearAttentionRule::gated_delta, half, rate), 1, 2.75F);
}

TEST(CausalConvWithState, continues_where_the_last_call_ended) {
  const Tensor w = floats({1, 1, 3}, {1, 10, 100}), bias = floats({1}, {0.5F});
  const std::vector<Tensor> first = run_op(CausalConvWithState{}, {floats({1, 1, 3}, {1, 2, 3}), w, bias}, 2);
  expect_equal(first[0], floats({1, 1, 3}, {100.5F, 210.5F, 321.5F}));
  expect_equal(first[1], floats({1, 1, 2}, {2, 3}));
  const std::vector<Tensor> second = run_op(CausalConvWithState{}, {floats({1, 1, 1}, {4}), w, bias, first[1]}, 2);
  expect_equal(second[0], floats({1, 1, 1}, {432.5F}));
  expect_equal(second[1], floats({1, 1, 2}, {3, 4}));
  expect_op(CausalConvWithState{.silu = true}, {floats({1, 1, 1}, {1}), floats({1, 1, 1}, {1})},
            floats({1, 1, 1}, {0.73105858F}));
}

}  // namespace
}  // namespace bitfold::testing
