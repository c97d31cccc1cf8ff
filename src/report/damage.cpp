#include "report/damage.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <mutex>

#include "base/check.h"
#include "base/first_failure.h"
#include "bitfold/cpu.h"
#include "bitfold/session.h"
#include "numeric/reals.h"
#include "quantize/roles.h"
#include "quantize/samples.h"
#include "report/batches.h"
#include "report/error_sums.h"
#include "report/scores.h"

namespace bitfold {

double Damage::sqnr_db() const { return noise > 0 ? -10 * std::log10(noise) : std::numeric_limits<double>::infinity(); }

namespace report {
namespace {

constexpr std::size_t kMaxBytes = std::size_t{256} << 20;

// Sample i of a batch as a batch of its own, repeated if the graph's batch is fixed.
std::vector<Tensor> sample(const Graph& graph, const Batch& batch, std::int64_t i) {
  if (!batch.runs.empty()) return batch.runs.front();
  Batch one{.sample_count = 1};
  for (const Tensor& all : batch.inputs) one.inputs.push_back(quantization::take_samples(all, i, 1));
  return graph_inputs(graph, one, batch_size(graph, 1));
}

std::size_t bytes_of(const std::vector<Tensor>& tensors) {
  std::size_t bytes = 0;
  for (const Tensor& t : tensors) bytes += t.size_bytes();
  return bytes;
}

}  // namespace

SampleSet::SampleSet(const Graph& float_graph, BatchSource& source, std::int64_t wanted)
    : has_whole_samples_(source.has_whole_samples()) {
  check(wanted >= 1, "sample_count is {}; it must be at least 1", wanted);
  Session session(float_graph, {.threads = 1});
  const std::int64_t total = source.sample_count();
  std::int64_t count = std::min(wanted, total);
  quantization::SamplePass pass{.graph = float_graph, .source = source, .at_a_time = 16};
  quantization::for_each_run(pass, [&](const Batch& batch, std::int64_t first) {
    for (std::int64_t i = 0; i < batch.sample_count && size() < count; ++i) {
      if (first + i < size() * total / count) continue;
      numbers_.push_back(first + i);
      inputs_.push_back(sample(float_graph, batch, i));
      outputs_.push_back(quantization::naming_samples(first + i, 1, [&] { return session.run(inputs_.back()); }));
      if (size() > 1) continue;
      const std::size_t each = bytes_of(inputs_.back()) + bytes_of(outputs_.back());
      count = std::clamp<std::int64_t>(static_cast<std::int64_t>(kMaxBytes / std::max<std::size_t>(each, 1)), 1, count);
    }
    if (size() == count) pass.most = 0;
  });
  check(size() > 0, "{}: no samples", source.description());
}

Damage SampleSet::damage(const Graph& candidate) const {
  Session session(candidate, {.threads = 1});
  std::vector<ErrorSums> sums(outputs_.front().size());
  Agreement agreement;
  for (std::size_t s = 0; s < inputs_.size(); ++s) {
    const std::vector<Tensor> outputs =
        quantization::naming_samples(numbers_[s], 1, [&] { return session.run(inputs_[s]); });
    for (std::size_t o = 0; o < outputs.size(); ++o) {
      if (!is_any_real(outputs[o].dtype())) continue;
      sums[o].add(to_float32(outputs_[s][o]).data<float>(), to_float32(outputs[o]).data<float>());
    }
    agreement.add(outputs_[s].front(), outputs.front(), ScoreRows(1, has_whole_samples_));
  }
  Damage damage;
  int measured = 0;
  for (const ErrorSums& sum : sums) {
    if (sum.signal == 0) continue;  // an output of zeros or integers
    damage.noise += sum.noise / sum.signal;
    ++measured;
  }
  damage.noise /= std::max(measured, 1);
  damage.agreement = agreement.value();
  return damage;
}

Stop::Stop(double time_budget_s, Progress progress) : progress_(std::move(progress)) {
  check(time_budget_s >= 0, "the time budget is {} s; it must be 0 (none) or positive", time_budget_s);
  if (time_budget_s > 0)
    end_ = std::chrono::steady_clock::now() + std::chrono::duration_cast<std::chrono::steady_clock::duration>(
                                                  std::chrono::duration<double>(time_budget_s));
}

bool Stop::operator()() const {
  return progress_.is_cancelled() || (end_ && std::chrono::steady_clock::now() >= *end_);
}

std::vector<std::optional<Damage>> measure(const Graph& graph, const Calibration& calibration, const SampleSet& samples,
                                           const std::vector<Recipe>& recipes, int threads, const Stop& stop,
                                           const std::function<void(std::size_t, const Damage&)>& measured) {
  std::vector<std::optional<Damage>> damages(recipes.size());
  FirstFailure failure;
  std::mutex lock;
  const auto count = static_cast<std::int64_t>(recipes.size());
#pragma omp parallel for schedule(dynamic, 1) num_threads(thread_count(threads))
  for (std::int64_t r = 0; r < count; ++r) {
    const auto i = static_cast<std::size_t>(r);
    failure.watch(i, [&] {
      if (stop()) return;
      const Damage damage = samples.damage(quantize(graph, calibration, without_samples(recipes[i])).graph);
      const std::lock_guard guard(lock);
      damages[i] = damage;
      measured(i, damage);
    });
  }
  failure.rethrow();
  return damages;
}

std::vector<WeightedLayer> weighted_layers(const Graph& graph, const Recipe& recipe) {
  Graph inferred = graph;
  infer_shapes(inferred);
  std::vector<WeightedLayer> layers;
  for (NodeId id : inferred.topological_order()) {
    const Node& node = inferred.node(id);
    const auto own = recipe.layers.find(node.name);
    const bool is_skipped = std::count(recipe.skip.begin(), recipe.skip.end(), node.name) > 0 ||
                            (own != recipe.layers.end() && own->second.in_float);
    if (is_skipped || quantization::classify(inferred, id).role != quantization::Role::product) continue;
    layers.push_back({node.name, op_name(node.op), inferred.value(node.inputs[1]).constant->size()});
  }
  return layers;
}

Recipe alone(const Recipe& recipe, const std::vector<WeightedLayer>& layers, std::size_t index) {
  Recipe result = recipe;
  for (std::size_t i = 0; i < layers.size(); ++i)
    if (i != index) result.layers[layers[i].node].in_float = true;
  return result;
}

}  // namespace report
}  // namespace bitfold
