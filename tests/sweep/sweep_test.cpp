// Every operator that can be run, in every type that its row accepts, wherever it can be run: Reference with plain
// loops, Reference, and Session on every instruction set with one and two threads give the same values. What a row does
// not accept is refused by name. A graph of the operator survives its text form and a file.
//
// Integers and moved elements are compared exactly. The rounding of a sum of n terms of at most t in float32 is at most
// n * n * t * 2^-24 (n additions, each rounding a partial sum of at most n * t); the tolerance is that, and 16 units in
// the last place of the largest element for the functions of the C library and of oneDNN.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <map>
#include <random>

#include "bitfold/cpu.h"
#include "bitfold/error.h"
#include "bitfold/onnx.h"
#include "bitfold/reals.h"
#include "bitfold/reference.h"
#include "bitfold/session.h"
#include "ops/rows.h"
#include "sweep/case.h"
#include "testing.h"

namespace bitfold::testing {
namespace {

constexpr int kTypes = static_cast<int>(DataType::unknown);

bool can_be_run(const ops::OperatorInfo& row) {
  return row.evaluate != nullptr || row.evaluate_dynamic != nullptr || row.bodies > 0;
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

Tensor random_tensor(const Operand& operand, DataType type, std::mt19937_64& random) {
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

// ---- Networks

/// The element type of each input.
using Types = std::vector<DataType>;

const ops::Slot& slot_of(const Case& c, std::size_t input) { return *ops::slot_at(ops::info(c.op).inputs, input); }

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

Types usual_types(const Case& c) {
  Types types;
  for (std::size_t i = 0; i < c.inputs.size(); ++i)
    types.push_back(c.inputs[i].fixed ? c.inputs[i].fixed->dtype() : preferred(c, i));
  return types;
}

/// The usual types, then combinations in which one slot, or all slots of one letter, have another accepted type.
std::vector<Types> accepted_types(const Case& c) {
  std::vector<Types> all{usual_types(c)};
  std::map<char, bool> seen;
  for (std::size_t i = 0; i < c.inputs.size(); ++i) {
    const ops::Slot& slot = slot_of(c, i);
    const bool is_body_value = c.bodies != nullptr && slot.presence == ops::Presence::variadic;
    if (c.inputs[i].is_absent || (slot.group != 0 && std::exchange(seen[slot.group], true))) continue;
    // all values of this slot vary together with the first one
    if (is_body_value && i > 0 && &slot_of(c, i - 1) == &slot) continue;
    for (int number = 0; number < kTypes; ++number) {
      const auto type = static_cast<DataType>(number);
      const bool is_convertible = !c.inputs[i].fixed || ops::kIndex.contains(type);
      if (!accepts(c, i, type) || type == all[0][i] || !is_convertible) continue;
      if (is_body_value && ops::kPacked.contains(type)) continue;  // the bodies' operators do not accept packed types
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

struct Network {
  Graph graph;
  std::vector<Tensor> inputs;
};

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
    }
  }
  for (int i = 0; i < c.outputs; ++i) node.outputs.push_back(made.graph.add_value({.name = "y" + std::to_string(i)}));
  if (c.bodies != nullptr) node.bodies = c.bodies(types.back());
  made.graph.add_node(node);
  for (ValueId output : node.outputs) made.graph.mark_output(output);
  return made;
}

// ---- Comparison

/// How the two differ; empty where they agree.
std::string difference(const Tensor& actual, const Tensor& expected, double tolerance) {
  if (actual.dtype() != expected.dtype() || actual.shape() != expected.shape())
    return fmt::format("{} of shape {}, expected {} of shape {}", to_string(actual.dtype()), to_string(actual.shape()),
                       to_string(expected.dtype()), to_string(expected.shape()));
  if (actual == expected) return {};
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

// ---- Checks

void expect_same_everywhere(const Case& c, const Types& types) {
  const Network network = make(c, types);
  const double tolerance = tolerance_of(c);
  const std::vector<Tensor> expected = Reference(network.graph, {.plain_loops = true}).run(network.inputs);
  expect_outputs(Reference(network.graph).run(network.inputs), expected, tolerance, "Reference");
  for (int isa = 0; isa <= static_cast<int>(detected_isa()); ++isa)
    for (int threads : {1, 2}) {
      const SessionOptions options{.threads = threads, .isa = static_cast<Isa>(isa)};
      const auto by = fmt::format("Session, {}, {} threads", to_string(static_cast<Isa>(isa)), threads);
      expect_outputs(Session(network.graph, options).run(network.inputs), expected, tolerance, by);
    }
}

void expect_survives_text(const Network& network) {
  for (ValueId id : network.graph.values()) {
    const auto& tensor = network.graph.value(id).constant;
    if (tensor && tensor->size() > 16) return;  // written as a hash
  }
  EXPECT_TRUE(parse_graph(print_graph(network.graph)) == network.graph) << print_graph(network.graph);
}

/// A loaded network holds reals of other widths in float32.
Tensor through_float32(const Tensor& tensor) {
  return ops::kOtherReal.contains(tensor.dtype())
             ? convert_reals(convert_reals(tensor, DataType::float32), tensor.dtype())
             : tensor;
}

std::vector<Tensor> through_float32(std::vector<Tensor> tensors) {
  for (Tensor& t : tensors) t = through_float32(t);
  return tensors;
}

Graph saved_and_loaded(const Graph& graph) {
  const TemporaryFolder folder;
  const std::string path = folder / "m.onnx";
  save_onnx(graph, path);
  Graph loaded = load_onnx(path);
  loaded.compact();
  return loaded;
}

void expect_survives_a_file(const Case& c, const Network& network) {
  Graph graph = network.graph;
  graph.opset = 21;  // the first opset with every present form
  const Graph loaded = saved_and_loaded(graph);
  const std::vector<Tensor> inputs = through_float32(network.inputs);
  const auto expected = through_float32(Reference(network.graph, {.plain_loops = true}).run(inputs));
  expect_outputs(Reference(loaded, {.plain_loops = true}).run(inputs), expected, 0, "the loaded graph");
  for (ValueId id : network.graph.values())
    if (ops::kOtherReal.contains(network.graph.value(id).dtype)) return;
  if (c.bodies != nullptr) return;  // files store captured values in another form
  EXPECT_EQ(print_graph(saved_and_loaded(loaded)), print_graph(loaded));
  // A file has the pads of all axes, because ONNX Runtime's layout pass does not read the axes of a Pad.
  if (std::holds_alternative<Pad>(c.op)) return;
  EXPECT_EQ(print_graph(loaded), print_graph(graph));
}

void expect_refused(const Case& c, std::size_t input, DataType type) {
  Case changed = c;
  Types types = usual_types(c);
  types[input] = type;
  if (changed.inputs[input].fixed) changed.inputs[input].fixed = Tensor(type, c.inputs[input].shape);
  const Network network = make(changed, types);
  const auto message_of = [&](auto use) -> std::string {
    try {
      use();
    } catch (const Error& error) {
      return error.what();
    }
    return "nothing was thrown";
  };
  for (const std::string& message : {message_of([&] { Reference(network.graph).run(network.inputs); }),
                                     message_of([&] { Session(network.graph).run(network.inputs); })})
    for (const std::string& part : {fmt::format("[{} 'node']", op_name(c.op)),
                                    fmt::format("'{}'", slot_of(c, input).name), std::string(to_string(type))})
      EXPECT_NE(message.find(part), std::string::npos) << part << " is not in: " << message;
}

class Sweep : public ::testing::TestWithParam<const ops::OperatorInfo*> {
 protected:
  std::vector<Case> cases() const {
    std::vector<Case> own;
    for (Case& c : all_cases())
      if (&ops::info(c.op) == GetParam()) own.push_back(std::move(c));
    return own;
  }
};

TEST_P(Sweep, has_a_case) { EXPECT_FALSE(cases().empty()) << "no case of " << GetParam()->name; }

TEST_P(Sweep, gives_the_same_values_everywhere) {
  for (const Case& c : cases())
    for (const Types& types : accepted_types(c)) {
      SCOPED_TRACE(describe(c, types));
      try {
        expect_same_everywhere(c, types);
      } catch (const std::exception& error) {
        ADD_FAILURE() << error.what();
      }
    }
}

TEST_P(Sweep, survives_text_and_file) {
  for (const Case& c : cases())
    for (const Types& types : accepted_types(c)) {
      SCOPED_TRACE(describe(c, types));
      try {
        Network network = make(c, types);
        infer_shapes(network.graph);
        network.graph.compact();
        verify(network.graph, Stage::imported);
        expect_survives_text(network);
        if (!GetParam()->is_internal) expect_survives_a_file(c, network);
      } catch (const std::exception& error) {
        ADD_FAILURE() << error.what();
      }
    }
}

TEST_P(Sweep, refuses_other_types_by_name) {
  const std::vector<Case> all = cases();
  if (all.empty()) return;
  // The case with the most inputs.
  const auto given = [](const Case& c) { return std::ranges::count(c.inputs, false, &Operand::is_absent); };
  const Case& c = *std::ranges::max_element(all, {}, given);
  for (std::size_t i = 0; i < c.inputs.size(); ++i)
    for (int number = 0; number < kTypes; ++number) {
      const auto type = static_cast<DataType>(number);
      if (c.inputs[i].is_absent || slot_of(c, i).types.contains(type)) continue;
      SCOPED_TRACE(fmt::format("input {} is {}", i, to_string(type)));
      expect_refused(c, i, type);
    }
}

std::vector<const ops::OperatorInfo*> rows_that_can_be_run() {
  std::vector<const ops::OperatorInfo*> rows;
  for (const ops::OperatorInfo& row : ops::all_operators())
    if (can_be_run(row)) rows.push_back(&row);
  return rows;
}

INSTANTIATE_TEST_SUITE_P(Operators, Sweep, ::testing::ValuesIn(rows_that_can_be_run()),
                         [](const auto& info) { return std::string(info.param->text_name()); });

}  // namespace

std::vector<Case> all_cases() {
  std::vector<Case> all;
  for (auto* family :
       {layer_cases, element_cases, layout_cases, control_cases, index_cases, sequence_cases, code_cases})
    for (Case& c : family()) all.push_back(std::move(c));
  return all;
}

}  // namespace bitfold::testing
