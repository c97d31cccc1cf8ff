// Operators that find elements, or read and write them by index.
#include "op_testing.h"

namespace bitfold::testing {
namespace {

TEST(GatherElements, takes_one_index_along_the_axis) {
  expect_op(GatherElements{1}, {floats({2, 2}, {1, 2, 3, 4}), int64s({2, 2}, {0, 0, 1, -2})},
            floats({2, 2}, {1, 1, 4, 3}));
  expect_op(GatherElements{0}, {iota({3, 3}), int64s({1, 2}, {-1, 1})}, floats({1, 2}, {7, 5}));
  expect_op(GatherElements{-1}, {booleans({2}, {0, 1}), int64s({3}, {1, 0, 1})}, booleans({3}, {1, 0, 1}));
  EXPECT_EQ(op_message(GatherElements{0}, {iota({3}), int64s({3})}),
            "[GatherElements 'n'] index 3 is outside axis 0 of size 3");
  EXPECT_EQ(op_message(GatherElements{0}, {iota({3, 2}), int64s({1, 3}, {0, 0, 0})}),
            "[GatherElements 'n'] indices of shape 1x3 are larger than data of shape 3x2 along axis 1");
}

TEST(GatherND, takes_rows_and_elements_of_each_sample) {
  expect_op(GatherNd{}, {iota({2, 2}), int64s({2, 2}, {0, 0, -1, 1})}, floats({2}, {1, 4}));
  expect_op(GatherNd{}, {iota({2, 2}), int64s({2, 1}, {1, 0})}, floats({2, 2}, {3, 4, 1, 2}));
  expect_op(GatherNd{1}, {iota({2, 2, 2}), int64s({2, 1}, {1, 0})}, floats({2, 2}, {3, 4, 5, 6}));
  expect_op(GatherNd{1}, {iota({2, 3}), int64s({2, 2, 1}, {0, 1, -1, 0})}, floats({2, 2}, {1, 2, 6, 4}));
  EXPECT_EQ(op_message(GatherNd{1}, {iota({2, 3}), int64s({2, 1}, {0, 3})}),
            "[GatherND 'n'] index 3 of row 1 is outside axis 1 of size 3");
  EXPECT_EQ(op_message(GatherNd{1}, {iota({2, 3}), int64s({3, 1}, {0, 0, 0})}),
            "[GatherND 'n'] data of shape 2x3 and indices of shape 3x1 differ in their first 1 axes");
  EXPECT_EQ(op_message(GatherNd{}, {iota({2}), int64s({1, 2}, {0, 0})}),
            "[GatherND 'n'] indices of shape 1x2 cannot address data of shape 2: their last axis is 0 or too long");
}

TEST(ScatterElements, writes_or_combines_one_element_for_each_index) {
  const Inputs inputs{floats({1, 5}, {1, 2, 3, 4, 5}), int64s({1, 3}, {1, 3, -4}), floats({1, 3}, {10, 20, 30})};
  expect_op(ScatterElements{1}, inputs, floats({1, 5}, {1, 30, 3, 20, 5}));
  expect_op(ScatterElements{1, ScatterReduction::add}, inputs, floats({1, 5}, {1, 42, 3, 24, 5}));
  expect_op(ScatterElements{1, ScatterReduction::mul}, inputs, floats({1, 5}, {1, 600, 3, 80, 5}));
  expect_op(ScatterElements{1, ScatterReduction::min}, inputs, floats({1, 5}, {1, 2, 3, 4, 5}));
  expect_op(ScatterElements{1, ScatterReduction::max}, inputs, floats({1, 5}, {1, 30, 3, 20, 5}));
  expect_op(ScatterElements{0}, {iota({3, 3}), int64s({1, 2}, {2, 0}), floats({1, 2}, {8, 9})},
            floats({3, 3}, {1, 9, 3, 4, 5, 6, 8, 8, 9}));
  EXPECT_EQ(op_message(ScatterElements{1}, {iota({1, 2}), int64s({1, 1}, {2}), iota({1, 1})}),
            "[ScatterElements 'n'] index 2 is outside axis 1 of size 2");
  EXPECT_EQ(op_message(ScatterElements{}, {iota({2}), int64s({1}, {0}), iota({2})}),
            "[ScatterElements 'n'] updates have shape 2, expected that of indices, 1");
}

TEST(TensorScatter, writes_rows_from_a_position_of_each_sample_on) {
  const Tensor cache = iota({2, 3, 1}), update = floats({2, 2, 1}, {10, 20, 30, 40});
  expect_op(TensorScatter{}, {cache, update}, floats({2, 3, 1}, {10, 20, 3, 30, 40, 6}));
  expect_op(TensorScatter{}, {cache, update, int64s({1, 0})}, floats({2, 3, 1}, {1, 10, 20, 30, 40, 6}));
  expect_op(TensorScatter{.circular = true}, {cache, update, int64s({2, 1})},
            floats({2, 3, 1}, {20, 2, 10, 4, 30, 40}));
  EXPECT_EQ(op_message(TensorScatter{}, {cache, update, int64s({0, 2})}),
            "[TensorScatter 'n'] writes 2 positions from 2 on into axis 1 of size 3 of sample 1");
  EXPECT_EQ(op_message(TensorScatter{}, {cache, update, int64s({-1, 0})}),
            "[TensorScatter 'n'] writes 2 positions from -1 on into axis 1 of size 3 of sample 0");
  EXPECT_EQ(op_message(TensorScatter{0}, {cache, update}),
            "[TensorScatter 'n'] axis 0 of shape 2x3x1 is the batch axis");
}

TEST(GatherElements, takes_long_rows_and_int32_indices_of_every_width) {
  // Element (r, c) of data is 1000 r + c, and index (r, c) is (7 c + r) % 600, or the same from the end.
  constexpr std::int64_t kRows = 3, kColumns = 600;
  std::vector<std::int64_t> data, expected;
  std::vector<std::int32_t> indices;
  for (std::int64_t r = 0; r < kRows; ++r)
    for (std::int64_t c = 0; c < kColumns; ++c) {
      const std::int64_t index = (7 * c + r) % kColumns;
      data.push_back(1000 * r + c);
      indices.push_back(static_cast<std::int32_t>(c % 2 == 0 ? index : index - kColumns));
      expected.push_back(1000 * r + index);
    }
  const Shape shape{kRows, kColumns};
  const Tensor index = Tensor::from<std::int32_t>(shape, indices);
  expect_op(GatherElements{1}, {int64s(shape, data), index}, int64s(shape, expected));
  expect_op(GatherElements{1}, {Tensor::from<float>(shape, {data.begin(), data.end()}), index},
            Tensor::from<float>(shape, {expected.begin(), expected.end()}));
  expect_op(ScatterElements{1}, {Tensor(DataType::int64, shape), index, int64s(shape, expected)}, int64s(shape, data));
}

TEST(TopK, sorts_and_prefers_the_lower_index) {
  const Tensor x = floats({2, 4}, {3, 1, 3, 2, 0, 5, 4, 5});
  const auto largest = run_op(TopK{}, {x, int64s({3})}, 2);
  expect_equal(largest[0], floats({2, 3}, {3, 3, 2, 5, 5, 4}));
  expect_equal(largest[1], int64s({2, 3}, {0, 2, 3, 1, 3, 2}));
  const auto smallest = run_op(TopK{.axis = 0, .largest = false}, {x, int64s({1})}, 2);
  expect_equal(smallest[0], floats({1, 4}, {0, 1, 3, 2}));
  expect_equal(smallest[1], int64s({1, 4}, {1, 0, 0, 0}));
  const auto with_nan = run_op(TopK{}, {floats({3}, {1, kNan, 2}), int64s({2})}, 2);
  expect_equal(with_nan[0], floats({2}, {kNan, 2}));
  expect_equal(run_op(TopK{}, {x, int64s({0})}, 2)[0], floats({2, 0}, {}));
  EXPECT_EQ(op_message(TopK{}, {x, int64s({5})}, 2), "[TopK 'n'] k is 5, but the axis has 4 elements");
  EXPECT_EQ(op_message(TopK{}, {x, int64s({-1})}, 2), "[TopK 'n'] k is -1, but the axis has 4 elements");
}

TEST(OneHot, counts_negative_indices_from_the_end_and_ignores_others) {
  expect_op(OneHot{}, {int64s({1, -1, 3}), int64s({}, {3}), floats({2}, {0, 5})},
            floats({3, 3}, {0, 5, 0, 0, 0, 5, 0, 0, 0}));
  expect_op(OneHot{.axis = 0}, {floats({2}, {0, 1.9F}), floats({}, {2}), int64s({7, 8})}, int64s({2, 2}, {8, 7, 7, 8}));
  expect_op(OneHot{}, {floats({2}, {kNan, 1e30F}), floats({1}, {1}), int64s({7, 8})}, int64s({2, 1}, {7, 7}));
  EXPECT_EQ(op_message(OneHot{}, {int64s({1}), int64s({}, {-3}), floats({2}, {0, 5})}), "[OneHot 'n'] a depth of -3");
  EXPECT_EQ(op_message(OneHot{}, {int64s({1}), int64s({}, {3}), floats({3}, {0, 5, 5})}),
            "[OneHot 'n'] values have shape 3, expected 2");
}

TEST(NonZero, lists_the_indices_axis_by_axis) {
  expect_op(NonZero{}, {floats({2, 2}, {1, 0, kNan, -2})}, int64s({2, 3}, {0, 1, 1, 0, 0, 1}));
  expect_op(NonZero{}, {booleans({3}, {0, 0, 0})}, int64s({1, 0}, {}));
  expect_op(NonZero{}, {floats({}, {3})}, int64s({0, 1}, {}));
}

TEST(Unique, gives_values_first_indices_inverse_and_counts) {
  const auto sorted = run_op(Unique{}, {floats({6}, {2, 1, 1, 3, 4, 3})}, 4);
  expect_equal(sorted[0], floats({4}, {1, 2, 3, 4}));
  expect_equal(sorted[1], int64s({1, 0, 3, 4}));
  expect_equal(sorted[2], int64s({1, 0, 0, 2, 3, 2}));
  expect_equal(sorted[3], int64s({2, 1, 2, 1}));
  const auto in_order = run_op(Unique{.sorted = false}, {floats({6}, {2, 1, 1, 3, 4, 3})}, 4);
  expect_equal(in_order[0], floats({4}, {2, 1, 3, 4}));
  expect_equal(in_order[1], int64s({0, 1, 3, 4}));
  expect_equal(in_order[2], int64s({0, 1, 1, 2, 3, 2}));
  expect_equal(in_order[3], int64s({1, 2, 2, 1}));
  const auto rows = run_op(Unique{.axis = 0}, {floats({3, 3}, {1, 0, 0, 1, 0, 0, 2, 3, 4})}, 4);
  expect_equal(rows[0], floats({2, 3}, {1, 0, 0, 2, 3, 4}));
  expect_equal(rows[1], int64s({0, 2}));
  expect_equal(rows[2], int64s({0, 0, 1}));
  expect_equal(rows[3], int64s({2, 1}));
  expect_op(Unique{}, {floats({3}, {kNan, 1, kNan})}, floats({2}, {1, kNan}));
}

TEST(Compress, selects_slices_or_elements) {
  const Tensor x = iota({3, 2});
  expect_op(Compress{.axis = 0}, {x, booleans({3}, {0, 1, 1})}, floats({2, 2}, {3, 4, 5, 6}));
  expect_op(Compress{.axis = -1}, {x, booleans({1}, {1})}, floats({3, 1}, {1, 3, 5}));
  expect_op(Compress{}, {x, booleans({5}, {0, 1, 0, 0, 1})}, floats({2}, {2, 5}));
}

}  // namespace
}  // namespace bitfold::testing
