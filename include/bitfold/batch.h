// Samples read in batches, for calibration, evaluation and comparison.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "bitfold/tensor.h"

namespace bitfold {

struct Batch {
  /// One per graph input, in graph input order; the first dimension counts samples. Empty if `runs` is not.
  std::vector<Tensor> inputs = {};
  /// Instead of `inputs`, if the source has whole samples: the graph's inputs for each sample.
  std::vector<std::vector<Tensor>> runs = {};
  std::vector<std::int64_t> labels = {};  ///< One per sample; empty if the data has no labels.
  std::int64_t sample_count = 0;
};

/// A stream of batches that can be read repeatedly. Memory does not grow with the number of samples.
class BatchSource {
 public:
  virtual ~BatchSource() = default;
  /// The next batch of at most `max_samples` samples; empty at the end. Throws Error on bad data.
  virtual std::optional<Batch> next(std::int64_t max_samples) = 0;
  virtual void rewind() = 0;
  virtual std::int64_t sample_count() const = 0;
  virtual bool has_labels() const = 0;
  /// Whether each sample has exactly the shapes of the graph's inputs, the batch axis included. Its shapes may differ
  /// from those of other samples, so it is a run of its own, and batches have `runs` instead of `inputs`.
  virtual bool has_whole_samples() const { return false; }
  virtual std::string description() const = 0;  ///< "10000 samples from mnist/test (IDX)"
};

}  // namespace bitfold
