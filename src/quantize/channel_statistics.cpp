#include "bitfold/channel_statistics.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <mutex>

#include "bitfold/cpu.h"
#include "bitfold/exact_sum.h"
#include "bitfold/reference.h"
#include "quantize/samples.h"

namespace bitfold {
namespace {

struct Channel {
  float min = std::numeric_limits<float>::infinity(), max = -std::numeric_limits<float>::infinity();
  double squares = 0;

  bool is_finite() const { return std::isfinite(squares); }
  void add(std::span<const float> values) {
    for (float x : values) {
      min = std::min(min, x);
      max = std::max(max, x);
      squares += static_cast<double>(x) * static_cast<double>(x);
    }
  }
};

std::vector<Channel> channels_of(const Tensor& tensor) {
  const auto batch = static_cast<std::size_t>(tensor.dim(0));
  std::vector<Channel> channels(static_cast<std::size_t>(tensor.dim(1)));
  const auto data = tensor.data<float>();
  const std::size_t inner = data.size() / (batch * channels.size());
  for (std::size_t i = 0; i < batch * channels.size(); ++i)
    channels[i % channels.size()].add(data.subspan(i * inner, inner));
  return channels;
}

/// The statistics of one value over all samples. A value that is infinite or NaN is left out. Sums are exact, so
/// that they do not depend on the order of samples.
struct Total {
  std::vector<Channel> channels;  // extremes only
  std::vector<ExactSum> squares;
  std::int64_t count = 0;  // elements per channel
  bool is_regular = true;

  void add(const std::vector<Channel>& seen, std::int64_t seen_count) {
    if (channels.empty()) {
      channels.resize(seen.size());
      squares.resize(seen.size());
    }
    is_regular = is_regular && channels.size() == seen.size() && std::ranges::all_of(seen, &Channel::is_finite);
    if (!is_regular) return;
    count += seen_count;
    for (std::size_t c = 0; c < seen.size(); ++c) {
      channels[c].min = std::min(channels[c].min, seen[c].min);
      channels[c].max = std::max(channels[c].max, seen[c].max);
      squares[c].add(static_cast<float>(std::min<double>(seen[c].squares, std::numeric_limits<float>::max())));
    }
  }
};

void run_over(const Graph& graph, const ReferenceOptions& options, BatchSource& source, std::int64_t max_samples,
              std::string_view phase, const Progress& progress) {
  const Reference reference(graph, options);
  quantization::for_first_samples(
      {.graph = graph, .source = source, .most = max_samples, .phase = phase, .progress = progress}, usable_threads(),
      [&](std::int64_t, std::span<const Tensor> inputs) { reference.run(inputs); },
      [&](std::int64_t, std::int64_t) { return max_samples; });
}

}  // namespace

ChannelTable measure_channels(const Graph& graph, BatchSource& source, std::int64_t max_samples,
                              const Progress& progress) {
  std::map<std::string, Total> totals;
  std::mutex lock;
  const auto collect = [&](ValueId id, const Tensor& tensor) {
    if (tensor.dtype() != DataType::float32 || tensor.rank() < 2 || tensor.size() == 0) return;
    const std::vector<Channel> seen = channels_of(tensor);
    const std::lock_guard guard(lock);
    totals[graph.value(id).name].add(seen, tensor.size() / tensor.dim(1));
  };
  run_over(graph, {.on_value = collect}, source, max_samples, "equalizing", progress);
  ChannelTable table;
  for (const auto& [name, total] : totals) {
    if (!total.is_regular) continue;
    ChannelStatistics& statistics = table[name];
    for (std::size_t c = 0; c < total.channels.size(); ++c) {
      statistics.min.push_back(total.channels[c].min);
      statistics.max.push_back(total.channels[c].max);
      statistics.mean_square.push_back(total.squares[c].value() / static_cast<double>(total.count));
    }
  }
  return table;
}

FeatureMaxima measure_features(const Graph& graph, const std::vector<std::string>& values, BatchSource& source,
                               std::int64_t max_samples, const Progress& progress) {
  FeatureMaxima maxima;
  for (const std::string& name : values) maxima[name];
  std::mutex lock;
  const auto collect = [&](ValueId id, const Tensor& tensor) {
    const auto found = maxima.find(graph.value(id).name);
    if (found == maxima.end() || tensor.size() == 0) return;
    std::vector<float> seen(static_cast<std::size_t>(tensor.dim(tensor.rank() - 1)));
    const auto data = tensor.data<float>();
    for (std::size_t i = 0; i < data.size(); ++i) {
      float& most = seen[i % seen.size()];
      most = std::max(most, std::abs(data[i]));
    }
    const std::lock_guard guard(lock);
    std::vector<float>& total = found->second;
    total.resize(std::max(total.size(), seen.size()));
    for (std::size_t k = 0; k < seen.size(); ++k) total[k] = std::max(total[k], seen[k]);
  };
  run_over(graph, {.on_value = collect}, source, max_samples, "smoothing", progress);
  std::erase_if(maxima, [](const auto& entry) {
    return std::ranges::any_of(entry.second, [](float most) { return !std::isfinite(most); });
  });
  return maxima;
}

}  // namespace bitfold
