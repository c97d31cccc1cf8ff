// Integer layers equal the simulation on every instruction set and with every number of threads.
#include <gtest/gtest.h>

#include <cmath>

#include "bitfold/reference.h"
#include "bitfold/session.h"
#include "engine/test_graphs.h"

namespace bitfold::engine {
namespace {

std::vector<Tensor> inputs_for(GraphBuilder& b, float low, float high) {
  std::vector<Tensor> inputs;
  for (ValueId id : b.graph.inputs()) inputs.push_back(b.uniform_tensor(*b.graph.value(id).shape, low, high));
  return inputs;
}

bool runs_in_integers(const Session& session) {
  for (const StepInfo& step : session.steps())
    if (!step.is_integer && step.op != "Output") return false;
  return true;
}

/// Checks that every output on a grid is within one code of the simulation and that at least 99.9 % of the codes are
/// equal (all of them if there are fewer than 1000), and that the bytes do not depend on instruction set and threads.
void expect_equals_simulation(GraphBuilder& b, float low = -2, float high = 2, bool all_integer = true) {
  const std::vector<Tensor> inputs = inputs_for(b, low, high);
  const std::vector<Tensor> expected = Reference(b.graph).run(inputs);
  Session session(b.graph);
  const std::vector<Tensor> got = session.run(inputs);
  EXPECT_TRUE(!all_integer || runs_in_integers(session));
  ASSERT_EQ(got.size(), expected.size());
  for (std::size_t i = 0; i < got.size(); ++i) {
    ASSERT_EQ(got[i].shape(), expected[i].shape());
    const auto& grid = b.graph.value(b.graph.outputs()[i]).quant;
    std::int64_t unequal = 0;
    double largest = 0, spread = 0;
    for (std::size_t j = 0; j < got[i].data<float>().size(); ++j) {
      const double e = expected[i].data<float>()[j], g = got[i].data<float>()[j];
      ASSERT_TRUE(std::isfinite(g));
      spread = std::max(spread, std::abs(e));
      const double unit = grid ? grid->scale[0] : 1e-4 * std::max(1.0, std::abs(e));
      const double codes = std::abs(e - g) / unit;
      largest = std::max(largest, codes);
      unequal += codes > 0.5 ? 1 : 0;
    }
    EXPECT_GT(spread, 0) << "the outputs are all 0: the test shows nothing";
    EXPECT_LE(largest, 1.001);
    EXPECT_LE(static_cast<double>(unequal), 0.001 * static_cast<double>(got[i].size()));
  }
  for (Isa isa : {Isa::portable, Isa::avx2, Isa::avx512vnni, Isa::amx}) {
    if (isa > detected_isa()) continue;
    for (int threads : {1, 2}) {
      Session other(b.graph, {.threads = threads, .isa = isa});
      EXPECT_EQ(other.run(inputs), got) << to_string(isa) << ", " << threads << " threads";
    }
  }
}

struct ConvCase {
  std::int64_t channels, filters, size, kernel, stride, pad, dilation, group;
};

void conv_equals_simulation(const ConvCase& c, int weight_bits, bool per_channel, const QuantParams& in) {
  GraphBuilder b;
  const ValueId x = b.input({2, c.channels, c.size, c.size + 1}, in);
  const ValueId w = b.weights({c.filters, c.channels / c.group, c.kernel, c.kernel}, per_channel ? 0 : -1, weight_bits);
  const ValueId bias = b.bias(x, w);
  b.output(
      b.node(Conv{window(c.kernel, c.stride, c.pad, c.dilation), c.group}, {x, w, bias}, unsigned_grid(0.05F, 120)));
  SCOPED_TRACE(::testing::Message() << c.channels << "->" << c.filters << " kernel " << c.kernel << " stride "
                                    << c.stride << " pad " << c.pad << " dilation " << c.dilation << " group "
                                    << c.group);
  expect_equals_simulation(b);
}

TEST(IntegerConv, applies_a_leaky_relu_before_rounding) {
  for (const float alpha : {0.0F, 0.1F, 1.0F})
    for (const bool adds : {false, true}) {
      GraphBuilder b;
      const ValueId x = b.input({2, 16, 9, 10}, unsigned_grid(0.02F, 100));
      const ValueId w = b.weights({24, 16, 3, 3}, 0);
      const ValueId c = b.node(Conv{window(3, 1, 1), 1}, {x, w, b.bias(x, w)});
      const ValueId r = b.node(Parametric{ParametricKind::leaky_relu, alpha}, {c}, unsigned_grid(0.03F, 20));
      if (adds) {
        const ValueId w1 = b.weights({24, 16, 1, 1}, 0);
        const ValueId other = b.node(Conv{window(1, 1, 0), 1}, {x, w1, b.bias(x, w1)}, unsigned_grid(0.05F, 120));
        b.output(b.node(Binary{BinaryKind::add}, {r, other}, unsigned_grid(0.06F, 110)));
      } else {
        b.output(r);
      }
      expect_equals_simulation(b);
      const Session session(b.graph);
      EXPECT_TRUE(std::any_of(session.steps().begin(), session.steps().end(),
                              [](const StepInfo& s) { return s.op.find("Conv+LeakyRelu") == 0; }));
    }
}

TEST(IntegerConv, equals_the_simulation_for_all_geometries) {
  const ConvCase cases[] = {{3, 16, 9, 3, 1, 1, 1, 1},
                            {16, 32, 8, 3, 2, 1, 1, 1},
                            {32, 7, 5, 1, 1, 0, 1, 1},
                            {5, 33, 7, 5, 1, 2, 1, 1},
                            {64, 64, 4, 3, 1, 1, 1, 1},
                            {8, 8, 9, 3, 1, 2, 2, 1},
                            {1, 1, 3, 3, 1, 0, 1, 1},
                            {16, 16, 9, 3, 1, 1, 1, 16},
                            {24, 24, 9, 3, 2, 1, 1, 24},
                            {20, 20, 9, 5, 1, 2, 1, 20},
                            {8, 16, 6, 3, 1, 1, 1, 2},
                            {6, 12, 6, 3, 1, 1, 1, 6},
                            {130, 17, 4, 1, 2, 0, 1, 1},
                            // Large enough for AMX tiles, and for other forms of their images.
                            {3, 64, 33, 7, 2, 3, 1, 1},
                            {64, 128, 14, 3, 2, 1, 1, 1},
                            {128, 256, 14, 1, 2, 0, 1, 1}};
  for (const ConvCase& c : cases) conv_equals_simulation(c, 8, true, unsigned_grid(0.02F, 100));
}

TEST(IntegerConv, equals_the_simulation_for_all_grids) {
  const ConvCase c{12, 20, 7, 3, 1, 1, 1, 1};
  for (int bits : {2, 3, 4, 7, 8}) conv_equals_simulation(c, bits, true, unsigned_grid(0.02F, 100));
  conv_equals_simulation(c, 8, false, unsigned_grid(0.02F, 0));
  conv_equals_simulation(c, 8, true, signed_grid(0.02F, -5));
  conv_equals_simulation(c, 8, true, unsigned_grid(0.2F, 8, 4));
  conv_equals_simulation(c, 8, true, signed_grid(0.2F, 0, 4));
}

TEST(IntegerConv, clamps_for_a_relu_or_clip_after_it) {
  for (float high : {0.0F, 3.0F}) {
    GraphBuilder b;
    const ValueId x = b.input({1, 8, 6, 6}, unsigned_grid(0.02F, 100)), w = b.weights({16, 8, 3, 3}, 0);
    const ValueId y = b.node(Conv{window(3, 1, 1), 1}, {x, w});
    const QuantParams grid = unsigned_grid(0.05F, 120);
    b.output(high > 0 ? b.node(Clip{}, {y, b.scalar(-1), b.scalar(high)}, grid)
                      : b.node(Unary{UnaryKind::relu}, {y}, grid));
    expect_equals_simulation(b);
    EXPECT_EQ(Session(b.graph).steps().size(), 3U) << "Quantize, Conv with the activation, Output";
  }
}

TEST(IntegerConv, applies_a_leaky_relu_by_table_in_the_same_step) {
  GraphBuilder b;
  const ValueId x = b.input({1, 8, 6, 6}, unsigned_grid(0.02F, 100)), w = b.weights({16, 8, 3, 3}, 0);
  const ValueId y = b.node(Conv{window(3, 1, 1), 1}, {x, w}, unsigned_grid(0.05F, 120));
  b.output(b.node(Parametric{ParametricKind::leaky_relu, 0.1F}, {y}, unsigned_grid(0.03F, 20)));
  expect_equals_simulation(b);
  EXPECT_EQ(Session(b.graph).steps().size(), 3U);
}

TEST(IntegerConv, gives_reals_where_its_output_has_no_grid) {
  GraphBuilder b;
  const ValueId x = b.input({1, 8, 6, 6}, unsigned_grid(0.02F, 100)), w = b.weights({16, 8, 3, 3}, 0);
  b.output(b.node(Conv{window(3, 1, 1), 1}, {x, w, b.bias(x, w)}));
  expect_equals_simulation(b, -2, 2, false);
}

TEST(IntegerConv, runs_in_float_if_integers_are_not_possible) {
  GraphBuilder b;  // the weights' zero point is so large that codes minus zero point exceed int8
  const ValueId x = b.input({1, 4, 5, 5}, unsigned_grid(0.02F, 100));
  Tensor codes(DataType::uint8, {6, 4, 3, 3});
  for (auto& q : codes.mutable_data<std::uint8_t>()) q = static_cast<std::uint8_t>(b.random() % 256);
  const ValueId w = b.constant(codes, unsigned_grid(0.01F, 20));
  b.output(b.node(Conv{window(3, 1, 1), 1}, {x, w}, unsigned_grid(0.05F, 120)));
  expect_equals_simulation(b, -2, 2, false);
}

TEST(IntegerConv, equals_the_simulation_between_16_bit_grids) {
  GraphBuilder b;
  const ValueId x = b.input({1, 4, 5, 5}, unsigned_grid(0.0002F, 10000, 16)), w = b.weights({6, 4, 3, 3}, 0);
  b.output(b.node(Conv{window(3, 1, 1), 1}, {x, w}, unsigned_grid(0.01F, 30000, 16)));
  expect_equals_simulation(b, -2, 2, false);
}

TEST(IntegerProduct, gemm_and_matmul_equal_the_simulation) {
  for (const bool transposed : {false, true}) {
    for (const std::int64_t depth : {1, 10, 256}) {
      GraphBuilder b;
      const ValueId x = b.input({5, depth}, unsigned_grid(0.02F, 90));
      const ValueId w = b.weights(transposed ? Shape{33, depth} : Shape{depth, 33}, transposed ? 0 : 1);
      b.output(b.node(Gemm{1, 1, false, transposed}, {x, w, b.bias(x, w)}, unsigned_grid(0.08F, 130)));
      expect_equals_simulation(b);
    }
  }
  GraphBuilder b;
  const ValueId x = b.input({2, 3, 40}, unsigned_grid(0.02F, 90)), w = b.weights({40, 9}, 1);
  b.output(b.node(MatMul{}, {x, w}, unsigned_grid(0.08F, 130)));
  expect_equals_simulation(b);
}

TEST(IntegerProduct, weights_in_blocks_are_decoded_and_run_in_float) {
  for (const int axis : {0, 1}) {
    GraphBuilder b;
    const ValueId x = b.input({3, 10}, unsigned_grid(0.02F, 100));
    const Tensor reals = b.uniform_tensor({10, 6}, -1, 1);
    const QuantParams grid = choose_params_per_block(reals, axis, 4, {.bits = 4, .is_signed = true});
    const ValueId w = b.constant(pack(quantize(reals, grid), 4), grid);
    b.graph.value(w).dtype = DataType::float32;
    b.output(b.node(MatMul{}, {x, w}));
    verify(b.graph, Stage::quantized);
    Session session(b.graph);
    const std::vector<Tensor> inputs{b.uniform_tensor({3, 10}, -2, 2)};
    const Tensor got = session.run(inputs)[0], expected = Reference(b.graph).run(inputs)[0];
    for (std::size_t i = 0; i < 18; ++i) EXPECT_NEAR(got.data<float>()[i], expected.data<float>()[i], 1e-5F);
    bool is_explained = false;
    for (const StepInfo& step : session.steps())
      is_explained |= step.kernel.find("(float: weights have a grid in blocks)") != std::string::npos;
    EXPECT_TRUE(is_explained);
  }
}

TEST(IntegerProduct, reads_a_flattened_image_without_transposing_it) {
  GraphBuilder b;
  const ValueId x = b.input({2, 6, 3, 4}, unsigned_grid(0.02F, 90)), cw = b.weights({5, 6, 1, 1}, 0);
  const ValueId c = b.node(Conv{window(1, 1, 0), 1}, {x, cw}, unsigned_grid(0.03F, 100));
  const ValueId f = b.node(Flatten{1}, {c}, unsigned_grid(0.03F, 100)), w = b.weights({60, 7}, 1);
  b.output(b.node(Gemm{}, {f, w}, unsigned_grid(0.08F, 130)));
  expect_equals_simulation(b);
  const Session session(b.graph);
  for (const StepInfo& step : session.steps()) EXPECT_NE(step.op, "Layout");
}

TEST(IntegerPool, max_and_average_equal_the_simulation) {
  for (const std::int64_t pad : {0, 1}) {
    for (const bool counts : {false, true}) {
      GraphBuilder b;
      const QuantParams in = unsigned_grid(0.02F, 90), out = unsigned_grid(0.015F, 100);
      const ValueId x = b.input({2, 5, 7, 8}, in);
      b.output(b.node(Pool{PoolKind::max, window(3, 2, pad)}, {x}, in));
      b.output(b.node(Pool{PoolKind::max, window(2, 2, pad)}, {x}, out));
      b.output(b.node(Pool{PoolKind::average, window(3, 1, pad), false, counts}, {x}, out));
      b.output(b.node(GlobalPool{PoolKind::average}, {x}, unsigned_grid(0.004F, 100)));
      b.output(b.node(GlobalPool{PoolKind::max}, {x}, in));
      expect_equals_simulation(b);
    }
  }
}

TEST(IntegerBinary, add_sub_and_mul_equal_the_simulation) {
  for (const BinaryKind kind : {BinaryKind::add, BinaryKind::sub, BinaryKind::mul}) {
    GraphBuilder b;
    const ValueId x = b.input({2, 5, 7, 8}, unsigned_grid(0.02F, 90)),
                  y = b.input({2, 5, 7, 8}, signed_grid(0.013F, 4));
    b.output(b.node(Binary{kind}, {x, y}, unsigned_grid(0.03F, 120)));
    expect_equals_simulation(b);
  }
}

TEST(IntegerBinary, a_residual_sum_after_two_convolutions_equals_the_simulation) {
  GraphBuilder b;
  const ValueId x = b.input({1, 8, 6, 6}, unsigned_grid(0.02F, 100));
  const QuantParams middle = unsigned_grid(0.05F, 120);
  const ValueId left = b.node(Conv{window(3, 1, 1), 1}, {x, b.weights({16, 8, 3, 3}, 0)}, middle);
  const ValueId right = b.node(Conv{window(1, 1, 0), 1}, {x, b.weights({16, 8, 1, 1}, 0)}, unsigned_grid(0.04F, 110));
  const ValueId sum = b.node(Binary{BinaryKind::add}, {left, right}, unsigned_grid(0.06F, 128));
  b.output(b.node(Unary{UnaryKind::relu}, {sum}, unsigned_grid(0.04F, 0)));
  expect_equals_simulation(b);
}

TEST(IntegerMovement, every_kind_equals_the_simulation) {
  const QuantParams in = unsigned_grid(0.02F, 90), other = unsigned_grid(0.03F, 70);
  for (const QuantParams& out : {in, other}) {
    GraphBuilder b;
    const ValueId x = b.input({2, 4, 5, 6}, in), y = b.input({2, 3, 5, 6}, other);
    b.output(b.node(Concat{1}, {x, y}, out));
    b.output(b.node(Flatten{1}, {x}, out));
    b.output(b.node(Reshape{}, {x, b.integers({2, 5, -1})}, out));
    b.output(b.node(Transpose{{0, 2, 3, 1}}, {x}, out));
    b.output(b.node(Transpose{{3, 1, 0, 2}}, {x}, out));
    b.output(b.node(Pad{}, {x, b.integers({0, 1, 0, 2, 0, 2, 1, -1}), b.scalar(0.5F)}, out));
    b.output(
        b.node(Slice{}, {x, b.integers({4, 0}), b.integers({-100, 4}), b.integers({2, 3}), b.integers({-2, 1})}, out));
    b.output(b.node(Requantize{}, {x}, out));
    b.output(b.node(Unsqueeze{}, {x, b.integers({0})}, out));
    expect_equals_simulation(b);
  }
}

TEST(IntegerTable, a_function_of_one_value_equals_the_simulation) {
  GraphBuilder b;
  const ValueId x = b.input({2, 4, 5, 6}, unsigned_grid(0.02F, 90));
  b.output(b.node(Unary{UnaryKind::relu}, {x}, unsigned_grid(0.012F, 0)));
  b.output(b.node(Unary{UnaryKind::sigmoid}, {x}, unsigned_grid(1.0F / 255, 0)));
  b.output(b.node(Unary{UnaryKind::hard_swish}, {x}, unsigned_grid(0.012F, 40)));
  b.output(b.node(Parametric{ParametricKind::leaky_relu, 0.1F}, {x}, unsigned_grid(0.02F, 90)));
  b.output(b.node(Clip{}, {x, b.scalar(-0.5F), b.scalar(1)}, unsigned_grid(0.01F, 50)));
  expect_equals_simulation(b);
}

TEST(IntegerEngine, adds_conversions_around_a_float_layer) {
  GraphBuilder b;
  const ValueId x = b.input({2, 4, 5, 6}, unsigned_grid(0.02F, 90));
  const ValueId s = b.node(Softmax{1}, {x}, unsigned_grid(1.0F / 255, 0));
  b.output(b.node(Conv{window(3, 1, 1), 1}, {s, b.weights({4, 4, 3, 3}, 0)}, unsigned_grid(0.01F, 120)));
  expect_equals_simulation(b, -2, 2, false);
}

}  // namespace
}  // namespace bitfold::engine
