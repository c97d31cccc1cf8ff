// Running a network in floats over sample data, keeping statistics only.
//
// Every sample runs by itself on one core (a graph with a fixed batch: that many at once), and several run at the same
// time. So neither the batch size nor the thread count enters the arithmetic, and histograms and sums of extremes merge
// exactly: the result is the same bits whatever they are. A batch that does not fill a graph's fixed one is filled by
// repeating its last sample.
#include "bitfold/calibrate.h"

#include <omp.h>

#include <algorithm>
#include <set>

#include "base/check.h"
#include "bitfold/cpu.h"
#include "bitfold/reference.h"
#include "graph/release_pages.h"
#include "numeric/block_pool.h"
#include "quantize/finite.h"
#include "quantize/samples.h"

namespace bitfold {
namespace {

constexpr std::int64_t kMostSamples = 256;                    // at a time
constexpr std::int64_t kMostBytes = std::int64_t{256} << 20;  // of all threads' histograms

// Each thread has histograms of its own for all values: on many cores fewer of them count, so that memory stays small.
int counting_threads(int threads, const Graph& graph, const CalibrateOptions& options) {
  const std::size_t values = options.values.empty() ? graph.values().size() : options.values.size();
  const auto bytes =
      static_cast<std::int64_t>(std::max<std::size_t>(values, 1) * ValueStatistics::kBinCount * sizeof(std::int64_t));
  return static_cast<int>(std::clamp<std::int64_t>(kMostBytes / bytes, 1, threads));
}

// The statistics of every value, by thread: they are merged at the end.
class Collector {
 public:
  /// The graph takes `group` samples at a time. Values of these names are counted, or all where there are none.
  Collector(const Graph& graph, std::int64_t group, int threads, const std::vector<std::string>& names)
      : graph_(graph), group_(group), is_wanted_(graph.value_capacity()) {
    const std::set<std::string_view> wanted(names.begin(), names.end());
    for (ValueId id : graph.values()) is_wanted_[index(id)] = names.empty() || wanted.contains(graph.value(id).name);
    by_thread_.assign(static_cast<std::size_t>(threads), std::vector<ValueStatistics>(graph.value_capacity()));
  }

  void add(std::size_t thread, ValueId id, const Tensor& tensor) {
    if (tensor.dtype() != DataType::float32) return;
    try {
      if (is_wanted_[index(id)])
        add_samples(tensor, by_thread_[thread][index(id)]);
      else
        quantization::check_finite(tensor.data<float>());
    } catch (const Error& error) {
      const NodeId producer = graph_.producer(id);
      const std::string from = producer == NodeId::none ? "the input data:" : where(graph_, producer);
      fail("{} value '{}' {}: {}", from, graph_.value(id).name, producer == NodeId::none ? "holds" : "became",
           error.what());
    }
  }

  Calibration take(std::int64_t sample_count) {
    Calibration calibration;
    calibration.sample_count = sample_count;
    for (ValueId id : graph_.values()) {
      ValueStatistics& all = by_thread_.front()[index(id)];
      for (std::size_t t = 1; t < by_thread_.size(); ++t) all.merge(by_thread_[t][index(id)]);
      if (all.count > 0) calibration.values[graph_.value(id).name] = std::move(all);
    }
    return calibration;
  }

 private:
  // A value whose first dimension does not count samples is the same for all of them: one sample.
  void add_samples(const Tensor& tensor, ValueStatistics& seen) const {
    const std::span<const float> values = tensor.data<float>();
    const bool is_batch = tensor.rank() > 0 && tensor.dim(0) > 0 && tensor.dim(0) % group_ == 0;
    const std::size_t size = is_batch ? values.size() / static_cast<std::size_t>(group_) : values.size();
    for (std::size_t start = 0; start < values.size(); start += size) seen.add_sample(values.subspan(start, size));
  }

  static std::size_t index(ValueId id) { return static_cast<std::size_t>(id); }

  const Graph& graph_;
  std::int64_t group_;
  std::vector<bool> is_wanted_;                          // by value
  std::vector<std::vector<ValueStatistics>> by_thread_;  // and value
};

}  // namespace

Calibration calibrate(const Graph& graph, BatchSource& source, const CalibrateOptions& options) {
  check(options.threads >= 0, "threads is {}; it must be 0 (all cores) or positive", options.threads);
  check(options.batch_size >= 0, "batch_size is {}; it must be 0 (chosen) or positive", options.batch_size);
  const int threads = counting_threads(options.threads > 0 ? options.threads : usable_threads(), graph, options);
  const std::int64_t group = quantization::fixed_batch(graph);
  // A few megabytes, so that cores seldom wait for each other.
  const std::int64_t chosen = std::max(threads * group, quantization::samples_in_4_mebibytes(graph, kMostSamples));
  const std::int64_t wanted = options.batch_size > 0 ? options.batch_size : chosen;
  // A multiple of the graph's own batch keeps groups alike.
  const std::int64_t batch_size = (wanted + group - 1) / group * group;

  Collector collector(graph, group, threads, options.values);
  const auto on_value = [&](ValueId id, const Tensor& t) {
    collector.add(static_cast<std::size_t>(omp_get_thread_num()), id, t);
  };
  const Reference reference(graph, {.on_value = on_value, .any_order = true});
  // Samples and the values computed from them take the memory of those before: however many there are.
  std::vector<BlockPool> pools(static_cast<std::size_t>(threads));
  const BlockPool::Use use(pools.front());
  source.rewind();
  std::int64_t sample_count = 0;
  while (const std::optional<Batch> batch = source.next(batch_size)) {
    check(batch->inputs.size() == graph.inputs().size(), "calibration data has {} arrays; the network has {} inputs",
          batch->inputs.size(), graph.inputs().size());
    if (batch->sample_count == 0) continue;
    const auto run = [&](const Reference& network) {
      quantization::for_each_group(*batch, group, sample_count, pools,
                                   [&](std::int64_t, std::span<const Tensor> inputs) { network.run(inputs); });
    };
    try {
      run(reference);
    } catch (const Error&) {
      // In an order of the CPU's choice the index that is named would be another on each.
      run(Reference(graph, {.on_value = on_value}));
      throw;
    }
    sample_count += batch->sample_count;
    options.progress(sample_count, std::max(sample_count, source.sample_count()));
  }
  release_mapped_constants(graph);
  check(sample_count > 0, "calibration data holds no samples: {}", source.description());
  return collector.take(sample_count);
}

}  // namespace bitfold
