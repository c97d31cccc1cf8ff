// A float network and the quantized one made of it, run over the same samples as far as layer after layer.
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
  std::int64_t most_samples = 128;  ///< Of the source's first ones; whole batches where the network's is fixed.
  /// Of values kept on disk for the next node; where they would take more, it runs from further back.
  std::int64_t most_kept_bytes = std::int64_t{256} << 20U;
};

/// Nodes are asked for in topological order, and what computes their inputs must not change after that. So the networks
/// need not run from the start each time: the values that nodes to come still read are kept, for each sample, in a
/// temporary file. Memory does not grow with the number of samples.
class PairedRuns {
 public:
  /// All must outlive it. The graphs have the same ids where both have a node or value.
  PairedRuns(const Graph& float_graph, const Graph& graph, BatchSource& samples, const PairedOptions& options = {});

  const Graph& graph() const { return *sides_[1].graph; }
  int threads() const { return threads_; }
  std::int64_t most_samples() const { return options_.most_samples; }
  /// Samples at a time.
  std::int64_t group() const { return group_; }

  /// Calls use(part, y, x) with the first input of node `id`, y in the float network and x in the quantized one, of one
  /// group of samples (one sample, unless the network has a fixed batch; of a last group what is there) on each core at
  /// a time, then done(parts). What done() adds up in the order of parts depends neither on the number of threads nor
  /// on what is kept. Throws Error when there are no samples.
  void run(NodeId id, const std::function<void(std::int64_t, const Tensor&, const Tensor&)>& use,
           const std::function<void(std::int64_t)>& done);

 private:
  struct Side {
    const Graph* graph;
    std::vector<bool> done{};  ///< By NodeId: what computed the values kept.
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
  std::int64_t groups_;  ///< Of samples.
  std::int64_t sample_count_;
  std::vector<Kept> kept_;  ///< By group of samples; empty while both run from the start.
  std::array<SpillFile, 2> files_;
  std::size_t kept_in_ = 0;  ///< Which of the files.
};

}  // namespace bitfold::quantization
