// If, Loop and Scan with small bodies.
#include "sweep/case.h"

namespace bitfold::testing {
namespace {

using Bodies = std::vector<std::shared_ptr<const Graph>>;

const Shape kShape{3, 5};

ValueId identity(Graph& body, ValueId x, std::string name, DataType type, Shape shape) {
  const ValueId y = body.add_value({.name = name, .dtype = type, .shape = std::move(shape)});
  body.add_node({.name = name + "/node", .op = Unary{UnaryKind::identity}, .inputs = {x}, .outputs = {y}});
  return y;
}

/// A branch of an If that gives one of its two captured values.
std::shared_ptr<const Graph> branch(DataType type, bool is_first) {
  Graph body;
  body.name = is_first ? "then" : "else";
  const ValueId a = body.add_input("a", type, kShape), b = body.add_input("b", type, kShape);
  body.mark_output(identity(body, is_first ? a : b, "y", type, kShape));
  return std::make_shared<const Graph>(std::move(body));
}

/// Passes a carried value on unchanged and collects it.
std::shared_ptr<const Graph> loop_body(DataType type) {
  Graph body;
  body.name = "loop";
  body.add_input("iteration", DataType::int64, {});
  const ValueId condition = body.add_input("condition", DataType::boolean, {});
  const ValueId x = body.add_input("carried", type, kShape);
  body.mark_output(identity(body, condition, "goes_on", DataType::boolean, {}));
  body.mark_output(identity(body, x, "next", type, kShape));
  body.mark_output(identity(body, x, "collected", type, kShape));
  return std::make_shared<const Graph>(std::move(body));
}

/// The state becomes the present slice, and each slice is also a scan output.
std::shared_ptr<const Graph> scan_body(DataType type) {
  Graph body;
  body.name = "scan";
  const Shape row{kShape[1]};
  const ValueId state = body.add_input("state", type, row), slice = body.add_input("slice", type, row);
  body.mark_output(identity(body, slice, "next", type, row));
  body.mark_output(identity(body, state, "collected", type, row));
  return std::make_shared<const Graph>(std::move(body));
}

}  // namespace

std::vector<Case> control_cases() {
  Operand condition = data({}, 0, 1);
  return {{.op = If{},
           .inputs = {condition, data(kShape), data(kShape)},
           .bodies =
               [](DataType type) {
                 return Bodies{branch(type, true), branch(type, false)};
               }},
          {.op = Loop{},
           .inputs = {fixed(Tensor::from<std::int64_t>({}, std::vector<std::int64_t>{3})), absent(), data(kShape)},
           .outputs = 2,
           .bodies = [](DataType type) { return Bodies{loop_body(type)}; }},
          {.op = Scan{.scan_inputs = 1},
           .inputs = {data({kShape[1]}), data(kShape)},
           .outputs = 2,
           .bodies = [](DataType type) { return Bodies{scan_body(type)}; }}};
}

}  // namespace bitfold::testing
