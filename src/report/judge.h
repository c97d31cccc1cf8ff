// Accuracy of many candidates on one evaluation set.
#pragma once

#include <cstdint>
#include <vector>

#include "bitfold/batch.h"
#include "bitfold/graph.h"

namespace bitfold::report {

/// Top-1 against the labels, or against the float network's answers where there are none. Batches run several at a
/// time, each on one core, so that the thread count does not enter the arithmetic. Memory: four bytes a sample, where
/// there are no labels.
class Judge {
 public:
  /// Throws Error when the first output is no vector of scores or a label is none of its classes.
  Judge(const Graph& float_graph, BatchSource& source, int threads);

  double float_score() const { return float_score_; }
  std::int64_t sample_count() const { return sample_count_; }
  bool has_labels() const { return has_labels_; }
  double score(const Graph& candidate);

 private:
  BatchSource& source_;
  int threads_;
  bool has_labels_;
  std::vector<std::int32_t> answers_;
  std::int64_t sample_count_ = 0;
  double float_score_ = 1;
};

}  // namespace bitfold::report
