// An error that a sample causes names the sample and the node, in every measurement.
#include <gtest/gtest.h>

#include <functional>

#include "bitfold/error.h"
#include "bitfold/report.h"
#include "quantize/memory_source.h"
#include "report/damage.h"
#include "report/judge.h"

namespace bitfold {
namespace {

/// Rows of a table of four, by the sample's number.
Graph table_network() {
  Graph graph;
  const ValueId x = graph.add_input("x", DataType::float32, {kDynamic, 1});
  const ValueId table = graph.add_constant("table", Tensor(DataType::float32, {4, 3}));
  const ValueId index = graph.add(Cast{DataType::int64}, "cast", {x}, "index");
  const ValueId rows = graph.add(Gather{0}, "look_up", {table, index}, "rows");
  graph.mark_output(graph.add(Flatten{1}, "flatten", {rows}, "y"));
  infer_shapes(graph);
  return graph;
}

class SampleErrors : public ::testing::Test {
 protected:
  void expect_named(const std::function<void()>& f) const {
    try {
      f();
      ADD_FAILURE() << "no error";
    } catch (const Error& error) {
      EXPECT_TRUE(std::string(error.what()).starts_with("sample 3: [Gather 'look_up']")) << error.what();
    }
  }
  const Graph graph_ = table_network();
  testing::MemorySource source_{Tensor::from<float>({5, 1}, std::vector<float>{0, 3, 1, 9, 2})};
};

TEST_F(SampleErrors, of_evaluate_name_sample_and_node) {
  expect_named([&] { evaluate(graph_, source_, {.batch_size = 1}); });
}

TEST_F(SampleErrors, of_compare_name_sample_and_node) {
  expect_named([&] { compare(graph_, graph_, source_, {.batch_size = 1}); });
}

TEST_F(SampleErrors, of_sensitivity_name_sample_and_node) {
  expect_named([&] { report::SampleSet(graph_, source_, 5); });
}

TEST_F(SampleErrors, of_the_accuracy_of_candidates_name_the_batch) {
  try {
    report::Judge(graph_, source_, 1);
    ADD_FAILURE() << "no error";
  } catch (const Error& error) {
    EXPECT_TRUE(std::string(error.what()).starts_with("samples 0 to 4: [Gather 'look_up']")) << error.what();
  }
}

}  // namespace
}  // namespace bitfold
