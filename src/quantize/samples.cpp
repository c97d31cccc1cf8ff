#include "quantize/samples.h"

#include <omp.h>

#include <algorithm>

#include "base/check.h"
#include "base/first_failure.h"
#include "ops/operands.h"

namespace bitfold::quantization {

std::int64_t samples_per_run(const Graph& graph, const BatchSource& source) {
  if (source.has_whole_samples()) return 1;
  for (ValueId id : graph.inputs()) {
    const auto& shape = graph.value(id).shape;
    if (shape && !shape->empty() && shape->front() > 1) return shape->front();
  }
  return 1;
}

std::int64_t samples_in_4_mebibytes(const Graph& graph, std::int64_t most) {
  constexpr std::int64_t kBytes = 4 << 20;
  constexpr std::int64_t kOpenSize = 256;  // assumed size of a dynamic dimension
  std::int64_t sample_bytes = 1;
  for (ValueId id : graph.inputs()) {
    std::int64_t bytes = bit_width(graph.value(id).dtype) / 8;
    const Shape shape = graph.value(id).shape.value_or(Shape{});
    for (std::size_t d = 1; d < shape.size() && bytes < kBytes; ++d)
      bytes *= shape[d] == kDynamic ? kOpenSize : std::clamp<std::int64_t>(shape[d], 1, kBytes);
    sample_bytes += bytes;
  }
  return std::clamp<std::int64_t>(kBytes / sample_bytes, 1, most);
}

Tensor take_samples(const Tensor& all, std::int64_t first, std::int64_t count) {
  if (all.rank() == 0 || (first == 0 && all.dim(0) == count)) return all;
  Shape shape = all.shape();
  const std::int64_t present = shape[0];
  shape[0] = count;
  Tensor taken = Tensor::uninitialized(all.dtype(), std::move(shape));
  const std::size_t sample_bytes = all.size_bytes() / static_cast<std::size_t>(present);
  std::byte* out = taken.mutable_bytes();
  for (std::int64_t i = 0; i < count; ++i) {
    const auto from = static_cast<std::size_t>(std::min(first + i, present - 1));
    ops::copy_run(all.dtype(), all.bytes() + from * sample_bytes, out + static_cast<std::size_t>(i) * sample_bytes,
                  sample_bytes);
  }
  return taken;
}

void for_each_index(std::int64_t count, std::int64_t group, std::int64_t offset, std::span<BlockPool> pools,
                    const std::function<void(std::int64_t)>& use) {
  FirstFailure failure;
#pragma omp parallel num_threads(pools.size())
  {
    const BlockPool::Use use_pool(pools[static_cast<std::size_t>(omp_get_thread_num())]);
    omp_set_num_threads(1);  // so that functions called by use() do not start threads of their own
#pragma omp for schedule(dynamic, 1)
    for (std::int64_t i = 0; i < count; ++i) failure.watch(i, [&] { use(i); });
  }
  failure.rethrow([&](std::int64_t i) { return fmt::format("calibration sample {}: ", offset + i * group); });
}

void for_each_group(const Batch& batch, std::int64_t group, std::int64_t first_sample, std::span<BlockPool> pools,
                    const std::function<void(std::int64_t, std::span<const Tensor>)>& use) {
  if (!batch.runs.empty()) {
    for_each_index(batch.sample_count, 1, first_sample, pools,
                   [&](std::int64_t i) { use(i, batch.runs[static_cast<std::size_t>(i)]); });
    return;
  }
  for_each_index((batch.sample_count + group - 1) / group, group, first_sample, pools, [&](std::int64_t g) {
    std::vector<Tensor> inputs;
    for (const Tensor& input : batch.inputs) inputs.push_back(take_samples(input, g * group, group));
    use(g, inputs);
  });
}

std::int64_t for_each_batch(SamplePass& pass, const std::function<void(const Batch&, std::int64_t)>& use) {
  pass.source.rewind();
  std::int64_t seen = 0;
  while (seen < pass.most) {
    const auto batch = pass.source.next(std::min(pass.most - seen, pass.at_a_time));
    if (!batch) break;
    const auto check_inputs = [&](const std::vector<Tensor>& inputs) {
      check(inputs.size() == pass.graph.inputs().size(), "{}: has {} arrays, but the network has {} inputs",
            pass.source.description(), inputs.size(), pass.graph.inputs().size());
    };
    if (batch->runs.empty()) check_inputs(batch->inputs);
    for (const std::vector<Tensor>& inputs : batch->runs) check_inputs(inputs);
    if (batch->sample_count == 0) continue;
    use(*batch, seen);
    seen += batch->sample_count;
    if (!pass.phase.empty())
      pass.progress(pass.phase, seen, std::max(seen, std::min(pass.most, pass.source.sample_count())));
  }
  check(seen > 0, "{}: no samples", pass.source.description());
  return seen;
}

std::int64_t for_each_run(SamplePass& pass, const std::function<void(const Batch&, std::int64_t)>& use) {
  return for_each_batch(pass, [&](const Batch& batch, std::int64_t first) {
    if (batch.runs.empty()) use(batch, first);
    for (std::size_t i = 0; i < batch.runs.size(); ++i) {
      Batch one{.runs = {batch.runs[i]}, .sample_count = 1};
      if (!batch.labels.empty()) one.labels = {batch.labels[i]};
      use(one, first + static_cast<std::int64_t>(i));
    }
  });
}

void for_first_samples(SamplePass pass, int threads,
                       const std::function<void(std::int64_t, std::span<const Tensor>)>& use,
                       const std::function<std::int64_t(std::int64_t, std::int64_t)>& done) {
  const std::int64_t group = samples_per_run(pass.graph, pass.source);
  std::vector<BlockPool> pools(static_cast<std::size_t>(threads));
  const BlockPool::Use use_pool(pools.front());
  pass.at_a_time = threads * group;
  for_each_batch(pass, [&](const Batch& batch, std::int64_t first) {
    for_each_group(batch, group, first, pools, use);
    pass.most = done((batch.sample_count + group - 1) / group, first + batch.sample_count);
  });
}

}  // namespace bitfold::quantization
