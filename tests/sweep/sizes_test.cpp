// One Session of a network whose sizes are all open, given inputs of two sizes in turn, gives what Reference gives.
#include <gtest/gtest.h>

#include <algorithm>
#include <span>

#include "bitfold/cpu.h"
#include "bitfold/error.h"
#include "bitfold/reference.h"
#include "bitfold/session.h"
#include "ops/operator.h"
#include "sweep/network.h"

namespace bitfold::testing {
namespace {

/// The same network, whose inputs may have any sizes.
Graph with_open_sizes(const Graph& graph) {
  Graph open = graph;
  for (ValueId id : open.inputs())
    if (auto& shape = open.value(id).shape) std::ranges::fill(*shape, kDynamic);
  return open;
}

bool can_run(const Network& network) {
  try {
    Reference(network.graph, {.plain_loops = true}).run(network.inputs);
  } catch (const Error&) {
    return false;
  }
  return true;
}

/// The shapes of the operand: one, or those of the tensors in a sequence.
std::span<Shape> shapes_of(Operand& operand) {
  return operand.items.empty() ? std::span<Shape>{&operand.shape, 1} : operand.items;
}

/// The case with one size of its inputs increased: the first one that the operator can have larger. None if all are
/// fixed by constants.
std::optional<Case> larger(const Case& c) {
  for (Operand operand : c.inputs)
    for (std::size_t axis = 0; axis < shapes_of(operand)[0].size(); ++axis) {
      if (operand.is_constant || operand.is_absent) continue;
      // The same axis, counted from the last one as in broadcasting, of all inputs that have the same size there.
      const std::int64_t size = shapes_of(operand)[0][axis];
      const std::size_t from_last = shapes_of(operand)[0].size() - axis;
      Case grown = c;
      for (Operand& other : grown.inputs)
        for (Shape& shape : shapes_of(other)) {
          if (other.is_constant || other.is_absent || shape.size() < from_last) continue;
          std::int64_t& other_size = shape[shape.size() - from_last];
          if (other_size == size) other_size += 2;
        }
      if (can_run(make(grown, usual_types(grown)))) return grown;
    }
  return std::nullopt;
}

class Sizes : public RowTest {};

TEST_P(Sizes, may_change_from_run_to_run) {
  int changed = 0;
  for (const Case& c : cases()) {
    SCOPED_TRACE(describe(c, usual_types(c)));
    const Network network = make(c, usual_types(c));
    const std::optional<Case> other = larger(c);
    if (!other) continue;
    ++changed;
    const Network second = make(*other, usual_types(*other));
    const Graph open = with_open_sizes(network.graph);
    const Reference reference(open, {.plain_loops = true});
    const auto expected = reference.run(network.inputs), expected_second = reference.run(second.inputs);
    for (Isa isa : {Isa::portable, detected_isa()})
      for (int threads : {1, 2}) try {
          Session session(open, {.threads = threads, .isa = isa});
          for (int i = 0; i < 2; ++i) {
            expect_outputs(session.run(network.inputs), expected, tolerance_of(c), "Session");
            expect_outputs(session.run(second.inputs), expected_second, tolerance_of(*other), "Session, larger");
          }
        } catch (const std::exception& error) {
          ADD_FAILURE() << to_string(isa) << ": " << error.what();
        }
  }
  // All sizes of these cases are those of constants, or of the values inside bodies.
  constexpr std::string_view kFixed[] = {
      "AffineGrid", "BlackmanWindow",  "ConstantOfShape", "HammingWindow", "HannWindow", "If",           "MaxUnpool",
      "Loop",       "MelWeightMatrix", "RandomNormal",    "RandomUniform", "Range",      "SequenceEmpty"};
  if (std::ranges::find(kFixed, GetParam()->name) != std::end(kFixed)) return;
  EXPECT_GT(changed, 0) << "no case of " << GetParam()->name << " can be larger";
}

INSTANTIATE_TEST_SUITE_P(Operators, Sizes, ::testing::ValuesIn(rows_that_can_be_run()), row_name);

}  // namespace
}  // namespace bitfold::testing
