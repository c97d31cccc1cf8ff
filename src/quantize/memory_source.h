// Samples held in memory, for tests.
#pragma once

#include <algorithm>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "bitfold/batch.h"

namespace bitfold::testing {

/// Samples of one input, with or without labels.
class MemorySource final : public BatchSource {
 public:
  explicit MemorySource(Tensor samples, std::vector<std::int64_t> labels = {})
      : samples_(std::move(samples)), labels_(std::move(labels)) {}
  std::optional<Batch> next(std::int64_t max_samples) override {
    const std::int64_t count = std::min(max_samples, samples_.dim(0) - next_);
    if (count <= 0) return std::nullopt;
    const std::int64_t size = samples_.size() / samples_.dim(0);
    Shape shape = samples_.shape();
    shape[0] = count;
    const auto values =
        samples_.data<float>().subspan(static_cast<std::size_t>(next_ * size), static_cast<std::size_t>(count * size));
    Batch batch{.inputs = {Tensor::from<float>(std::move(shape), values)}, .labels = {}, .sample_count = count};
    if (!labels_.empty()) batch.labels.assign(labels_.begin() + next_, labels_.begin() + next_ + count);
    next_ += count;
    return batch;
  }
  void rewind() override { next_ = 0; }
  std::int64_t sample_count() const override { return samples_.dim(0); }
  bool has_labels() const override { return !labels_.empty(); }
  std::string description() const override { return "samples in memory"; }

 private:
  Tensor samples_;
  std::vector<std::int64_t> labels_;
  std::int64_t next_ = 0;
};

}  // namespace bitfold::testing
