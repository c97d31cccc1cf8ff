// Convolutions, pools and matrix products.
#include "numeric/random_tensor.h"
#include "op_testing.h"

namespace bitfold::testing {
namespace {

TEST(Conv, applies_strides_and_pads_along_one_axis) {
  expect_op(Conv{window({3}, {2}, {1}, {1, 1})},
            {iota({1, 2, 5}), floats({1, 2, 3}, {1, 0, -1, 2, 1, 0}), floats({1}, {0.5F})},
            floats({1, 1, 3}, {4.5F, 20.5F, 32.5F}));
}

TEST(Conv, dilates_and_pads_each_side_separately) {
  expect_op(Conv{window({2, 2}, {}, {2, 2}, {0, 1, 1, 0})}, {iota({1, 1, 4, 4}), floats({1, 1, 2, 2}, {1, 2, 3, 4})},
            floats({1, 1, 3, 3}, {44, 78, 88, 68, 118, 128, 20, 31, 34}));
}

TEST(Conv, keeps_groups_apart) {
  expect_op(Conv{window({1, 1}), 2}, {iota({1, 4, 2, 2}), iota({2, 2, 1, 1})},
            floats({1, 2, 2, 2}, {11, 14, 17, 20, 79, 86, 93, 100}));
}

TEST(Conv, supports_three_spatial_axes) {
  expect_op(Conv{window({2, 2, 2})}, {iota({1, 1, 2, 2, 3}), iota({1, 1, 2, 2, 2})},
            floats({1, 1, 1, 1, 2}, {278, 314}));
}

TEST(Conv, resolves_auto_pad_from_the_input_size) {
  const Inputs inputs{iota({1, 1, 1, 4}), floats({1, 1, 1, 3}, {1, 10, 100})};
  expect_op(Conv{window({1, 3}, {1, 2}, {}, {}, AutoPad::same_upper)}, inputs, floats({1, 1, 1, 2}, {321, 43}));
  expect_op(Conv{window({1, 3}, {1, 2}, {}, {}, AutoPad::same_lower)}, inputs, floats({1, 1, 1, 2}, {210, 432}));
  expect_op(Conv{window({1, 3}, {1, 1}, {}, {}, AutoPad::valid)}, inputs, floats({1, 1, 1, 2}, {321, 432}));
}

TEST(Conv, runs_rows_longer_than_a_block) {
  const Tensor y = run_op(Conv{window({3}, {}, {}, {1, 1})}, {iota({1, 1, 200}), floats({1, 1, 3}, {1, 1, 1})})[0];
  EXPECT_EQ(y.data<float>()[0], 3);
  for (std::size_t i = 1; i < 199; ++i) ASSERT_EQ(y.data<float>()[i], 3 * static_cast<float>(i + 1)) << i;
  EXPECT_EQ(y.data<float>()[199], 399);
}

TEST(ConvTranspose, applies_strides_pads_and_output_padding) {
  ConvTranspose op{window({3, 3}, {2, 2}, {}, {1, 1, 1, 1})};
  op.output_padding = {1, 1};
  expect_op(op, {iota({1, 1, 2, 2}), iota({1, 1, 3, 3})},
            floats({1, 1, 4, 4}, {5, 14, 10, 12, 14, 36, 24, 30, 15, 34, 20, 24, 24, 55, 32, 36}));
}

TEST(ConvTranspose, keeps_groups_apart) {
  expect_op(ConvTranspose{window({2}, {2}), 2}, {iota({1, 2, 2}), iota({2, 2, 2})},
            floats({1, 4, 4}, {1, 2, 2, 4, 3, 4, 6, 8, 15, 18, 20, 24, 21, 24, 28, 32}));
}

TEST(ConvTranspose, dilates_and_adds_bias) {
  expect_op(ConvTranspose{window({2}, {}, {2})}, {iota({1, 1, 3}), floats({1, 1, 2}, {1, 10}), floats({1}, {0.5F})},
            floats({1, 1, 5}, {1.5F, 2.5F, 13.5F, 20.5F, 30.5F}));
}

TEST(ConvTranspose, gives_the_requested_output_shape) {
  const Inputs inputs{iota({1, 1, 3}), floats({1, 1, 3}, {1, 10, 100})};
  const Tensor first = floats({1, 1, 6}, {1, 10, 102, 20, 203, 30}),
               last = floats({1, 1, 6}, {10, 102, 20, 203, 30, 300});
  ConvTranspose op{window({3}, {2})};
  op.output_shape = {6};
  expect_op(op, inputs, last);
  op.window.auto_pad = AutoPad::same_lower;
  expect_op(op, inputs, last);
  op.window.auto_pad = AutoPad::same_upper;
  expect_op(op, inputs, first);
  op.output_shape = {};
  expect_op(op, inputs, first);
}

TEST(Gemm, transposes_scales_and_broadcasts_c) {
  expect_op(Gemm{0.5F, 2, true, true}, {iota({3, 2}), iota({4, 3}), floats({2, 1}, {1, 2})},
            floats({2, 4}, {13, 26.5F, 40, 53.5F, 18, 36, 54, 72}));
  expect_op(Gemm{}, {iota({1, 2}), iota({2, 2}), floats({}, {10})}, floats({1, 2}, {17, 20}));
  expect_op(Gemm{}, {iota({1, 2}), iota({2, 2}), floats({2}, {10, 20})}, floats({1, 2}, {17, 30}));
  expect_op(Gemm{}, {iota({1, 2}), iota({2, 2})}, floats({1, 2}, {7, 10}));
}

TEST(MatMul, equals_numpy_at_every_rank) {
  expect_op(MatMul{}, {iota({2, 1, 2, 3}), iota({3, 3, 1})},
            floats({2, 3, 2, 1}, {14, 32, 32, 77, 50, 122, 50, 68, 122, 167, 194, 266}));
  expect_op(MatMul{}, {iota({3}), iota({3, 2})}, floats({2}, {22, 28}));
  expect_op(MatMul{}, {iota({2, 2, 3}), iota({3})}, floats({2, 2}, {14, 32, 50, 68}));
  expect_op(MatMul{}, {iota({3}), iota({3})}, floats({}, {14}));
}

TEST(MatMul, by_onednn_equals_the_plain_loops) {
  const Inputs inputs{iota({2, 1, 2, 3}), iota({3, 3, 1})};
  expect_equal(run_op(MatMul{}, inputs, 1, {})[0], run_op(MatMul{}, inputs)[0]);
  const Inputs transposed{iota({3, 2}), iota({4, 3}), floats({2, 1}, {1, 2})};
  expect_equal(run_op(Gemm{0.5F, 2, true, true}, transposed, 1, {})[0],
               floats({2, 4}, {13, 26.5F, 40, 53.5F, 18, 36, 54, 72}));
}

TEST(MaxPool, ceil_mode_adds_the_last_partial_window) {
  Tensor x = iota({1, 1, 5, 5});
  for (float& v : x.mutable_data<float>()) v = 26 - v;
  expect_op(Pool{PoolKind::max, window({2, 2}, {2, 2}), true}, {x},
            floats({1, 1, 3, 3}, {25, 23, 21, 15, 13, 11, 5, 3, 1}));
  expect_op(Pool{PoolKind::max, window({2, 2}, {2, 2})}, {x}, floats({1, 1, 2, 2}, {25, 23, 15, 13}));
}

TEST(MaxPool, ceil_mode_keeps_a_window_that_reaches_beyond_the_input_by_less_than_a_stride) {
  const Tensor x = floats({1, 1, 4}, {4, 1, 2, 3});
  expect_op(Pool{PoolKind::max, window({3}, {2}, {2}), true}, {x}, floats({1, 1, 1}, {4}));
  expect_op(Pool{PoolKind::average, window({3}, {2}, {2}), true}, {x}, floats({1, 1, 1}, {3}));
}

TEST(MaxPool, dilates_and_ignores_padding) {
  expect_op(Pool{PoolKind::max, window({1, 2}, {}, {1, 3}, {0, 1, 0, 1})}, {iota({1, 1, 1, 6})},
            floats({1, 1, 1, 5}, {3, 4, 5, 6, 4}));
  expect_op(Pool{PoolKind::max, window({2}, {1}, {1}, {1, 1})}, {floats({1, 1, 2}, {-5, -7})},
            floats({1, 1, 3}, {-5, -5, -7}));
}

TEST(MaxPool, of_any_window_is_the_largest_tap_inside_the_image) {
  struct Axis {
    std::int64_t size, kernel, stride, dilation, begin, end;
    std::int64_t outputs() const { return (size + begin + end - dilation * (kernel - 1) - 1) / stride + 1; }
  };
  const std::vector<Axis> axes{
      {11, 3, 1, 2, 2, 1}, {13, 3, 2, 2, 2, 2}, {9, 2, 3, 4, 0, 0}, {4, 5, 1, 1, 4, 3}, {5, 1, 2, 1, 1, 1}};
  const std::int64_t planes = 3;
  for (const Axis& h : axes)
    for (const Axis& w : axes) {
      Tensor x = random_tensor({1, planes, h.size, w.size}, 5);
      x.mutable_data<float>()[7] = kNan;
      std::vector<float> expected;
      for (std::int64_t p = 0; p < planes; ++p)
        for (std::int64_t oy = 0; oy < h.outputs(); ++oy)
          for (std::int64_t ox = 0; ox < w.outputs(); ++ox) {
            float best = -kInfinity;
            for (std::int64_t ky = 0; ky < h.kernel; ++ky)
              for (std::int64_t kx = 0; kx < w.kernel; ++kx) {
                const std::int64_t r = oy * h.stride - h.begin + ky * h.dilation,
                                   c = ox * w.stride - w.begin + kx * w.dilation;
                if (r >= 0 && r < h.size && c >= 0 && c < w.size)
                  best = std::max(best, x.data<float>()[static_cast<std::size_t>((p * h.size + r) * w.size + c)]);
              }
            expected.push_back(best);
          }
      const Pool pool{PoolKind::max, window({h.kernel, w.kernel}, {h.stride, w.stride}, {h.dilation, w.dilation},
                                            {h.begin, w.begin, h.end, w.end})};
      EXPECT_EQ(run_op(pool, {x})[0], floats({1, planes, h.outputs(), w.outputs()}, expected));
    }
}

TEST(AveragePool, counts_requested_padding_but_not_positions_added_by_ceil_mode) {
  const auto pool = [](std::vector<std::int64_t> pads, bool count_pad) {
    return Pool{PoolKind::average, window({1, 3}, {1, 2}, {}, std::move(pads)), true, count_pad};
  };
  expect_op(pool({0, 1, 0, 0}, false), {iota({1, 1, 1, 5})}, floats({1, 1, 1, 3}, {1.5F, 3, 4.5F}));
  expect_op(pool({0, 1, 0, 0}, true), {iota({1, 1, 1, 5})}, floats({1, 1, 1, 3}, {1, 3, 4.5F}));
  expect_op(pool({0, 1, 0, 1}, false), {iota({1, 1, 1, 6})}, floats({1, 1, 1, 4}, {1.5F, 3, 5, 6}));
  expect_op(pool({0, 1, 0, 1}, true), {iota({1, 1, 1, 6})}, floats({1, 1, 1, 4}, {1, 3, 5, 3}));
}

TEST(AveragePool, dilated_windows_skip_elements) {
  expect_op(Pool{PoolKind::average, window({1, 2}, {}, {1, 2}, {0, 1, 0, 1})}, {iota({1, 1, 1, 6})},
            floats({1, 1, 1, 6}, {2, 2, 3, 4, 5, 5}));
  expect_op(Pool{PoolKind::average, window({1, 2}, {}, {1, 2}, {0, 1, 0, 1}), false, true}, {iota({1, 1, 1, 6})},
            floats({1, 1, 1, 6}, {1, 2, 3, 4, 5, 2.5F}));
}

TEST(AveragePool, resolves_auto_pad) {
  expect_op(Pool{PoolKind::average, window({1, 2}, {}, {}, {}, AutoPad::same_lower)}, {iota({1, 1, 1, 4})},
            floats({1, 1, 1, 4}, {1, 1.5F, 2.5F, 3.5F}));
}

TEST(GlobalPool, reduces_every_spatial_axis) {
  expect_op(GlobalPool{PoolKind::average}, {iota({1, 2, 2, 2})}, floats({1, 2, 1, 1}, {2.5F, 6.5F}));
  expect_op(GlobalPool{PoolKind::max}, {iota({1, 2, 3})}, floats({1, 2, 1}, {3, 6}));
}

}  // namespace
}  // namespace bitfold::testing
