// Operators on codes whose scales are constant become the float operator between DequantizeLinear and QuantizeLinear,
// so that the file gives the same graph as one with QuantizeLinear / DequantizeLinear pairs.
#include <algorithm>

#include "base/check.h"
#include "numeric/packed_bits.h"
#include "numeric/reals.h"
#include "onnx/expansion.h"

namespace bitfold {
namespace {

using Ints = std::vector<std::int64_t>;
using Reason = std::optional<std::string>;

bool are_constant(const Expansion& e, std::initializer_list<int> slots) {
  return std::ranges::all_of(slots, [&](int slot) { return !e.has(slot) || e.constant(slot) != nullptr; });
}

/// Input `slot` with its scale and zero point in the two slots after it. `axis` is the axis of the channels if there
/// are several scales.
std::string dequantized(Expansion& e, int slot, std::optional<std::int64_t> axis = std::nullopt) {
  const Tensor* scale = e.constant(slot + 1);
  Expansion::Attributes attributes;
  if (axis && !(scale != nullptr && scale->size() == 1)) attributes.emplace_back("axis", *axis);
  return e.add("DequantizeLinear", {e.input(slot), e.input(slot + 1), e.input(slot + 2)}, attributes);
}
/// Gives output 0 as the codes of x, with the scale in `slot` and the zero point after it.
Reason give_quantized(Expansion& e, const std::string& x, int slot) {
  if (!e.has(slot + 1)) return "its output has no zero point, which says whether codes are signed";
  e.give(0, "QuantizeLinear", {x, e.input(slot), e.input(slot + 1)});
  return std::nullopt;
}

// Convolutions and products -------------------------------------------------------------------------------------------

/// The bias in int32 has the grid of the accumulators.
std::string dequantized_bias(Expansion& e, int slot, const Tensor& x_scale, const Tensor& w_scale) {
  std::vector<float> scales;
  for (const float w : w_scale.data<float>()) scales.push_back(x_scale.data<float>()[0] * w);
  const bool is_one = scales.size() == 1;
  const std::string scale = e.add_constant(Tensor::from(is_one ? Shape{} : Shape{std::ssize(scales)}, scales));
  return e.add("DequantizeLinear", {e.input(slot), scale},
               is_one ? Expansion::Attributes{} : Expansion::Attributes{{"axis", std::int64_t{0}}});
}
bool is_one_real(const Tensor* t) { return t != nullptr && t->dtype() == DataType::float32 && t->size() == 1; }
bool has_reals(const Tensor* t) { return t != nullptr && t->dtype() == DataType::float32 && t->size() > 0; }

Ints first_to_last(std::int64_t rank, bool to_first) {
  Ints perm{0};
  if (to_first) perm.push_back(rank - 1);
  for (std::int64_t axis = to_first ? 1 : 2; axis < rank - (to_first ? 1 : 0); ++axis) perm.push_back(axis);
  if (!to_first) perm.push_back(1);
  return perm;
}

/// x, its grid, w, its grid, y's grid, [bias]. Without constant scales and weights, the node stays an operator on
/// codes.
Reason qlinear_conv(Expansion& e) {
  const bool is_last = e.integer("channels_last", 0) != 0;
  if (!are_constant(e, {1, 2, 3, 4, 5, 6, 7, 8}) || !is_one_real(e.constant(1)) || !has_reals(e.constant(4)))
    return e.node().domain() == kMicrosoft ? "its scales are computed" : "";
  std::string x = dequantized(e, 0);
  const auto rank = std::ssize(e.constant(3)->shape());
  if (is_last) x = e.add("Transpose", {x}, {{"perm", first_to_last(rank, true)}});
  const std::string bias = e.has(8) ? dequantized_bias(e, 8, *e.constant(1), *e.constant(4)) : "";
  std::string y = e.add("Conv", {x, dequantized(e, 3, 0), bias},
                        e.attributes({"auto_pad", "dilations", "group", "kernel_shape", "pads", "strides"}));
  if (is_last) y = e.add("Transpose", {y}, {{"perm", first_to_last(rank, false)}});
  return give_quantized(e, y, 6);
}

/// The axis of the columns of a factor.
std::optional<std::int64_t> last_axis(const Expansion& e, int slot) {
  const auto rank = e.rank(slot);
  return rank && *rank > 0 ? std::optional(*rank - 1) : std::nullopt;
}

Reason qlinear_matmul(Expansion& e) {
  const bool has_scales = is_one_real(e.constant(1)) && has_reals(e.constant(4)) && is_one_real(e.constant(6));
  if (!are_constant(e, {1, 2, 4, 5, 6, 7}) || !has_scales || !last_axis(e, 3) || e.constant(4)->rank() > 1) return "";
  return give_quantized(e, e.add("MatMul", {dequantized(e, 0), dequantized(e, 3, last_axis(e, 3))}), 6);
}

/// A, its grid, B, its grid, [C in int32], [Y's grid]
Reason q_gemm(Expansion& e) {
  if (!is_one_real(e.constant(1)) || !has_reals(e.constant(4))) return "its scales are computed";
  const bool is_transposed = e.integer("transB", 0) != 0;
  const float alpha = e.real("alpha", 1);
  std::string c;
  if (e.has(6) && alpha == 1) c = dequantized_bias(e, 6, *e.constant(1), *e.constant(4));
  if (e.has(6) && alpha != 1) return "its alpha is not 1, and it has a bias";
  const std::string y = e.add("Gemm", {dequantized(e, 0), dequantized(e, 3, is_transposed ? 0 : 1), c},
                              e.attributes({"alpha", "transA", "transB"}));
  if (e.has(7)) return give_quantized(e, y, 7);
  e.give(0, "Identity", {y});
  return std::nullopt;
}

/// Gives output 0 as the product of a with B (with its scale and zero point) plus a bias.
Reason give_float_product(Expansion& e, const std::string& a, int scale, int zero_point, int bias) {
  const auto axis = last_axis(e, 1);
  const Tensor* scales = e.constant(scale);
  const std::optional<Shape> shape = e.shape(scale);
  const bool is_one = (scales != nullptr && scales->size() == 1) || (shape && shape->empty());
  if (!is_one && (!axis || !shape || shape->size() != 1)) return "the scales of B are not one for each column";
  const std::string b = e.add("DequantizeLinear", {e.input(1), e.input(scale), e.input(zero_point)},
                              is_one ? Expansion::Attributes{} : Expansion::Attributes{{"axis", *axis}});
  if (!e.has(bias)) {
    e.give(0, "MatMul", {a, b});
    return std::nullopt;
  }
  e.give(0, "Add", {e.add("MatMul", {a, b}), e.input(bias)});
  return std::nullopt;
}
/// A, B, their scales, [their zero points], [bias] -> reals
Reason matmul_integer_to_float(Expansion& e) {
  const std::optional<Shape> scale = e.shape(2);
  if (!scale || (!scale->empty() && *scale != Shape{1})) return "the scale of A is not one number";
  return give_float_product(e, e.add("DequantizeLinear", {e.input(0), e.input(2), e.input(4)}), 3, 5, 6);
}
/// Reals A, codes B, its scale, [its zero point], [bias]; A is quantized to the range that it has.
Reason dynamic_quantize_matmul(Expansion& e) {
  const auto codes = e.add("DynamicQuantizeLinear", {e.input(0)}, 3, {});
  return give_float_product(e, e.add("DequantizeLinear", {codes[0], codes[1], codes[2]}), 2, 3, 4);
}

// Weights in blocks ---------------------------------------------------------------------------------------------------

/// Codes of `bits` bits each, in rows; each row begins at a whole byte.
struct PackedRows {
  const std::uint8_t* bytes;
  std::int64_t row_bytes;
  int bits;
  std::uint8_t at(std::int64_t row, std::int64_t i) const {
    const std::uint8_t* begin = bytes + row * row_bytes;
    return bits == 8 ? begin[i] : packed_bits(begin, i, bits);
  }
};

/// Converts codes that are stored column by column to a matrix [rows, columns].
Tensor matrix_of(const PackedRows& codes, std::int64_t rows, std::int64_t columns) {
  const DataType type = codes.bits == 8 ? DataType::uint8 : codes.bits == 4 ? DataType::uint4 : DataType::uint2;
  Tensor matrix(type, {rows, columns});
  auto* to = reinterpret_cast<std::uint8_t*>(matrix.mutable_bytes());
  for (std::int64_t n = 0; n < columns; ++n)
    for (std::int64_t k = 0; k < rows; ++k) {
      if (codes.bits == 8)
        to[k * columns + n] = codes.at(n, k);
      else
        set_packed_bits(to, k * columns + n, codes.bits, codes.at(n, k));
    }
  return matrix;
}

/// A [..., K], B [N, blocks, bytes of a block], scales [N, blocks], [zero points], [g_idx], [bias]. The columns of the
/// weights are stored one after the other, in blocks along K.
Reason matmul_n_bits(Expansion& e) {
  const std::int64_t columns = e.integer("N", 0), depth = e.integer("K", 0), block = e.integer("block_size", 0);
  const auto bits = static_cast<int>(e.integer("bits", 4));
  const Tensor *codes = e.constant(1), *scales = e.constant(2), *zeros = e.constant(3);
  if (e.has(4)) return "it permutes its blocks (g_idx)";
  if (e.integer("weight_prepacked", 0) != 0) return "its weights are packed for one kernel";
  if (bits != 2 && bits != 4 && bits != 8) return fmt::format("its weights have {} bits", bits);
  if (codes == nullptr || scales == nullptr || (e.has(3) && zeros == nullptr)) return "its weights are computed";
  if (codes->dtype() != DataType::uint8) return "its weights are not bytes";
  constexpr std::int64_t kMost = std::int64_t{1} << 31;
  check(columns > 0 && depth > 0 && block > 0 && columns < kMost && depth < kMost && block < kMost,
        "N, K and block_size are {}, {} and {}; they must be positive", columns, depth, block);
  const std::int64_t blocks = (depth + block - 1) / block, block_bytes = block * bits / 8;
  check(codes->size() == columns * blocks * block_bytes, "weights have {} bytes, expected {}", codes->size(),
        columns * blocks * block_bytes);
  check(scales->size() == columns * blocks, "has {} scales, expected {}", scales->size(), columns * blocks);
  const PackedRows rows{reinterpret_cast<const std::uint8_t*>(codes->bytes()), blocks * block_bytes, bits};
  const Tensor reals = to_float32(*scales);
  Tensor scale(DataType::float32, {blocks, columns});
  for (std::int64_t n = 0; n < columns; ++n)
    for (std::int64_t i = 0; i < blocks; ++i)
      scale.mutable_data<float>()[static_cast<std::size_t>(i * columns + n)] =
          reals.data<float>()[static_cast<std::size_t>(n * blocks + i)];
  std::vector<std::uint8_t> middle;
  PackedRows zero_rows{nullptr, (blocks * bits + 7) / 8, bits};
  if (zeros != nullptr) {
    if (zeros->dtype() != DataType::uint8) return "its zero points are not codes";
    check(zeros->size() == columns * zero_rows.row_bytes, "has {} bytes of zero points, expected {}", zeros->size(),
          columns * zero_rows.row_bytes);
    zero_rows.bytes = reinterpret_cast<const std::uint8_t*>(zeros->bytes());
  } else {
    const auto one = static_cast<unsigned>(1 << (bits - 1));
    const unsigned byte = bits == 8 ? one : bits == 4 ? one | one << 4 : one | one << 2 | one << 4 | one << 6;
    middle.assign(static_cast<std::size_t>(columns * zero_rows.row_bytes), static_cast<std::uint8_t>(byte));
    zero_rows.bytes = middle.data();
  }
  const std::string b = e.add("DequantizeLinear",
                              {e.add_constant(matrix_of(rows, depth, columns)), e.add_constant(scale),
                               e.add_constant(matrix_of(zero_rows, blocks, columns))},
                              {{"axis", std::int64_t{0}}, {"block_size", block}});
  if (!e.has(5)) {
    e.give(0, "MatMul", {e.input(0), b});
    return std::nullopt;
  }
  e.give(0, "Add", {e.add("MatMul", {e.input(0), b}), e.input(5)});
  return std::nullopt;
}

// Other operators on codes --------------------------------------------------------------------------------------------

/// Inputs a and b with their grids, then the grid of the output.
Reason qlinear_binary(Expansion& e, const char* type) {
  return give_quantized(e, e.add(type, {dequantized(e, 0), dequantized(e, 3)}), 6);
}
Reason qlinear_add(Expansion& e) { return qlinear_binary(e, "Add"); }
Reason qlinear_mul(Expansion& e) { return qlinear_binary(e, "Mul"); }

/// One input with its grid, then the grid of the output.
Reason qlinear_unary(Expansion& e, const char* type, std::initializer_list<std::string_view> names) {
  return give_quantized(e, e.add(type, {dequantized(e, 0)}, e.attributes(names)), 3);
}
Reason qlinear_leaky_relu(Expansion& e) { return qlinear_unary(e, "LeakyRelu", {"alpha"}); }
Reason qlinear_sigmoid(Expansion& e) { return qlinear_unary(e, "Sigmoid", {}); }

Reason qlinear_pool(Expansion& e, const char* type, std::initializer_list<std::string_view> names) {
  if (e.integer("channels_last", 0) == 0) return qlinear_unary(e, type, names);
  const auto rank = e.rank(0);
  if (!rank || *rank < 3) return "the rank of its input is unknown";
  const std::string x = e.add("Transpose", {dequantized(e, 0)}, {{"perm", first_to_last(*rank, true)}});
  const std::string y = e.add(type, {x}, e.attributes(names));
  return give_quantized(e, e.add("Transpose", {y}, {{"perm", first_to_last(*rank, false)}}), 3);
}
Reason qlinear_average_pool(Expansion& e) {
  return qlinear_pool(e, "AveragePool",
                      {"auto_pad", "ceil_mode", "count_include_pad", "kernel_shape", "pads", "strides"});
}
Reason qlinear_global_average_pool(Expansion& e) { return qlinear_pool(e, "GlobalAveragePool", {}); }

Reason qlinear_reduce_mean(Expansion& e) {
  return give_quantized(
      e, e.add("ReduceMean", {dequantized(e, 0), e.list(e.integers("axes"))}, {{"keepdims", e.integer("keepdims", 1)}}),
      3);
}

/// Before opset 13, all axes from `axis` on were flattened to one.
Reason qlinear_softmax(Expansion& e) {
  const bool is_flattened = e.integer("opset", 13) < 13;
  const std::int64_t axis = e.integer("axis", is_flattened ? 1 : -1);
  if (is_flattened) {
    const auto rank = e.rank(0);
    if (axis != -1 && (!rank || axis != *rank - 1)) return "it is over several axes";
  }
  return give_quantized(e, e.add("Softmax", {dequantized(e, 0)}, {{"axis", is_flattened ? std::int64_t{-1} : axis}}),
                        3);
}

/// The grid of the output, then each input with its grid.
Reason qlinear_concat(Expansion& e) {
  check((e.node().input_size() - 2) % 3 == 0, "has {} inputs, expected 2 and three for each part",
        e.node().input_size());
  Expansion::Names parts;
  for (int slot = 2; slot < e.node().input_size(); slot += 3) parts.push_back(dequantized(e, slot));
  return give_quantized(e, e.add("Concat", parts, e.attributes({"axis"})), 0);
}

/// condition, X and Y with their grids, then the grid of the output
Reason qlinear_where(Expansion& e) {
  return give_quantized(e, e.add("Where", {e.input(0), dequantized(e, 1), dequantized(e, 4)}), 7);
}

/// The operators of com.microsoft, which accepted 16-bit codes before those of ONNX did.
Reason quantize(Expansion& e) {
  e.give(0, "QuantizeLinear", {e.input(0), e.input(1), e.input(2)}, e.attributes({"axis"}));
  return std::nullopt;
}
Reason dequantize(Expansion& e) {
  e.give(0, "DequantizeLinear", {e.input(0), e.input(1), e.input(2)}, e.attributes({"axis"}));
  return std::nullopt;
}

}  // namespace

std::vector<ExpansionRow> quantized_expansions() {
  return {{"", "QLinearConv", qlinear_conv},
          {kMicrosoft, "QLinearConv", qlinear_conv},
          {"", "QLinearMatMul", qlinear_matmul},
          {kMicrosoft, "QGemm", q_gemm},
          {kMicrosoft, "MatMulIntegerToFloat", matmul_integer_to_float},
          {kMicrosoft, "DynamicQuantizeMatMul", dynamic_quantize_matmul},
          {kMicrosoft, "MatMulNBits", matmul_n_bits},
          {kMicrosoft, "QLinearAdd", qlinear_add},
          {kMicrosoft, "QLinearMul", qlinear_mul},
          {kMicrosoft, "QLinearLeakyRelu", qlinear_leaky_relu},
          {kMicrosoft, "QLinearSigmoid", qlinear_sigmoid},
          {kMicrosoft, "QLinearAveragePool", qlinear_average_pool},
          {kMicrosoft, "QLinearGlobalAveragePool", qlinear_global_average_pool},
          {kMicrosoft, "QLinearReduceMean", qlinear_reduce_mean},
          {kMicrosoft, "QLinearSoftmax", qlinear_softmax},
          {kMicrosoft, "QLinearConcat", qlinear_concat},
          {kMicrosoft, "QLinearWhere", qlinear_where},
          {kMicrosoft, "QuantizeLinear", quantize},
          {kMicrosoft, "DequantizeLinear", dequantize}};
}

}  // namespace bitfold
