// Every operator that can be run, in every type that its row accepts, wherever it can be run: Reference with plain
// loops, Reference, and Session on every instruction set with one and two threads give the same values. What a row does
// not accept is refused by name. A graph of the operator survives its text form and a file.
//
// Integers and moved elements are compared exactly. The rounding of a sum of n terms of at most t in float32 is at most
// n * n * t * 2^-24 (n additions, each rounding a partial sum of at most n * t); the tolerance is that, and 16 units in
// the last place of the largest element for the functions of the C library and of oneDNN.
#include <gtest/gtest.h>

#include <algorithm>

#include "bitfold/cpu.h"
#include "bitfold/error.h"
#include "bitfold/reals.h"
#include "bitfold/reference.h"
#include "bitfold/session.h"
#include "ops/rows.h"
#include "round_trip.h"
#include "sweep/network.h"

namespace bitfold::testing {
namespace {

constexpr int kTypes = static_cast<int>(DataType::unknown);

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

void expect_survives_a_file(const Case& c, const Network& network) {
  Graph graph = network.graph;
  graph.opset = std::max(21, ops::info(c.op).since);
  const Graph loaded = save_and_load(graph);
  const std::vector<Tensor> inputs = through_float32(network.inputs);
  const auto expected = through_float32(Reference(network.graph, {.plain_loops = true}).run(inputs));
  expect_outputs(Reference(loaded, {.plain_loops = true}).run(inputs), expected, 0, "the loaded graph");
  for (ValueId id : network.graph.values())
    if (ops::kOtherReal.contains(network.graph.value(id).dtype)) return;
  if (c.bodies != nullptr) return;  // files store captured values in another form
  EXPECT_EQ(print_graph(save_and_load(loaded)), print_graph(loaded));
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

class Sweep : public RowTest {};

TEST_P(Sweep, every_operator_has_a_case) { EXPECT_FALSE(cases().empty()) << "no case of " << GetParam()->name; }

TEST_P(Sweep, gives_the_same_values_in_every_executor) {
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

TEST_P(Sweep, survives_its_text_form_and_a_file) {
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
      if (is_container(type) && c.inputs[i].is_constant) continue;  // constants are tensors
      SCOPED_TRACE(fmt::format("input {} is {}", i, to_string(type)));
      expect_refused(c, i, type);
    }
}

INSTANTIATE_TEST_SUITE_P(Operators, Sweep, ::testing::ValuesIn(rows_that_can_be_run()), row_name);

}  // namespace

}  // namespace bitfold::testing
