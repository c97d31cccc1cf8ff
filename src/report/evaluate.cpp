#include <memory>

#include "base/check.h"
#include "bitfold/reference.h"
#include "bitfold/report.h"
#include "report/batches.h"
#include "report/scores.h"

namespace bitfold {
namespace {

constexpr double kLatencyTime_s = 0.5;  // long enough that the median repeats within a few percent

/// One interface to both executors.
class Runner {
 public:
  Runner(const Graph& graph, const EvaluateOptions& options) {
    if (options.use_reference) {
      reference_ = std::make_unique<Reference>(graph);
    } else {
      session_ = std::make_unique<Session>(graph, SessionOptions{.threads = options.threads});
    }
  }
  std::vector<Tensor> run(std::span<const Tensor> inputs) {
    return session_ ? session_->run(inputs) : reference_->run(inputs);
  }

 private:
  std::unique_ptr<Reference> reference_;
  std::unique_ptr<Session> session_;
};

}  // namespace

Evaluation evaluate(const Graph& graph, BatchSource& source, const EvaluateOptions& options) {
  Runner runner(graph, options);
  const std::int64_t samples_at_a_time = report::batch_size(graph, options.batch_size);
  Evaluation result;
  std::int64_t top1 = 0, top5 = 0, classes = 0;
  const auto add = [&](const Batch& batch, std::int64_t first) {
    const auto outputs = quantization::naming_samples(
        first, batch.sample_count, [&] { return runner.run(report::graph_inputs(graph, batch, samples_at_a_time)); });
    if (batch.labels.empty()) return;
    const auto scores = report::ClassScores::of(outputs.front(), report::ScoreRows(batch));
    check(scores.has_value(),
          "output '{}' has shape {}; to compare it with labels, it must have one score per class, samples x classes",
          graph.value(graph.outputs().front()).name, to_string(outputs.front().shape()));
    classes = scores->classes();
    for (std::int64_t i = 0; i < batch.sample_count; ++i) {
      const std::int64_t label = batch.labels[static_cast<std::size_t>(i)];
      check(label >= 0 && label < classes, "{}: sample {} has label {}, but the network has {} classes",
            source.description(), first + i, label, classes);
      const std::int64_t rank = report::rank_of(scores->row(i), label);
      top1 += rank < 1;
      top5 += rank < 5;
    }
  };
  quantization::SamplePass pass{.graph = graph,
                                .source = source,
                                .at_a_time = samples_at_a_time,
                                .phase = "evaluating",
                                .progress = options.progress};
  result.sample_count = quantization::for_each_run(pass, add);
  if (classes > 0) {
    result.top1 = static_cast<double>(top1) / static_cast<double>(result.sample_count);
    if (classes > 5) result.top5 = static_cast<double>(top5) / static_cast<double>(result.sample_count);
  }
  if (!options.use_reference)
    result.latency_us = bench(graph, with_first_sample({.min_time_s = kLatencyTime_s}, source)).median_us;
  return result;
}

}  // namespace bitfold
