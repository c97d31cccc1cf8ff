// Feeding a graph with samples: how many at a time, slices of a batch, and several samples on several cores at once.
#pragma once

#include <cstdint>
#include <functional>
#include <span>
#include <vector>

#include "bitfold/batch.h"
#include "bitfold/graph.h"
#include "numeric/block_pool.h"

namespace bitfold::quantization {

/// The samples the graph takes at a time: 1 unless its inputs declare another fixed first dimension.
std::int64_t fixed_batch(const Graph& graph);

/// As many samples as take 4 MiB of inputs, at least 1 and at most `most`.
std::int64_t samples_in_4_mebibytes(const Graph& graph, std::int64_t most);

/// Samples [first, first + count) of `all`; past its end the last one is repeated. A scalar stays as it is.
Tensor take_samples(const Tensor& all, std::int64_t first, std::int64_t count);

/// Calls use(i) for i = 0 .. count - 1, each on one core of as many as there are pools, in any order. Tensors made
/// meanwhile live in the core's pool. Of several failures the first one's is thrown; sample i * group + offset is what
/// its message names.
void for_each_index(std::int64_t count, std::int64_t group, std::int64_t offset, std::span<BlockPool> pools,
                    const std::function<void(std::int64_t)>& use);

/// Calls use(g, inputs) for every group of `group` samples of the batch, as for_each_index does; `first_sample` is the
/// number of the batch's first one, for the message.
void for_each_group(const Batch& batch, std::int64_t group, std::int64_t first_sample, std::span<BlockPool> pools,
                    const std::function<void(std::int64_t, std::span<const Tensor>)>& use);

/// The source's first `most` samples: calls use(g, inputs) for one group on each of `threads` cores at a time, as
/// for_each_group does, then done(groups, seen), seen with them included, which says anew how many to read in all. What
/// done() adds up in the order of groups does not depend on the number of threads. Throws Error when there are none.
void for_first_samples(BatchSource& source, std::int64_t group, int threads, std::int64_t most,
                       const std::function<void(std::int64_t, std::span<const Tensor>)>& use,
                       const std::function<std::int64_t(std::int64_t, std::int64_t)>& done);

}  // namespace bitfold::quantization
