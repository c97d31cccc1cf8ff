// Invariant 6: load_onnx(save_onnx(g)) == g for a compacted graph.
#include "round_trip.h"

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <random>

#include "bitfold/onnx.h"
#include "testing.h"

namespace bitfold {
namespace {

using testing::save_and_load;

void expect_same(const Graph& graph, const Graph& loaded) {
  ASSERT_EQ(graph.node_count(), loaded.node_count());
  const auto ids = graph.nodes(), loaded_ids = loaded.nodes();
  for (std::size_t i = 0; i < ids.size(); ++i)
    EXPECT_EQ(graph.node(ids[i]), loaded.node(loaded_ids[i])) << where(graph, ids[i]);
  const auto values = graph.values(), loaded_values = loaded.values();
  ASSERT_EQ(values.size(), loaded_values.size());
  for (std::size_t i = 0; i < values.size(); ++i) {
    const Value &a = graph.value(values[i]), &b = loaded.value(loaded_values[i]);
    EXPECT_EQ(a.name, b.name);
    EXPECT_EQ(a.shape, b.shape) << a.name;
    EXPECT_EQ(a.quant, b.quant) << a.name;
    EXPECT_TRUE(a == b) << a.name;
  }
  EXPECT_EQ(graph.metadata, loaded.metadata);
  EXPECT_TRUE(graph == loaded);
}

class RoundTrip : public ::testing::TestWithParam<const char*> {};

TEST_P(RoundTrip, preserves_a_real_model) {
  BITFOLD_NEEDS_DATA();
  const Graph graph = load_onnx((testing::data_folder() / "models" / GetParam()).string());
  expect_same(graph, save_and_load(graph));
  expect_same(graph, save_and_load(graph, {.external_above_bytes = 100}));
}

INSTANTIATE_TEST_SUITE_P(Models, RoundTrip,
                         ::testing::Values("conv-bn-relu.onnx", "darknet-tiny.onnx", "lenet-bn.onnx", "lenet.onnx",
                                           "resnet20-cifar10.onnx", "ultraface-rfb-320.onnx", "vww-mobilenetv1.onnx"));

QuantParams activation_grid(int bits, bool is_signed, bool narrow) {
  QuantParams grid{.scale = {0.0625F}, .zero_point = {0}, .bits = bits, .is_signed = is_signed, .narrow = narrow};
  if (!is_signed) grid.zero_point = {1};
  return grid;
}

Tensor random_codes(std::mt19937& random, const Shape& shape, const QuantParams& grid) {
  std::uniform_int_distribution<int> code(grid.qmin(), grid.qmax());
  const auto fill = [&]<class T>(T) {
    Tensor t(grid.storage(), shape);
    for (T& v : t.mutable_data<T>()) v = static_cast<T>(code(random));
    return t;
  };
  if (grid.bits == 32) return fill(std::int32_t{});
  if (grid.bits > 8) return grid.is_signed ? fill(std::int16_t{}) : fill(std::uint16_t{});
  const Tensor codes = grid.is_signed ? fill(std::int8_t{}) : fill(std::uint8_t{});
  return grid.bits <= 4 ? pack(codes, 4) : codes;
}

// A chain of layers whose values carry grids or not, with Requantize nodes and with snapped and unsnapped outputs.
Graph random_graph(unsigned seed) {
  std::mt19937 random(seed);
  const auto coin = [&] { return random() % 2 == 0; };
  const auto grid = [&] {
    const int bits[] = {2, 3, 4, 5, 6, 7, 8, 8, 8, 16};
    const bool is_signed = coin();
    return activation_grid(bits[random() % 10], is_signed, is_signed && coin());
  };
  Graph g;
  g.name = "random";
  g.metadata["author"] = "nobody";
  ValueId x = g.add_input("x", DataType::float32, {2, 3});
  if (coin()) g.value(x).quant = grid();
  const ValueId input = x;
  std::vector<ValueId> made;
  for (int layer = 0; layer < 6; ++layer) {
    const std::string name = fmt::format("n{}", layer);
    switch (random() % 4) {
      case 0: {
        QuantParams weights{.bits = 2 + static_cast<int>(random() % 7), .is_signed = true, .narrow = coin(), .axis = 1};
        weights.scale = {0.5F, 0.25F, 1};
        weights.zero_point = {0, 0, 0};
        const ValueId w = g.add_value({.name = name + ".w", .shape = Shape{3, 3}});
        g.value(w).constant = random_codes(random, {3, 3}, weights);
        g.value(w).quant = weights;
        x = g.add(Gemm{}, name, {x, w}, name + ".y");
        break;
      }
      case 1:
        x = g.add(Unary{UnaryKind::relu}, name, {x}, name + ".y");
        break;
      case 2: {
        const ValueId other = made.empty() ? input : made[random() % made.size()];
        x = g.add(Binary{BinaryKind::add}, name, {x, other}, name + ".y");
        break;
      }
      default:
        x = g.add(Requantize{}, name, {x}, name + ".y");
        if (coin()) g.value(x).quant = grid();
    }
    g.value(x).shape = Shape{2, 3};
    const NodeId made_by = g.producer(x);
    if (!std::holds_alternative<Requantize>(g.node(made_by).op) && coin()) g.value(x).quant = grid();
    made.push_back(x);
    if (random() % 4 == 0) g.mark_output(x);
  }
  if (!g.is_output(x)) g.mark_output(x);
  g.compact();
  return g;
}

TEST(RoundTrip, preserves_generated_graphs_with_grids) {
  for (unsigned seed = 0; seed < 300; ++seed) {
    SCOPED_TRACE(seed);
    const Graph graph = random_graph(seed);
    expect_same(graph, save_and_load(graph));
    if (HasFailure()) return;
  }
}

TEST(RoundTrip, keeps_constants_of_every_type) {
  Graph g;
  for (DataType dtype :
       {DataType::float32, DataType::float64, DataType::float16, DataType::bfloat16, DataType::int8, DataType::uint8,
        DataType::int16, DataType::uint16, DataType::int32, DataType::uint32, DataType::int64, DataType::uint64,
        DataType::boolean, DataType::int4, DataType::uint4, DataType::int2, DataType::uint2}) {
    Tensor t(dtype, {5});
    t.mutable_bytes()[0] = std::byte{1};
    g.mark_output(g.add_constant(std::string(to_string(dtype)), t));
  }
  g.name = "constants";
  g.compact();
  expect_same(g, save_and_load(g));
}

TEST(RoundTrip, keeps_grids_in_blocks_of_every_packed_type) {
  std::mt19937 random(3);
  for (const DataType type : {DataType::int4, DataType::uint4, DataType::int2, DataType::uint2, DataType::int8})
    for (const int axis : {0, 1}) {
      SCOPED_TRACE(std::string(to_string(type)) + ", axis " + std::to_string(axis));
      QuantParams grid{.bits = bit_width(type),
                       .is_signed = type == DataType::int4 || type == DataType::int2 || type == DataType::int8,
                       .axis = axis,
                       .block_size = 3};
      const Shape shape{6, 8};
      for (std::int64_t i = 0; i < element_count(grid.grid_shape(shape)); ++i) {
        grid.scale.push_back(0.25F * static_cast<float>(1 + random() % 8));
        grid.zero_point.push_back(static_cast<int>(random() % 3) + (grid.is_signed ? -1 : 0));
      }
      Tensor codes(grid.storage(), shape);
      for (std::size_t i = 0; i < 48; ++i) {
        const auto code =
            grid.qmin() + static_cast<int>(random() % static_cast<unsigned>(grid.qmax() - grid.qmin() + 1));
        codes.mutable_bytes()[i] = static_cast<std::byte>(code);
      }
      codes.mutable_bytes()[0] = static_cast<std::byte>(grid.qmin());  // so that the grid is not narrow
      Graph g;
      g.name = "blocks";
      const ValueId w = g.add_constant("w", type == DataType::int8 ? codes : pack(codes, bit_width(type)));
      g.value(w).dtype = DataType::float32;
      g.value(w).quant = grid;
      const ValueId y = g.add(MatMul{}, "product", {g.add_input("x", DataType::float32, {2, 6}), w}, "y");
      g.value(y).shape = Shape{2, 8};
      g.mark_output(y);
      g.compact();
      verify(g, Stage::quantized);
      const Graph loaded = save_and_load(g);
      expect_same(g, loaded);
      const Value& read = loaded.value(loaded.find("w"));
      EXPECT_EQ(read.constant->dtype(), type);
      EXPECT_EQ(dequantize(*read.constant, *read.quant), dequantize(codes, grid));
    }
}

TEST(RoundTrip, preserves_unknown_operators) {
  Graph g;
  g.name = "unknown";
  const ValueId x = g.add_input("x", DataType::float32, {2});
  const ValueId y =
      g.add(Opaque{.domain = "acme", .type = "Frobnicate", .opset = 3}, "frob", {x, ValueId::none, x}, "y");
  g.mark_output(y);
  g.compact();
  expect_same(g, save_and_load(g));
}

TEST(RoundTrip, preserves_names_that_look_like_generated_ones) {
  Graph g;
  g.name = "names";
  const ValueId x = g.add_input("x", DataType::float32, {2});
  const ValueId taken = g.add(Unary{UnaryKind::relu}, "y/q", {x}, "y/dq");
  const ValueId y = g.add(Unary{UnaryKind::exp}, "y/dq_node", {taken}, "y");
  g.value(y).quant = activation_grid(6, false, false);
  g.value(taken).shape = g.value(y).shape = Shape{2};
  g.mark_output(g.add(Unary{UnaryKind::neg}, "y/clip", {y}, "y/scale"));
  g.compact();
  g.value(g.find("y/scale")).shape = Shape{2};
  expect_same(g, save_and_load(g));
}

}  // namespace
}  // namespace bitfold
