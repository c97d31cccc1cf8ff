// Feeds a graph with samples: batch sizes, slices of a batch, and several samples on several cores at once.
#pragma once

#include <cstdint>
#include <functional>
#include <limits>
#include <span>
#include <string_view>
#include <vector>

#include "base/check.h"
#include "bitfold/batch.h"
#include "bitfold/graph.h"
#include "bitfold/progress.h"
#include "numeric/block_pool.h"

namespace bitfold::quantization {

/// The number of samples that one run of the graph takes: 1 if the source has whole samples, or unless the graph's
/// inputs declare another fixed first dimension.
std::int64_t samples_per_run(const Graph& graph, const BatchSource& source);

/// The number of samples whose inputs take 4 MiB, at least 1 and at most `most`.
std::int64_t samples_in_4_mebibytes(const Graph& graph, std::int64_t most);

/// Samples [first, first + count) of `all`; past its end the last one is repeated. A scalar is returned unchanged.
Tensor take_samples(const Tensor& all, std::int64_t first, std::int64_t count);

/// Calls use(i) for i = 0 .. count - 1, each on one core, in any order, with one thread per pool. Tensors allocated in
/// use() live in the thread's pool. Throws the error of the lowest failed i; the message names sample i * group +
/// offset.
void for_each_index(std::int64_t count, std::int64_t group, std::int64_t offset, std::span<BlockPool> pools,
                    const std::function<void(std::int64_t)>& use);

/// Calls use(g, inputs) for every group of `group` samples of the batch, as for_each_index() does; `group` is
/// samples_per_run(). `first_sample` is the number of the batch's first sample, for messages.
void for_each_group(const Batch& batch, std::int64_t group, std::int64_t first_sample, std::span<BlockPool> pools,
                    const std::function<void(std::int64_t, std::span<const Tensor>)>& use);

/// One pass over a source's samples.
struct SamplePass {
  const Graph& graph;  ///< Its inputs are checked against the batches.
  BatchSource& source;
  std::int64_t at_a_time = 1;                                    ///< Samples per batch.
  std::int64_t most = std::numeric_limits<std::int64_t>::max();  ///< Samples to read; may change between batches.
  std::string_view phase = {};                                   ///< For progress; empty: reports nothing.
  Progress progress = {};
};

/// All loops over samples use this function. It reads the source from its start and calls use(batch, first) for each
/// batch; `first` is the number of the batch's first sample. Returns the number of samples. Throws Error when there are
/// none or when they do not fit the graph's inputs, and Cancelled.
std::int64_t for_each_batch(SamplePass& pass, const std::function<void(const Batch&, std::int64_t)>& use);

/// The same, but a batch of whole samples is handed over one sample at a time, so that each batch is one run.
std::int64_t for_each_run(SamplePass& pass, const std::function<void(const Batch&, std::int64_t)>& use);

/// Calls use(g, inputs) for one group on each of `threads` cores at a time, as for_each_group() does, then
/// done(groups, seen) with the number of samples so far, which returns a new `pass.most`. If done() adds up in the
/// order of groups, the result does not depend on the number of threads. `pass.at_a_time` is not used.
void for_first_samples(SamplePass pass, int threads,
                       const std::function<void(std::int64_t, std::span<const Tensor>)>& use,
                       const std::function<std::int64_t(std::int64_t, std::int64_t)>& done);

/// Calls f(); an Error that it throws names the samples [first, first + count).
template <class F>
auto naming_samples(std::int64_t first, std::int64_t count, const F& f) {
  try {
    return f();
  } catch (const Cancelled&) {
    throw;
  } catch (const Error& error) {
    if (count == 1) fail("sample {}: {}", first, error.what());
    fail("samples {} to {}: {}", first, first + count - 1, error.what());
  }
}

}  // namespace bitfold::quantization
