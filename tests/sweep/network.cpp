#include "sweep/network.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <map>
#include <random>

#include "ops/rows.h"

namespace bitfold::testing {
namespace {

constexpr int kTypes = static_cast<int>(DataType::unknown);

bool can_be_run(const ops::OperatorInfo& row) {
  if (std::holds_alternative<Opaque>(row.prototype)) return false;  // only registered operators have functions
  return row.evaluate != nullptr || row.evaluate_dynamic != nullptr || !row.bodies.empty();
}

// ---- Data

double random_number(const Operand& operand, bool is_whole, std::mt19937_64& random) {
  if (!is_whole) return std::uniform_real_distribution<double>(operand.low, operand.high)(random);
  const auto low = static_cast<std::int64_t>(std::ceil(operand.low)),
             high = static_cast<std::int64_t>(std::floor(operand.high));
  std::int64_t number = 0;
  do {
    number = std::uniform_int_distribution<std::int64_t>(low, high)(random);
  } while (operand.is_nonzero && number == 0);
  return static_cast<double>(number);
}

template <class T>
void fill(Tensor& tensor, const Operand& operand, std::mt19937_64& random) {
  Operand range = operand;
  if (std::is_unsigned_v<T>) range.low = std::max(0.0, operand.low);
  for (T& x : tensor.mutable_data<T>())
    x = static_cast<T>(random_number(range, std::is_integral_v<T> || operand.is_whole, random));
}

Tensor random_tensor(const Operand& operand, DataType type, std::mt19937_64& random);

Tensor random_container(const Operand& operand, DataType type, std::mt19937_64& random) {
  Operand item = operand;
  if (type == DataType::optional) return Tensor::container(type, {random_tensor(item, DataType::float32, random)});
  if (type == DataType::optional_sequence)
    return Tensor::container(type, {random_container(operand, DataType::sequence, random)});
  std::vector<Tensor> items;
  for (const Shape& shape : operand.items.empty() ? std::vector<Shape>(2, operand.shape) : operand.items) {
    item.shape = shape;
    items.push_back(random_tensor(item, DataType::float32, random));
  }
  return Tensor::container(type, std::move(items));
}

Tensor random_strings(const Shape& shape, std::mt19937_64& random) {
  constexpr std::array kTexts{"", "a", "b", "a b", " x  y ", "Monday", "tuesday", "r-s-t", "\u00e4\u00d6", "42"};
  Tensor tensor(DataType::string, shape);
  for (std::string& text : tensor.mutable_data<std::string>()) text = kTexts.at(random() % kTexts.size());
  return tensor;
}

Tensor random_tensor(const Operand& operand, DataType type, std::mt19937_64& random) {
  if (is_container(type)) return random_container(operand, type, random);
  if (type == DataType::string) return random_strings(operand.shape, random);
  Tensor tensor(type, operand.shape);
  if (operand.low == operand.high && ops::kInteger.contains(type)) {  // a given number
    ops::with_integer_type(type, [&](auto zero) {
      for (auto& x : tensor.mutable_data<decltype(zero)>()) x = static_cast<decltype(zero)>(operand.low);
    });
    return tensor;
  }
  if (ops::kNumber.contains(type)) {
    ops::with_number_type(type, [&](auto zero) { fill<decltype(zero)>(tensor, operand, random); });
  } else if (type == DataType::boolean) {
    for (bool& x : tensor.mutable_data<bool>()) x = (random() & 1U) != 0;
  } else if (type == DataType::float64) {
    for (double& x : tensor.mutable_data<double>()) x = random_number(operand, false, random);
  } else {
    // Types that operators only move: any bits but those of an infinity or a NaN of a 16-bit real.
    for (std::size_t i = 0; i < tensor.size_bytes(); ++i)
      tensor.mutable_bytes()[i] = static_cast<std::byte>(random() & 0x3FU);
  }
  return tensor;
}

/// The numbers of a constant in another integer type.
Tensor converted(const Tensor& tensor, DataType type) {
  if (tensor.dtype() == type) return tensor;
  Tensor result(type, tensor.shape());
  if (!ops::kIndex.contains(type) || tensor.dtype() != DataType::int64) return result;
  for (std::size_t i = 0; i < static_cast<std::size_t>(tensor.size()); ++i)
    result.mutable_data<std::int32_t>()[i] = static_cast<std::int32_t>(tensor.data<std::int64_t>()[i]);
  return result;
}

// ---- Types

bool accepts(const Case& c, std::size_t input, DataType type) {
  const ops::Slot& slot = slot_of(c, input);
  return slot.types.contains(type) && (!c.types || slot.use != ops::Use::data || c.types->contains(type));
}

DataType preferred(const Case& c, std::size_t input) {
  for (DataType type : {DataType::float32, DataType::int64})
    if (accepts(c, input, type)) return type;
  for (int type = 0; type < kTypes; ++type)
    if (accepts(c, input, static_cast<DataType>(type))) return static_cast<DataType>(type);
  return DataType::unknown;
}

}  // namespace

const ops::Slot& slot_of(const Case& c, std::size_t input) { return *ops::slot_at(ops::info(c.op).inputs, input); }

Types usual_types(const Case& c) {
  Types types;
  for (std::size_t i = 0; i < c.inputs.size(); ++i)
    types.push_back(c.inputs[i].fixed ? c.inputs[i].fixed->dtype() : preferred(c, i));
  return types;
}

std::vector<Types> accepted_types(const Case& c) {
  std::vector<Types> all{usual_types(c)};
  std::map<char, bool> seen;
  for (std::size_t i = 0; i < c.inputs.size(); ++i) {
    const ops::Slot& slot = slot_of(c, i);
    const bool is_body_value = c.bodies != nullptr && slot.presence == ops::Presence::variadic;
    if (c.inputs[i].is_absent || (slot.group != 0 && std::exchange(seen[slot.group], true))) continue;
    // The inputs of a variadic slot have one type, which its first input varies.
    if (is_body_value && i > 0 && &slot_of(c, i - 1) == &slot) continue;
    for (int number = 0; number < kTypes; ++number) {
      const auto type = static_cast<DataType>(number);
      const bool is_convertible = !c.inputs[i].fixed || ops::kIndex.contains(type);
      if (!accepts(c, i, type) || type == all[0][i] || !is_convertible) continue;
      // No operator of the bodies accepts packed types, and the bodies declare shapes.
      if (is_body_value && (ops::kPacked.contains(type) || is_container(type))) continue;
      Types types = all[0];
      for (std::size_t k = 0; k < c.inputs.size(); ++k)
        if (k == i || (slot.group != 0 && slot_of(c, k).group == slot.group) ||
            (is_body_value && &slot_of(c, k) == &slot))
          types[k] = type;
      all.push_back(types);
    }
  }
  return all;
}

Network make(const Case& c, const Types& types) {
  std::mt19937_64 random(7);
  Network made;
  made.graph.name = "sweep";
  Node node{.name = "node", .op = c.op};
  for (std::size_t i = 0; i < c.inputs.size(); ++i) {
    const Operand& operand = c.inputs[i];
    if (operand.is_absent) {
      node.inputs.push_back(ValueId::none);
      continue;
    }
    const Tensor tensor =
        operand.fixed ? converted(*operand.fixed, types[i]) : random_tensor(operand, types[i], random);
    const std::string name = "x" + std::to_string(i);
    if (operand.is_constant) {
      node.inputs.push_back(made.graph.add_constant(name, tensor));
    } else {
      node.inputs.push_back(made.graph.add_input(name, types[i], operand.shape));
      made.inputs.push_back(tensor);
      if (!is_container(types[i])) continue;
      made.graph.value(node.inputs.back()).shape.reset();
      made.graph.value(node.inputs.back()).items = ItemType{DataType::float32, {}};
    }
  }
  for (int i = 0; i < c.outputs; ++i) node.outputs.push_back(made.graph.add_value({.name = "y" + std::to_string(i)}));
  if (c.bodies != nullptr) node.bodies = c.bodies(types.back());
  made.graph.add_node(node);
  for (ValueId output : node.outputs) made.graph.mark_output(output);
  return made;
}

// ---- Comparison

std::string difference(const Tensor& actual, const Tensor& expected, double tolerance) {
  if (actual.dtype() != expected.dtype() || actual.shape() != expected.shape())
    return fmt::format("{} of shape {}, expected {} of shape {}", to_string(actual.dtype()), to_string(actual.shape()),
                       to_string(expected.dtype()), to_string(expected.shape()));
  if (actual == expected) return {};
  if (is_container(actual.dtype())) {
    std::string text;
    for (std::size_t i = 0; i < actual.items().size(); ++i)
      text += difference(actual.items()[i], expected.items()[i], tolerance);
    return text;
  }
  if (actual.dtype() != DataType::float32) return "elements differ";
  double largest = 1;
  for (float x : expected.data<float>())
    if (std::isfinite(x)) largest = std::max(largest, std::abs(static_cast<double>(x)));
  const double bound = tolerance == 0 ? 0 : tolerance + 16 * largest * 0x1p-24;
  for (std::size_t i = 0; i < static_cast<std::size_t>(expected.size()); ++i) {
    const float a = actual.data<float>()[i], e = expected.data<float>()[i];
    if (a == e || (std::isnan(a) && std::isnan(e))) continue;
    if (!(std::abs(static_cast<double>(a) - static_cast<double>(e)) <= bound))
      return fmt::format("element {} is {}, expected {} within {}", i, a, e, bound);
  }
  return {};
}

double tolerance_of(const Case& c) {
  if (c.bodies != nullptr || ops::moves_elements(c.op)) return 0;
  return c.terms * c.terms * c.term * 0x1p-24;
}

void expect_outputs(const std::vector<Tensor>& actual, const std::vector<Tensor>& expected, double tolerance,
                    const std::string& by) {
  ASSERT_EQ(actual.size(), expected.size());
  for (std::size_t i = 0; i < actual.size(); ++i)
    EXPECT_EQ(difference(actual[i], expected[i], tolerance), "") << "output " << i << " of " << by;
}

std::string describe(const Case& c, const Types& types) {
  std::string text = op_name(c.op);
  for (std::size_t i = 0; i < types.size(); ++i)
    text += c.inputs[i].is_absent ? " -" : fmt::format(" {} {}", to_string(types[i]), to_string(c.inputs[i].shape));
  return text;
}

std::vector<const ops::OperatorInfo*> rows_that_can_be_run() {
  std::vector<const ops::OperatorInfo*> rows;
  for (const ops::OperatorInfo& row : ops::all_operators())
    if (can_be_run(row)) rows.push_back(&row);
  return rows;
}

std::vector<Case> cases_of(const ops::OperatorInfo& row) {
  std::vector<Case> own;
  for (Case& c : all_cases())
    if (&ops::info(c.op) == &row) own.push_back(std::move(c));
  return own;
}

std::vector<Case> all_cases() {
  std::vector<Case> all;
  for (auto* family :
       {layer_cases, element_cases, layout_cases, control_cases, index_cases, sequence_cases, code_cases, object_cases})
    for (Case& c : family()) all.push_back(std::move(c));
  return all;
}

}  // namespace bitfold::testing
