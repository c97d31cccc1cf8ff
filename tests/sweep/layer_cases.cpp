// Convolutions, matrix products, normalizations and pools: with one channel, odd sizes, sizes one above a tile, and
// empty batches.
#include "sweep/case.h"

namespace bitfold::testing {
namespace {

Window window(std::vector<std::int64_t> kernel, std::int64_t stride = 1, std::int64_t pad = 0,
              std::int64_t dilation = 1) {
  const std::size_t n = kernel.size();
  return {std::move(kernel), std::vector<std::int64_t>(n, stride), std::vector<std::int64_t>(n, dilation),
          std::vector<std::int64_t>(2 * n, pad)};
}

void add_convolutions(std::vector<Case>& cases) {
  const auto add = [&](Shape x, Shape w, Window win, std::int64_t group, bool has_bias, bool has_constant_weights) {
    double terms = static_cast<double>(w[1]) + 1;
    for (std::size_t i = 2; i < w.size(); ++i) terms *= static_cast<double>(w[i]);
    const std::int64_t channels = w[0];
    std::vector<Operand> inputs{data(std::move(x)), constant(std::move(w))};
    inputs[1].is_constant = has_constant_weights;
    if (has_bias) inputs.push_back(constant({channels}));
    cases.push_back({.op = Conv{std::move(win), group}, .inputs = std::move(inputs), .terms = terms, .term = 4});
  };
  add({1, 1, 1, 1}, {1, 1, 1, 1}, window({1, 1}), 1, false, true);
  add({2, 3, 7, 5}, {17, 3, 3, 3}, window({3, 3}, 1, 1), 1, true, true);
  add({1, 33, 9, 9}, {33, 33, 3, 3}, window({3, 3}, 2, 1), 1, true, true);
  add({1, 17, 6, 6}, {17, 1, 3, 3}, window({3, 3}, 1, 1), 17, true, true);
  add({1, 6, 6, 6}, {4, 3, 3, 3}, window({3, 3}, 1, 2, 2), 2, false, true);
  add({1, 3, 7, 5}, {4, 3, 3, 3}, window({3, 3}, 1, 1), 1, true, false);
  add({0, 3, 7, 5}, {4, 3, 3, 3}, window({3, 3}, 1, 1), 1, true, true);
  add({2, 3, 9}, {4, 3, 3}, window({3}, 2, 1), 1, true, true);
  add({1, 2, 3, 4, 5}, {3, 2, 2, 2, 2}, window({2, 2, 2}), 1, true, true);

  const auto add_transposed = [&](Shape x, Shape w, Window win, std::int64_t group, bool has_constant_weights) {
    double terms = static_cast<double>(w[0]) + 1;
    for (std::size_t i = 2; i < w.size(); ++i) terms *= static_cast<double>(w[i]);
    const std::int64_t channels = w[1] * group;
    std::vector<Operand> inputs{data(std::move(x)), constant(std::move(w)), constant({channels})};
    inputs[1].is_constant = has_constant_weights;
    cases.push_back(
        {.op = ConvTranspose{std::move(win), group, {}, {}}, .inputs = std::move(inputs), .terms = terms, .term = 4});
  };
  add_transposed({1, 1, 1, 1}, {1, 1, 1, 1}, window({1, 1}), 1, true);
  add_transposed({2, 3, 5, 3}, {3, 17, 3, 3}, window({3, 3}, 2, 1), 1, true);
  add_transposed({1, 4, 5, 3}, {4, 3, 2, 2}, window({2, 2}, 2), 2, true);
  add_transposed({0, 3, 5, 3}, {3, 4, 3, 3}, window({3, 3}), 1, true);
  add_transposed({1, 3, 5, 3}, {3, 4, 3, 3}, window({3, 3}), 1, false);
  add_transposed({1, 3, 5}, {3, 4, 3}, window({3}, 2), 1, true);
}

void add_products(std::vector<Case>& cases) {
  const auto gemm = [&](std::int64_t m, std::int64_t k, std::int64_t n, Gemm op, std::optional<Shape> c,
                        bool has_constant_weights) {
    std::vector<Operand> inputs{data(op.trans_a ? Shape{k, m} : Shape{m, k}),
                                constant(op.trans_b ? Shape{n, k} : Shape{k, n})};
    inputs[1].is_constant = has_constant_weights;
    if (c) inputs.push_back(constant(*c));
    cases.push_back({.op = op, .inputs = std::move(inputs), .terms = static_cast<double>(k) + 1, .term = 8});
  };
  gemm(1, 1, 1, {}, {}, true);
  gemm(3, 7, 5, {}, Shape{5}, true);
  gemm(17, 33, 65, {.trans_b = true}, Shape{65}, true);
  gemm(2, 9, 5, {.alpha = 0.5F, .beta = 2, .trans_a = true}, Shape{2, 1}, true);
  gemm(2, 9, 5, {.alpha = 0.5F, .beta = 2, .trans_b = true}, Shape{}, false);
  gemm(0, 7, 5, {}, Shape{5}, true);

  const auto matmul = [&](Shape a, Shape b, bool has_constant_weights) {
    const auto depth = static_cast<double>(a.back());
    std::vector<Operand> inputs{data(std::move(a)), constant(std::move(b))};
    inputs[1].is_constant = has_constant_weights;
    cases.push_back({.op = MatMul{}, .inputs = std::move(inputs), .terms = depth, .term = 4});
  };
  for (bool is_constant : {true, false}) {
    matmul({1, 1}, {1, 1}, is_constant);
    matmul({3, 7}, {7, 5}, is_constant);
    matmul({17, 33}, {33, 65}, is_constant);
    matmul({2, 3, 5, 7}, {2, 3, 7, 4}, is_constant);
    matmul({2, 1, 5, 7}, {3, 7, 4}, is_constant);
    matmul({7}, {7, 5}, is_constant);
    matmul({3, 7}, {7}, is_constant);
    matmul({7}, {7}, is_constant);
    matmul({0, 7}, {7, 5}, is_constant);
    matmul({2, 0}, {0, 3}, is_constant);
  }
}

/// A normalized element is a few units large, and its error grows with the number of elements averaged.
void add_normalizations(std::vector<Case>& cases) {
  const auto add = [&](Op op, Shape x, std::vector<Operand> parameters, double terms) {
    parameters.insert(parameters.begin(), data(std::move(x)));
    cases.push_back({.op = std::move(op), .inputs = std::move(parameters), .terms = terms, .term = 4});
  };
  const std::vector<Shape> images{{1, 1, 1, 1}, {2, 3, 5, 7}, {1, 17, 3, 3}, {0, 3, 5, 7}, {2, 6, 9}, {2, 3, 2, 2, 3}};
  for (const Shape& x : images) {
    const Shape c{x[1]};
    for (bool is_constant : {true, false}) {
      std::vector<Operand> four{constant(c), constant(c), constant(c), constant(c, 0.25, 4)};
      for (Operand& operand : four) operand.is_constant = is_constant;
      add(BatchNorm{}, x, four, 4);
    }
    if (x != Shape{1, 1, 1, 1}) add(InstanceNorm{}, x, {constant(c), constant(c)}, 16);
    if (x[1] % 3 == 0) {
      add(GroupNorm{.num_groups = 3}, x, {constant(c), constant(c)}, 16);
      add(GroupNorm{.num_groups = 1, .epsilon = 0.01F}, x, {constant(c), data(c)}, 32);
    }
    add(Lrn{.size = 3, .alpha = 0.1F}, x, {}, 4);
  }
  add(BatchNorm{}, {5, 3}, {constant({3}), constant({3}), constant({3}), constant({3}, 0.25, 4)}, 4);
  for (const Shape& x : std::vector<Shape>{{2, 5}, {3, 4, 17}, {0, 5}, {7}}) {
    const Shape last{x.back()};
    add(LayerNorm{}, x, {constant(last), constant(last)}, 16);
    add(LayerNorm{}, x, {data(last)}, 16);
    add(LayerNorm{.axis = 0}, x, {constant(x), constant(x)}, 64);
  }
  for (bool log : {false, true})
    for (const Shape& x : std::vector<Shape>{{1}, {2, 5}, {3, 4, 17}, {2, 3, 5, 7}, {0, 5}}) {
      add(Softmax{.axis = -1, .log = log}, x, {}, 8);
      add(Softmax{.axis = 0, .log = log}, x, {}, 8);
      if (x.size() > 1) add(Softmax{.axis = 1, .log = log, .flattened = true}, x, {}, 8);
    }
}

void add_pools(std::vector<Case>& cases) {
  for (PoolKind kind : {PoolKind::max, PoolKind::average}) {
    const auto add = [&](Shape x, Window win, bool ceil_mode = false, bool count_include_pad = false) {
      const Pool op{kind, std::move(win), ceil_mode, count_include_pad};
      cases.push_back({.op = op, .inputs = {data(std::move(x))}, .terms = 9, .term = 4});
    };
    add({1, 1, 1, 1}, window({1, 1}));
    add({2, 3, 6, 8}, window({2, 2}, 2));
    add({1, 17, 7, 5}, window({3, 3}, 2, 1));
    add({1, 3, 7, 6}, window({3, 3}, 2), true);
    add({1, 3, 9, 9}, window({3, 3}, 1, 1, 2));
    add({0, 3, 6, 8}, window({2, 2}, 2));
    add({2, 3, 9}, window({3}, 2, 1));
    add({1, 2, 4, 5, 6}, window({2, 3, 2}));
    if (kind == PoolKind::average) {
      add({1, 3, 7, 5}, window({3, 3}, 2, 1), false, true);
      add({1, 3, 7, 6}, window({3, 3}, 2, 1), true, true);
    }
    for (const Shape& x : std::vector<Shape>{{1, 1, 1, 1}, {2, 17, 5, 7}, {0, 3, 5, 7}, {2, 3, 9}, {1, 2, 3, 4, 5}})
      cases.push_back({.op = GlobalPool{kind}, .inputs = {data(x)}, .terms = 64, .term = 4});
  }
}

}  // namespace

std::vector<Case> layer_cases() {
  std::vector<Case> cases;
  add_convolutions(cases);
  add_products(cases);
  add_normalizations(cases);
  add_pools(cases);
  return cases;
}

}  // namespace bitfold::testing
