// Accuracy of many candidates on one evaluation set.
#pragma once

#include <cstdint>
#include <vector>

#include "bitfold/batch.h"
#include "bitfold/graph.h"

namespace bitfold::report {

/// Top-1 agreement with the labels, or with the float network's predictions if there are no labels. Batches run several
/// at a time, each on one core, so that the thread count does not affect the results. Without labels, takes four bytes
/// of memory per sample.
class Judge {
 public:
  /// Throws Error if the first output is not a vector of scores, or a label is not one of its classes.
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
