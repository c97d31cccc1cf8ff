// Operators that rearrange elements, make tensors, accumulate along an axis, or pool.
#include "op_testing.h"

namespace bitfold::testing {
namespace {

TEST(SpaceToDepth, inverts_depth_to_space_in_both_orders) {
  expect_op(SpaceToDepth{2}, {iota({1, 1, 2, 4})}, floats({1, 4, 1, 2}, {1, 3, 2, 4, 5, 7, 6, 8}));
  for (bool column_row_depth : {false, true}) {
    const Tensor x = iota({2, 12, 2, 3});
    expect_op(SpaceToDepth{2, column_row_depth}, {run_op(DepthToSpace{2, column_row_depth}, {x})[0]}, x);
  }
  EXPECT_EQ(op_message(SpaceToDepth{2}, {iota({1, 1, 3, 2})}),
            "[SpaceToDepth 'n'] axis 2 of shape 1x1x3x2 cannot be split into blocks of 2");
}

TEST(ReverseSequence, reverses_the_beginning_of_each_sample) {
  expect_op(ReverseSequence{}, {iota({4, 2}), int64s({3, 2})}, floats({4, 2}, {5, 4, 3, 2, 1, 6, 7, 8}));
  expect_op(ReverseSequence{.batch_axis = 0, .time_axis = 1}, {iota({2, 3}), int64s({0, 3})},
            floats({2, 3}, {1, 2, 3, 6, 5, 4}));
  EXPECT_EQ(op_message(ReverseSequence{}, {iota({4, 2}), int64s({3, 5})}),
            "[ReverseSequence 'n'] the length of sample 1 is 5; its axis 0 has size 4");
  EXPECT_EQ(op_message(ReverseSequence{}, {iota({4, 2}), int64s({3})}),
            "[ReverseSequence 'n'] sequence_lens have shape 1, expected one length for each of 2 samples");
}

TEST(CenterCropPad, puts_the_odd_element_at_the_end) {
  expect_op(CenterCropPad{}, {iota({2, 4}), int64s({3, 1})}, floats({3, 1}, {2, 6, 0}));
  expect_op(CenterCropPad{{-1}}, {iota({1, 2}), int64s({5})}, floats({1, 5}, {0, 1, 2, 0, 0}));
  EXPECT_EQ(op_message(CenterCropPad{{0}}, {iota({2}), int64s({1, 1})}),
            "[CenterCropPad 'n'] shape has 2 elements for 1 axes");
}

TEST(Trilu, keeps_one_triangle_from_a_diagonal_on) {
  expect_op(Trilu{}, {iota({2, 3})}, floats({2, 3}, {1, 2, 3, 0, 5, 6}));
  expect_op(Trilu{true}, {iota({2, 3}), int64s({}, {1})}, floats({2, 3}, {0, 2, 3, 0, 0, 6}));
  expect_op(Trilu{false}, {iota({2, 2}), int64s({}, {-1})}, floats({2, 2}, {0, 0, 3, 0}));
  expect_op(Trilu{false}, {iota({1, 2}), int64s({}, {std::numeric_limits<std::int64_t>::max()})}, iota({1, 2}));
  EXPECT_EQ(op_message(Trilu{}, {iota({3})}), "[Trilu 'n'] input has shape 3, expected matrices");
}

TEST(Pad, wraps_around) {
  expect_op(Pad{PadMode::wrap}, {iota({3}), int64s({4, 2})}, floats({9}, {3, 1, 2, 3, 1, 2, 3, 1, 2}));
  expect_op(Pad{PadMode::wrap}, {iota({4}), int64s({-1, 2})}, floats({5}, {2, 3, 4, 2, 3}));
}

TEST(SizeOf, counts_elements) { expect_op(SizeOf{}, {iota({2, 3})}, int64s({}, {6})); }

TEST(EyeLike, puts_ones_on_a_diagonal) {
  expect_op(EyeLike{}, {iota({2, 3})}, floats({2, 3}, {1, 0, 0, 0, 1, 0}));
  expect_op(EyeLike{DataType::int64, -1}, {iota({2, 3})}, int64s({2, 3}, {0, 0, 0, 1, 0, 0}));
  expect_op(EyeLike{DataType::boolean, std::numeric_limits<std::int64_t>::min()}, {iota({1, 2})},
            booleans({1, 2}, {0, 0}));
}

TEST(Cumulative, accumulates_in_both_directions) {
  const Tensor x = iota({2, 3});
  expect_op(Cumulative{}, {x, int64s({}, {1})}, floats({2, 3}, {1, 3, 6, 4, 9, 15}));
  expect_op(Cumulative{.exclusive = true, .reverse = true}, {x, int64s({}, {1})}, floats({2, 3}, {5, 3, 0, 11, 6, 0}));
  expect_op(Cumulative{.kind = CumulativeKind::product}, {x, int64s({}, {-2})}, floats({2, 3}, {1, 2, 3, 4, 10, 18}));
  expect_op(Cumulative{.kind = CumulativeKind::product, .exclusive = true}, {int64s({2, 3, 4}), int64s({}, {0})},
            int64s({1, 2, 6}));
  EXPECT_EQ(op_message(Cumulative{}, {x, int64s({}, {2})}),
            "[CumSum 'n'] axis 2 does not exist in a value with 2 axes");
}

TEST(Hardmax, marks_the_first_maximum) {
  const Tensor x = floats({2, 3}, {1, 3, 3, 7, 5, 6});
  expect_op(Hardmax{}, {x}, floats({2, 3}, {0, 1, 0, 1, 0, 0}));
  expect_op(Hardmax{.axis = 0}, {x}, floats({2, 3}, {0, 0, 0, 1, 1, 1}));
  expect_op(Hardmax{.axis = 0, .flattened = true}, {x}, floats({2, 3}, {0, 0, 0, 1, 0, 0}));
}

Tensor pooled_image() { return floats({1, 1, 3, 4}, {1, 3, 3, 2, 5, 5, 4, 0, 1, 2, 9, 9}); }

TEST(MaxPool, gives_the_indices_of_the_first_maxima) {
  const auto rows = run_op(Pool{.window = window({2, 2})}, {pooled_image()}, 2);
  expect_equal(rows[0], floats({1, 1, 2, 3}, {5, 5, 4, 5, 9, 9}));
  expect_equal(rows[1], int64s({1, 1, 2, 3}, {4, 5, 6, 4, 10, 10}));
  const auto columns = run_op(Pool{.window = window({2, 2}), .column_major_indices = true}, {pooled_image()}, 2);
  expect_equal(columns[1], int64s({1, 1, 2, 3}, {1, 4, 7, 1, 8, 8}));
  const auto padded = run_op(Pool{.window = window({2, 2}, {2, 2}, {2, 2}, {1, 1, 1, 1})}, {pooled_image()}, 2);
  expect_equal(padded[1], int64s({1, 1, 2, 2}, {5, 5, 5, 5}));
  // The second channel's indices go on after the first's.
  expect_equal(run_op(Pool{.window = window({2})}, {floats({1, 2, 2}, {1, 2, 4, 3})}, 2)[1], int64s({1, 2, 1}, {1, 2}));
}

TEST(MaxUnpool, puts_maxima_back) {
  const Tensor x = floats({1, 1, 1, 2}, {5, 9}), indices = int64s({1, 1, 1, 2}, {1, 6});
  const MaxUnpool op{window({2, 2}, {2, 2})};
  expect_op(op, {x, indices}, floats({1, 1, 2, 4}, {0, 5, 0, 0, 0, 0, 9, 0}));
  expect_op(op, {x, indices, int64s({1, 1, 3, 5})},
            floats({1, 1, 3, 5}, {0, 5, 0, 0, 0, 0, 0, 9, 0, 0, 0, 0, 0, 0, 0}));
  EXPECT_EQ(op_message(op, {x, int64s({1, 1, 1, 2}, {1, 8})}),
            "[MaxUnpool 'n'] index 8 is outside a tensor of shape 1x1x2x4");
  EXPECT_EQ(op_message(op, {x, int64s({1, 1, 1, 2}, {1, -1})}),
            "[MaxUnpool 'n'] index -1 is outside a tensor of shape 1x1x2x4");
  EXPECT_EQ(op_message(op, {x, indices, int64s({1, 1, 1, 4})}), "[MaxUnpool 'n'] index 6 is outside axis 2 of size 1");
}

TEST(LpPool, is_the_norm_of_a_window) {
  expect_op(LpPool{.window = window({2, 2}, {2, 2}, {}, {0, 0, 1, 0}), .p = 3}, {pooled_image()},
            floats({1, 1, 2, 2}, {6.526519F, 4.626065F, 2.080084F, 11.33929F}));
  expect_op(GlobalLpPool{1}, {pooled_image()}, floats({1, 1, 1, 1}, {44}));
  expect_op(GlobalLpPool{}, {floats({1, 2, 2}, {3, -4, 0, 2})}, floats({1, 2, 1}, {5, 2}));
}

}  // namespace
}  // namespace bitfold::testing
