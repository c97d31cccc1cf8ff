// Operators on codes, and further elementwise functions.
#include <tuple>

#include "sweep/case.h"

namespace bitfold::testing {
namespace {

Window square(std::int64_t kernel, std::int64_t stride, std::int64_t pad) {
  return {{kernel, kernel}, {stride, stride}, {1, 1}, {pad, pad, pad, pad}, AutoPad::none};
}

void add_elementwise(std::vector<Case>& cases) {
  for (const Shape& shape : std::vector<Shape>{{}, {7}, {2, 17, 3}, {0, 4}}) {
    cases.push_back({.op = GeluTanh{}, .inputs = {data(shape)}});
    cases.push_back({.op = IsInf{}, .inputs = {data(shape)}});
    cases.push_back({.op = SwiGlu{.alpha = 1.5F}, .inputs = {data(shape), data(shape)}, .term = 16});
    for (bool left : {true, false})
      cases.push_back({.op = BitShift{left}, .inputs = {data(shape, 0, 100), data({}, 0, 9)}});
    cases.push_back({.op = CastLike{}, .inputs = {data(shape, 0, 9), data({})}});
  }
  cases.push_back({.op = BitShift{true}, .inputs = {data({5, 1}, 0, 100), data({1, 3}, 0, 9)}});
  for (const ops::OperatorInfo& row : ops::all_operators()) {
    if (!std::holds_alternative<BitCast>(row.prototype)) continue;
    for (int to = 0; to < static_cast<int>(DataType::string); ++to) {
      ops::TypeSet same_width;
      for (int from = 0; from < static_cast<int>(DataType::string); ++from)
        if (bit_width(static_cast<DataType>(from)) == bit_width(static_cast<DataType>(to)))
          same_width = same_width | ops::TypeSet{static_cast<DataType>(from)};
      // Not to reals: integers may have the bits of a NaN, which a file's float16 does not keep.
      if (ops::kOtherReal.contains(static_cast<DataType>(to)) || to == static_cast<int>(DataType::boolean)) continue;
      cases.push_back({.op = BitCast{static_cast<DataType>(to)}, .inputs = {data({2, 4})}, .types = same_width});
    }
  }
}

void add_quantization(std::vector<Case>& cases) {
  const Shape x{2, 3, 4};
  for (const auto& [scale, axis, block] : {std::tuple<Shape, std::optional<std::int64_t>, std::int64_t>{{}, {}, 0},
                                           {{3}, {}, 0},
                                           {{4}, -1, 0},
                                           {{2, 2, 4}, 1, 2}})
    for (bool is_constant : {true, false}) {
      Operand scales = data(scale, 0.25, 1);
      scales.is_constant = is_constant;
      const Operand zeros = data(scale, 0, 1);
      cases.push_back({.op = QuantizeLinear{.axis = axis, .block_size = block}, .inputs = {data(x), scales, zeros}});
      cases.push_back({.op = QuantizeLinear{.axis = axis, .block_size = block}, .inputs = {data(x), scales}});
      cases.push_back({.op = DequantizeLinear{.axis = axis, .block_size = block},
                       .inputs = {data(x, 0, 3), scales, zeros},
                       .term = 8});
      cases.push_back(
          {.op = DequantizeLinear{.axis = axis, .block_size = block}, .inputs = {data(x, 0, 3), scales}, .term = 8});
    }
  for (DataType type : {DataType::int8, DataType::int16, DataType::uint4, DataType::int2, DataType::float8e4m3fn,
                        DataType::float8e5m2fnuz, DataType::float4e2m1})
    cases.push_back({.op = QuantizeLinear{.output_dtype = type}, .inputs = {data({17}), constant({}, 0.5, 1)}});
  for (const Shape& shape : std::vector<Shape>{{}, {17}, {2, 3, 4}, {0, 4}})
    cases.push_back({.op = DynamicQuantizeLinear{}, .inputs = {data(shape)}, .outputs = 3});
}

// The scales are network inputs: a file with constant scales becomes a float operator with grids.
void add_products(std::vector<Case>& cases) {
  const auto codes = [](Shape shape) { return data(std::move(shape), 0, 100); };
  const Operand scale = data({}, 0.25, 1), zero = codes({});
  struct ConvShape {
    Shape x, w;
    Window window;
    std::int64_t group;
  };
  for (const ConvShape& c : std::vector<ConvShape>{{{1, 2, 5, 5}, {3, 2, 3, 3}, square(3, 1, 1), 1},
                                                   {{2, 4, 6, 5}, {4, 2, 2, 2}, square(2, 2, 0), 2},
                                                   {{1, 3, 9}, {2, 3, 3}, {{3}, {1}, {2}, {2, 0}, AutoPad::none}, 1}}) {
    const ConvInteger integer{c.window, c.group};
    const std::int64_t channels = c.w[0];
    cases.push_back({.op = integer, .inputs = {codes(c.x), codes(c.w)}});
    cases.push_back({.op = integer, .inputs = {codes(c.x), codes(c.w), zero, codes({channels})}});
    const QLinearConv linear{c.window, c.group};
    cases.push_back({.op = linear, .inputs = {codes(c.x), scale, zero, codes(c.w), scale, zero, scale, zero}});
    cases.push_back({.op = linear,
                     .inputs = {codes(c.x), scale, zero, codes(c.w), data({channels}, 0.25, 1), codes({channels}),
                                scale, zero, codes({channels})}});
  }
  for (const auto& [a, b] : {std::pair<Shape, Shape>{{3, 4}, {4, 5}},
                             {{2, 3, 4}, {4, 5}},
                             {{4}, {4, 2}},
                             {{2, 1, 3, 4}, {1, 2, 4, 5}},
                             {{0, 4}, {4, 5}}}) {
    cases.push_back({.op = MatMulInteger{}, .inputs = {codes(a), codes(b)}});
    cases.push_back({.op = MatMulInteger{}, .inputs = {codes(a), codes(b), zero, codes({b.back()})}});
    cases.push_back({.op = QLinearMatMul{}, .inputs = {codes(a), scale, zero, codes(b), scale, zero, scale, zero}});
  }
  cases.push_back(
      {.op = MatMulInteger{}, .inputs = {codes({2, 3, 4}), codes({2, 4, 5}), codes({2, 3, 1}), codes({2, 1, 5})}});
  cases.push_back({.op = QLinearMatMul{},
                   .inputs = {codes({3, 4}), data({3}, 0.25, 1), codes({3}), codes({4, 5}), data({5}, 0.25, 1),
                              codes({5}), scale, zero}});
}

}  // namespace

std::vector<Case> code_cases() {
  std::vector<Case> cases;
  add_elementwise(cases);
  add_quantization(cases);
  add_products(cases);
  return cases;
}

}  // namespace bitfold::testing
