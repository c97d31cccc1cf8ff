#include "quantize/samples.h"

#include <gtest/gtest.h>

#include <atomic>

#include "bitfold/error.h"
#include "error_testing.h"
#include "quantize/memory_source.h"

namespace bitfold::quantization {
namespace {

using testing::message_of;

Graph identity_of(std::size_t inputs) {
  Graph graph;
  for (std::size_t i = 0; i < inputs; ++i)
    graph.mark_output(graph.add(Unary{UnaryKind::relu}, "relu" + std::to_string(i),
                                {graph.add_input("x" + std::to_string(i), DataType::float32, {kDynamic, 2})},
                                "y" + std::to_string(i)));
  return graph;
}

testing::MemorySource samples(std::int64_t count) {
  return testing::MemorySource(Tensor(DataType::float32, {count, 2}));
}

TEST(ForEachBatch, numbers_the_samples_and_stops_at_a_limit_that_may_change) {
  const Graph graph = identity_of(1);
  testing::MemorySource source = samples(10);
  SamplePass pass{.graph = graph, .source = source, .at_a_time = 3, .most = 8};
  std::vector<std::int64_t> firsts, counts;
  const auto note = [&](const Batch& batch, std::int64_t first) {
    firsts.push_back(first);
    counts.push_back(batch.sample_count);
  };
  EXPECT_EQ(for_each_batch(pass, note), 8);
  EXPECT_EQ(firsts, (std::vector<std::int64_t>{0, 3, 6}));
  EXPECT_EQ(counts, (std::vector<std::int64_t>{3, 3, 2}));
  EXPECT_EQ(for_each_batch(pass, [&](const Batch&, std::int64_t) { pass.most = 0; }), 3);
}

/// Whole samples of one input, of lengths 1, 2, 3, ...
class WholeSamples final : public BatchSource {
 public:
  explicit WholeSamples(std::int64_t count) : count_(count) {}
  std::optional<Batch> next(std::int64_t max_samples) override {
    Batch batch;
    for (; batch.sample_count < max_samples && position_ < count_; ++batch.sample_count)
      batch.runs.push_back({Tensor(DataType::float32, {++position_, 2})});
    if (batch.sample_count == 0) return std::nullopt;
    return batch;
  }
  void rewind() override { position_ = 0; }
  std::int64_t sample_count() const override { return count_; }
  bool has_labels() const override { return false; }
  bool has_whole_samples() const override { return true; }
  std::string description() const override { return "whole samples"; }

 private:
  std::int64_t count_, position_ = 0;
};

TEST(WholeSamplesOfASource, are_runs_of_their_own_although_the_batch_is_fixed) {
  Graph graph;
  graph.mark_output(
      graph.add(Unary{UnaryKind::relu}, "relu", {graph.add_input("x", DataType::float32, {2, kDynamic})}, "y"));
  WholeSamples source(5);
  EXPECT_EQ(samples_per_run(graph, source), 1);
  std::atomic<std::int64_t> elements = 0;
  std::int64_t runs = 0;
  for_first_samples(
      {.graph = graph, .source = source}, 2,
      [&](std::int64_t, std::span<const Tensor> inputs) { elements += inputs[0].size(); },
      [&](std::int64_t parts, std::int64_t) { return (runs += parts) < 4 ? 5 : 4; });
  EXPECT_EQ(runs, 4);
  EXPECT_EQ(elements, 2 * (1 + 2 + 3 + 4));
  SamplePass pass{.graph = graph, .source = source, .at_a_time = 3};
  std::vector<std::int64_t> lengths;
  EXPECT_EQ(for_each_run(pass,
                         [&](const Batch& batch, std::int64_t first) {
                           ASSERT_EQ(batch.runs.size(), 1U);
                           EXPECT_EQ(batch.sample_count, 1);
                           EXPECT_EQ(first + 1, batch.runs[0][0].dim(0));
                           lengths.push_back(batch.runs[0][0].dim(0));
                         }),
            5);
  EXPECT_EQ(lengths, (std::vector<std::int64_t>{1, 2, 3, 4, 5}));
  const Graph two = identity_of(2);
  SamplePass other{.graph = two, .source = source};
  EXPECT_NE(message_of([&] {
              for_each_batch(other, [](const Batch&, std::int64_t) {});
            }).find("whole samples: has 1 arrays, but the network has 2 inputs"),
            std::string::npos);
}

TEST(ForEachBatch, reports_progress_and_can_be_cancelled) {
  const Graph graph = identity_of(1);
  testing::MemorySource source = samples(5);
  std::vector<std::int64_t> reported;
  std::atomic<bool> cancel = false;
  SamplePass pass{.graph = graph,
                  .source = source,
                  .at_a_time = 2,
                  .phase = "testing",
                  .progress = {.report =
                                   [&](std::string_view phase, std::int64_t done, std::int64_t total) {
                                     EXPECT_EQ(phase, "testing");
                                     EXPECT_EQ(total, 5);
                                     reported.push_back(done);
                                   },
                               .cancel = &cancel}};
  for_each_batch(pass, [](const Batch&, std::int64_t) {});
  EXPECT_EQ(reported, (std::vector<std::int64_t>{2, 4, 5}));
  cancel = true;
  EXPECT_THROW(for_each_batch(pass, [](const Batch&, std::int64_t) {}), Cancelled);
}

TEST(ForEachBatch, refuses_data_without_samples_or_with_other_arrays) {
  const Graph one = identity_of(1), two = identity_of(2);
  testing::MemorySource none = samples(0), some = samples(2);
  const auto nothing = [](const Batch&, std::int64_t) {};
  SamplePass empty{.graph = one, .source = none}, other{.graph = two, .source = some};
  EXPECT_NE(message_of([&] { for_each_batch(empty, nothing); }).find(": no samples"), std::string::npos);
  EXPECT_NE(message_of([&] { for_each_batch(other, nothing); }).find(": has 1 arrays, but the network has 2 inputs"),
            std::string::npos);
}

TEST(NamingSamples, errors_name_one_or_several_samples) {
  const auto wrong = [] { fail("[Gather 'g'] index 7"); };
  EXPECT_EQ(message_of([&] { naming_samples(4, 1, wrong); }), "sample 4: [Gather 'g'] index 7");
  EXPECT_EQ(message_of([&] { naming_samples(16, 8, wrong); }), "samples 16 to 23: [Gather 'g'] index 7");
  EXPECT_THROW(naming_samples(0, 1, [] { throw Cancelled(); }), Cancelled);
}

}  // namespace
}  // namespace bitfold::quantization
