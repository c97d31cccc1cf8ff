// Operators on codes, and conversion between element types. Numbers are those of ONNX Runtime 1.32.
#include "bitfold/affine.h"
#include "bitfold/reals.h"
#include "op_testing.h"
#include "ops/operator.h"

namespace bitfold::testing {
namespace {

template <class T>
Tensor numbers(Shape shape, const std::vector<T>& values) {
  return Tensor::from<T>(std::move(shape), values);
}
Tensor bytes(Shape shape, const std::vector<std::uint8_t>& values) { return numbers(std::move(shape), values); }
Tensor signed_bytes(Shape shape, const std::vector<std::int8_t>& values) { return numbers(std::move(shape), values); }
Tensor int32s(Shape shape, const std::vector<std::int32_t>& values) { return numbers(std::move(shape), values); }

TEST(QuantizeLinear, rounds_half_to_even_and_saturates) {
  const Tensor x = floats({8}, {-1000, -3.3F, -0.5F, 0.5F, 1.5F, 2.5F, 1000, kNan});
  expect_op(QuantizeLinear{}, {x, floats({}, {0.5F}), bytes({}, {3})}, bytes({8}, {0, 0, 2, 4, 6, 8, 255, 0}));
  expect_op(QuantizeLinear{}, {int32s({3}, {-7, 5, 600}), floats({}, {2})}, bytes({3}, {0, 2, 255}));
}

TEST(QuantizeLinear, has_one_grid_for_each_channel_or_block) {
  const Tensor x = floats({2, 3}, {1, 2, 3, 4, 5, 6});
  expect_op(QuantizeLinear{}, {x, floats({3}, {1, 0.5F, 0.25F}), signed_bytes({3}, {0, 1, 2})},
            signed_bytes({2, 3}, {1, 5, 14, 4, 11, 26}));
  expect_op(QuantizeLinear{.axis = 0}, {x, floats({2}, {1, 2})}, bytes({2, 3}, {1, 2, 3, 2, 2, 3}));
  expect_op(QuantizeLinear{.axis = -1, .block_size = 2}, {x, floats({2, 2}, {1, 0.5F, 2, 0.25F})},
            bytes({2, 3}, {1, 2, 6, 2, 2, 24}));
}

TEST(QuantizeLinear, packs_narrow_codes_and_rounds_to_reals_of_8_bits) {
  const Tensor x = floats({3}, {-9, 2.5F, 100});
  expect_op(QuantizeLinear{.output_dtype = DataType::int4}, {x, floats({}, {1})},
            pack(signed_bytes({3}, {-8, 2, 7}), 4));
  const Tensor codes = run_op(QuantizeLinear{.output_dtype = DataType::float8e4m3fn}, {x, floats({}, {0.1F})})[0];
  EXPECT_EQ(codes.dtype(), DataType::float8e4m3fn);
  expect_op(DequantizeLinear{}, {codes, floats({}, {1})}, floats({3}, {-88, 24, 448}));
}

/// Elements -n, -n + 1, ... times `factor`.
Tensor ramp(std::int64_t n, float factor) {
  Tensor x(DataType::float32, {n});
  for (std::int64_t i = 0; i < n; ++i)
    x.mutable_data<float>()[static_cast<std::size_t>(i)] = factor * static_cast<float>(i - n / 2);
  return x;
}

TEST(QuantizeLinear, long_tensors_have_the_codes_of_their_elements) {
  const std::int64_t n = 1037;
  const Tensor x = ramp(n, 0.125F);
  const Tensor codes = run_op(QuantizeLinear{}, {x, floats({}, {0.25F}), signed_bytes({}, {-7})})[0];
  Tensor reals(DataType::float32, {n});
  for (std::size_t i = 0; i < static_cast<std::size_t>(n); ++i) {
    const double steps = std::clamp(std::nearbyint(static_cast<double>(x.data<float>()[i]) / 0.25) - 7, -128.0, 127.0);
    ASSERT_EQ(codes.data<std::int8_t>()[i], static_cast<std::int8_t>(steps)) << i;
    reals.mutable_data<float>()[i] = static_cast<float>((steps + 7) * 0.25);
  }
  expect_op(DequantizeLinear{}, {codes, floats({}, {0.25F}), signed_bytes({}, {-7})}, reals);
}

TEST(QuantizeLinear, grids_along_the_last_axis_repeat_in_each_row) {
  const Tensor x = floats({2, 2, 2}, {1, 1, 2, 2, 3, 3, 4, 4});
  expect_op(QuantizeLinear{.axis = 2}, {x, floats({2}, {1, 0.5F}), numbers<std::uint16_t>({2}, {0, 1000})},
            numbers<std::uint16_t>({2, 2, 2}, {1, 1002, 2, 1004, 3, 1006, 4, 1008}));
  expect_op(QuantizeLinear{.axis = 1, .block_size = 2}, {x, floats({2, 1, 2}, {1, 0.5F, 0.25F, 2})},
            bytes({2, 2, 2}, {1, 2, 2, 4, 12, 2, 16, 2}));
}

TEST(QuantizeLinear, refuses_scales_that_do_not_fit) {
  const Tensor x = floats({2, 3}, {1, 2, 3, 4, 5, 6});
  EXPECT_EQ(op_message(QuantizeLinear{}, {x, floats({2}, {1, 1})}),
            "[QuantizeLinear 'n'] scale has shape 2, expected one entry for each of the 3 indices along axis 1");
  EXPECT_EQ(op_message(QuantizeLinear{.axis = 5}, {x, floats({2}, {1, 1})}),
            "[QuantizeLinear 'n'] axis 5 does not exist in a value with 2 axes");
  EXPECT_EQ(op_message(QuantizeLinear{}, {x, floats({3}, {1, 1, 1}), bytes({2}, {0, 0})}),
            "[QuantizeLinear 'n'] scale has shape 3, but the zero point has 2");
  EXPECT_EQ(op_message(QuantizeLinear{.axis = 1, .block_size = 2}, {x, floats({2, 3}, {1, 1, 1, 1, 1, 1})}),
            "[QuantizeLinear 'n'] scale has shape 2x3; blocks of 2 along axis 1 of shape 2x3 need 2 along axis 1");
}

TEST(DequantizeLinear, subtracts_the_zero_point) {
  expect_op(DequantizeLinear{}, {bytes({3}, {0, 3, 255}), floats({}, {0.5F}), bytes({}, {3})},
            floats({3}, {-1.5F, 0, 126}));
  expect_op(DequantizeLinear{.axis = 0}, {int32s({2}, {-2147483647, 5}), floats({2}, {1, 2})},
            floats({2}, {-2147483648.0F, 10}));
  expect_op(DequantizeLinear{}, {pack(signed_bytes({3}, {-8, -1, 7}), 4), floats({}, {2})}, floats({3}, {-16, -2, 14}));
}

TEST(DynamicQuantizeLinear, the_grid_covers_the_range_and_0) {
  const auto y = run_op(DynamicQuantizeLinear{}, {floats({5}, {-1, -0.3F, 0.2F, 2, 3})}, 3);
  expect_equal(y[0], bytes({5}, {0, 45, 77, 191, 255}));
  expect_equal(y[1], floats({}, {4.0F / 255}));
  expect_equal(y[2], bytes({}, {64}));
  const auto zeros = run_op(DynamicQuantizeLinear{}, {floats({2}, {0, 0})}, 3);
  expect_equal(zeros[1], floats({}, {1}));
}

const Tensor kImage =
    bytes({1, 2, 3, 3}, {0, 13, 26, 39, 52, 65, 78, 91, 104, 117, 130, 143, 156, 169, 182, 195, 208, 221});
const Tensor kKernels =
    signed_bytes({2, 2, 2, 2}, {-100, -85, -70, -55, -40, -25, -10, 5, 20, 35, 50, 65, 80, 95, 110, 125});

TEST(ConvInteger, padding_has_the_zero_point) {
  expect_op(ConvInteger{window({2, 2}, {}, {}, {0, 0, 1, 1})}, {kImage, kKernels, bytes({}, {100})},
            int32s({1, 2, 3, 3}, {22660, 17720, 7310, 7840, 2900, -1270, -3535, -6785, -5240, 7780, 15320, 9230, 30400,
                                  37940, 19370, 17105, 20095, 9760}));
}

TEST(QLinearConv, requantizes_each_channel) {
  expect_op(QLinearConv{window({2, 2})},
            {kImage, floats({}, {0.02F}), bytes({}, {100}), kKernels, floats({2}, {0.01F, 0.03F}),
             signed_bytes({2}, {0, 0}), floats({}, {0.1F}), bytes({}, {120}), int32s({2}, {1000, -500})},
            bytes({1, 2, 2, 2}, {167, 157, 138, 128, 164, 209, 255, 255}));
}

TEST(QLinearConv, refuses_parameters_that_do_not_fit) {
  const Tensor scale = floats({}, {1}), zero = bytes({}, {0}), zero_w = signed_bytes({}, {0});
  EXPECT_EQ(op_message(QLinearConv{window({2, 2})},
                       {kImage, scale, zero, kKernels, floats({3}, {1, 1, 1}), zero_w, scale, zero}),
            "[QLinearConv 'n'] input 4 has shape 3, expected one element or 2");
  EXPECT_EQ(op_message(QLinearConv{window({2, 2})},
                       {kImage, scale, zero, kKernels, scale, zero_w, scale, zero, int32s({3}, {0, 0, 0})}),
            "[QLinearConv 'n'] bias has shape 3, expected 2");
}

const Tensor kLeft = bytes({2, 3}, {1, 200, 3, 40, 5, 255});
const Tensor kRight = signed_bytes({3, 2}, {1, -2, 3, -128, 127, 6});

TEST(MatMulInteger, has_zero_points_for_columns_and_rows) {
  expect_op(MatMulInteger{}, {kLeft, kRight, bytes({}, {12}), signed_bytes({2}, {1, -3})},
            int32s({2, 2}, {-758, -23592, 30604, 3090}));
  expect_op(MatMulInteger{}, {kLeft, kRight, bytes({2, 1}, {0, 5})},
            int32s({2, 2}, {1 + 600 + 381, -2 - 25600 + 18, 35 + 31750, -70 + 1500}));
}

TEST(QLinearMatMul, requantizes_each_column) {
  expect_op(QLinearMatMul{},
            {kLeft, floats({}, {0.02F}), bytes({}, {12}), kRight, floats({2}, {0.05F, 0.01F}),
             signed_bytes({2}, {1, -3}), floats({}, {0.3F}), bytes({}, {60})},
            bytes({2, 2}, {57, 44, 162, 62}));
  const Tensor scale = floats({}, {1}), zero = bytes({}, {0});
  EXPECT_EQ(op_message(QLinearMatMul{},
                       {kLeft, scale, zero, kRight, floats({3}, {1, 1, 1}), signed_bytes({}, {0}), scale, zero}),
            "[QLinearMatMul 'n'] input 4 has shape 3, which is neither one element nor one for each column of 3x2");
}

TEST(Cast, packed_integers_lose_their_high_bits) {
  expect_op(Cast{DataType::int4}, {int32s({4}, {-9, -8, 7, 9})}, pack(signed_bytes({4}, {7, -8, 7, -7}), 4));
  expect_op(Cast{DataType::uint2}, {floats({3}, {1.9F, 3, 5})}, pack(bytes({3}, {1, 3, 1}), 2));
  expect_op(Cast{DataType::float32}, {pack(signed_bytes({3}, {-8, -1, 7}), 4)}, floats({3}, {-8, -1, 7}));
}

TEST(Cast, long_tensors_of_halves_are_rounded_like_single_numbers) {
  const Tensor x = ramp(1037, 1.0F / 7);
  for (const DataType half : {DataType::float16, DataType::bfloat16}) {
    const Tensor halves = run_op(Cast{half}, {x})[0];
    EXPECT_EQ(halves, convert_reals(x, half));
    expect_op(Cast{DataType::float32}, {halves}, convert_reals(halves, DataType::float32));
  }
}

TEST(Cast, reals_outside_the_range_of_integers_saturate) {
  const Tensor x = floats({7}, {kNan, kInfinity, -kInfinity, 1e30F, -1e30F, 1.9F, -1.9F});
  constexpr std::int32_t kHigh = std::numeric_limits<std::int32_t>::max(),
                         kLow = std::numeric_limits<std::int32_t>::min();
  constexpr std::int64_t kTop = std::numeric_limits<std::int64_t>::max(),
                         kBottom = std::numeric_limits<std::int64_t>::min();
  expect_op(Cast{DataType::int32}, {x}, int32s({7}, {0, kHigh, kLow, kHigh, kLow, 1, -1}));
  expect_op(Cast{DataType::int64}, {x}, int64s({0, kTop, kBottom, kTop, kBottom, 1, -1}));
  expect_op(Cast{DataType::int8}, {x}, signed_bytes({7}, {0, 127, -128, 127, -128, 1, -1}));
  expect_op(Cast{DataType::uint8}, {x}, bytes({7}, {0, 255, 0, 255, 0, 1, 0}));
  expect_op(Cast{DataType::boolean}, {x}, booleans({7}, {1, 1, 1, 1, 1, 1, 1}));
}

TEST(Cast, unused_bits_of_the_last_byte_are_0) {
  std::uint8_t written = 0xff;
  const Shape shape{1};
  const float x = 5;
  const Node node{.name = "n", .op = Cast{DataType::uint4}};
  const TensorView in{DataType::float32, shape, reinterpret_cast<std::byte*>(const_cast<float*>(&x))};
  const TensorView out{DataType::uint4, shape, reinterpret_cast<std::byte*>(&written)};
  ops::info(node.op).evaluate(node, {&in, 1}, {&out, 1});
  EXPECT_EQ(written, 5);
}

TEST(Cast, reals_of_8_bits_are_rounded_and_saturate) {
  const Tensor x = floats({4}, {1.0625F, 1000, -kInfinity, 0.3F});
  const Tensor saturated = run_op(Cast{DataType::float8e4m3fn}, {x})[0];
  const std::vector<std::uint8_t> codes{0x38, 0x7e, 0xfe, 0x2a};
  EXPECT_EQ(saturated, Tensor::from_bytes(DataType::float8e4m3fn, {4}, std::as_bytes(std::span(codes))));
  expect_op(Cast{DataType::float32}, {saturated}, floats({4}, {1, 448, -448, 0.3125F}));
  expect_op(Cast{DataType::float32}, {run_op(Cast{DataType::float8e5m2, false}, {x})[0]},
            floats({4}, {1, 1024, -kInfinity, 0.3125F}));
}

TEST(CastLike, takes_the_type_of_the_other_input) {
  expect_op(CastLike{}, {floats({2}, {1.7F, -2}), int64s({1, 2, 3})}, int64s({1, -2}));
}

TEST(BitCast, keeps_the_bits) {
  expect_op(BitCast{DataType::int32}, {floats({2}, {1, -2})}, int32s({2}, {0x3f800000, -0x40000000}));
  EXPECT_EQ(op_message(BitCast{DataType::int64}, {floats({2}, {1, -2})}),
            "[BitCast 'n'] elements of float32 and int64 differ in width");
}

}  // namespace
}  // namespace bitfold::testing
