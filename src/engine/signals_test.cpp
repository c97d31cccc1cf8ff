// Signals [N,C,W], and columns [N,C,H,1], run as images of one row, in integers and in float.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>

#include "bitfold/reference.h"
#include "bitfold/session.h"
#include "engine/test_graphs.h"

namespace bitfold::engine {
namespace {

Window row_window(std::int64_t kernel, std::int64_t stride, std::int64_t pad, std::int64_t dilation = 1) {
  return {{kernel}, {stride}, {dilation}, {pad, pad}, AutoPad::none};
}

/// Checks that outputs are within `tolerance` of the simulation on every instruction set, and that no step of an
/// operator in `fast` runs in plain loops.
void expect_equals_simulation(GraphBuilder& b, const std::vector<std::string>& fast, double tolerance) {
  std::vector<Tensor> inputs;
  for (ValueId id : b.graph.inputs()) inputs.push_back(b.uniform_tensor(*b.graph.value(id).shape, -2, 2));
  const std::vector<Tensor> expected = Reference(b.graph).run(inputs);
  for (Isa isa : {Isa::portable, Isa::avx2, Isa::avx512vnni, Isa::amx}) {
    if (isa > detected_isa()) continue;
    Session session(b.graph, {.isa = isa});
    const std::vector<Tensor> got = session.run(inputs);
    ASSERT_EQ(got.size(), expected.size());
    for (std::size_t i = 0; i < got.size(); ++i) {
      ASSERT_EQ(got[i].shape(), expected[i].shape());
      double spread = 0, largest = 0;
      for (std::size_t j = 0; j < got[i].data<float>().size(); ++j) {
        const double e = expected[i].data<float>()[j];
        spread = std::max(spread, std::abs(e));
        largest = std::max(largest, std::abs(e - got[i].data<float>()[j]));
      }
      EXPECT_GT(spread, 0) << "the outputs are all 0: the test shows nothing";
      EXPECT_LE(largest, tolerance * (tolerance < 1e-2 ? std::max(1.0, spread) : 1.001));
    }
    for (const StepInfo& step : session.steps())
      for (const std::string& op : fast)
        EXPECT_FALSE(step.op.starts_with(op) && step.kernel.starts_with("reference")) << step.op << " " << step.kernel;
  }
}

struct Case {
  std::int64_t channels, filters, length, kernel, stride, pad, dilation, group;
};
constexpr Case kCases[] = {{16, 24, 30, 3, 1, 1, 1, 1},     {3, 16, 31, 5, 2, 2, 1, 1},  {8, 8, 20, 3, 1, 4, 4, 1},
                           {16, 16, 17, 7, 1, 3, 1, 16},    {8, 16, 12, 3, 1, 1, 1, 2},  {64, 130, 40, 1, 1, 0, 1, 1},
                           {1, 258, 300, 256, 64, 0, 1, 1}, {128, 128, 1, 1, 1, 0, 1, 1}};

TEST(Signals, integer_convolutions_equal_the_simulation) {
  for (const Case& c : kCases) {
    SCOPED_TRACE(::testing::Message() << c.channels << "->" << c.filters << " kernel " << c.kernel);
    GraphBuilder b;
    const ValueId x = b.input({2, c.channels, c.length}, unsigned_grid(0.02F, 100));
    const ValueId w = b.weights({c.filters, c.channels / c.group, c.kernel}, 0);
    b.output(b.node(Conv{row_window(c.kernel, c.stride, c.pad, c.dilation), c.group}, {x, w, b.bias(x, w)},
                    unsigned_grid(0.05F, 120)));
    expect_equals_simulation(b, {"Conv"}, 0.05);
    const Session session(b.graph);
    EXPECT_TRUE(std::ranges::all_of(session.steps(), [](const StepInfo& s) { return s.is_integer; }));
  }
}

TEST(Signals, float_convolutions_equal_the_reference) {
  for (const Case& c : kCases) {
    SCOPED_TRACE(::testing::Message() << c.channels << "->" << c.filters << " kernel " << c.kernel);
    GraphBuilder b;
    const ValueId x = b.input({2, c.channels, c.length}, std::nullopt);
    const ValueId w = b.graph.add_constant("w", b.uniform_tensor({c.filters, c.channels / c.group, c.kernel}, -1, 1));
    const ValueId conv = b.node(Conv{row_window(c.kernel, c.stride, c.pad, c.dilation), c.group}, {x, w});
    b.output(b.node(Unary{UnaryKind::relu}, {conv}));
    expect_equals_simulation(b, {"Conv"}, 1e-5);
  }
}

Window column_window(std::int64_t kernel, std::int64_t stride, std::int64_t pad, std::int64_t dilation) {
  return {{kernel, 1}, {stride, 1}, {dilation, 1}, {pad, 0, pad, 0}, AutoPad::none};
}

TEST(Signals, columns_give_the_same_as_rows) {
  for (const Case& c : kCases)
    for (const bool is_integer : {false, true}) {
      SCOPED_TRACE(::testing::Message() << c.channels << "->" << c.filters << " kernel " << c.kernel);
      GraphBuilder b;
      const auto grid = [&](float scale, int zero) {
        return is_integer ? std::optional(unsigned_grid(scale, zero)) : std::nullopt;
      };
      const ValueId x = b.input({2, c.channels, c.length, 1}, grid(0.02F, 100));
      const Shape shape{c.filters, c.channels / c.group, c.kernel, 1};
      const ValueId w = is_integer ? b.weights(shape, 0) : b.graph.add_constant("w", b.uniform_tensor(shape, -1, 1));
      const Conv conv{column_window(c.kernel, c.stride, c.pad, c.dilation), c.group};
      ValueId y = b.node(conv, {x, w}, grid(0.05F, 120));
      if (c.kernel < 8 && c.length > 8)
        y = b.node(Pool{PoolKind::max, column_window(2, 2, 0, 1)}, {y}, grid(0.05F, 120));
      b.output(y);
      expect_equals_simulation(b, {"Conv", "MaxPool"}, is_integer ? 0.05 : 1e-5);
    }
}

TEST(Signals, a_residual_after_a_convolution_with_much_padding_is_added) {
  for (const std::int64_t dilation : {1, 16, 64})
    for (const std::int64_t batch : {1, 3}) {
      GraphBuilder b;
      const ValueId x = b.input({batch, 32, 300}, std::nullopt);
      const ValueId w = b.graph.add_constant("w", b.uniform_tensor({32, 32, 5}, -0.3F, 0.3F));
      const ValueId c = b.node(Conv{row_window(5, 1, 2 * dilation, dilation), 1}, {x, w});
      b.output(b.node(Unary{UnaryKind::relu}, {b.node(Binary{BinaryKind::add}, {c, x})}));
      expect_equals_simulation(b, {"Conv"}, 1e-5);
    }
}

TEST(Signals, integer_pools_sums_and_movements_equal_the_simulation) {
  const QuantParams grid = unsigned_grid(0.03F, 128);
  GraphBuilder b;
  const ValueId x = b.input({2, 16, 24}, grid), w = b.weights({16, 16, 3}, 0);
  const ValueId c = b.node(Conv{row_window(3, 1, 1), 1}, {x, w, b.bias(x, w)}, grid);
  const ValueId sum = b.node(Binary{BinaryKind::add}, {c, x}, grid);
  const ValueId pooled = b.node(Pool{PoolKind::max, row_window(2, 2, 0)}, {sum}, grid);
  const ValueId joined = b.node(Concat{1}, {pooled, pooled}, grid);
  b.output(b.node(Pool{PoolKind::average, row_window(3, 1, 1)}, {joined}, grid));
  b.output(b.node(Transpose{{0, 2, 1}}, {joined}, grid));
  b.output(b.node(Flatten{1}, {joined}, grid));
  b.output(b.node(Unsqueeze{}, {joined, b.integers({2})}, grid));
  b.output(b.node(GlobalPool{PoolKind::average}, {joined}, grid));
  expect_equals_simulation(b, {"Conv", "MaxPool", "AveragePool", "GlobalAveragePool", "Add"}, 0.03);
}

TEST(Signals, a_product_reads_a_flattened_signal) {
  GraphBuilder b;
  const ValueId x = b.input({3, 4, 10}, unsigned_grid(0.02F, 100)), w = b.weights({8, 4, 3}, 0);
  const ValueId c = b.node(Conv{row_window(3, 1, 0), 1}, {x, w, b.bias(x, w)}, unsigned_grid(0.05F, 120));
  const ValueId f = b.node(Flatten{1}, {c}, unsigned_grid(0.05F, 120));
  b.output(b.node(Gemm{}, {f, b.weights({64, 10}, 1)}, unsigned_grid(0.2F, 128)));
  expect_equals_simulation(b, {"Conv", "Gemm"}, 0.2);
}

TEST(Signals, elementwise_nodes_and_softmax_follow_a_float_convolution) {
  for (const std::int64_t axis : {1, 2, -1}) {
    GraphBuilder b;
    const ValueId x = b.input({2, 6, 9}, std::nullopt);
    const auto constant = [&](const char* name, Shape shape) {
      return b.graph.add_constant(name, b.uniform_tensor(std::move(shape), -1, 1));
    };
    const ValueId c = b.node(Conv{row_window(3, 1, 1), 1}, {x, constant("w", {6, 6, 3})});
    const ValueId scaled = b.node(Binary{BinaryKind::mul}, {c, constant("per_channel", {6, 1})});
    const ValueId shifted = b.node(Binary{BinaryKind::add}, {scaled, constant("per_place", {1, 1, 9})});
    const ValueId full = b.node(Binary{BinaryKind::mul}, {shifted, constant("full", {6, 9})});
    b.output(b.node(Softmax{.axis = axis}, {full}));
    b.output(b.node(Softmax{.axis = axis}, {shifted}));
    b.output(b.node(Unary{UnaryKind::sigmoid}, {b.node(Transpose{{0, 2, 1}}, {shifted})}));
    expect_equals_simulation(b, {"Conv"}, 1e-5);
  }
}

TEST(Signals, reshapes_that_keep_batch_and_channels_keep_the_image) {
  const QuantParams grid = unsigned_grid(0.05F, 120);
  GraphBuilder b;
  const ValueId x = b.input({2, 8, 12}, unsigned_grid(0.02F, 100)), w = b.weights({8, 8, 1, 3}, 0);
  const ValueId image = b.node(Unsqueeze{}, {x, b.integers({2})}, unsigned_grid(0.02F, 100));
  const Window window{{1, 3}, {1, 1}, {1, 1}, {0, 1, 0, 1}, AutoPad::none};
  const ValueId c = b.node(Conv{window, 1}, {image, w, b.bias(x, w)}, grid);
  const ValueId signal = b.node(Squeeze{}, {c, b.integers({2})}, grid);
  const ValueId again = b.node(Unsqueeze{}, {signal, b.integers({3})}, grid);
  b.output(b.node(Reshape{}, {again, b.integers({2, 8, 3, 4})}, grid));
  b.output(b.node(Reshape{}, {again, b.integers({2, 4, 24})}, grid));
  expect_equals_simulation(b, {"Conv"}, 0.05);
}

}  // namespace
}  // namespace bitfold::engine
