// A case as a network with inputs, and a comparison of the outputs of two executors.
#pragma once

#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "bitfold/graph.h"
#include "sweep/case.h"

namespace bitfold::testing {

/// The element type of each input.
using Types = std::vector<DataType>;

struct Network {
  Graph graph;
  std::vector<Tensor> inputs;  ///< Random numbers, always the same for the same case.
};

const ops::Slot& slot_of(const Case& c, std::size_t input);
/// float32, or int64, or else the first type that each input accepts.
Types usual_types(const Case& c);
/// The usual types, and those with one slot, or all slots of one group, in another type that they accept.
std::vector<Types> accepted_types(const Case& c);
Network make(const Case& c, const Types& types);
std::string describe(const Case& c, const Types& types);

/// How the two differ; empty where they agree. Reals may differ by `tolerance` and 16 units in the last place of the
/// largest element; if `tolerance` is 0, they must be equal.
std::string difference(const Tensor& actual, const Tensor& expected, double tolerance);
/// The rounding of the case's sums in float32.
double tolerance_of(const Case& c);
void expect_outputs(const std::vector<Tensor>& actual, const std::vector<Tensor>& expected, double tolerance,
                    const std::string& by);

/// The rows that Reference and Session can run.
std::vector<const ops::OperatorInfo*> rows_that_can_be_run();
/// The cases of a row.
std::vector<Case> cases_of(const ops::OperatorInfo& row);

/// A test of every row.
class RowTest : public ::testing::TestWithParam<const ops::OperatorInfo*> {
 protected:
  std::vector<Case> cases() const { return cases_of(*GetParam()); }
};

inline std::string row_name(const ::testing::TestParamInfo<const ops::OperatorInfo*>& info) {
  return std::string(info.param->text_name());
}

}  // namespace bitfold::testing
