#include "report/judge.h"

#include <omp.h>

#include <functional>

#include "base/check.h"
#include "base/first_failure.h"
#include "bitfold/cpu.h"
#include "bitfold/session.h"
#include "report/batches.h"
#include "report/scores.h"

namespace bitfold::report {
namespace {

// The predicted class of each sample of a batch.
std::vector<std::int32_t> answers(const Graph& graph, Session& session, const Batch& batch, std::int64_t at_a_time,
                                  std::int64_t first) {
  const std::vector<Tensor> outputs = quantization::naming_samples(
      first, batch.sample_count, [&] { return session.run(graph_inputs(graph, batch, at_a_time)); });
  const auto scores = ClassScores::of(outputs.front(), ScoreRows(batch));
  check(scores.has_value(),
        "output '{}' has shape {}; to measure accuracy, it must have one score per class, samples x classes",
        graph.value(graph.outputs().front()).name, bitfold::to_string(outputs.front().shape()));
  std::vector<std::int32_t> result;
  for (std::int64_t i = 0; i < batch.sample_count; ++i) result.push_back(static_cast<std::int32_t>(scores->best(i)));
  for (std::int64_t label : batch.labels)
    check(label >= 0 && label < scores->classes(), "the data has a label {}, but the network has {} classes", label,
          scores->classes());
  return result;
}

// Calls `use` for every batch with its predictions, in the source's order.
void predict_all(const Graph& graph, BatchSource& source, int threads,
                 const std::function<void(const Batch&, const std::vector<std::int32_t>&)>& use) {
  const std::int64_t at_a_time = batch_size(graph, 0);
  const auto teams = static_cast<std::size_t>(thread_count(threads));
  std::vector<Session> sessions;
  for (std::size_t t = 0; t < teams; ++t) sessions.emplace_back(graph, SessionOptions{.threads = 1});
  std::vector<Batch> waiting;
  std::vector<std::int64_t> firsts;  // the number of the first sample of each
  const auto run_waiting = [&] {
    std::vector<std::vector<std::int32_t>> results(waiting.size());
    FirstFailure failure;
    const auto count = static_cast<std::int64_t>(waiting.size());
#pragma omp parallel for schedule(dynamic, 1) num_threads(static_cast <int>(teams))
    for (std::int64_t b = 0; b < count; ++b) {
      const auto i = static_cast<std::size_t>(b);
      failure.watch(i, [&] {
        results[i] =
            answers(graph, sessions[static_cast<std::size_t>(omp_get_thread_num())], waiting[i], at_a_time, firsts[i]);
      });
    }
    failure.rethrow();
    for (std::size_t i = 0; i < waiting.size(); ++i) use(waiting[i], results[i]);
    waiting.clear();
    firsts.clear();
  };
  quantization::SamplePass pass{.graph = graph, .source = source, .at_a_time = at_a_time};
  quantization::for_each_run(pass, [&](const Batch& batch, std::int64_t first) {
    waiting.push_back(batch);
    firsts.push_back(first);
    if (waiting.size() == teams * 4) run_waiting();
  });
  run_waiting();
}

}  // namespace

Judge::Judge(const Graph& float_graph, BatchSource& source, int threads)
    : source_(source), threads_(threads), has_labels_(source.has_labels()) {
  std::int64_t correct = 0;
  predict_all(float_graph, source_, threads_, [&](const Batch& batch, const std::vector<std::int32_t>& given) {
    sample_count_ += batch.sample_count;
    if (!has_labels_) answers_.insert(answers_.end(), given.begin(), given.end());
    for (std::size_t i = 0; has_labels_ && i < given.size(); ++i) correct += given[i] == batch.labels.at(i);
  });
  if (has_labels_) float_score_ = static_cast<double>(correct) / static_cast<double>(sample_count_);
}

double Judge::score(const Graph& candidate) {
  std::int64_t correct = 0;
  std::size_t first = 0;
  predict_all(candidate, source_, threads_, [&](const Batch& batch, const std::vector<std::int32_t>& given) {
    for (std::size_t i = 0; i < given.size(); ++i)
      correct += given[i] == (has_labels_ ? batch.labels.at(i) : std::int64_t{answers_.at(first + i)});
    first += given.size();
  });
  check(static_cast<std::int64_t>(first) == sample_count_, "{}: delivered {} samples at first, but {} now",
        source_.description(), sample_count_, first);
  return static_cast<double>(correct) / static_cast<double>(sample_count_);
}

}  // namespace bitfold::report
