// RNN, GRU and LSTM. Expected numbers are those of ONNX Runtime 1.32.
#include "op_testing.h"

namespace bitfold::testing {
namespace {

/// start, start + step, ...
Tensor ramp(Shape shape, float step, float start) {
  Tensor t(DataType::float32, std::move(shape));
  float i = 0;
  for (float& x : t.mutable_data<float>()) x = start + step * i++;
  return t;
}
Tensor int32s(const std::vector<std::int32_t>& values) {
  return Tensor::from<std::int32_t>({static_cast<std::int64_t>(values.size())}, values);
}

/// Three steps of two samples of one number.
const Tensor kX = floats({3, 2, 1}, {1, 2, -1, 0.5F, 3, 1});
const Tensor kH = floats({1, 2, 1}, {0.5F, -0.5F}), kC = floats({1, 2, 1}, {0.25F, 1});

/// If `lengths` is empty, the input is absent.
Inputs lstm_inputs(const std::vector<std::int32_t>& lengths) {
  Inputs inputs{
      kX, ramp({1, 4, 1}, 0.3F, -0.3F),       ramp({1, 4, 1}, 0.2F, -0.2F), ramp({1, 8}, 0.05F, -0.05F), {}, kH,
      kC, floats({1, 3}, {0.1F, -0.2F, 0.3F})};
  if (!lengths.empty()) inputs[4] = int32s(lengths);
  return inputs;
}
Inputs gru_inputs(const std::vector<std::int32_t>& lengths) {
  return {kX, ramp({1, 3, 1}, 0.3F, -0.3F), ramp({1, 3, 1}, 0.2F, -0.2F), ramp({1, 6}, 0.05F, -0.05F), int32s(lengths),
          kH};
}

void expect_outputs(const Op& op, const Inputs& inputs, const std::vector<Tensor>& expected) {
  const std::vector<Tensor> outputs = run_op(op, inputs, static_cast<int>(expected.size()));
  for (std::size_t i = 0; i < expected.size(); ++i) {
    SCOPED_TRACE(i);
    expect_equal(outputs[i], expected[i]);
  }
}

TEST(Lstm, stops_at_the_end_of_each_sequence) {
  expect_outputs(Recurrent{RecurrentKind::lstm}, lstm_inputs({3, 1}),
                 {floats({3, 1, 2, 1}, {0.25447273F, 0.39985549F, 0.12402061F, 0, 0.23754941F, 0}),
                  floats({1, 2, 1}, {0.23754941F, 0.39985549F}), floats({1, 2, 1}, {0.48713651F, 1.12702811F})});
}

TEST(Lstm, in_reverse_begins_at_the_end_of_each_sequence) {
  expect_outputs(Recurrent{RecurrentKind::lstm, Direction::reverse}, lstm_inputs({3, 1}),
                 {floats({3, 1, 2, 1}, {0.23760483F, 0.39985549F, 0.10945257F, 0, 0.23826973F, 0}),
                  floats({1, 2, 1}, {0.23760483F, 0.39985549F}), floats({1, 2, 1}, {0.48727655F, 1.12702811F})});
}

TEST(Lstm, clips_the_inputs_of_its_gates) {
  Recurrent op{RecurrentKind::lstm};
  op.clip = 0.2F;
  expect_outputs(op, lstm_inputs({}),
                 {floats({3, 1, 2, 1}, {0.11985315F, 0.29218668F, 0.01938319F, 0.2215734F, 0.05873895F, 0.17223299F}),
                  floats({1, 2, 1}, {0.05873895F, 0.17223299F}), floats({1, 2, 1}, {0.10830491F, 0.33501232F})});
}

TEST(Lstm, couples_the_input_and_forget_gates) {
  Recurrent op{RecurrentKind::lstm};
  op.input_forget = true;
  expect_outputs(op, lstm_inputs({}),
                 {floats({3, 1, 2, 1}, {0.24336196F, 0.37197133F, 0.07549937F, 0.34427294F, 0.20106494F, 0.34327117F}),
                  floats({1, 2, 1}, {0.20106494F, 0.34327117F}), floats({1, 2, 1}, {0.39932287F, 0.81860924F})});
}

TEST(Lstm, gives_zeros_for_an_empty_sequence) {
  expect_outputs(Recurrent{RecurrentKind::lstm}, lstm_inputs({2, 0}),
                 {floats({3, 1, 2, 1}, {0.25447273F, 0, 0.12402061F, 0, 0, 0}), floats({1, 2, 1}, {0.12402061F, 0}),
                  floats({1, 2, 1}, {0.23465304F, 0})});
}

TEST(Lstm, with_the_batch_first_gives_the_same_numbers) {
  Recurrent op{RecurrentKind::lstm};
  op.batch_first = true;
  Inputs inputs = lstm_inputs({3, 1});
  inputs[0] = floats({2, 3, 1}, {1, -1, 3, 2, 0.5F, 1});
  inputs[5] = floats({2, 1, 1}, {0.5F, -0.5F});
  inputs[6] = floats({2, 1, 1}, {0.25F, 1});
  expect_outputs(op, inputs,
                 {floats({2, 3, 1, 1}, {0.25447273F, 0.12402061F, 0.23754941F, 0.39985549F, 0, 0}),
                  floats({2, 1, 1}, {0.23754941F, 0.39985549F}), floats({2, 1, 1}, {0.48713651F, 1.12702811F})});
}

TEST(Lstm, refuses_a_length_beyond_the_input) {
  try {
    run_op(Recurrent{RecurrentKind::lstm}, lstm_inputs({3, 4}), 3);
    ADD_FAILURE() << "nothing was thrown";
  } catch (const Error& error) {
    const std::string message = error.what();
    EXPECT_NE(message.find("[LSTM 'n'] sequence 1 has length 4, but the input has 3 steps"), std::string::npos)
        << message;
  }
}

TEST(Lstm, refuses_weights_of_another_shape_by_name) {
  Inputs inputs = lstm_inputs({});
  inputs[2] = ramp({1, 4, 2}, 0.2F, 0);
  try {
    run_op(Recurrent{RecurrentKind::lstm}, inputs, 3);
    ADD_FAILURE() << "nothing was thrown";
  } catch (const Error& error) {
    EXPECT_NE(std::string(error.what()).find("[LSTM 'n'] W has shape"), std::string::npos) << error.what();
  }
}

TEST(Gru, multiplies_its_state_by_the_reset_gate_first) {
  expect_outputs(Recurrent{RecurrentKind::gru}, gru_inputs({3, 1}),
                 {floats({3, 1, 2, 1}, {0.52329326F, 0.20952553F, 0.29632503F, 0, 0.67535388F, 0}),
                  floats({1, 2, 1}, {0.67535388F, 0.20952553F})});
}

TEST(Gru, multiplies_by_the_reset_gate_after_the_product_if_linear_before_reset) {
  Recurrent op{RecurrentKind::gru};
  op.linear_before_reset = true;
  expect_outputs(op, gru_inputs({3, 1}),
                 {floats({3, 1, 2, 1}, {0.48293072F, 0.17581779F, 0.23241279F, 0, 0.63134646F, 0}),
                  floats({1, 2, 1}, {0.63134646F, 0.17581779F})});
  op.clip = 0.1F;
  expect_outputs(op, gru_inputs({3, 1}),
                 {floats({3, 1, 2, 1}, {0.28983402F, -0.1851868F, 0.10481246F, 0, 0.10211171F, 0}),
                  floats({1, 2, 1}, {0.10211171F, -0.1851868F})});
}

TEST(Rnn, runs_forward_and_backward_with_their_own_activations) {
  Recurrent op{RecurrentKind::rnn, Direction::bidirectional};
  op.activations = {"Affine", "LeakyRelu"};
  op.activation_alpha = {0.5F, 0.1F};
  op.activation_beta = {0.25F};
  expect_outputs(op,
                 {kX, floats({2, 1, 1}, {0.3F, 0.6F}), floats({2, 1, 1}, {0.2F, 0.4F}),
                  floats({2, 2}, {0.05F, 0.1F, 0.15F, 0.2F}), int32s({3, 1})},
                 {floats({3, 2, 2, 1}, {0.475F, 0.625F, 1.194F, 1.55F, 0.2225F, 0, 0.61F, 0, 0.79725F, 0, 2.15F, 0}),
                  floats({2, 2, 1}, {0.79725F, 0.625F, 1.194F, 1.55F})});
}

// x = 1, w = 1, no state: the activation of 1 and of -1.
TEST(Rnn, applies_every_activation) {
  const auto of = [](const std::string& name, std::vector<float> alpha, std::vector<float> beta) {
    Recurrent op{RecurrentKind::rnn};
    op.activations = {name};
    op.activation_alpha = std::move(alpha);
    op.activation_beta = std::move(beta);
    return run_op(op, {floats({1, 2, 1}, {1, -1}), floats({1, 1, 1}, {1}), floats({1, 1, 1}, {0})})[0];
  };
  const auto y = [](float a, float b) { return floats({1, 1, 2, 1}, {a, b}); };
  expect_equal(of("Relu", {}, {}), y(1, 0));
  expect_equal(of("tanh", {}, {}), y(0.76159416F, -0.76159416F));
  expect_equal(of("Sigmoid", {}, {}), y(0.73105858F, 0.26894142F));
  expect_equal(of("Affine", {2}, {3}), y(5, 1));
  expect_equal(of("LeakyRelu", {}, {}), y(1, -0.01F));
  expect_equal(of("ThresholdedRelu", {0.5F}, {}), y(1, 0));
  expect_equal(of("ScaledTanh", {2}, {0.5F}), y(0.92423432F, -0.92423432F));
  expect_equal(of("HardSigmoid", {}, {}), y(0.7F, 0.3F));
  expect_equal(of("Elu", {2}, {}), y(1, -1.26424112F));
  expect_equal(of("Softsign", {}, {}), y(0.5F, -0.5F));
  expect_equal(of("Softplus", {}, {}), y(1.31326169F, 0.31326169F));
  EXPECT_THROW(of("Sine", {}, {}), Error);
}

}  // namespace
}  // namespace bitfold::testing
