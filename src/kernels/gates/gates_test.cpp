#include "kernels/gates/gates.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <functional>
#include <limits>
#include <random>
#include <vector>

namespace bitfold {
namespace {

double sigmoid(double x) { return 1 / (1 + std::exp(-x)); }

/// Four gates of sums, a state, and a word past the end of every output that must not change.
struct Row {
  std::int64_t n;
  std::vector<float> input, state, peepholes, h, c, reset, update;

  explicit Row(std::int64_t hidden) : n(hidden) {
    std::mt19937 random(static_cast<unsigned>(hidden));
    for (auto* v : {&input, &state, &peepholes, &h, &c, &reset, &update}) {
      v->resize(static_cast<std::size_t>(4 * n + 1));
      for (float& x : *v) x = std::uniform_real_distribution<float>(-3, 3)(random);
    }
  }
  GateRow row() {
    return {.hidden = n,
            .input = input.data(),
            .state = state.data(),
            .h = h.data(),
            .c = c.data(),
            .reset = reset.data(),
            .update = update.data(),
            .clip = std::numeric_limits<float>::infinity()};
  }
  double sum(std::int64_t gate, std::int64_t i) const {
    const auto at = static_cast<std::size_t>(gate * n + i);
    return static_cast<double>(input[at]) + state[at];
  }
};

class Gates : public ::testing::TestWithParam<int> {
 protected:
  void for_each_size(const std::function<void(Row&)>& test) const {
    if (GetParam() > static_cast<int>(detected_isa())) GTEST_SKIP();
    for (std::int64_t n : {1, 3, 4, 8, 15, 16, 17, 37}) {
      SCOPED_TRACE(n);
      Row row(n);
      test(row);
    }
  }
  const GateKernels& kernels() const { return gate_kernels(static_cast<Isa>(GetParam())); }
};

TEST_P(Gates, of_an_lstm_equal_their_definition) {
  for_each_size([&](Row& r) {
    const Row before = r;
    GateRow row = r.row();
    row.peepholes = r.peepholes.data();
    row.clip = 2;
    kernels().lstm(row);
    for (std::int64_t i = 0; i < r.n; ++i) {
      const auto at = static_cast<std::size_t>(i);
      const auto clip = [](double x) { return std::clamp(x, -2.0, 2.0); };
      const auto peep = [&](std::int64_t gate) { return before.peepholes[static_cast<std::size_t>(gate * r.n + i)]; };
      const double in = sigmoid(clip(before.sum(0, i) + peep(0) * before.c[at])),
                   forget = sigmoid(clip(before.sum(2, i) + peep(2) * before.c[at])),
                   c = forget * before.c[at] + in * std::tanh(clip(before.sum(3, i))),
                   out = sigmoid(clip(before.sum(1, i) + peep(1) * c));
      EXPECT_NEAR(r.c[at], c, 2e-6);
      EXPECT_NEAR(r.h[at], out * std::tanh(c), 2e-6);
    }
    EXPECT_EQ(r.h[static_cast<std::size_t>(r.n)], before.h[static_cast<std::size_t>(r.n)]);
    EXPECT_EQ(r.c[static_cast<std::size_t>(r.n)], before.c[static_cast<std::size_t>(r.n)]);
  });
}

TEST_P(Gates, of_a_gru_equal_their_definition) {
  for_each_size([&](Row& r) {
    const Row before = r;
    GateRow row = r.row();
    row.reset_bias = r.peepholes.data();
    kernels().gru_linear(row);
    Row split = before;
    kernels().gru_gates(split.row());
    for (std::int64_t i = 0; i < r.n; ++i) {
      const auto at = static_cast<std::size_t>(i), hidden = static_cast<std::size_t>(2 * r.n + i);
      const double update = sigmoid(before.sum(0, i)), reset = sigmoid(before.sum(1, i));
      const double inner = std::tanh(before.input[hidden] + reset * (before.state[hidden] + before.peepholes[at]));
      EXPECT_NEAR(r.h[at], (1 - update) * inner + update * before.h[at], 2e-6);
      EXPECT_NEAR(split.update[at], update, 2e-6);
      EXPECT_NEAR(split.reset[at], reset * before.h[at], 2e-6);
    }
    const Row gated = split;
    kernels().gru_state(split.row());
    for (std::int64_t i = 0; i < r.n; ++i) {
      const auto at = static_cast<std::size_t>(i);
      const double inner =
          std::tanh(static_cast<double>(gated.input[static_cast<std::size_t>(2 * r.n + i)]) + gated.state[at]);
      EXPECT_NEAR(split.h[at], (1 - gated.update[at]) * inner + gated.update[at] * gated.h[at], 2e-6);
    }
    EXPECT_EQ(split.h[static_cast<std::size_t>(r.n)], before.h[static_cast<std::size_t>(r.n)]);
  });
}

TEST_P(Gates, of_an_rnn_saturate_and_keep_nan) {
  for_each_size([&](Row& r) {
    std::fill(r.state.begin(), r.state.end(), 0.0F);
    for (float x : {1e30F, std::numeric_limits<float>::infinity()}) {
      std::fill(r.input.begin(), r.input.end(), x);
      kernels().rnn(r.row());
      EXPECT_EQ(r.h[0], 1);
    }
    std::fill(r.input.begin(), r.input.end(), std::numeric_limits<float>::quiet_NaN());
    kernels().rnn(r.row());
    EXPECT_TRUE(std::isnan(r.h[0]));
  });
}

INSTANTIATE_TEST_SUITE_P(EveryIsa, Gates, ::testing::Range(0, static_cast<int>(Isa::amx) + 1));

}  // namespace
}  // namespace bitfold
