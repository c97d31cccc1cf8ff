// Running a network in floats over sample data, keeping statistics only.
//
// Every sample runs by itself on one core (a graph with a fixed batch: that many at once), and several run at the same
// time. So neither the batch size nor the thread count enters the arithmetic, and histograms merge exactly: the result
// is the same bits whatever they are. A batch that does not fill a graph's fixed one is filled by repeating its last
// sample.
#include "bitfold/calibrate.h"

#include <omp.h>

#include <algorithm>
#include <cstring>
#include <exception>
#include <memory>
#include <mutex>

#include "base/check.h"
#include "bitfold/reference.h"
#include "numeric/block_pool.h"

namespace bitfold {
namespace {

// What the threads share: the statistics of every value, each under its own lock.
class Collector {
 public:
  explicit Collector(const Graph& graph)
      : graph_(graph),
        value_count_(graph.values().empty() ? 0 : static_cast<std::size_t>(graph.values().back()) + 1),
        statistics_(value_count_),
        locks_(std::make_unique<std::mutex[]>(value_count_)) {}

  void add(ValueId id, const Tensor& tensor) {
    if (tensor.dtype() != DataType::float32) return;
    ValueStatistics seen;  // counted outside the lock
    try {
      seen.add(tensor.data<float>());
    } catch (const Error& error) {
      const NodeId producer = graph_.producer(id);
      const std::string from = producer == NodeId::none ? "the input data:" : where(graph_, producer);
      fail("{} value '{}' {}: {}", from, graph_.value(id).name, producer == NodeId::none ? "holds" : "became",
           error.what());
    }
    const std::lock_guard lock(locks_[static_cast<std::size_t>(id)]);
    statistics_[static_cast<std::size_t>(id)].merge(seen);
  }

  Calibration take(std::int64_t sample_count) {
    Calibration calibration;
    calibration.sample_count = sample_count;
    for (ValueId id : graph_.values()) {
      ValueStatistics& seen = statistics_[static_cast<std::size_t>(id)];
      if (seen.count > 0) calibration.values[graph_.value(id).name] = std::move(seen);
    }
    return calibration;
  }

 private:
  const Graph& graph_;
  std::size_t value_count_;
  std::vector<ValueStatistics> statistics_;
  std::unique_ptr<std::mutex[]> locks_;
};

// The samples the graph takes at a time: 1 unless its inputs declare another fixed first dimension.
std::int64_t fixed_batch(const Graph& graph) {
  for (ValueId id : graph.inputs()) {
    const auto& shape = graph.value(id).shape;
    if (shape && !shape->empty() && shape->front() > 1) return shape->front();
  }
  return 1;
}

// As many samples as fit in a few megabytes, so that cores seldom wait for each other, and at least `least`.
std::int64_t chosen_batch(const Graph& graph, std::int64_t least) {
  constexpr std::int64_t kMostBytes = 4 << 20, kMostSamples = 256;
  std::int64_t sample_bytes = 1;
  for (ValueId id : graph.inputs()) {
    std::int64_t bytes = bit_width(graph.value(id).dtype) / 8;
    const Shape shape = graph.value(id).shape.value_or(Shape{});
    for (std::size_t d = 1; d < shape.size() && bytes < kMostBytes; ++d) bytes *= std::max<std::int64_t>(1, shape[d]);
    sample_bytes += bytes;
  }
  return std::max(least, std::clamp<std::int64_t>(kMostBytes / sample_bytes, 1, kMostSamples));
}

// Samples [first, first + count) of `all`; past its end the last one is repeated.
Tensor take_samples(const Tensor& all, std::int64_t first, std::int64_t count) {
  if (all.rank() == 0 || all.dim(0) == count) return all;
  Shape shape = all.shape();
  const std::int64_t present = shape[0];
  shape[0] = count;
  Tensor taken(all.dtype(), std::move(shape));
  const std::size_t sample_bytes = all.size_bytes() / static_cast<std::size_t>(present);
  std::byte* out = taken.mutable_bytes();
  for (std::int64_t i = 0; i < count; ++i) {
    const auto from = static_cast<std::size_t>(std::min(first + i, present - 1));
    std::memcpy(out + static_cast<std::size_t>(i) * sample_bytes, all.bytes() + from * sample_bytes, sample_bytes);
  }
  return taken;
}

// Runs every group of `group` samples of one batch, on a core for each of `pools`. Of several failures the first
// sample's is thrown.
void run_batch(const Reference& reference, const Batch& batch, std::int64_t group, std::int64_t first_sample,
               std::span<BlockPool> pools) {
  const std::int64_t groups = (batch.sample_count + group - 1) / group;
  std::vector<std::string> failures(static_cast<std::size_t>(groups));
#pragma omp parallel num_threads(pools.size())
  {
    const BlockPool::Use use(pools[static_cast<std::size_t>(omp_get_thread_num())]);
    omp_set_num_threads(1);  // of whatever runs inside: also where this team has one thread only
#pragma omp for schedule(dynamic, 1)
    for (std::int64_t g = 0; g < groups; ++g) {
      try {
        std::vector<Tensor> inputs;
        for (const Tensor& input : batch.inputs) inputs.push_back(take_samples(input, g * group, group));
        reference.run(inputs);
      } catch (const std::exception& error) {
        failures[static_cast<std::size_t>(g)] = error.what();
        if (failures[static_cast<std::size_t>(g)].empty()) failures[static_cast<std::size_t>(g)] = "failed";
      }
    }
  }
  for (std::int64_t g = 0; g < groups; ++g) {
    const std::string& failure = failures[static_cast<std::size_t>(g)];
    check(failure.empty(), "calibration sample {}: {}", first_sample + g * group, failure);
  }
}

}  // namespace

Calibration calibrate(const Graph& graph, BatchSource& source, const CalibrateOptions& options) {
  check(options.threads >= 0, "threads is {}; it must be 0 (all cores) or positive", options.threads);
  check(options.batch_size >= 0, "batch_size is {}; it must be 0 (chosen) or positive", options.batch_size);
  const int threads = options.threads > 0 ? options.threads : omp_get_num_procs();
  const std::int64_t group = fixed_batch(graph);
  // A multiple of the graph's own batch keeps groups alike.
  const std::int64_t wanted = options.batch_size > 0 ? options.batch_size : chosen_batch(graph, threads * group);
  const std::int64_t batch_size = (wanted + group - 1) / group * group;

  Collector collector(graph);
  const Reference reference(graph, {.on_value = [&](ValueId id, const Tensor& t) { collector.add(id, t); }});
  // Samples and the values computed from them take the memory of those before: however many there are.
  std::vector<BlockPool> pools(static_cast<std::size_t>(threads));
  const BlockPool::Use use(pools.front());
  source.rewind();
  std::int64_t sample_count = 0;
  while (const std::optional<Batch> batch = source.next(batch_size)) {
    check(batch->inputs.size() == graph.inputs().size(), "calibration data has {} arrays; the network has {} inputs",
          batch->inputs.size(), graph.inputs().size());
    if (batch->sample_count == 0) continue;
    run_batch(reference, *batch, group, sample_count, pools);
    sample_count += batch->sample_count;
    options.progress(sample_count, std::max(sample_count, source.sample_count()));
  }
  check(sample_count > 0, "calibration data holds no samples: {}", source.description());
  return collector.take(sample_count);
}

}  // namespace bitfold
