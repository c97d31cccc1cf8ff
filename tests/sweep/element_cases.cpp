// Elementwise operators and reductions. Their rows give the kinds, so that a new kind is covered without a new case.
#include <algorithm>

#include "sweep/case.h"

namespace bitfold::testing {
namespace {

const std::vector<Shape> kShapes{{}, {1}, {7}, {3, 5}, {2, 17, 3, 5}, {65}, {0, 4}};

/// Shapes that broadcast to each other.
const std::vector<std::pair<Shape, Shape>> kPairs{
    {{}, {}},          {{1}, {7}},          {{3, 5}, {3, 5}}, {{2, 17, 3, 5}, {1, 17, 1, 1}},
    {{5, 1}, {1, 33}}, {{4, 3}, {2, 4, 3}}, {{0, 4}, {4}},    {{2, 3, 4}, {}}};

bool is_broadcast_to(const Shape& from, const Shape& to) {
  if (from.size() > to.size()) return false;
  return std::equal(from.rbegin(), from.rend(), to.rbegin(), [](auto a, auto b) { return a == b || a == 1; });
}

Operand domain_of(const Op& op, Shape shape) {
  const auto* unary = std::get_if<Unary>(&op);
  if (unary == nullptr) return data(std::move(shape));
  switch (unary->kind) {
    case UnaryKind::log:
    case UnaryKind::sqrt:
    case UnaryKind::reciprocal:
      return data(std::move(shape), 0.25);
    case UnaryKind::acosh:
      return data(std::move(shape), 1.5);
    case UnaryKind::tan:
    case UnaryKind::asin:
    case UnaryKind::acos:
    case UnaryKind::atanh:
      return data(std::move(shape), -0.9, 0.9);
    default:
      return data(std::move(shape));
  }
}

void add_unary(std::vector<Case>& cases, const Op& op) {
  for (const Shape& shape : kShapes) cases.push_back({.op = op, .inputs = {domain_of(op, shape)}});
}

void add_binary(std::vector<Case>& cases, Binary op) {
  const bool divides = op.kind == BinaryKind::div || op.kind == BinaryKind::mod;
  for (const auto& [left, right] : kPairs)
    for (bool is_constant : {true, false}) {
      Operand a = data(left), b = data(right);
      b.is_constant = is_constant;
      if (op.kind == BinaryKind::pow) {
        a = data(left, 0.25, 3);
        b.low = 0;
        b.high = 3;
      } else if (divides) {
        a.low = -9;
        a.high = 9;
        b.is_nonzero = true;
      } else if (op.kind >= BinaryKind::equal) {
        a.is_whole = b.is_whole = true;
      }
      if (op.kind == BinaryKind::mod) {
        cases.push_back({.op = Binary{op.kind, true}, .inputs = {a, b}, .term = 9});
        cases.push_back({.op = op, .inputs = {a, b}, .term = 9});
        continue;
      }
      cases.push_back({.op = op, .inputs = {a, b}, .term = divides ? 100.0 : 32.0});
    }
}

void add_variadic(std::vector<Case>& cases, const Op& op) {
  for (const auto& [a, b] : kPairs)
    cases.push_back({.op = op, .inputs = {data(a), data(b), constant({})}, .terms = 3, .term = 4});
  cases.push_back({.op = op, .inputs = {data({3, 5})}});
}

void add_reduction(std::vector<Case>& cases, Reduce op) {
  const double low = op.kind == ReduceKind::log_sum ? 0.25 : -4;
  const auto add = [&](Shape shape, std::optional<std::vector<std::int64_t>> axes) {
    for (bool keepdims : {true, false}) {
      op.keepdims = keepdims;
      std::vector<Operand> inputs{data(shape, low, 2)};
      if (axes) inputs.push_back(vector(*axes));
      cases.push_back({.op = op, .inputs = std::move(inputs), .terms = 32, .term = 16});
    }
  };
  add({1}, {{0}});
  add({3, 5}, {{1}});
  add({2, 3, 4}, {{0, -1}});
  add({2, 17, 3}, {{1}});
  add({2, 3}, std::nullopt);
  add({0, 4}, {{1}});
  add({}, std::nullopt);
  op.noop_with_empty_axes = true;
  add({2, 3}, std::nullopt);
}

void add_arg_reduction(std::vector<Case>& cases, ArgReduce op) {
  for (const Shape& shape : std::vector<Shape>{{1}, {7}, {3, 5}, {2, 17, 3}, {0, 4}})
    for (bool is_last : {true, false}) {
      Operand x = data(shape);
      x.is_whole = true;
      op.axis = is_last ? -1 : static_cast<std::int64_t>(shape.size()) / 2;
      op.select_last_index = op.keepdims = is_last;
      cases.push_back({.op = op, .inputs = {x}});
    }
}

void add_special(std::vector<Case>& cases) {
  for (const Shape& shape : kShapes) {
    cases.push_back({.op = Clip{}, .inputs = {data(shape), constant({}, -1, 0), constant({}, 1, 2)}});
    cases.push_back({.op = Clip{}, .inputs = {data(shape), absent(), data({}, 0, 2)}});
    cases.push_back({.op = Clip{}, .inputs = {data(shape)}});
  }
  for (const auto& [a, b] : kPairs) {
    if (is_broadcast_to(b, a)) cases.push_back({.op = PRelu{}, .inputs = {data(a), constant(b)}, .term = 16});
    cases.push_back({.op = Where{}, .inputs = {data(b), data(a), data({})}});
    cases.push_back({.op = Where{}, .inputs = {data(a), constant({}), data(b)}});
  }
  for (const ops::OperatorInfo& row : ops::all_operators())
    if (std::holds_alternative<Cast>(row.prototype))
      for (int to = 0; to < static_cast<int>(DataType::unknown); ++to)
        if (row.outputs[0].types.contains(static_cast<DataType>(to)))
          for (const Shape& shape : std::vector<Shape>{{}, {17}, {2, 3}, {0}})
            cases.push_back({.op = Cast{static_cast<DataType>(to)}, .inputs = {data(shape, 0, 9)}});
}

}  // namespace

std::vector<Case> element_cases() {
  std::vector<Case> cases;
  for (const ops::OperatorInfo& row : ops::all_operators()) {
    const Op& op = row.prototype;
    if (std::holds_alternative<Unary>(op) || std::holds_alternative<Parametric>(op)) add_unary(cases, op);
    if (const auto* binary = std::get_if<Binary>(&op)) add_binary(cases, *binary);
    if (std::holds_alternative<Variadic>(op)) add_variadic(cases, op);
    if (const auto* reduce = std::get_if<Reduce>(&op)) add_reduction(cases, *reduce);
    if (const auto* arg = std::get_if<ArgReduce>(&op)) add_arg_reduction(cases, *arg);
  }
  add_special(cases);
  return cases;
}

}  // namespace bitfold::testing
