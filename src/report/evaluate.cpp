#include <memory>

#include "base/check.h"
#include "bitfold/reference.h"
#include "bitfold/report.h"
#include "report/batches.h"
#include "report/scores.h"

namespace bitfold {
namespace {

constexpr double kLatencyTime_s = 0.5;  // enough for a median that repeats within a few percent

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
  source.rewind();
  while (auto batch = source.next(samples_at_a_time)) {
    const auto outputs = runner.run(report::graph_inputs(graph, *batch, samples_at_a_time));
    result.sample_count += batch->sample_count;
    options.progress("evaluating", result.sample_count, source.sample_count());
    if (batch->labels.empty()) continue;
    const auto count = report::class_count(outputs.front());
    check(count.has_value(), "output '{}' has shape {}: labels need one score per class, samples x classes",
          graph.value(graph.outputs().front()).name, to_string(outputs.front().shape()));
    classes = *count;
    const auto scores = outputs.front().data<float>();
    for (std::int64_t i = 0; i < batch->sample_count; ++i) {
      const std::int64_t label = batch->labels[static_cast<std::size_t>(i)];
      check(label >= 0 && label < classes, "{}: sample {} has label {}, the network has {} classes",
            source.description(), result.sample_count - batch->sample_count + i, label, classes);
      const auto row = scores.subspan(static_cast<std::size_t>(i * classes), static_cast<std::size_t>(classes));
      const std::int64_t rank = report::rank_of(row, label);
      top1 += rank < 1;
      top5 += rank < 5;
    }
  }
  check(result.sample_count > 0, "{}: no samples", source.description());
  if (classes > 0) {
    result.top1 = static_cast<double>(top1) / static_cast<double>(result.sample_count);
    if (classes > 5) result.top5 = static_cast<double>(top5) / static_cast<double>(result.sample_count);
  }
  if (!options.use_reference)
    result.latency_us = bench(graph, {.min_time_s = kLatencyTime_s, .shapes = sample_shapes(source)}).median_us;
  return result;
}

}  // namespace bitfold
