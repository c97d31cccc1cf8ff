#include <gtest/gtest.h>

#include <algorithm>
#include <limits>

#include "bitfold/error.h"
#include "bitfold/graph.h"
#include "ops/window.h"

namespace bitfold {
namespace {

constexpr std::int64_t kMax = std::numeric_limits<std::int64_t>::max();

ValueId integers(Graph& g, const std::string& name, const std::vector<std::int64_t>& v) {
  return g.add_constant(name, Tensor::from<std::int64_t>({std::ssize(v)}, v));
}

Shape shape_after(Graph& g, ValueId id, std::span<const Shape> inputs = {}) {
  return infer_values(g, inputs)[static_cast<std::size_t>(id)].shape.value();
}

Window window(std::int64_t kernel, std::int64_t stride, std::int64_t pad) {
  return {.kernel = {kernel, kernel}, .strides = {stride, stride}, .dilations = {1, 1}, .pads = {pad, pad, pad, pad}};
}

TEST(ShapeInference, a_convolution_keeps_a_dynamic_batch) {
  Graph g;
  const ValueId x = g.add_input("x", DataType::float32, {kDynamic, 3, 224, 224});
  const ValueId w = g.add_constant("w", Tensor(DataType::float32, {64, 3, 7, 7}));
  const ValueId y = g.add(Conv{window(7, 2, 3)}, "conv", {x, w}, "y");
  EXPECT_EQ(shape_after(g, y), (Shape{kDynamic, 64, 112, 112}));
}

TEST(ShapeInference, mismatched_channels_name_the_node_and_both_counts) {
  Graph g;
  const ValueId x = g.add_input("x", DataType::float32, {1, 32, 8, 8});
  const ValueId w = g.add_constant("w", Tensor(DataType::float32, {4, 64, 3, 3}));
  g.add(Conv{window(3, 1, 0)}, "layer2.0.conv1", {x, w}, "y");
  try {
    infer_values(g);
    FAIL() << "no error";
  } catch (const Error& e) {
    EXPECT_STREQ(e.what(), "[Conv 'layer2.0.conv1'] weights have 64 input channels, but the input has 32");
  }
}

TEST(ShapeInference, a_reshape_to_batch_and_minus_one_is_known_if_the_batch_is_known) {
  Graph g;
  const ValueId x = g.add_input("x", DataType::float32, {kDynamic, 64, 1, 1});
  const ValueId shape = g.add(ShapeOf{}, "shape", {x}, "s");
  const ValueId batch = g.add(Gather{}, "gather", {shape, integers(g, "zero", {0})}, "n");
  const ValueId target = g.add(Concat{}, "concat", {batch, integers(g, "rest", {-1})}, "t");
  const ValueId y = g.add(Reshape{}, "reshape", {x, target}, "y");
  EXPECT_EQ(shape_after(g, y).size(), 2U);
  const std::vector<Shape> eight{{8, 64, 1, 1}};
  EXPECT_EQ(shape_after(g, y, eight), (Shape{8, 64}));
}

TEST(ShapeInference, a_reshape_that_copies_a_dynamic_batch_infers_the_rest) {
  Graph g;
  const ValueId x = g.add_input("x", DataType::float32, {kDynamic, 64, 2, 2});
  EXPECT_EQ(shape_after(g, g.add(Reshape{}, "reshape", {x, integers(g, "t", {0, -1})}, "y")), (Shape{kDynamic, 256}));
}

TEST(ShapeInference, the_number_of_elements_can_be_a_shape) {
  Graph g;
  const ValueId x = g.add_input("x", DataType::float32, {2, 3, 4});
  const ValueId size = g.add(Unsqueeze{}, "vector", {g.add(SizeOf{}, "size", {x}, "s"), integers(g, "axes", {0})}, "t");
  EXPECT_EQ(shape_after(g, g.add(Reshape{}, "reshape", {x, size}, "y")), (Shape{24}));
  // The size of a vector is its only dimension.
  Graph d;
  const ValueId v = d.add_input("v", DataType::float32, {kDynamic});
  const ValueId n = d.add(Unsqueeze{}, "vector", {d.add(SizeOf{}, "size", {v}, "s"), integers(d, "axes", {0})}, "t");
  const ValueId y =
      d.add(Reshape{}, "reshape", {d.add(Expand{}, "expand", {v, n}, "e"), integers(d, "all", {-1})}, "y");
  EXPECT_EQ(shape_after(d, y), (Shape{kDynamic}));
  EXPECT_EQ(shape_after(d, y, std::vector<Shape>{{5}}), (Shape{5}));
}

TEST(ShapeInference, indices_of_known_elements_are_known) {
  Graph g;
  const ValueId ones = g.add(ConstantOfShape{Tensor::from<std::int64_t>({1}, std::vector<std::int64_t>{1})}, "ones",
                             {integers(g, "shape", {2, 3})}, "o");
  const ValueId found = g.add(NonZero{}, "find", {ones}, "f");
  const auto infos = infer_values(g);
  const ValueInfo& info = infos[static_cast<std::size_t>(found)];
  EXPECT_EQ(info.shape, (Shape{2, 6}));
  ASSERT_TRUE(info.elements);
  const std::vector<std::int64_t> expected{0, 0, 0, 1, 1, 1, 0, 1, 2, 0, 1, 2};
  EXPECT_TRUE(
      std::ranges::equal(*info.elements, expected, [](const Element& a, std::int64_t b) { return a && *a == b; }));
}

TEST(ShapeInference, k_of_top_k_may_be_computed_from_shapes) {
  Graph g;
  const ValueId x = g.add_input("x", DataType::float32, {3, 10}), y = g.add_input("y", DataType::float32, {4});
  const ValueId k = g.add(ShapeOf{}, "shape", {y}, "k");
  const ValueId values = g.add_value({.name = "values"}), indices = g.add_value({.name = "indices"});
  g.add_node({.name = "top", .op = TopK{}, .inputs = {x, k}, .outputs = {values, indices}});
  EXPECT_EQ(shape_after(g, values), (Shape{3, 4}));
  EXPECT_EQ(shape_after(g, indices), (Shape{3, 4}));
}

TEST(ShapeInference, slices_clamp_the_extremes_of_int64) {
  Graph g;
  const ValueId x = g.add_input("x", DataType::float32, {10, 7});
  const auto slice = [&](const char* name, std::int64_t start, std::int64_t end, std::int64_t step) {
    const std::string n = name;
    return shape_after(g, g.add(Slice{}, n,
                                {x, integers(g, n + "s", {start}), integers(g, n + "e", {end}),
                                 integers(g, n + "a", {0}), integers(g, n + "t", {step})},
                                n + "y"))[0];
  };
  EXPECT_EQ(slice("whole", 0, kMax, 1), 10);
  EXPECT_EQ(slice("third", 0, kMax, 3), 4);
  EXPECT_EQ(slice("reversed", -1, -kMax, -1), 10);
  EXPECT_EQ(slice("lowest_step", -1, -kMax - 1, -kMax - 1), 1);
  EXPECT_EQ(slice("empty", 5, 2, 1), 0);
}

TEST(ShapeInference, the_pads_that_an_exporter_computes_are_known) {
  // [0,0,0,0,8,8] ++ [0,0] -> 4x2, rows reversed, transposed, flat: [0,8,0,0, 0,8,0,0]
  Graph g;
  const ValueId given = integers(g, "given", {0, 0, 0, 0, 8, 8});
  const ValueId rest = g.add(ConstantOfShape{Tensor::from<std::int64_t>({1}, std::vector<std::int64_t>{0})}, "fill",
                             {integers(g, "two", {2})}, "zeros");
  const ValueId all = g.add(Concat{}, "concat", {given, rest}, "all");
  const ValueId rows = g.add(Reshape{}, "rows", {all, integers(g, "by_two", {-1, 2})}, "matrix");
  const ValueId reversed = g.add(
      Slice{}, "reverse",
      {rows, integers(g, "s", {-1}), integers(g, "e", {-kMax}), integers(g, "a", {0}), integers(g, "t", {-1})}, "r");
  const ValueId turned = g.add(Transpose{{1, 0}}, "turn", {reversed}, "turned");
  const ValueId pads = g.add(Reshape{}, "flat", {turned, integers(g, "one", {-1})}, "pads");
  const ValueId x = g.add_input("x", DataType::float32, {kDynamic, 16, 16, 16});
  EXPECT_EQ(shape_after(g, g.add(Pad{}, "pad", {x, pads}, "y")), (Shape{kDynamic, 32, 16, 16}));
}

TEST(ShapeInference, sizes_beyond_any_memory_are_an_error_not_an_overflow) {
  Graph g;
  const ValueId x = g.add_input("x", DataType::float32, {std::int64_t{1} << 62, 4});
  g.add(Flatten{.axis = 0}, "flatten", {x}, "y");
  EXPECT_THROW(infer_values(g), Error);
}

TEST(ShapeInference, broadcasting_repeats_axes_of_size_1_and_refuses_other_differences) {
  Graph g;
  const ValueId a = g.add_input("a", DataType::float32, {kDynamic, 1, 5});
  const ValueId b = g.add_input("b", DataType::float32, {4, 5});
  const ValueId c = g.add_input("c", DataType::float32, {3});
  EXPECT_EQ(shape_after(g, g.add(Binary{}, "add", {a, b}, "y")), (Shape{kDynamic, 4, 5}));
  g.add(Binary{}, "bad", {b, c}, "z");
  EXPECT_THROW(infer_values(g), Error);
}

TEST(ShapeInference, a_batch_of_unknown_size_cancels_out_of_a_reshape) {
  Graph g;
  const ValueId x = g.add_input("x", DataType::float32, {kDynamic, 64, 7, 7});
  const ValueId shape = g.add(ShapeOf{}, "shape", {x}, "s");
  const ValueId batch = g.add(Gather{}, "gather", {shape, integers(g, "zero", {0})}, "n");
  const ValueId rest = g.add(Concat{}, "concat", {batch, integers(g, "rest", {-1})}, "t");
  EXPECT_EQ(shape_after(g, g.add(Reshape{}, "flatten", {x, rest}, "y")), (Shape{kDynamic, 3136}));
  const ValueId known = g.add(Concat{}, "concat2", {integers(g, "rest2", {-1}), integers(g, "all", {49, 64})}, "t2");
  EXPECT_EQ(shape_after(g, g.add(Reshape{}, "turn", {x, known}, "z")), (Shape{kDynamic, 49, 64}));
}

TEST(ShapeInference, two_unknown_sizes_do_not_cancel) {
  Graph g;
  const ValueId x = g.add_input("x", DataType::float32, {kDynamic, 6});
  const ValueId other = g.add_input("other", DataType::float32, {kDynamic, 6});
  const ValueId shape = g.add(ShapeOf{.start = 0, .end = 1}, "shape", {other}, "s");
  const ValueId target = g.add(Concat{}, "concat", {shape, integers(g, "rest", {-1})}, "t");
  EXPECT_EQ(shape_after(g, g.add(Reshape{}, "reshape", {x, target}, "y")), (Shape{kDynamic, kDynamic}));
}

TEST(ShapeInference, an_expand_target_with_minus_ones_replaced_keeps_the_batch) {
  // Where(Equal(target, -1), 1, target), as exporters write Expand.
  Graph g;
  const ValueId x = g.add_input("x", DataType::float32, {kDynamic, 1});
  const ValueId batch = g.add(ShapeOf{.start = 0, .end = 1}, "shape", {x}, "s");
  const ValueId target = g.add(Concat{}, "concat", {batch, integers(g, "rest", {5})}, "t");
  const ValueId is_kept = g.add(Binary{BinaryKind::equal}, "equal", {target, integers(g, "minus", {-1})}, "e");
  const ValueId chosen = g.add(Where{}, "where", {is_kept, integers(g, "one", {1}), target}, "w");
  EXPECT_EQ(shape_after(g, g.add(Expand{}, "expand", {x, chosen}, "y")), (Shape{kDynamic, 5}));
}

// 2^42 elements if they were stored one by one.
TEST(ShapeInference, elements_are_not_tracked_above_the_bound) {
  Graph g;
  ValueId x = integers(g, "x", {1, 2});
  const auto doubled = [&] { return g.add(Concat{}, "concat", {x, x}, g.unique_name("y")); };
  for (int i = 0; i < 41; ++i) x = doubled();
  const std::vector<ValueInfo> infos = infer_values(g);
  EXPECT_EQ(infos[static_cast<std::size_t>(x)].shape, (Shape{std::int64_t{1} << 42}));
  for (const ValueInfo& info : infos)
    if (info.elements) {
      EXPECT_LE(info.elements->size(), 4096U);
    }
  // The longest list of elements that is still tracked.
  EXPECT_EQ(infos[static_cast<std::size_t>(g.find("y_10"))].elements->size(), 4096U);
}

TEST(ShapeInference, no_operator_tracks_more_elements_than_the_bound) {
  Graph g;
  const ValueId x = integers(g, "x", std::vector<std::int64_t>(4096, 3));
  const ValueId two = g.add_constant("two", Tensor::from<std::int64_t>({2, 1}, std::vector<std::int64_t>{1, 2}));
  const ValueId twice = integers(g, "shape", {2, 4096});
  const std::vector<ValueId> all{
      g.add(Concat{}, "concat", {x, x}, "a"), g.add(Binary{BinaryKind::add}, "add", {x, two}, "b"),
      g.add(Expand{}, "expand", {two, twice}, "c"), g.add(Tile{}, "tile", {x, integers(g, "r", {2})}, "d"),
      g.add(ConstantOfShape{Tensor(DataType::int64, {1})}, "fill", {twice}, "e")};
  const std::vector<ValueInfo> infos = infer_values(g);
  for (ValueId id : all) {
    EXPECT_EQ(element_count(*infos[static_cast<std::size_t>(id)].shape), 8192) << g.value(id).name;
    EXPECT_FALSE(infos[static_cast<std::size_t>(id)].elements) << g.value(id).name;
  }
}

TEST(ShapeInference, sizes_beyond_any_memory_are_refused_from_every_source) {
  constexpr std::int64_t kHuge = std::int64_t{1} << 62;
  const auto refuses = [](auto&& build) {
    Graph g;
    build(g);
    EXPECT_THROW(infer_values(g), Error);
  };
  refuses([&](Graph& g) { g.add_input("x", DataType::float32, {kHuge}); });
  refuses([&](Graph& g) {
    g.add(ConstantOfShape{Tensor(DataType::float32, {1})}, "fill", {integers(g, "s", {kHuge, kHuge})}, "y");
  });
  refuses([&](Graph& g) {
    const ValueId x = g.add_input("x", DataType::float32, {2, 3});
    g.add(Tile{}, "tile", {x, integers(g, "r", {kMax, kMax})}, "y");
  });
  refuses([&](Graph& g) {
    const ValueId x = g.add_input("x", DataType::float32, {2, 3});
    g.add(Pad{}, "pad", {x, integers(g, "p", {-kMax - 1, kMax, kMax, kMax})}, "y");
  });
  refuses([&](Graph& g) {
    g.add(Range{}, "range", {integers(g, "a", {-kMax - 1}), integers(g, "b", {kMax}), integers(g, "c", {1})}, "y");
  });
  refuses([&](Graph& g) {
    const ValueId x = g.add_input("x", DataType::float32, {1, 1, 4, 4});
    ConvTranspose op{window(3, kMax, 0), 1, {}, {}};
    g.add(op, "up", {x, g.add_constant("w", Tensor(DataType::float32, {1, 1, 3, 3}))}, "y");
  });
}

TEST(Window, transposed_sizes_follow_the_formula_and_a_given_output_shape_sets_the_pads) {
  ConvTranspose op{window(3, 2, 1), 1, {1, 1}, {}};
  EXPECT_EQ(ops::resolve_transposed_window(op, std::vector<std::int64_t>{5, kDynamic}).output,
            (std::vector<std::int64_t>{10, kDynamic}));
  op = {window(3, 2, 0), 1, {}, {10, 10}};
  const auto given = ops::resolve_transposed_window(op, std::vector<std::int64_t>{5, 5});
  EXPECT_EQ(given.output, (std::vector<std::int64_t>{10, 10}));
  EXPECT_EQ(given.pads, (std::vector<std::int64_t>{1, 1, 0, 0}));  // 11 - 10 = 1, at the beginning
}

TEST(Window, same_upper_puts_the_odd_pad_at_the_end) {
  Window w = window(3, 2, 0);
  w.auto_pad = AutoPad::same_upper;
  const auto r = ops::resolve_window(w, std::vector<std::int64_t>{6, 6}, false);
  EXPECT_EQ(r.output, (std::vector<std::int64_t>{3, 3}));
  EXPECT_EQ(r.pads, (std::vector<std::int64_t>{0, 0, 1, 1}));
}

TEST(Window, ceil_mode_drops_a_window_that_starts_in_the_end_padding) {
  EXPECT_EQ(ops::resolve_window(window(2, 2, 0), std::vector<std::int64_t>{5, 5}, true).output[0], 3);
  // 3 wide, one pad at the end, stride 2: windows at 0 and 2; the third would start at 4, outside the input.
  const Window w{.kernel = {1, 1}, .strides = {2, 2}, .dilations = {1, 1}, .pads = {0, 0, 1, 1}};
  EXPECT_EQ(ops::resolve_window(w, std::vector<std::int64_t>{3, 3}, true).output[0], 2);
}

TEST(Window, a_kernel_larger_than_the_padded_input_is_refused) {
  EXPECT_THROW(ops::resolve_window(window(5, 1, 0), std::vector<std::int64_t>{3, 3}, false), Error);
}

}  // namespace
}  // namespace bitfold
