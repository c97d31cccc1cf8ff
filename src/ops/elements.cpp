// Shape arithmetic on the elements of small integer tensors, each of which may be unknown.
#include <algorithm>
#include <limits>

#include "ops/infer.h"

namespace bitfold::ops {
namespace {

using Number = Element;

constexpr std::int64_t kLowest = std::numeric_limits<std::int64_t>::min();

/// The index of the input element that an elementwise operator reads for output element `flat` (numpy broadcasting).
std::size_t source_index(std::int64_t flat, const Shape& output, const Shape& input) {
  std::int64_t index = 0, stride = 1;
  for (std::size_t i = 0; i < output.size(); ++i) {
    const std::int64_t dim = output[output.size() - 1 - i];
    const std::int64_t coordinate = flat % dim;
    flat /= dim;
    if (i >= input.size()) continue;
    const std::int64_t own = input[input.size() - 1 - i];
    index += own == 1 ? 0 : coordinate * stride;
    stride *= own;
  }
  return static_cast<std::size_t>(index);
}

Number divide(std::int64_t a, std::int64_t b) {
  if (b == 0 || (a == kLowest && b == -1)) return std::nullopt;
  return a / b;  // ONNX truncates, like C++
}

Number modulo(std::int64_t a, std::int64_t b) {
  if (b == 0 || b == -1) return b == 0 ? Number() : Number(0);
  const std::int64_t r = a % b;
  return r != 0 && (r < 0) != (b < 0) ? r + b : r;  // the sign of the divisor, as in numpy's mod
}

Number c_fmod(std::int64_t a, std::int64_t b) {
  if (b == 0 || b == -1) return b == 0 ? Number() : Number(0);
  return a % b;
}

/// Unknown when it overflows.
Number evaluate(BinaryKind kind, std::int64_t a, std::int64_t b) {
  std::int64_t r = 0;
  switch (kind) {
    case BinaryKind::add:
      return __builtin_add_overflow(a, b, &r) ? Number() : r;
    case BinaryKind::sub:
      return __builtin_sub_overflow(a, b, &r) ? Number() : r;
    case BinaryKind::mul:
      return __builtin_mul_overflow(a, b, &r) ? Number() : r;
    case BinaryKind::div:
      return divide(a, b);
    case BinaryKind::mod:
      return modulo(a, b);
    case BinaryKind::equal:
      return a == b;
    case BinaryKind::less:
      return a < b;
    case BinaryKind::less_or_equal:
      return a <= b;
    case BinaryKind::greater:
      return a > b;
    case BinaryKind::greater_or_equal:
      return a >= b;
    case BinaryKind::logical_and:
      return a != 0 && b != 0;
    case BinaryKind::logical_or:
      return a != 0 || b != 0;
    case BinaryKind::logical_xor:
      return (a != 0) != (b != 0);
    case BinaryKind::bitwise_and:
      return a & b;
    case BinaryKind::bitwise_or:
      return a | b;
    case BinaryKind::bitwise_xor:
      return a ^ b;
    case BinaryKind::pow:
      return std::nullopt;
  }
  return std::nullopt;
}

Number evaluate(UnaryKind kind, std::int64_t a) {
  switch (kind) {
    case UnaryKind::identity:
    case UnaryKind::floor:
    case UnaryKind::ceil:
    case UnaryKind::round:
      return a;
    case UnaryKind::relu:
      return std::max<std::int64_t>(a, 0);
    case UnaryKind::abs:
      return a == kLowest ? Number() : std::abs(a);
    case UnaryKind::neg:
      return a == kLowest ? Number() : -a;
    case UnaryKind::sign:
      return (a > 0) - (a < 0);
    case UnaryKind::logical_not:
      return a == 0;
    case UnaryKind::bitwise_not:
      return ~a;
    default:
      return std::nullopt;
  }
}

bool is_same_element(const Number& a, const Number& b) {
  return a && b ? *a == *b : !a && !b && a.dimension < 0 && a.dimension == b.dimension;
}

/// An operation on the size of a dimension, which is never negative and stays the same dimension under neutral
/// operands.
Number apply_to_dimension(BinaryKind kind, const Number& dimension, const Number& other, bool is_first) {
  if (!other) return {};
  const bool commutes = kind == BinaryKind::add || kind == BinaryKind::mul;
  const bool is_sum = kind == BinaryKind::add || kind == BinaryKind::sub;
  const bool is_product = kind == BinaryKind::mul || kind == BinaryKind::div;
  if ((commutes || is_first) && ((is_sum && *other == 0) || (is_product && *other == 1))) return dimension;
  if (kind == BinaryKind::equal && *other < 0) return 0;
  return {};
}

Number evaluate(BinaryKind kind, const Number& a, const Number& b) {
  if (a && b) return evaluate(kind, *a, *b);
  if (!a && a.dimension < 0) return apply_to_dimension(kind, a, b, true);
  if (!b && b.dimension < 0) return apply_to_dimension(kind, b, a, false);
  return {};
}

/// One output element from the input elements at the same position.
Number evaluate(const Op& op, const std::vector<Number>& x) {
  if (std::holds_alternative<Where>(op)) {
    if (!x[0]) return is_same_element(x[1], x[2]) ? x[1] : Number();
    return *x[0] != 0 ? x[1] : x[2];
  }
  if (const auto* binary = std::get_if<Binary>(&op)) {
    if (binary->fmod) return x[0] && x[1] ? c_fmod(*x[0], *x[1]) : Number();
    return evaluate(binary->kind, x[0], x[1]);
  }
  const bool keeps_dimensions = std::holds_alternative<Cast>(op) && std::get<Cast>(op).to != DataType::boolean;
  if (keeps_dimensions || op == Op(Unary{UnaryKind::identity})) return x[0];
  if (std::any_of(x.begin(), x.end(), [](const Number& n) { return !n; })) return std::nullopt;
  if (const auto* unary = std::get_if<Unary>(&op)) return evaluate(unary->kind, *x[0]);
  if (std::holds_alternative<Cast>(op)) return *x[0] != 0;
  if (const auto* variadic = std::get_if<Variadic>(&op)) {
    const auto is_less = [](const Number& a, const Number& b) { return *a < *b; };
    if (variadic->kind == VariadicKind::min) return *std::min_element(x.begin(), x.end(), is_less);
    if (variadic->kind == VariadicKind::max) return *std::max_element(x.begin(), x.end(), is_less);
  }
  return std::nullopt;
}

}  // namespace

std::optional<Elements> elementwise_elements(const Op& op, const Inputs& in, const Shape& output, DataType dtype) {
  if (!is_static(output) || element_count(output) > kMaxElements) return std::nullopt;
  for (std::size_t i = 0; i < in.size(); ++i)
    if (!in.has(i) || !in[i].elements || !in[i].shape || !is_static(*in[i].shape)) return std::nullopt;
  Elements y;
  std::vector<Number> x(in.size());
  for (std::int64_t flat = 0; flat < element_count(output); ++flat) {
    for (std::size_t i = 0; i < in.size(); ++i) x[i] = (*in[i].elements)[source_index(flat, output, *in[i].shape)];
    y.push_back(evaluate(op, x));
    const bool leaves_int32 = y.back() && *y.back() != static_cast<std::int32_t>(*y.back());
    if (dtype == DataType::int32 && leaves_int32) y.back() = {};
  }
  return y;
}

std::optional<Elements> reduced_elements(const Reduce& op, const Inputs& in) {
  if (!in[0].elements || !in.shape(0) || in.shape(0)->size() != 1) return std::nullopt;
  Number result;
  for (const Number& x : *in[0].elements) {
    if (!x) return Elements(1);
    if (!result) {
      result = x;
      continue;
    }
    switch (op.kind) {
      case ReduceKind::sum:
        result = evaluate(BinaryKind::add, *result, *x);
        break;
      case ReduceKind::prod:
        result = evaluate(BinaryKind::mul, *result, *x);
        break;
      case ReduceKind::max:
        result = std::max(*result, *x);
        break;
      case ReduceKind::min:
        result = std::min(*result, *x);
        break;
      default:
        return std::nullopt;
    }
    if (!result) return Elements(1);
  }
  return Elements(1, result);
}

}  // namespace bitfold::ops
