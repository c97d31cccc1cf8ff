#include <gtest/gtest.h>

#include <limits>

#include "bitfold/error.h"
#include "bitfold/graph.h"

namespace bitfold {
namespace {

Graph small_graph() {
  Graph g;
  g.name = "a \"name\" with \\ and \n";
  g.metadata["producer"] = "test";
  const ValueId x = g.add_input("x", DataType::float32, {kDynamic, 1, 4, 4});
  const ValueId w = g.add_constant("w", Tensor::from<float>({1, 1, 2, 1}, std::vector<float>{0.1F, -1e-30F}));
  g.value(x).quant = QuantParams{.scale = {0.1F}, .zero_point = {-1}, .is_signed = true};
  const Window window{.kernel = {2, 1}, .strides = {1, 2}, .dilations = {1, 1}, .pads = {0, 0, 1, 0}};
  const ValueId h = g.add(Conv{.window = window, .group = 1}, "conv", {x, w, ValueId::none}, "h");
  const ValueId r = g.add(Parametric{.kind = ParametricKind::elu, .alpha = 0.3F}, "elu", {h}, "r");
  const ValueId limit =
      g.add_constant("inf", Tensor::from<float>({}, std::vector<float>{std::numeric_limits<float>::infinity()}));
  const ValueId c = g.add(Clip{}, "clip", {r, ValueId::none, limit}, "c");
  const ValueId s = g.add(ShapeOf{.start = 0, .end = 2}, "shape", {c}, "s");
  g.value(s).dtype = DataType::int64;
  g.add(ConstantOfShape{Tensor::from<std::int64_t>({1}, std::vector<std::int64_t>{-7})}, "fill", {s}, "f");
  const ValueId o = g.add(Opaque{"com.example", "Odd", {std::string("\x00\xff a", 4)}}, "odd", {c}, "o");
  g.mark_output(o);
  g.mark_output(s);
  return g;
}

TEST(GraphText, reads_its_own_output) {
  const Graph g = small_graph();
  const std::string text = print_graph(g);
  EXPECT_EQ(print_graph(parse_graph(text)), text);
  Graph read = parse_graph(text), original = g;
  read.compact();
  original.compact();
  EXPECT_EQ(read, original);
}

TEST(GraphText, keeps_blocks_and_packed_codes) {
  Graph g;
  const Tensor codes = pack(Tensor::from<std::int8_t>({2, 3}, std::vector<std::int8_t>{-8, 7, 0, 1, 2, 3}), 4);
  const ValueId w = g.add_constant("w", codes);
  g.value(w).dtype = DataType::float32;
  g.value(w).quant = QuantParams{
      .scale = {1, 2, 3, 4}, .zero_point = {0, 1, 2, 3}, .bits = 4, .is_signed = true, .axis = 1, .block_size = 2};
  g.mark_output(w);
  const std::string text = print_graph(g);
  EXPECT_NE(text.find("codes int4 grid bits=4 signed=1 narrow=0 axis=1 block_size=2 scale="), std::string::npos)
      << text;
  EXPECT_EQ(parse_graph(text), g);
}

TEST(GraphText, distinguishes_large_constants_by_hash) {
  Graph a, b;
  std::vector<float> numbers(100, 0.5F);
  a.mark_output(a.add_constant("w", Tensor::from<float>({100}, numbers)));
  numbers[99] = 0.25F;
  b.mark_output(b.add_constant("w", Tensor::from<float>({100}, numbers)));
  EXPECT_NE(print_graph(a), print_graph(b));
  EXPECT_EQ(parse_graph(print_graph(a)).value(ValueId{0}).constant, Tensor(DataType::float32, {100}));
}

TEST(GraphText, names_the_invalid_line) {
  try {
    parse_graph("graph \"g\"\nnode Convolve \"c\" () -> () {}\n");
    FAIL() << "no error";
  } catch (const Error& e) {
    EXPECT_STREQ(e.what(), "line 2 of a graph: unknown operator 'Convolve'");
  }
  EXPECT_THROW(parse_graph("input \"x\" float33 [1]"), Error);
  EXPECT_THROW(parse_graph("output \"x\""), Error);
  EXPECT_THROW(parse_graph("graph \"x"), Error);
}

}  // namespace
}  // namespace bitfold
