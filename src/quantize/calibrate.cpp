// Runs a network in float over sample data and keeps statistics only.
//
// Each sample runs by itself on one core (for a graph with a fixed batch, each group of that many samples), and several
// run at the same time. Batch size and thread count therefore do not enter the arithmetic, and histograms and sums of
// extremes merge exactly: the result is the same bits for all of them. An incomplete last group is filled by repeating
// its last sample.
#include "bitfold/calibrate.h"

#include <omp.h>

#include <algorithm>
#include <limits>
#include <map>
#include <set>

#include "base/check.h"
#include "bitfold/cpu.h"
#include "bitfold/reference.h"
#include "graph/release_pages.h"
#include "numeric/block_pool.h"
#include "quantize/bodies.h"
#include "quantize/non_finite.h"
#include "quantize/samples.h"

namespace bitfold {
namespace {

constexpr std::int64_t kMaxSamples = 256;                    // per batch
constexpr std::int64_t kMaxBytes = std::int64_t{256} << 20;  // for the histograms of all threads

// Each thread has its own histograms of all values. Fewer threads run if those would take too much memory.
int counting_threads(int threads, const Graph& graph, const CalibrateOptions& options) {
  const bool keeps_all = !options.values || options.keeps_others;
  const std::size_t values = keeps_all ? graph.values().size() : options.values->size();
  const auto bytes =
      static_cast<std::int64_t>(std::max<std::size_t>(values, 1) * ValueStatistics::kBinCount * sizeof(std::int64_t));
  return static_cast<int>(std::clamp<std::int64_t>(kMaxBytes / bytes, 1, threads));
}

/// The statistics of every value, by thread; merged at the end.
class Collector {
 public:
  /// The graph takes `group` samples at a time.
  Collector(const Graph& graph, std::int64_t group, int threads, const CalibrateOptions& options)
      : graph_(graph),
        group_(group),
        prepared_(options.prepared),
        needs_(graph.value_capacity(), Need::none),
        by_thread_(static_cast<std::size_t>(threads), std::vector<Seen>(graph.value_capacity())) {
    std::set<std::string_view> wanted;
    if (options.values) wanted.insert(options.values->begin(), options.values->end());
    for (ValueId id : graph.values()) {
      const bool is_required = !options.values || wanted.contains(graph.value(id).name);
      needs_[index(id)] = is_required ? Need::required : options.keeps_others ? Need::if_finite : Need::none;
    }
  }

  void add(std::size_t thread, ValueId id, const Tensor& tensor) {
    const Need need = needs_[index(id)];
    Seen& seen = by_thread_[thread][index(id)];
    if (tensor.dtype() != DataType::float32 || need == Need::none || !seen.is_finite) return;
    try {
      add_samples(tensor, seen.statistics);
    } catch (const Error& error) {
      if (need == Need::required) quantization::refuse_grid(graph_, id, error.what());
      seen.is_finite = false;
    }
  }

  Calibration take(std::int64_t sample_count) {
    Calibration calibration{.sample_count = sample_count, .prepared = prepared_};
    for (ValueId id : graph_.values()) {
      const auto is_infinite = [&](const std::vector<Seen>& seen) { return !seen[index(id)].is_finite; };
      if (std::any_of(by_thread_.begin(), by_thread_.end(), is_infinite)) continue;
      ValueStatistics& all = by_thread_.front()[index(id)].statistics;
      for (std::size_t t = 1; t < by_thread_.size(); ++t) all.merge(by_thread_[t][index(id)].statistics);
      if (all.count > 0) calibration.values[graph_.value(id).name] = std::move(all);
    }
    return calibration;
  }

 private:
  enum class Need : std::uint8_t { none, if_finite, required };
  struct Seen {
    ValueStatistics statistics;
    bool is_finite = true;
  };

  // A value whose first dimension is not the batch is the same for all samples and counts as one sample.
  void add_samples(const Tensor& tensor, ValueStatistics& seen) const {
    const std::span<const float> values = tensor.data<float>();
    const bool is_batch = tensor.rank() > 0 && tensor.dim(0) > 0 && tensor.dim(0) % group_ == 0;
    const std::size_t size = is_batch ? values.size() / static_cast<std::size_t>(group_) : values.size();
    for (std::size_t start = 0; start < values.size(); start += size) seen.add_sample(values.subspan(start, size));
  }

  const Graph& graph_;
  std::int64_t group_;
  Prepared prepared_;
  std::vector<Need> needs_;                   // one per value
  std::vector<std::vector<Seen>> by_thread_;  // one per thread and value
};

/// Values of bodies have no batch axis: all elements count as one sample.
constexpr std::int64_t kOneSample = std::numeric_limits<std::int64_t>::max();

CalibrateOptions options_of_body(const std::string& prefix, const CalibrateOptions& options) {
  CalibrateOptions own = options;
  if (!options.values) return own;
  own.values.emplace();
  for (const std::string& name : *options.values)
    if (name.starts_with(prefix)) own.values->push_back(name.substr(prefix.size()));
  return own;
}

}  // namespace

Calibration calibrate(const Graph& graph, BatchSource& source, const CalibrateOptions& options) {
  check(options.batch_size >= 0, "batch_size is {}; it must be 0 (chosen) or positive", options.batch_size);
  const int threads = counting_threads(thread_count(options.threads), graph, options);
  const std::int64_t group = quantization::samples_per_run(graph, source);
  // A few megabytes, so that cores rarely wait for each other.
  const std::int64_t chosen = std::max(threads * group, quantization::samples_in_4_mebibytes(graph, kMaxSamples));
  const std::int64_t wanted = options.batch_size > 0 ? options.batch_size : chosen;
  // A multiple of the graph's own batch, so that all groups have the same size.
  const std::int64_t batch_size = (wanted + group - 1) / group * group;

  Collector collector(graph, group, threads, options);
  std::map<std::string, Collector> bodies;
  quantization::for_each_body(graph, [&](const std::string& prefix, const Graph& body) {
    bodies.try_emplace(prefix, body, kOneSample, threads, options_of_body(prefix, options));
  });
  const auto thread = [] { return static_cast<std::size_t>(omp_get_thread_num()); };
  const auto on_value = [&](ValueId id, const Tensor& t) { collector.add(thread(), id, t); };
  const auto on_body_value = [&](const std::string& prefix, ValueId id, const Tensor& t) {
    bodies.at(prefix).add(thread(), id, t);
  };
  const Reference reference(graph, {.on_value = on_value, .on_body_value = on_body_value, .any_order = true});
  // Samples and their values reuse the memory of those before them.
  std::vector<BlockPool> pools(static_cast<std::size_t>(threads));
  const BlockPool::Use use(pools.front());
  quantization::SamplePass pass{
      .graph = graph, .source = source, .at_a_time = batch_size, .phase = "calibrating", .progress = options.progress};
  const std::int64_t sample_count = quantization::for_each_batch(pass, [&](const Batch& batch, std::int64_t first) {
    const auto run = [&](const Reference& network) {
      quantization::for_each_group(batch, group, first, pools,
                                   [&](std::int64_t, std::span<const Tensor> inputs) { network.run(inputs); });
    };
    try {
      run(reference);
    } catch (const Error&) {
      // Runs again in the graph's order of elements, because the index in the message must not depend on the CPU.
      run(Reference(graph, {.on_value = on_value, .on_body_value = on_body_value}));
      throw;
    }
  });
  release_mapped_constants(graph);
  Calibration calibration = collector.take(sample_count);
  for (auto& [prefix, body] : bodies)
    for (auto& [name, statistics] : body.take(sample_count).values)
      calibration.values[prefix + name] = std::move(statistics);
  return calibration;
}

}  // namespace bitfold
