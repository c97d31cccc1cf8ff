// Feeds a graph with samples: batch sizes, slices of a batch, and several samples on several cores at once.
#pragma once

#include <cstdint>
#include <functional>
#include <span>
#include <vector>

#include "bitfold/batch.h"
#include "bitfold/graph.h"
#include "numeric/block_pool.h"

namespace bitfold::quantization {

/// The number of samples that the graph takes at a time: 1 unless its inputs declare another fixed first dimension.
std::int64_t fixed_batch(const Graph& graph);

/// The number of samples whose inputs take 4 MiB, at least 1 and at most `most`.
std::int64_t samples_in_4_mebibytes(const Graph& graph, std::int64_t most);

/// Samples [first, first + count) of `all`; past its end the last one is repeated. A scalar is returned unchanged.
Tensor take_samples(const Tensor& all, std::int64_t first, std::int64_t count);

/// Calls use(i) for i = 0 .. count - 1, each on one core, in any order, with one thread per pool. Tensors allocated in
/// use() live in the thread's pool. Throws the error of the lowest failed i; the message names sample i * group +
/// offset.
void for_each_index(std::int64_t count, std::int64_t group, std::int64_t offset, std::span<BlockPool> pools,
                    const std::function<void(std::int64_t)>& use);

/// Calls use(g, inputs) for every group of `group` samples of the batch, as for_each_index() does; `first_sample` is
/// the number of the batch's first sample, for messages.
void for_each_group(const Batch& batch, std::int64_t group, std::int64_t first_sample, std::span<BlockPool> pools,
                    const std::function<void(std::int64_t, std::span<const Tensor>)>& use);

/// Reads the source's first `most` samples. Calls use(g, inputs) for one group on each of `threads` cores at a time, as
/// for_each_group() does, then done(groups, seen) with the number of samples so far, which returns a new `most`. If
/// done() adds up in the order of groups, the result does not depend on the number of threads. Throws Error when there
/// are no samples.
void for_first_samples(BatchSource& source, std::int64_t group, int threads, std::int64_t most,
                       const std::function<void(std::int64_t, std::span<const Tensor>)>& use,
                       const std::function<std::int64_t(std::int64_t, std::int64_t)>& done);

}  // namespace bitfold::quantization
