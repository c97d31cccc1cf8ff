// Interprets a classifier's output as rows of scores.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <utility>

#include "bitfold/batch.h"
#include "numeric/reals.h"

namespace bitfold::report {

/// Classes per sample of an output of reals [samples, classes] or [samples, classes, 1, 1...]; empty for other shapes.
inline std::optional<std::int64_t> class_count(const Tensor& output) {
  if (!is_any_real(output.dtype()) || output.rank() < 2 || output.dim(1) < 2) return std::nullopt;
  for (int axis = 2; axis < output.rank(); ++axis)
    if (output.dim(axis) != 1) return std::nullopt;
  return output.dim(1);
}

/// Number of scores ranked before `label`: higher scores, and equal ones of a lower index (as argmax breaks ties).
inline std::int64_t rank_of(std::span<const float> scores, std::int64_t label) {
  const float own = scores[static_cast<std::size_t>(label)];
  std::int64_t before = 0;
  for (std::size_t i = 0; i < scores.size(); ++i)
    before += scores[i] > own || (scores[i] == own && static_cast<std::int64_t>(i) < label);
  return before;
}

/// The index of the largest score; the lowest index among equal ones.
inline std::int64_t argmax(std::span<const float> scores) {
  std::size_t best = 0;
  for (std::size_t i = 1; i < scores.size(); ++i)
    if (scores[i] > scores[best]) best = i;
  return static_cast<std::int64_t>(best);
}

/// How many rows of scores the output of a run should have. A fixed batch may have more rows than samples; a whole
/// sample has one row, since the rows of a sequence are not samples.
struct ScoreRows {
  std::int64_t samples = 1;
  bool are_all = false;  ///< There are no more rows.

  explicit ScoreRows(std::int64_t count, bool are_all_rows) : samples(count), are_all(are_all_rows) {}
  explicit ScoreRows(const Batch& batch) : ScoreRows(batch.sample_count, !batch.runs.empty()) {}
  bool fit(const Tensor& output) const { return are_all ? output.dim(0) == samples : output.dim(0) >= samples; }
};

/// The scores of a batch, one row per sample.
class ClassScores {
 public:
  /// Absent unless the output is of reals [samples, classes] or [samples, classes, 1, 1...].
  static std::optional<ClassScores> of(const Tensor& output, const ScoreRows& rows) {
    const auto classes = class_count(output);
    if (!classes || !rows.fit(output)) return std::nullopt;
    return ClassScores(to_float32(output), *classes);
  }

  std::int64_t classes() const { return classes_; }
  std::span<const float> row(std::int64_t sample) const {
    return scores_.data<float>().subspan(static_cast<std::size_t>(sample * classes_),
                                         static_cast<std::size_t>(classes_));
  }
  /// The class with the largest score.
  std::int64_t best(std::int64_t sample) const { return argmax(row(sample)); }

 private:
  ClassScores(Tensor scores, std::int64_t classes) : scores_(std::move(scores)), classes_(classes) {}

  Tensor scores_;
  std::int64_t classes_;
};

/// Counts the samples for which two networks have the same best class.
class Agreement {
 public:
  /// The first outputs of both for the same run.
  void add(const Tensor& x, const Tensor& y, const ScoreRows& rows) {
    const auto a = ClassScores::of(x, rows), b = ClassScores::of(y, rows);
    has_scores_ = has_scores_ && a && b;
    for (std::int64_t i = 0; has_scores_ && i < rows.samples; ++i) agreeing_ += a->best(i) == b->best(i) ? 1 : 0;
    samples_ += rows.samples;
  }
  /// The share of the samples, 0 to 1; absent where an output is not a vector of scores.
  std::optional<double> value() const {
    if (!has_scores_ || samples_ == 0) return std::nullopt;
    return static_cast<double>(agreeing_) / static_cast<double>(samples_);
  }

 private:
  bool has_scores_ = true;
  std::int64_t agreeing_ = 0, samples_ = 0;
};

}  // namespace bitfold::report
