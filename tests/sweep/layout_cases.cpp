// Operators that move elements, and those that make tensors from shapes and numbers.
#include "sweep/case.h"

namespace bitfold::testing {
namespace {

using Ints = std::vector<std::int64_t>;

void add_joins(std::vector<Case>& cases) {
  const auto concat = [&](std::int64_t axis, std::vector<Operand> inputs) {
    cases.push_back({.op = Concat{axis}, .inputs = std::move(inputs)});
  };
  concat(0, {data({1})});
  concat(1, {data({2, 3}), data({2, 17}), constant({2, 1})});
  concat(1, {data({1, 3, 5, 7}), data({1, 4, 5, 7})});
  concat(-1, {data({2, 3}), data({2, 0})});
  concat(0, {data({0, 3}), data({0, 3})});
  const auto split = [&](Shape shape, std::int64_t axis, int outputs, std::optional<Ints> sizes) {
    std::vector<Operand> inputs{data(std::move(shape))};
    if (sizes) inputs.push_back(vector(*sizes));
    cases.push_back({.op = Split{axis}, .inputs = std::move(inputs), .outputs = outputs});
  };
  split({1}, 0, 1, {});
  split({7, 3}, 0, 3, {});
  split({1, 17, 3, 3}, 1, 2, Ints{16, 1});
  split({2, 6}, -1, 3, Ints{0, 2, 4});
  split({0, 6}, 1, 2, {});
}

void add_reshapes(std::vector<Case>& cases) {
  const auto add = [&](Op op, Shape shape, std::vector<Operand> parameters) {
    parameters.insert(parameters.begin(), data(std::move(shape)));
    cases.push_back({.op = std::move(op), .inputs = std::move(parameters)});
  };
  add(Flatten{}, {1, 1}, {});
  add(Flatten{.axis = 2}, {2, 3, 5, 7}, {});
  add(Flatten{.axis = 0}, {17}, {});
  add(Flatten{}, {0, 3, 2}, {});
  add(Reshape{}, {1}, {vector({})});
  add(Reshape{}, {2, 3, 5, 7}, {vector({0, -1, 7})});
  add(Reshape{.allow_zero = true}, {0, 3}, {vector({3, 0})});
  add(Transpose{{1, 0}}, {1, 1}, {});
  add(Transpose{{0, 2, 3, 1}}, {2, 3, 5, 17}, {});
  add(Transpose{{2, 0, 1}}, {3, 1, 17}, {});
  add(Transpose{{1, 0}}, {0, 3}, {});
  add(Transpose{{4, 3, 2, 1, 0}}, {2, 1, 3, 2, 5}, {});
  add(Squeeze{}, {1, 3, 1}, {});
  add(Squeeze{}, {1, 17, 1, 1}, {vector({-1, 2})});
  add(Squeeze{}, {1, 0}, {vector({0})});
  add(Unsqueeze{}, {}, {vector({0})});
  add(Unsqueeze{}, {3, 17}, {vector({0, -1})});
  add(Unsqueeze{}, {0}, {vector({1})});
}

void add_indexing(std::vector<Case>& cases) {
  const auto add = [&](Op op, std::vector<Operand> inputs) {
    cases.push_back({.op = std::move(op), .inputs = std::move(inputs)});
  };
  add(Slice{}, {data({1}), vector({0}), vector({1})});
  add(Slice{}, {data({3, 17}), vector({-1, 1}), vector({-9, 16}), vector({0, 1}), vector({-2, 3})});
  add(Slice{}, {data({1, 17, 5, 5}), vector({1}), vector({16}), vector({1})});
  add(Slice{}, {data({2, 3}), vector({2}), vector({1}), vector({1})});
  add(Gather{}, {data({1}), vector({0})});
  add(Gather{.axis = 1}, {data({2, 17, 3}), fixed(Tensor::from<std::int64_t>({2, 2}, Ints{0, 16, -1, 3}))});
  add(Gather{.axis = -1}, {data({3, 5}), fixed(Tensor::from<std::int64_t>({}, Ints{2}))});
  add(Gather{}, {data({3, 0}), vector({1, 1})});
  add(Gather{}, {data({3, 2}), data({4}, 0, 2)});
  const Operand rows = fixed(Tensor::from<std::int64_t>({3, 1}, Ints{1, -1, 1}));
  const Operand points = fixed(Tensor::from<std::int64_t>({2, 2, 2}, Ints{0, 1, 2, -1, 0, 1, 1, 0}));
  for (ScatterReduction reduction : {ScatterReduction::none, ScatterReduction::add, ScatterReduction::mul,
                                     ScatterReduction::min, ScatterReduction::max}) {
    const auto scatter = [&](std::vector<Operand> inputs) {
      add(ScatterNd{reduction}, std::move(inputs));
      if (reduction != ScatterReduction::none) cases.back().types = ops::kNumber;
    };
    scatter({data({3, 17}), rows, data({3, 17})});
    scatter({data({3, 2}), points, data({2, 2})});
    scatter({data({3, 2}), vector({2, 1}), constant({})});
    scatter({data({3, 0}), rows, data({3, 0})});
    scatter({data({3, 2}), data({4, 1}, 0, 2), data({4, 2})});
  }
  for (PadMode mode : {PadMode::constant, PadMode::reflect, PadMode::edge}) {
    add(Pad{mode}, {data({3}), vector({1, 2})});
    add(Pad{mode}, {data({1, 3, 5, 17}), vector({0, 0, 1, 2, 0, 0, 2, 1})});
    add(Pad{mode}, {data({2, 5}), vector({1, -1}), absent(), vector({1})});
  }
  add(Pad{}, {data({2, 3}), vector({1, 0, 0, 2}), constant({})});
  add(Pad{}, {data({2, 3}), vector({1, 0, 0, 2}), data({})});
  add(Pad{}, {data({0, 3}), vector({0, 1, 0, 1})});
}

void add_fills(std::vector<Case>& cases) {
  const auto add = [&](Op op, std::vector<Operand> inputs) {
    cases.push_back({.op = std::move(op), .inputs = std::move(inputs)});
  };
  add(Expand{}, {data({}), vector({3})});
  add(Expand{}, {data({3, 1}), vector({2, 1, 17})});
  add(Expand{}, {data({1, 3}), vector({0, 1})});
  add(Tile{}, {data({1}), vector({1})});
  add(Tile{}, {data({2, 3}), vector({3, 17})});
  add(Tile{}, {data({2, 3}), vector({0, 1})});
  add(ShapeOf{}, {data({2, 3, 5})});
  add(ShapeOf{.start = 1, .end = -1}, {data({2, 3, 5})});
  add(ShapeOf{}, {data({0, 4})});
  for (int type = 0; type < static_cast<int>(DataType::unknown); ++type)
    if (ops::kWholeBytes.contains(static_cast<DataType>(type)))
      for (const Ints& shape : {Ints{}, Ints{3, 17}, Ints{0}})
        add(ConstantOfShape{Tensor(static_cast<DataType>(type), {1})}, {vector(shape)});
  const auto range = [&](double start, double limit, double delta) {
    const auto number = [](double x) { return constant({}, x, x); };
    add(Range{}, {number(start), number(limit), number(delta)});
  };
  range(0, 17, 1);
  range(5, -6, -3);
  range(0, 0, 1);
}

void add_images(std::vector<Case>& cases) {
  for (ResizeMode mode : {ResizeMode::nearest, ResizeMode::linear, ResizeMode::cubic})
    for (ResizeCoordinates coordinates : {ResizeCoordinates::half_pixel, ResizeCoordinates::asymmetric,
                                          ResizeCoordinates::align_corners, ResizeCoordinates::pytorch_half_pixel}) {
      const auto add = [&](Shape x, Operand scales, Operand sizes) {
        cases.push_back({.op = Resize{.mode = mode, .coordinates = coordinates},
                         .inputs = {data(std::move(x)), absent(), std::move(scales), std::move(sizes)},
                         .terms = 16,
                         .term = 8});
      };
      add({1, 1, 1, 1}, absent(), vector({1, 1, 2, 3}));
      add({2, 3, 5, 7}, absent(), vector({2, 3, 10, 3}));
      add({1, 17, 4, 4}, fixed(Tensor::from<float>({4}, std::vector<float>{1, 1, 2, 1.5F})), absent());
      add({0, 3, 5, 7}, absent(), vector({0, 3, 10, 3}));
      add({2, 3, 5}, absent(), vector({2, 3, 8}));
    }
  for (bool column_row_depth : {false, true})
    for (const Shape& x : std::vector<Shape>{{1, 4, 1, 1}, {2, 68, 3, 5}, {0, 4, 3, 5}})
      cases.push_back({.op = DepthToSpace{2, column_row_depth}, .inputs = {data(x)}});
}

}  // namespace

std::vector<Case> layout_cases() {
  std::vector<Case> cases;
  add_joins(cases);
  add_reshapes(cases);
  add_indexing(cases);
  add_fills(cases);
  add_images(cases);
  cases.push_back({.op = Requantize{}, .inputs = {data({3, 17})}});
  return cases;
}

}  // namespace bitfold::testing
