// Runs a float network and its quantized copy over the same samples, layer by layer.
#pragma once

#include <array>
#include <cstdint>
#include <functional>
#include <vector>

#include "bitfold/batch.h"
#include "bitfold/graph.h"
#include "bitfold/reference.h"
#include "quantize/partial_run.h"
#include "quantize/spill_file.h"

namespace bitfold::quantization {

struct PairedOptions {
  /// Number of samples, taken from the start of the source; rounded to whole batches if the network's batch is fixed.
  std::int64_t max_samples = 128;
  /// Limit for values kept on disk for the next node; above it, the node runs from an earlier point.
  std::int64_t max_kept_bytes = std::int64_t{256} << 20U;
};

/// Nodes must be requested in topological order, and nodes before a requested one must not change any more. The
/// networks then need not run from the start each time: for each sample, the values that later nodes read are kept in a
/// temporary file. Memory does not grow with the number of samples.
class PairedRuns {
 public:
  /// Graphs and samples must outlive it. Nodes and values that are in both graphs have the same ids.
  PairedRuns(const Graph& float_graph, const Graph& graph, BatchSource& samples, const PairedOptions& options = {});

  const Graph& graph() const { return *sides_[1].graph; }
  int threads() const { return threads_; }
  std::int64_t max_samples() const { return options_.max_samples; }
  /// Number of samples that the networks take per run.
  std::int64_t group() const { return group_; }

  /// Calls use(part, y, x) for one group of samples on each core at a time, and then done(parts). y and x are the first
  /// input of node `id` in the float and the quantized network. A group is one sample, or a fixed batch; the last group
  /// may have fewer samples. If done() adds up in the order of parts, the result depends neither on the number of
  /// threads nor on what is kept. Throws Error when there are no samples.
  void run(NodeId id, const std::function<void(std::int64_t, const Tensor&, const Tensor&)>& use,
           const std::function<void(std::int64_t)>& done);

 private:
  struct Side {
    const Graph* graph;
    std::vector<bool> done{};  ///< Indexed by NodeId: nodes that need not run again.
    std::vector<ValueId> kept{};
  };
  /// Values of one group of samples, by side, in the order of Side::kept.
  using Kept = std::array<std::vector<SpillFile::Place>, 2>;

  Values start_values(std::size_t side, std::int64_t group, std::span<const Tensor> inputs) const;

  std::array<Side, 2> sides_;
  BatchSource* samples_;
  PairedOptions options_;
  int threads_;
  Reference float_reference_;
  std::int64_t group_;   ///< Samples at a time.
  std::int64_t groups_;  ///< Groups of samples.
  std::int64_t sample_count_;
  std::vector<Kept> kept_;  ///< By group of samples; empty while both run from the start.
  std::array<SpillFile, 2> files_;
  std::size_t kept_in_ = 0;  ///< Index of the current file.
};

}  // namespace bitfold::quantization
